"""Leave to call an account: bulkhead, rate limit and circuit breaker, one set per account.

An open breaker fails nothing. Messages of its account wait on the ladder, uncounted, and one
call at a time probes whether the account works again (payment rules R9). A configuration fault
opens it at once, because every further call would fail the same way; silence and unreachable
hosts open it by rate. Business answers never do.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import assert_never

from worker.calls import (
    Declined,
    Misconfigured,
    NotApplied,
    NotSent,
    Outcome,
    Succeeded,
    Unknown,
)
from worker.codes import Code
from worker.model import Limits
from worker.ports import Clock, Permit

WINDOW = 20
"""Calls the failure rate is taken over."""

FEWEST = 5
"""Failures that open a breaker at least: fewer are noise."""

FIRST_PAUSE = 30.0
LONGEST_PAUSE = 300.0
LONGEST_CONFIGURATION_PAUSE = 3600.0
"""A wrong password is not mended within minutes; payment rules R9 double the wait up to 1 h."""

PROBE_PAUSE = 30.0
"""How long the others wait while one call probes."""


@unique
class BreakerState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerChange:
    """A breaker that opened, probes or closed; ``pause`` in seconds, ``reason`` a code."""

    account: str
    state: BreakerState
    reason: str
    pause: float


class Gate:
    """One account's limits and breaker. Synchronous, apart from waiting for a place."""

    def __init__(
        self, account: str, limits: Limits, clock: Clock, notify: Callable[[BreakerChange], None]
    ) -> None:
        self._account = account
        self._limits = limits
        self._clock = clock
        self._notify = notify
        self._places = asyncio.Semaphore(limits.concurrent_calls)
        self._next_start = 0.0
        self._failures: deque[bool] = deque(maxlen=WINDOW)
        self._open_until = 0.0
        self._pause = 0.0
        self._probe: Pass | None = None
        self._state = BreakerState.CLOSED

    @property
    def state(self) -> BreakerState:
        return self._state

    @property
    def remaining(self) -> float:
        """Seconds until a call may be tried again; 0 when it may be now."""
        return self._refusal() or 0.0

    async def enter(self, within: float) -> "Pass | float":
        """Take a place within that many seconds, or tell how many to wait before asking."""
        refused = self._refusal()
        if refused is not None:
            return refused
        try:
            async with asyncio.timeout(within):
                await self._places.acquire()
        except TimeoutError:
            return within
        try:
            refused = await self._start(within)
        except BaseException:
            # Whoever is cancelled here has no pass to hand back: the place would be lost.
            self._places.release()
            raise
        if refused is not None:
            self._places.release()
            return refused
        entered = Pass(self, is_probe=self._state is not BreakerState.CLOSED)
        if entered.is_probe:
            self._probe = entered
            self._change(BreakerState.HALF_OPEN, "probe")
        return entered

    async def _start(self, within: float) -> float | None:
        """Wait for our turn under the rate limit; seconds to wait before asking if it is no use."""
        delay = self._rate_delay()
        refused = delay if delay > within else self._refusal()
        if refused is not None or not self._limits.calls_per_second:
            return refused
        start = max(self._next_start, self._clock.monotonic())
        self._next_start = start + 1.0 / self._limits.calls_per_second
        if delay > 0:
            await self._clock.sleep(delay)
        return self._refusal()

    def leave(self, leaving: "Pass") -> None:
        """Free the place; a probe that reported nothing leaves the breaker as it was."""
        self._places.release()
        if self._probe is leaving:
            self._probe = None
            self._change(BreakerState.OPEN, "probe unused")

    def report(self, outcome: Outcome, *, reporting: "Pass") -> None:
        """Learn from a call how the account is doing."""
        is_probe = reporting.is_probe
        if self._probe is reporting:
            self._probe = None
        match outcome:
            case Misconfigured():
                self._open(outcome.code.value, LONGEST_CONFIGURATION_PAUSE)
            case Unknown() if outcome.never_resend:
                self._open("link host not listed", LONGEST_CONFIGURATION_PAUSE)
            case Unknown() | NotSent():
                self._failures.append(True)
                if is_probe or self._fails_too_often():
                    self._open("no answer", LONGEST_PAUSE)
            case NotApplied():
                if outcome.retry_after or is_probe:
                    pause = outcome.retry_after or FIRST_PAUSE
                    # A late "come back in a second" must not shorten a longer pause.
                    ends = self._clock.monotonic() + pause
                    self._open_until = max(self._open_until, ends)
                    self._change(BreakerState.OPEN, outcome.code.value, pause)
                elif outcome.code is Code.PROVIDER_UNAVAILABLE:
                    # Somebody answers for a provider that is away. A 429 is no such failure: it
                    # is about the one call, unless it says for how long.
                    self._failures.append(True)
                    if self._fails_too_often():
                        self._open(outcome.code.value, LONGEST_PAUSE)
            case Succeeded() | Declined():
                self._failures.append(False)
                if self._state is not BreakerState.CLOSED and is_probe:
                    self._pause = 0.0
                    self._failures.clear()
                    self._change(BreakerState.CLOSED, "answered")
            case other:
                assert_never(other)

    def probe_now(self) -> None:
        """Let the next call through an open breaker, whatever its pause."""
        self._open_until = self._clock.monotonic()

    def _refusal(self) -> float | None:
        if self._state is BreakerState.CLOSED:
            return None
        if self._probe is not None:
            return PROBE_PAUSE
        remaining = self._open_until - self._clock.monotonic()
        return remaining if remaining > 0 else None

    def _rate_delay(self) -> float:
        if not self._limits.calls_per_second:
            return 0.0
        return max(0.0, self._next_start - self._clock.monotonic())

    def _fails_too_often(self) -> bool:
        failed = sum(self._failures)
        return failed >= FEWEST and failed * 2 >= len(self._failures)

    def _open(self, reason: str, longest: float) -> None:
        already = self._state is BreakerState.OPEN
        if already and self._open_until > self._clock.monotonic():
            return  # calls that were in flight when it opened do not lengthen the pause
        self._pause = min(longest, self._pause * 2) if self._pause else FIRST_PAUSE
        self._open_until = self._clock.monotonic() + self._pause
        self._failures.clear()
        self._change(BreakerState.OPEN, reason, self._pause)

    def _change(self, state: BreakerState, reason: str, pause: float = 0.0) -> None:
        if state is not self._state or pause:
            self._state = state
            self._notify(BreakerChange(self._account, state, reason, pause))


