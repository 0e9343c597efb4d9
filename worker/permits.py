"""Leave to call an account: bulkhead, rate limit and circuit breaker, one set per account.

A worker handles a bounded number of deliveries at a time, so an account that does not answer must
not be able to take every place: it has at most ``concurrent_calls`` calls under way, and no more
deliveries wait for one of them than it has answered in the last seconds, ``waiting_calls`` at
least. Whoever comes when both are full goes to the ladder at once, uncounted. A busy account that
answers keeps its deliveries waiting here instead, which slows the intake to what it can take: on
the ladder they would come back half a minute later, and meanwhile its places would lie idle.
Two situations have nobody to protect, and there a backlog must not be stirred up for nothing:
while no other account is asked for, deliveries wait here for longer, and while every account is
down they wait for the next probe (rabbitmq section 7.1). Both hold the worker's places, which
stops it from taking more.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from worker.breaker import BreakerChange, BreakerState
from worker.gate import Gate, OnHindrance, Pass
from worker.model import Limits
from worker.ports import Clock, Permit

ALONE_SECONDS = 60.0
"""An account is alone while nobody has asked for another one for that long."""


@dataclass(frozen=True, slots=True)
class BreakerStanding:
    """A breaker as it stands: ``openings`` so far, why it changed last, seconds until a try."""

    state: BreakerState
    openings: int
    reason: str | None
    wait: float | None


class AccountPermits:
    """The gates of all accounts; a ``ports.Permits``.

    ``patience`` is how many seconds a delivery may wait for a place it can hope for, or in the
    two situations that have nobody to protect; 0 sends it to the ladder there too.
    """

    def __init__(
        self,
        limits: Mapping[str, Limits],
        *,
        clock: Clock,
        notify: Callable[[BreakerChange], None],
        hindered: OnHindrance = lambda _hindrance: None,
        patience: float = 0.0,
    ) -> None:
        self._clock = clock
        self._notify = notify
        self._patience = patience
        self._changed = asyncio.Event()
        self._last: dict[str, BreakerChange] = {}
        self._is_hurried = False
        self._gates = {
            account: Gate(account, limit, clock, self._note_change, hindered)
            for account, limit in limits.items()
        }

    @asynccontextmanager
    async def take(self, account: str, *, within: float) -> AsyncIterator[Permit | float]:
        """Yield a permit for the account, or the seconds to wait before asking again."""
        gate = self._gates[account]
        entered = await self._enter(account, within)
        if isinstance(entered, float):
            yield entered
            return
        try:
            yield entered
        finally:
            gate.leave(entered.ticket)

    @asynccontextmanager
    async def take_spare(self, account: str, *, within: float) -> AsyncIterator[bool]:
        """Yield whether a read may be made with what the account's payments leave over.

        It waits ``within`` seconds at most for its turn under the rate limit.
        """
        gate = self._gates[account]
        is_free = await gate.enter_spare(within)
        try:
            yield is_free
        finally:
            if is_free:
                gate.leave_spare()

    def hurry(self) -> None:
        """Let nobody wait for a probe any more: the worker is about to stop."""
        self._is_hurried = True
        self._announce()

    def standstill(self) -> float | None:
        """Seconds until the first account may be asked; ``None`` unless all of them are down."""
        refusals = [gate.refusal() for gate in self._gates.values()]
        waits = [each for each in refusals if each is not None]
        return min(waits) if waits and len(waits) == len(refusals) else None

    @property
    def is_any_closed(self) -> bool:
        """Whether some account's breaker lets everybody through."""
        return BreakerState.CLOSED in self.states().values()

    def states(self) -> dict[str, BreakerState]:
        """State of every account's breaker."""
        return {account: gate.breaker.state for account, gate in self._gates.items()}

    def calls(self, account: str) -> int:
        """Calls of an account under way now."""
        return self._gates[account].breaker.calls

    def waiting(self, account: str) -> int:
        """Deliveries that wait for a place at an account now."""
        return self._gates[account].waiting

    @property
    def accounts(self) -> tuple[str, ...]:
        """Every account there is."""
        return tuple(self._gates)

    def pause(self, account: str, seconds: float | None) -> None:
        """Let nobody call an account, and whoever asks wait that long; ``None`` ends it.

        Calls under way go on to their end; what waits for a place is told at its next look.
        """
        gate = self._gates[account]
        was_paused, gate.paused = gate.paused is not None, seconds
        if was_paused is not (seconds is not None):
            self._announce()

    @property
    def paused(self) -> frozenset[str]:
        """Accounts that operators have paused."""
        return frozenset(name for name, gate in self._gates.items() if gate.paused is not None)

    @property
    def are_all_paused(self) -> bool:
        """Whether operators have left no account to be called."""
        return len(self.paused) == len(self._gates)

    def standing(self, account: str) -> BreakerStanding:
        """How an account's breaker stands, and what it told last."""
        gate = self._gates[account]
        last = self._last.get(account)
        return BreakerStanding(
            state=gate.breaker.state,
            openings=gate.breaker.openings,
            reason=None if last is None else last.reason,
            wait=gate.breaker.refusal(),
        )

    def probe(self, account: str) -> None:
        """Ask an open breaker for one try now."""
        self._gates[account].breaker.probe_now()
        self._announce()

    async def _enter(self, account: str, within: float) -> Pass | float:
        gate = self._gates[account]
        gate.asked_at = self._clock.monotonic()
        ends = self._clock.monotonic() + self._patience
        while True:
            is_alone = self._is_alone(account)
            entered = await gate.enter(within, patience=self._patience, is_alone=is_alone)
            if not isinstance(entered, float):
                return entered
            # How long a probe takes nobody knows: it is waited for as long as patience lasts.
            least = 0.0 if gate.breaker.state is BreakerState.HALF_OPEN else entered
            left = ends - self._clock.monotonic()
            if least >= left or self._is_hurried or self.standstill() is None:
                return entered
            await self._until_changed(min(entered, left))

    def _is_alone(self, account: str) -> bool:
        since = self._clock.monotonic() - ALONE_SECONDS
        return not any(
            gate.asked_at is not None and gate.asked_at > since
            for name, gate in self._gates.items()
            if name != account
        )

    async def _until_changed(self, seconds: float) -> None:
        """Wait that long, or until a breaker changes."""
        changed = asyncio.ensure_future(self._changed.wait())
        passing = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait({changed, passing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()
            passing.cancel()

    def _note_change(self, change: BreakerChange) -> None:
        self._last[change.account] = change
        self._notify(change)
        self._announce()

    def _announce(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
