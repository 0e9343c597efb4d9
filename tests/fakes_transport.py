"""A transport that plays a script: one step per call, counting what the provider applied."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import assert_never

from tests.fakes_clock import START
from worker.calls import Departure, HttpReply, HttpRequest, NoReply, Silence


@dataclass(frozen=True, slots=True)
class Hang:
    """No answer, ever: the call ends only when it is cancelled.

    Without ``has_left`` it hangs while it connects.
    """

    has_left: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What becomes of one call; ``applied`` says whether the provider acted on it."""

    fact: HttpReply | NoReply | Hang
    applied: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call as the core asked for it."""

    request: HttpRequest
    fresh_connection: bool
    seconds: float


def reply(
    status: int = 200,
    body: bytes | None = b"",
    *,
    applied: bool,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> Step:
    """A complete answer; ``body`` ``None`` is one over the size cap."""
    fact = HttpReply(status=status, headers=headers, body=body, received_at=START)
    return Step(fact=fact, applied=applied)


def not_sent(silence: Silence = Silence.CONNECT) -> Step:
    """Nothing left this machine."""
    return Step(fact=NoReply(may_have_arrived=False, silence=silence), applied=False)


def lost(silence: Silence = Silence.BROKEN, *, applied: bool) -> Step:
    """Sent, and no complete answer came."""
    return Step(fact=NoReply(may_have_arrived=True, silence=silence), applied=applied)


def hang(*, applied: bool) -> Step:
    """Sent, and the call waits until it is cancelled."""
    return Step(fact=Hang(), applied=applied)


def hang_connecting() -> Step:
    """Nothing has left this machine yet, and the call waits until it is cancelled."""
    return Step(fact=Hang(has_left=False), applied=False)


def _is_kept_back(step: Step) -> bool:
    """Whether nothing leaves: the step says so, or hangs without reaching anybody."""
    match step.fact:
        case NoReply(may_have_arrived=arrived):
            return not arrived
        case Hang(has_left=left):
            return not left
        case HttpReply():
            return False
        case other:
            assert_never(other)


@dataclass(slots=True)
class FakeTransport:
    """Implements ``ports.Transport``; a call beyond the script fails the test.

    ``applied`` is the provider's own count: assert on it rather than on our states.
    ``waiting`` is set when a call hangs, so that a test knows when to cancel it.
    """

    script: list[Step] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    applied: int = 0
    waiting: asyncio.Event = field(default_factory=asyncio.Event)

    def play(self, steps: Iterable[Step]) -> None:
        """Add steps to the end of the script."""
        self.script.extend(steps)

    async def send(
        self,
        request: HttpRequest,
        *,
        fresh_connection: bool,
        seconds: float,
        departure: Departure | None = None,
    ) -> HttpReply | NoReply:
        assert self.script, "a call that no step was written for"
        step = self.script.pop(0)
        self.calls.append(Call(request=request, fresh_connection=fresh_connection, seconds=seconds))
        self.applied += step.applied
        if departure is not None:
            departure.has_left = not _is_kept_back(step)
        if isinstance(step.fact, Hang):
            self.waiting.set()
            never: asyncio.Future[NoReply] = asyncio.get_running_loop().create_future()
            return await never
        return step.fact