class Pass:
    """Leave for one delivery's calls; a ``ports.Permit``."""

    def __init__(self, gate: Gate, *, is_probe: bool) -> None:
        self._gate = gate
        self._is_probe = is_probe

    @property
    def is_probe(self) -> bool:
        return self._is_probe

    @property
    def may_go_on(self) -> bool:
        """Whether the breaker has stayed closed, so that another try makes sense."""
        return self._gate.state is BreakerState.CLOSED

    @property
    def pause(self) -> float:
        """Seconds until the account may be asked again; 0 while it is open to calls."""
        return self._gate.remaining

    def report(self, outcome: Outcome) -> None:
        self._gate.report(outcome, reporting=self)


class AccountPermits:
    """The gates of all accounts; a ``ports.Permits``."""

    def __init__(
        self,
        limits: Mapping[str, Limits],
        *,
        clock: Clock,
        notify: Callable[[BreakerChange], None],
    ) -> None:
        self._gates = {
            account: Gate(account, limit, clock, notify) for account, limit in limits.items()
        }

    @asynccontextmanager
    async def take(self, account: str, *, within: float) -> AsyncIterator[Permit | float]:
        """Yield a permit for the account, or the seconds to wait before asking again."""
        gate = self._gates[account]
        entered = await gate.enter(within)
        if isinstance(entered, float):
            yield entered
            return
        try:
            yield entered
        finally:
            gate.leave(entered)

    def states(self) -> dict[str, BreakerState]:
        """State of every account's breaker."""
        return {account: gate.state for account, gate in self._gates.items()}

    def probe(self, account: str) -> None:
        """Ask an open breaker for one try now."""
        self._gates[account].probe_now()
