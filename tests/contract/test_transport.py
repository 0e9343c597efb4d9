"""What every transport promises, asserted on the fake and on the real one alike."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

import pytest

from tests.fakes_clock import FakeClock
from tests.fakes_transport import FakeTransport, Hang, Step, hang, lost, not_sent, reply
from tests.servers import Connection, RawServer, answer, refused_port, silent_port
from worker.adapters.http import BODY_CAP, HttpTransport
from worker.calls import Departure, HttpReply, HttpRequest, NoReply, Silence
from worker.ports import Transport

LIMIT = 5.0
SHORT = 0.3


def request_to(url: str, body: bytes) -> HttpRequest:
    return HttpRequest(url=url, headers=(("Content-Type", "application/json"),), body=body)


@dataclass(slots=True)
class Bench:
    """A transport, the provider behind it, and what that provider saw."""

    transport: Transport
    url: str
    refused_url: str
    script: list[Step]
    arrived: Callable[[], list[bytes]]
    applied: Callable[[], int]
    waiting: asyncio.Event

    async def call(self, step: Step, body: bytes = b"{}", *, fresh: bool) -> HttpReply | NoReply:
        """Send once to a provider that does what the step says."""
        self.script.append(step)
        refused = step == not_sent()
        timed_out = step.fact == NoReply(may_have_arrived=True, silence=Silence.TIMEOUT)
        return await self.transport.send(
            request_to(self.refused_url if refused else self.url, body),
            fresh_connection=fresh,
            seconds=SHORT if timed_out else LIMIT,
        )


@contextlib.asynccontextmanager
async def fake_bench() -> AsyncIterator[Bench]:
    transport = FakeTransport()

    def arrived() -> list[bytes]:
        return [call.request.body for call in transport.calls if call.request.url == "http://up"]

    yield Bench(
        transport=transport,
        url="http://up",
        refused_url="http://down",
        script=transport.script,
        arrived=arrived,
        applied=lambda: transport.applied,
        waiting=transport.waiting,
    )


@dataclass(slots=True)
class ScriptedProvider:
    """The provider of the real bench: it plays the same steps over a socket."""

    script: list[Step] = field(default_factory=list)
    applied: int = 0
    waiting: asyncio.Event = field(default_factory=asyncio.Event)

    async def behave(self, connection: Connection) -> None:
        while True:
            await connection.request()
            step = self.script.pop(0)
            self.applied += step.applied
            match step.fact:
                case HttpReply(status=status, headers=headers, body=body):
                    sent = b"x" * (BODY_CAP + 1) if body is None else body
                    await connection.write(answer(f"{status} Test", sent, tuple(headers.items())))
                case NoReply(silence=Silence.TIMEOUT) | Hang():
                    self.waiting.set()
                    await connection.gone()
                    return
                case _:
                    connection.reset()
                    return


@contextlib.asynccontextmanager
async def real_bench() -> AsyncIterator[Bench]:
    provider = ScriptedProvider()
    async with RawServer(provider.behave) as server, HttpTransport(clock=FakeClock()) as transport:
        with refused_port() as port:
            yield Bench(
                transport=transport,
                url=server.url(),
                refused_url=f"http://127.0.0.1:{port}/pay",
                script=provider.script,
                arrived=lambda: [received.body for received in server.received],
                applied=lambda: provider.applied,
                waiting=provider.waiting,
            )


OpenBench = Callable[[], AbstractAsyncContextManager[Bench]]


@pytest.fixture(params=[fake_bench, real_bench], ids=["fake", "aiohttp"])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    open_bench: OpenBench = request.param
    async with asyncio.timeout(4 * LIMIT), open_bench() as opened:
        yield opened


@pytest.fixture(params=[True, False], ids=["fresh", "kept"])
def fresh(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.mark.parametrize("status", [200, 204, 303, 307, 400, 401, 409, 429, 500, 503])
async def test_every_status_is_a_reply(bench: Bench, status: int, *, fresh: bool) -> None:
    fact = await bench.call(reply(status, applied=False), fresh=fresh)
    assert isinstance(fact, HttpReply)
    assert fact.status == status


async def test_a_reply_carries_its_body_and_headers(bench: Bench, *, fresh: bool) -> None:
    step = reply(503, b'{"err": 1}', applied=False, headers={"retry-after": "7"})
    fact = await bench.call(step, fresh=fresh)
    assert isinstance(fact, HttpReply)
    assert fact.body == b'{"err": 1}'
    assert fact.headers["retry-after"] == "7"


async def test_a_reply_over_the_size_cap_has_no_body(bench: Bench, *, fresh: bool) -> None:
    fact = await bench.call(reply(200, None, applied=True), fresh=fresh)
    assert isinstance(fact, HttpReply)
    assert fact.body is None


@pytest.mark.parametrize(
    "step",
    [
        not_sent(),
        lost(Silence.BROKEN, applied=False),
        lost(Silence.BROKEN, applied=True),
        lost(Silence.TIMEOUT, applied=True),
    ],
    ids=["not-sent", "broken", "broken-applied", "timeout"],
)
async def test_a_failed_call_is_a_fact_and_no_exception(
    bench: Bench, step: Step, *, fresh: bool
) -> None:
    assert await bench.call(step, fresh=fresh) == step.fact
    assert bench.applied() == step.applied


async def test_each_call_arrives_once_and_in_order(bench: Bench, *, fresh: bool) -> None:
    await bench.call(reply(200, applied=True), b"1", fresh=fresh)
    await bench.call(lost(applied=True), b"2", fresh=fresh)
    await bench.call(reply(307, applied=False), b"3", fresh=fresh)
    await bench.call(reply(500, applied=True), b"4", fresh=fresh)
    assert bench.arrived() == [b"1", b"2", b"3", b"4"]
    assert bench.applied() == 3


async def test_a_call_that_was_not_sent_never_arrives(bench: Bench, *, fresh: bool) -> None:
    await bench.call(not_sent(), fresh=fresh)
    assert bench.arrived() == []


async def test_a_cancellation_propagates_after_the_request_arrived(
    bench: Bench, *, fresh: bool
) -> None:
    task = asyncio.create_task(bench.call(hang(applied=True), b"1", fresh=fresh))
    await bench.waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert bench.arrived() == [b"1"]
    assert bench.applied() == 1


async def test_a_cancelled_call_tells_whether_it_had_left(bench: Bench, *, fresh: bool) -> None:
    """Payment rules section 2: the phase decides, not the name of the exception."""
    departure = Departure()
    bench.script.append(hang(applied=True))
    sending = asyncio.create_task(
        bench.transport.send(
            request_to(bench.url, b"1"), fresh_connection=fresh, seconds=LIMIT, departure=departure
        )
    )
    await bench.waiting.wait()
    sending.cancel()
    await asyncio.wait({sending})
    assert (sending.cancelled(), departure.has_left) == (True, True)


async def test_a_call_cancelled_while_it_connects_has_not_left(*, fresh: bool) -> None:
    """The other side takes no connection: its queue of them is full."""
    departure = Departure()
    async with HttpTransport(clock=FakeClock()) as transport:
        with silent_port() as port:
            request = request_to(f"http://127.0.0.1:{port}/pay", b"1")
            sending = asyncio.create_task(
                transport.send(request, fresh_connection=fresh, seconds=LIMIT, departure=departure)
            )
            await asyncio.wait({sending}, timeout=0.1)
            sending.cancel()
            await asyncio.wait({sending})
    assert (sending.cancelled(), departure.has_left) == (True, False)


async def test_the_fake_fails_a_call_nobody_wrote_a_step_for() -> None:
    with pytest.raises(AssertionError, match="no step"):
        await FakeTransport().send(
            request_to("http://up", b""), fresh_connection=True, seconds=LIMIT
        )
