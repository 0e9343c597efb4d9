"""What a soak can be told: how long, how hard, and the seed that makes its choices repeatable."""

from dataclasses import dataclass, fields
from enum import StrEnum, unique


@unique
class LedgerKind(StrEnum):
    """Where the workers keep their payments."""

    SQLITE = "sqlite"
    POSTGRES = "postgres"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Parameters of one run; times in seconds unless the name says minutes.

    ``kill_every`` and ``broker_restart_every`` are averages and intervals, 0 means never.
    ``provider_faults`` is the share of provider calls that go wrong, half of it chosen with the
    request and half of it at the provider. ``max_age`` is the workers' setting of that name: it
    bounds how long a request may stay open, and with it the time a run needs to end.
    """

    minutes: float = 10.0
    seed: int = 7
    rate: float = 10.0
    workers: int = 2
    kill_every: float = 5.0
    broker_restart_every: float = 30.0
    provider_faults: float = 0.3
    ledger: LedgerKind = LedgerKind.POSTGRES
    max_age: int = 300
    drain_minutes: float = 10.0

    def described(self) -> str:
        """Every parameter as it would be typed, so that a run can be repeated."""
        return " ".join(
            f"--{each.name.replace('_', '-')} {getattr(self, each.name):g}"
            if isinstance(getattr(self, each.name), int | float)
            else f"--{each.name.replace('_', '-')} {getattr(self, each.name)}"
            for each in fields(self)
        )
