"""Circuit breaker of one account: whether it may be called, as far as its last calls tell.

An open breaker fails nothing. Messages of its account wait on the ladder, uncounted, and one
call at a time probes whether the account works again (payment rules R9). A configuration fault
opens it at once, because every further call would fail the same way; unreachable hosts and
silence open it by rate; calls that hang open it before they have ended, because an account that
accepts connections and never answers says nothing for as long as a call may last. Business
answers never open it.
"""

from collections import deque
from collections.abc import Callable
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
from worker.ports import Clock

WINDOW = 20
"""Calls the failure rate is taken over."""

FEWEST = 5
"""Failures that open a breaker at least: fewer are noise."""

HANGING_SECONDS = 10.0
"""A call this old, at an account that has answered nobody for as long, counts as failed.

Documented answers take a second or two; an answer that comes later all the same closes it.
"""

FIRST_PAUSE = 30.0
LONGEST_PAUSE = 300.0
LONGEST_CONFIGURATION_PAUSE = 3600.0
"""A wrong password is not mended within minutes; payment rules R9 double the wait up to 1 h."""

_MOST_ANSWERS = 10_000
"""The highest concurrency the settings allow: nobody needs to know of more."""

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


@dataclass(slots=True, eq=False)
class Ticket:
    """One delivery's leave to call, as its breaker knows it.

    ``opening`` counts the openings so far: a call from before one failed of the same cause.
    ``started`` is the monotonic time its call under way began.
    """

    is_probe: bool
    opening: int
    started: float | None = None


