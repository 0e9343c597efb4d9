"""The words of a plan: one row for each letter, what they add up to, and when they hold."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

from worker.codes import Code
from worker.letters import Verdict
from worker.model import Environment, RunMode
from worker.records import Kind

LIFETIME: Final = timedelta(hours=4)
"""How long a plan holds unless it says otherwise: operations 1.4."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRow:
    """One letter as it stood when the plan was made.

    ``code`` is ``None`` where nothing was decided, ``amount`` counts euro cents and is ``None``
    where it could not be read, ``reason`` is a stable sentence that says why the verdict.
    """

    operation_id: UUID
    kind: Kind
    payment_id: UUID
    sequence: int
    code: Code | None
    verdict: Verdict
    reason: str
    amount: int | None
    mode: RunMode | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanTotal:
    """Rows of one code, verdict and mode: how many, and their amounts in euro cents."""

    code: Code | None
    verdict: Verdict
    mode: RunMode | None
    count: int
    cents: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanHeader:
    """Who planned what, where and when; ``wanted`` says in words which letters were meant."""

    environment: Environment
    created_at: datetime
    expires_at: datetime
    actor: str
    wanted: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A plan that was written, or read and found whole; its rows stay in the file at ``path``.

    ``sha256`` is over every byte before the file's last line, ``totals`` are by code, verdict and
    mode, and every amount is in euro cents.
    """

    path: Path
    sha256: str
    environment: Environment
    created_at: datetime
    expires_at: datetime
    actor: str
    wanted: Mapping[str, str]
    totals: tuple[PlanTotal, ...]

    @property
    def size(self) -> int:
        """How many rows it has."""
        return sum(total.count for total in self.totals)

    @property
    def counts(self) -> Mapping[Verdict, int]:
        """How many rows of each verdict, those without any included."""
        counts = Counter(dict.fromkeys(Verdict, 0))
        for total in self.totals:
            counts[total.verdict] += total.count
        return dict(counts)

    def cents(self, verdict: Verdict) -> Mapping[RunMode | None, int]:
        """What the rows of one verdict amount to, by mode, in euro cents."""
        sums: Counter[RunMode | None] = Counter()
        for total in self.totals:
            if total.verdict is verdict:
                sums[total.mode] += total.cents
        return dict(sums)


class Tally:
    """Adds rows up as they pass, in memory that does not grow with them."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[Code | None, Verdict, RunMode | None]] = Counter()
        self._cents: Counter[tuple[Code | None, Verdict, RunMode | None]] = Counter()

    def add(self, row: PlanRow) -> None:
        """Count one row."""
        group = row.code, row.verdict, row.mode
        self._counts[group] += 1
        self._cents[group] += row.amount or 0

    def totals(self) -> tuple[PlanTotal, ...]:
        """The sums so far, in an order that depends on the rows alone."""
        return tuple(
            PlanTotal(code=code, verdict=verdict, mode=mode, count=count, cents=cents)
            for (code, verdict, mode), count in sorted(
                self._counts.items(), key=lambda each: tuple(str(part) for part in each[0])
            )
            for cents in (self._cents[code, verdict, mode],)
        )
