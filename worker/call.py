"""One attempt's calls: at most a few tries, and only while nothing can have been applied."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from worker.calls import (
    Departure,
    HttpReply,
    HttpRequest,
    Misconfigured,
    NoReply,
    NotApplied,
    NotSent,
    Outcome,
    Try,
    Unknown,
)
from worker.lifecycle.limits import is_expired
from worker.lifecycle.wishes import Won
from worker.model import OperationClass
from worker.outcomes import of_silence
from worker.ports import Clock, Permit, Transport
from worker.retry import backoff
from worker.rules import Rules


@dataclass(frozen=True, slots=True)
class Ended:
    """The attempt has an outcome to settle."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Unused:
    """The attempt decided nothing and is given back uncounted, for so many seconds."""

    pause: float
    reason: str


class Call:
    """The calls of one claim; ``tries`` and ``may_have_arrived`` tell how far it came, cut off."""

    def __init__(
        self,
        *,
        won: Won,
        permit: Permit,
        build: Callable[[], HttpRequest],
        read: Callable[[HttpReply], Outcome],
        transport: Transport,
        clock: Clock,
        rules: Rules,
    ) -> None:
        self._won = won
        self._permit = permit
        self._build = build
        self._read = read
        self._transport = transport
        self._clock = clock
        self._rules = rules
        self.tries: tuple[Try, ...] = ()
        self._departure: Departure | None = None

    @property
    def may_have_arrived(self) -> bool:
        """Whether the call under way has left this machine; false between two tries."""
        return self._departure is not None and self._departure.has_left

    async def run(self) -> Ended | Unused:
        """Call until something is decided, or tries, seconds, lease or permit end it (R6).

        The first byte leaves only while a whole call fits before the lease ends (I2).
        """
        started = self._clock.monotonic()
        while True:
            if not self._fits_lease():
                return self._without_call()
            outcome = await self._try()
            self._permit.report(outcome)
            if isinstance(outcome, Misconfigured | NotSent) and self._permit.is_probe:
                # R9: a probe decides no payment, or a wrong password would use them up all night.
                # A host that cannot be reached says as little about this payment.
                return Unused(self._permit.pause, outcome.code.value)
            if not isinstance(outcome, NotSent | NotApplied):
                return Ended(outcome)
            pause = self._pause(outcome)
            if not self._may_try_again(started, pause):
                return Ended(outcome)
            await self._clock.sleep(pause)

    async def _try(self) -> Outcome:
        started_at = self._clock.now()
        self._departure = Departure()
        self._permit.begin()
        outcome = await self._exchange(self._departure)
        self._departure = None
        entry = Try(started_at=started_at, ended_at=self._clock.now(), outcome=outcome)
        self.tries = (*self.tries, entry)
        return outcome

    async def _exchange(self, departure: Departure) -> Outcome:
        request = self._build()
        answer = await self._transport.send(
            request,
            fresh_connection=self._won.record.operation_class is OperationClass.NON_IDEMPOTENT,
            seconds=self._rules.call_seconds,
            departure=departure,
        )
        if isinstance(answer, NoReply):
            return of_silence(answer)
        return self._read(answer)

    def _fits_lease(self) -> bool:
        return self._clock.monotonic() + self._rules.call_seconds < self._won.lease_ends

    def _without_call(self) -> Ended | Unused:
        if not self.tries:
            return Unused(0.0, "lease too short")
        return Ended(self.tries[-1].outcome)

    def _pause(self, outcome: NotSent | NotApplied) -> float:
        pause = backoff(len(self.tries), self._clock.fraction())
        if isinstance(outcome, NotApplied) and outcome.retry_after is not None:
            return max(pause, outcome.retry_after)
        return pause

    def _may_try_again(self, started: float, pause: float) -> bool:
        elapsed = self._clock.monotonic() - started
        later = self._clock.now() + timedelta(seconds=pause)
        return (
            len(self.tries) < self._rules.tries
            and elapsed + pause <= self._rules.tries_seconds
            and self._permit.may_go_on
            and not is_expired(self._won.record, self._rules, later)
        )


def cut_off(call: Call) -> Outcome | None:
    """What a call amounts to whose task was cancelled or broke; ``None`` when nothing was sent.

    A request that has left may have arrived: that is all anybody can say. Before that, looking
    up a name or connecting, nothing was sent; between two tries the last one had provably not
    been applied.
    """
    return Unknown() if call.may_have_arrived else None
