"""The accounts as operators see them: what is switched, and what the workers report of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from worker.breaker import BreakerState
from worker.ledger import Ledger
from worker.switches import EVERY_ACCOUNT, AccountReport, Pause, Switch

CONFIRM_SECONDS = 10.0
"""How long an operator waits for the workers to say that they obey: each looks every 2 seconds."""

_ASK_AGAIN_SECONDS = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountStanding:
    """One account: its own pause, that of every one, and what each worker says."""

    account: str
    pause: Pause | None
    every: Pause | None
    reports: tuple[AccountReport, ...]

    @property
    def in_force(self) -> Pause | None:
        """The pause that stops it, its own before that of every one."""
        return self.pause or self.every

    @property
    def open(self) -> tuple[AccountReport, ...]:
        """The workers whose breaker is not closed."""
        return tuple(each for each in self.reports if each.breaker != BreakerState.CLOSED)


async def standings(ledger: Ledger, accounts: Iterable[str]) -> Sequence[AccountStanding]:
    """Every account, in the order given; one that is switched and not given comes last."""
    switches = await ledger.accounts.switches()
    reports = await ledger.accounts.reports()
    every = switches.get(EVERY_ACCOUNT)
    switched = [name for name, each in switches.items() if each.pause and name != EVERY_ACCOUNT]
    return [
        AccountStanding(
            account=account,
            pause=_pause_of(switches, account),
            every=None if every is None else every.pause,
            reports=tuple(each for each in reports if each.account == account),
        )
        for account in dict.fromkeys([*accounts, *switched])
    ]


def _pause_of(switches: Mapping[str, Switch], account: str) -> Pause | None:
    switch = switches.get(account)
    return None if switch is None else switch.pause


@dataclass(frozen=True, slots=True)
class Obeyed:
    """How many workers there are, and how many of them have read a switch."""

    workers: int
    obeying: int

    @property
    def is_whole(self) -> bool:
        return self.workers == self.obeying


async def obeyed(
    ledger: Ledger, *, accounts: Sequence[str], is_paused: bool, seconds: float
) -> Obeyed:
    """Wait until every worker says that these accounts are paused, or are not; at most so long."""
    ends = ledger.clock.monotonic() + seconds
    while True:
        reports = [each for each in await ledger.accounts.reports() if each.account in accounts]
        workers = {each.worker for each in reports}
        behind = {each.worker for each in reports if each.is_paused is not is_paused}
        found = Obeyed(len(workers), len(workers - behind))
        if found.is_whole or ledger.clock.monotonic() >= ends:
            return found
        await ledger.clock.sleep(_ASK_AGAIN_SECONDS)


async def probed(
    ledger: Ledger, *, account: str, asked: object, pending: str, seconds: float
) -> Sequence[AccountReport]:
    """Wait until every worker says what came of a probe; at most so long. Their last words.

    ``asked`` is the wish, ``pending`` what a worker says for as long as nothing has come of it.
    """
    ends = ledger.clock.monotonic() + seconds
    while True:
        reports = [each for each in await ledger.accounts.reports() if each.account == account]
        is_over = all(each.probe == asked and each.probe_result != pending for each in reports)
        if is_over or ledger.clock.monotonic() >= ends:
            return reports
        await ledger.clock.sleep(_ASK_AGAIN_SECONDS)
