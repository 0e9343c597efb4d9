"""What operators have switched, read by each worker every other second and obeyed at once.

While the ledger cannot be read the last known state holds; a worker that has not read it once yet
takes nothing. A pause fails no payment: of a paused account, messages wait on the ladder uncounted,
as behind an open breaker, and where every account is paused, or all consumption, they stay in the
work queue: with nobody to call, each could only go round the ladder.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from worker.breaker import BreakerState
from worker.ledger import Ledger
from worker.permits import AccountPermits
from worker.ports import StoreUnavailableError
from worker.rules import SIGN_OFF_SECONDS
from worker.switches import EVERY_ACCOUNT, AccountReport, Pause, ProbeWish, Switch

LOOK_SECONDS = 2.0
"""Between two looks: a switch is obeyed within five seconds, a slow read of the ledger included."""

REPORT_SECONDS = 15.0
"""Between two reports that say the same."""

SHORTEST_WAIT = 30.0
LONGEST_WAIT = 120.0
"""How long a message of a paused account waits at a time: a quarter of the pause so far.

A backlog that turned every half minute for hours would cost ledger and broker as much as work;
after the end of a long pause the last message comes back within two minutes.
"""

PROBE_AGE = timedelta(seconds=60)
"""A wish for a probe that nobody read for that long is over: "now" was then."""

NOT_OPEN = "not open"
WAITING = "waiting for a payment"
ANSWERED = "answered"


@dataclass(slots=True)
class _Probe:
    """A wish that was read: how often its breaker had opened by then, and what came of it."""

    wish: UUID
    openings: int
    result: str


class Switchboard:
    """Reads the switches and tells of each change once.

    ``stop`` and ``go`` switch all consumption; ``on_paused`` is told of an account's pause and of
    its end; ``on_surprise`` of an exception nobody foresaw, after which the next look is made.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        permits: AccountPermits,
        worker: UUID,
        stop: Callable[[], None],
        go: Callable[[], None],
        on_paused: Callable[[str, bool], None],
        on_surprise: Callable[[Exception], None],
    ) -> None:
        self._ledger = ledger
        self._clock = ledger.clock
        self._permits = permits
        self._worker = worker
        self._stop = stop
        self._go = go
        self._on_paused = on_paused
        self._on_surprise = on_surprise
        self._is_read = False
        self._is_stopped = False
        self._probes: dict[str, _Probe] = {}
        self._reported: tuple[AccountReport, ...] = ()
        self._reported_at = 0.0

    @property
    def is_stopped(self) -> bool:
        """Whether operators have stopped all consumption, or left no account to be called."""
        return self._is_stopped

    @property
    def paused(self) -> str | None:
        """Names of the accounts that are paused, for people; ``None`` where none is."""
        return ", ".join(sorted(self._permits.paused)) or None

    async def watch(self) -> None:
        """Look for ever."""
        while True:
            await self.look()
            await self._clock.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Read the switches and obey; where they cannot be read nothing changes."""
        try:
            self._obey(await self._ledger.accounts.switches())
            await self._report()
        except StoreUnavailableError:
            self._miss()
        except Exception as error:  # noqa: BLE001 - nobody would notice a watch that has ended
            self._miss()
            self._on_surprise(error)

    async def sign_off(self) -> None:
        """Take back what was reported; a ledger that is stuck does not keep an ending worker."""
        try:
            async with asyncio.timeout(SIGN_OFF_SECONDS):
                await self._ledger.accounts.forget_reports(self._worker)
        except (StoreUnavailableError, TimeoutError):
            return  # its reports grow old by themselves

    def _obey(self, switches: Mapping[str, Switch]) -> None:
        every = switches.get(EVERY_ACCOUNT)
        for account in self._permits.accounts:
            switch = switches.get(account)
            own = None if switch is None else switch.pause
            self._pause(account, own or (None if every is None else every.pause))
            if switch is not None and switch.probe is not None:
                self._probe(account, switch.probe)
            self._follow(account)
        is_stopped = self._permits.are_all_paused
        if is_stopped:
            self._stop()
        elif self._is_stopped or not self._is_read:
            self._go()
        self._is_stopped, self._is_read = is_stopped, True

    def _miss(self) -> None:
        if not self._is_read:
            self._stop()  # nobody knows yet what may be called

    def _pause(self, account: str, pause: Pause | None) -> None:
        was_paused = account in self._permits.paused
        if pause is None:
            self._permits.pause(account, None)
        else:
            age = (self._clock.now() - pause.since).total_seconds()
            self._permits.pause(account, min(max(age / 4, SHORTEST_WAIT), LONGEST_WAIT))
        if was_paused is not (pause is not None):
            self._on_paused(account, pause is not None)

    def _probe(self, account: str, asked: ProbeWish) -> None:
        known = self._probes.get(account)
        is_old = self._clock.now() - asked.at > PROBE_AGE
        if (known is not None and known.wish == asked.wish) or is_old:
            return
        standing = self._permits.standing(account)
        is_open = standing.state is not BreakerState.CLOSED
        if is_open:
            self._permits.probe(account)
        result = WAITING if is_open else NOT_OPEN
        self._probes[account] = _Probe(asked.wish, standing.openings, result)

    def _follow(self, account: str) -> None:
        """See what has come of a probe: the breaker has closed, or it has opened again."""
        probe = self._probes.get(account)
        if probe is None or probe.result != WAITING:
            return
        standing = self._permits.standing(account)
        if standing.openings > probe.openings:
            probe.result = f"failed: {standing.reason}"
        elif standing.state is BreakerState.CLOSED:
            probe.result = ANSWERED

    async def _report(self) -> None:
        reports = tuple(self._report_of(account) for account in self._permits.accounts)
        now = self._clock.monotonic()
        if _said(reports) == _said(self._reported) and now - self._reported_at < REPORT_SECONDS:
            return
        await self._ledger.accounts.report(reports)
        self._reported, self._reported_at = reports, now

    def _report_of(self, account: str) -> AccountReport:
        standing = self._permits.standing(account)
        probe = self._probes.get(account)
        now = self._clock.now()
        is_open = standing.state is not BreakerState.CLOSED
        waits = standing.wait if is_open else None
        return AccountReport(
            worker=self._worker,
            account=account,
            breaker=standing.state.value,
            is_paused=account in self._permits.paused,
            seen_at=now,
            reason=standing.reason if is_open else None,
            next_try=None if waits is None else now + timedelta(seconds=waits),
            probe=None if probe is None else probe.wish,
            probe_result=None if probe is None else probe.result,
        )


def _said(reports: tuple[AccountReport, ...]) -> list[tuple[object, ...]]:
    """What a report says apart from the time, which alone is no news."""
    return [
        (each.account, each.breaker, each.is_paused, each.reason, each.probe, each.probe_result)
        for each in reports
    ]