class Breaker:
    """State of one account; tells every change to ``notify``, once."""

    def __init__(
        self,
        account: str,
        clock: Clock,
        notify: Callable[[BreakerChange], None],
        *,
        most_calls: int,
    ) -> None:
        self._account = account
        self._clock = clock
        self._notify = notify
        self._fewest_hanging = min(FEWEST, most_calls)
        self._failures: deque[bool] = deque(maxlen=WINDOW)
        self._calls: set[Ticket] = set()
        self._heard = clock.monotonic()
        self._busy_since = self._heard
        self._answers: deque[float] = deque(maxlen=_MOST_ANSWERS)
        self._open_until = 0.0
        self._pause = 0.0
        self._openings = 0
        self._is_suspicion = False
        self._probe: Ticket | None = None
        self._state = BreakerState.CLOSED

    @property
    def state(self) -> BreakerState:
        return self._state

    @property
    def openings(self) -> int:
        """How often it has opened so far."""
        return self._openings

    @property
    def calls(self) -> int:
        """Calls under way now."""
        return len(self._calls)

    def refusal(self) -> float | None:
        """Seconds until a call may be tried; ``None`` when it may be now."""
        if self._state is BreakerState.CLOSED:
            if not self._is_silent():
                return None
            self._open("calls hang", LONGEST_PAUSE, is_suspicion=True)
        if self._probe is not None:
            return PROBE_PAUSE
        remaining = self._open_until - self._clock.monotonic()
        return remaining if remaining > 0 else None

    def admit(self) -> Ticket:
        """Let a call in that was not refused; through an open breaker it is the probe."""
        ticket = Ticket(self._state is not BreakerState.CLOSED, self._openings)
        if ticket.is_probe:
            self._probe = ticket
            self._change(BreakerState.HALF_OPEN, "probe")
        return ticket

    def dismiss(self, ticket: Ticket) -> None:
        """The delivery is through; a probe that reported nothing leaves the breaker open."""
        self._calls.discard(ticket)
        if self._probe is ticket:
            self._probe = None
            self._change(BreakerState.OPEN, "probe unused")

    def begin(self, ticket: Ticket) -> None:
        """A call begins; ``report`` or ``dismiss`` ends it."""
        if not self._calls:
            # Nobody was asked, so nobody was silent.
            self._heard = self._busy_since = self._clock.monotonic()
        ticket.started = self._clock.monotonic()
        self._calls.add(ticket)

    def report(self, outcome: Outcome, ticket: Ticket) -> None:
        """Learn from a call how the account is doing."""
        self._calls.discard(ticket)
        if self._probe is ticket:
            self._probe = None
        if _is_heard(outcome):
            self._heard = self._clock.monotonic()
            self._answers.append(self._heard)
        match outcome:
            case Misconfigured():
                self._open(outcome.code.value, LONGEST_CONFIGURATION_PAUSE)
            case Unknown() if outcome.never_resend:
                self._open("link host not listed", LONGEST_CONFIGURATION_PAUSE)
            case Unknown() | NotSent():
                self._failed(ticket)
            case NotApplied():
                self._postponed(outcome, ticket)
            case Succeeded() | Declined():
                self._answered(ticket)
            case other:
                assert_never(other)

    def answered_within(self, seconds: float) -> int | None:
        """How many calls were answered in the last seconds.

        ``None`` while calls are under way, the first of them for less than that: too early to say.
        """
        since = self._clock.monotonic() - seconds
        if self._calls and self._busy_since > since:
            return None
        while self._answers and self._answers[0] < since:
            self._answers.popleft()
        return len(self._answers)

    def probe_now(self) -> None:
        """Let the next call through an open breaker, whatever its pause."""
        self._open_until = self._clock.monotonic()

    def _failed(self, ticket: Ticket) -> None:
        if not ticket.is_probe and ticket.opening != self._openings:
            return  # it began before the breaker opened, and failed of what opened it
        self._failures.append(True)
        if ticket.is_probe or self._fails_too_often():
            self._open("no answer", LONGEST_PAUSE)

    def _postponed(self, outcome: NotApplied, ticket: Ticket) -> None:
        if outcome.retry_after or ticket.is_probe:
            pause = outcome.retry_after or FIRST_PAUSE
            # A late "come back in a second" must not shorten a longer pause.
            ends = self._clock.monotonic() + pause
            self._open_until = max(self._open_until, ends)
            self._opened(outcome.code.value, pause)
        elif outcome.code is Code.PROVIDER_UNAVAILABLE:
            self._failed(ticket)

    def _answered(self, ticket: Ticket) -> None:
        self._failures.append(False)
        if self._state is not BreakerState.CLOSED and (ticket.is_probe or self._is_suspicion):
            self._pause = 0.0
            self._probe = None
            self._failures.clear()
            self._change(BreakerState.CLOSED, "answered")

    def _is_silent(self) -> bool:
        """Whether several calls hang and nobody has been answered for as long."""
        now = self._clock.monotonic()
        if now - self._heard < HANGING_SECONDS:
            return False
        hanging = sum(
            each.started is not None and now - each.started >= HANGING_SECONDS
            for each in self._calls
        )
        return hanging >= self._fewest_hanging

    def _fails_too_often(self) -> bool:
        failed = sum(self._failures)
        return failed >= FEWEST and failed * 2 >= len(self._failures)

    def _open(self, reason: str, longest: float, *, is_suspicion: bool = False) -> None:
        already = self._state is BreakerState.OPEN
        if already and self._open_until > self._clock.monotonic():
            return  # calls that were in flight when it opened do not lengthen the pause
        self._pause = min(longest, self._pause * 2) if self._pause else FIRST_PAUSE
        self._open_until = self._clock.monotonic() + self._pause
        self._failures.clear()
        self._is_suspicion = is_suspicion
        self._opened(reason, self._pause)

    def _opened(self, reason: str, pause: float) -> None:
        self._openings += 1
        self._change(BreakerState.OPEN, reason, pause)

    def _change(self, state: BreakerState, reason: str, pause: float = 0.0) -> None:
        if state is not self._state or pause:
            self._state = state
            self._notify(BreakerChange(self._account, state, reason, pause))


def _is_heard(outcome: Outcome) -> bool:
    """Whether the account said anything at all."""
    match outcome:
        case Succeeded() | Declined() | NotApplied():
            return True
        case Misconfigured(http_status=status) | Unknown(http_status=status):
            return status is not None
        case NotSent():
            return False
        case other:
            assert_never(other)
