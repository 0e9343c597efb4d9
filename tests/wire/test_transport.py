"""Every row of the measured table of payment rules, section 1, over real sockets.

Each row runs on a fresh and on a kept connection, on every event loop that is installed. The
server counts the requests it sees: one call is never more than one POST.
"""

import asyncio
import contextlib
import gzip
import importlib.util
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog.testing
from aiohttp import web

from tests.certificates import Certificate, make_certificate
from tests.fakes_clock import START, FakeClock
from tests.servers import (
    Behaviour,
    Connection,
    RawServer,
    answer,
    refused_port,
    silent_port,
)
from worker.adapters.http import BODY_CAP, IDLE_SECONDS, HttpTransport
from worker.calls import HttpReply, HttpRequest, NoReply, Silence

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

SHORT = 0.3
"""Seconds after which a silent server is given up; nothing else waits that long."""

LONG = 10.0
"""Seconds that are never reached unless a row is wrong."""

BROKEN = NoReply(may_have_arrived=True, silence=Silence.BROKEN)
TIMED_OUT = NoReply(may_have_arrived=True, silence=Silence.TIMEOUT)
NOT_CONNECTED = NoReply(may_have_arrived=False, silence=Silence.CONNECT)
CONNECT_TIMED_OUT = NoReply(may_have_arrived=False, silence=Silence.TIMEOUT)
NOT_TRUSTED = NoReply(may_have_arrived=False, silence=Silence.CERTIFICATE)


def loop_factories() -> list[LoopFactory]:
    """The loops to run on: the standard one, and uvloop where it is installed."""
    factories: list[LoopFactory] = [asyncio.new_event_loop]
    if importlib.util.find_spec("uvloop") is not None:
        import uvloop  # noqa: PLC0415  an optional extra of the product

        factories.append(uvloop.new_event_loop)
    return factories


@pytest.fixture(params=loop_factories(), ids=lambda factory: str(factory.__module__))
def run(request: pytest.FixtureRequest) -> Callable[[Awaitable[None]], None]:
    """Run one scenario on a loop of its own, within a limit."""

    def run_limited(scenario: Awaitable[None]) -> None:
        async def limited() -> None:
            async with asyncio.timeout(LONG):
                await scenario

        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(limited())

    return run_limited


@pytest.fixture(params=[True, False], ids=["fresh", "kept"])
def fresh(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


Run = Callable[[Awaitable[None]], None]


def request_to(url: str, body: bytes = b'{"amount": "1250"}') -> HttpRequest:
    return HttpRequest(
        url=url,
        headers=(("Content-Type", "application/json"), ("Accept", "application/json")),
        body=body,
    )


# --- the server accepts, and then ---------------------------------------------------------------


async def reset_unread(connection: Connection) -> None:
    await connection.readable()
    connection.reset()


async def close_unread(connection: Connection) -> None:
    await connection.readable()
    connection.finish()


async def read_then_close(connection: Connection) -> None:
    await connection.request()
    connection.finish()


async def read_then_reset(connection: Connection) -> None:
    await connection.request()
    connection.reset()


async def never_answer(connection: Connection) -> None:
    await connection.request()
    await connection.gone()


async def cut_the_head(connection: Connection) -> None:
    await connection.request()
    await connection.write(b"HTTP/1.1 200 OK\r\nContent-Le")
    connection.finish()


async def talk_nonsense(connection: Connection) -> None:
    await connection.request()
    await connection.write(b"250 2.1.0 Sender ok\r\n\r\n")
    connection.finish()


async def cut_the_body(connection: Connection) -> None:
    await connection.request()
    await connection.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"result": true, ')
    connection.finish()


async def cut_the_chunks(connection: Connection) -> None:
    await connection.request()
    await connection.write(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"res\r\n')
    connection.finish()


async def stall_in_the_body(connection: Connection) -> None:
    await connection.request()
    await connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
    await connection.gone()


async def send_a_broken_coding(connection: Connection) -> None:
    await connection.request()
    headers = (("Content-Encoding", "gzip"),)
    await connection.write(answer(body=b'{"result": true}', headers=headers))
    await connection.gone()


async def send_a_huge_header(connection: Connection) -> None:
    await connection.request()
    await connection.write(answer(headers=(("X-Filler", "x" * 100_000),)))
    await connection.gone()


@dataclass(frozen=True, slots=True)
class Row:
    """What a server does after accepting, and the fact that must be reported."""

    behave: Behaviour
    fact: NoReply
    posts: int
    read_seconds: float = LONG
    seconds: float = LONG


ROWS = [
    Row(reset_unread, BROKEN, posts=0),
    Row(close_unread, BROKEN, posts=0),
    Row(read_then_close, BROKEN, posts=1),
    Row(read_then_reset, BROKEN, posts=1),
    Row(never_answer, TIMED_OUT, posts=1, read_seconds=SHORT),
    Row(never_answer, TIMED_OUT, posts=1, seconds=SHORT),
    Row(cut_the_head, BROKEN, posts=1),
    Row(talk_nonsense, BROKEN, posts=1),
    Row(cut_the_body, BROKEN, posts=1),
    Row(cut_the_chunks, BROKEN, posts=1),
    Row(stall_in_the_body, TIMED_OUT, posts=1, read_seconds=SHORT),
    Row(stall_in_the_body, TIMED_OUT, posts=1, seconds=SHORT),
    Row(send_a_broken_coding, BROKEN, posts=1),
    Row(send_a_huge_header, BROKEN, posts=1),
]


def name_of(row: Row) -> str:
    name = getattr(row.behave, "__name__", "")
    return f"{name}-by-deadline" if row.seconds == SHORT else name


@pytest.mark.parametrize("row", ROWS, ids=name_of)
def test_silence_after_sending_may_have_arrived(row: Row, run: Run, *, fresh: bool) -> None:
    async def scenario() -> None:
        transport = HttpTransport(clock=FakeClock(), read_seconds=row.read_seconds)
        async with RawServer(row.behave) as server, transport:
            fact = await transport.send(
                request_to(server.url()), fresh_connection=fresh, seconds=row.seconds
            )
            assert fact == row.fact
            assert server.connections == 1
            assert server.posts == row.posts

    run(scenario())


def test_a_body_that_trickles_past_the_deadline_is_given_up(run: Run, *, fresh: bool) -> None:
    """Each byte resets the read time-out, so only the overall deadline can end it."""

    async def trickle(connection: Connection) -> None:
        await connection.request()
        await connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        tick = asyncio.Event()
        while True:
            await connection.write(b" ")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(tick.wait(), 0.02)

    async def scenario() -> None:
        transport = HttpTransport(clock=FakeClock(), read_seconds=LONG)
        async with RawServer(trickle) as server, transport:
            fact = await transport.send(
                request_to(server.url()), fresh_connection=fresh, seconds=SHORT
            )
            assert fact == TIMED_OUT
            assert server.posts == 1

    run(scenario())


# --- nothing is sent -----------------------------------------------------------------------------


def test_a_refused_connection_sent_nothing(run: Run, *, fresh: bool) -> None:
    async def scenario() -> None:
        async with HttpTransport(clock=FakeClock()) as transport:
            with refused_port() as port:
                fact = await transport.send(
                    request_to(f"http://127.0.0.1:{port}/"), fresh_connection=fresh, seconds=LONG
                )
            assert fact == NOT_CONNECTED

    run(scenario())


def test_an_unknown_host_name_sent_nothing(run: Run, *, fresh: bool) -> None:
    """The name can never exist: RFC 6761 section 6.4."""

    async def scenario() -> None:
        async with HttpTransport(clock=FakeClock()) as transport:
            fact = await transport.send(
                request_to("http://nonexistent.invalid/"), fresh_connection=fresh, seconds=LONG
            )
            assert isinstance(fact, NoReply)
            assert not fact.may_have_arrived

    run(scenario())


@pytest.mark.parametrize("url", ["", "nowhere", "ftp://127.0.0.1/", "http://", "http://[::1"])
def test_an_address_that_is_none_sent_nothing(url: str, run: Run, *, fresh: bool) -> None:
    async def scenario() -> None:
        async with HttpTransport(clock=FakeClock()) as transport:
            fact = await transport.send(request_to(url), fresh_connection=fresh, seconds=LONG)
            assert fact == NOT_CONNECTED

    run(scenario())


@pytest.mark.parametrize(("connect", "overall"), [(SHORT, LONG), (LONG, SHORT)])
def test_a_connect_that_never_completes_sent_nothing(
    connect: float, overall: float, run: Run, *, fresh: bool
) -> None:
    """The overall deadline raises the same bare TimeoutError before and after sending."""

    async def scenario() -> None:
        async with HttpTransport(clock=FakeClock(), connect_seconds=connect) as transport:
            with silent_port() as port:
                fact = await transport.send(
                    request_to(f"http://127.0.0.1:{port}/"),
                    fresh_connection=fresh,
                    seconds=overall,
                )
            assert fact == CONNECT_TIMED_OUT

    run(scenario())


@pytest.mark.parametrize(("connect", "overall"), [(SHORT, LONG), (LONG, SHORT)])
def test_a_tls_handshake_that_hangs_sent_nothing(
    connect: float, overall: float, run: Run, *, fresh: bool
) -> None:
    async def hang(connection: Connection) -> None:
        await connection.gone()

    async def scenario() -> None:
        transport = HttpTransport(clock=FakeClock(), connect_seconds=connect)
        async with RawServer(hang) as server, transport:
            fact = await transport.send(
                request_to(server.url(scheme="https")), fresh_connection=fresh, seconds=overall
            )
            assert fact == CONNECT_TIMED_OUT

    run(scenario())


@pytest.mark.parametrize("behave", [close_unread, reset_unread], ids=["closed", "reset"])
def test_a_tls_handshake_that_breaks_sent_nothing(
    behave: Behaviour, run: Run, *, fresh: bool
) -> None:
    async def scenario() -> None:
        transport = HttpTransport(clock=FakeClock())
        async with RawServer(behave) as server, transport:
            fact = await transport.send(
                request_to(server.url(scheme="https")), fresh_connection=fresh, seconds=LONG
            )
            assert fact == NOT_CONNECTED
            assert server.connections == 1

    run(scenario())


@contextlib.asynccontextmanager
async def tls_server(certificate: Certificate, posts: list[bytes]) -> AsyncIterator[str]:
    async def handle(request: web.Request) -> web.Response:
        posts.append(await request.read())
        return web.json_response({"result": True})

    application = web.Application()
    application.router.add_post("/pay", handle)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=certificate.server_context())
        await site.start()
        port = runner.addresses[0][1]
        yield f"https://127.0.0.1:{port}/pay"
    finally:
        await runner.cleanup()


def test_an_untrusted_certificate_sent_nothing(
    run: Run, certificate: Certificate, *, fresh: bool
) -> None:
    async def scenario() -> None:
        posts: list[bytes] = []
        async with (
            tls_server(certificate, posts) as url,
            HttpTransport(clock=FakeClock()) as transport,
        ):
            fact = await transport.send(request_to(url), fresh_connection=fresh, seconds=LONG)
        assert fact == NOT_TRUSTED
        assert posts == []

    run(scenario())


def test_a_certificate_for_another_host_is_not_trusted(run: Run, tmp_path: Path) -> None:
    other = make_certificate(tmp_path, host="127.0.0.2")

    async def scenario() -> None:
        posts: list[bytes] = []
        async with (
            tls_server(other, posts) as url,
            HttpTransport(clock=FakeClock(), ca_file=other.certificate) as transport,
        ):
            fact = await transport.send(request_to(url), fresh_connection=True, seconds=LONG)
        assert fact == NOT_TRUSTED
        assert posts == []

    run(scenario())


def test_an_extra_authority_is_trusted(run: Run, certificate: Certificate, *, fresh: bool) -> None:
    async def scenario() -> None:
        posts: list[bytes] = []
        async with (
            tls_server(certificate, posts) as url,
            HttpTransport(clock=FakeClock(), ca_file=certificate.certificate) as transport,
        ):
            reply = await transport.send(
                request_to(url, b"one"), fresh_connection=fresh, seconds=LONG
            )
        assert isinstance(reply, HttpReply)
        assert reply.status == 200
        assert posts == [b"one"]

    run(scenario())


# --- an answer comes -----------------------------------------------------------------------------


def always(data: bytes) -> Behaviour:
    """Answer every request on a connection with the same bytes."""

    async def behave(connection: Connection) -> None:
        while True:
            await connection.request()
            await connection.write(data)

    return behave


async def call(server: RawServer, *, fresh: bool, target: str = "/pay") -> HttpReply | NoReply:
    async with HttpTransport(clock=FakeClock()) as transport:
        return await transport.send(
            request_to(server.url(target)), fresh_connection=fresh, seconds=LONG
        )


def test_a_reply_carries_status_body_time_and_the_headers_that_matter(
    run: Run, *, fresh: bool
) -> None:
    async def scenario() -> None:
        headers = (
            ("Content-Type", "application/json"),
            ("Retry-After", "7"),
            ("X-Error-Code", "0"),
            ("x-error-code", "1"),
            ("Date", "Sat, 21 Nov 2026 20:14:03 GMT"),
            ("Set-Cookie", "session=secret"),
            ("X-Debug", "client@example.org"),
        )
        data = answer("503 Service Unavailable", b'{"err": 1}', headers)
        async with RawServer(always(data)) as server:
            reply = await call(server, fresh=fresh)
        assert reply == HttpReply(
            status=503,
            headers={
                "content-type": "application/json",
                "retry-after": "7",
                "x-error-code": "0, 1",
                "date": "Sat, 21 Nov 2026 20:14:03 GMT",
            },
            body=b'{"err": 1}',
            received_at=START,
        )

    run(scenario())


def test_an_empty_200_is_a_reply_with_an_empty_body(run: Run, *, fresh: bool) -> None:
    async def scenario() -> None:
        async with RawServer(always(answer())) as server:
            reply = await call(server, fresh=fresh)
        assert isinstance(reply, HttpReply)
        assert (reply.status, reply.body) == (200, b"")

    run(scenario())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_reported_and_never_followed(status: int, run: Run, *, fresh: bool) -> None:
    async def scenario() -> None:
        async with RawServer(always(answer())) as elsewhere:
            location = (("Location", elsewhere.url("/elsewhere")),)
            async with RawServer(always(answer(f"{status} Moved", b"", location))) as server:
                reply = await call(server, fresh=fresh)
                assert isinstance(reply, HttpReply)
                assert reply.status == status
                assert server.posts == 1
            assert elsewhere.connections == 0

    run(scenario())


def test_an_early_413_is_heard_although_the_upload_is_reset(run: Run, *, fresh: bool) -> None:
    async def behave(connection: Connection) -> None:
        await connection.head()
        await connection.write(answer("413 Content Too Large"))
        answered.set()
        await left.wait()
        connection.reset()

    answered = asyncio.Event()
    left = asyncio.Event()

    async def scenario() -> None:
        transport = HttpTransport(clock=FakeClock())
        async with RawServer(behave, receive_buffer=4096) as server, transport:
            reply = await transport.send(
                request_to(server.url(), b"x" * 900_000), fresh_connection=fresh, seconds=LONG
            )
            left.set()
            assert isinstance(reply, HttpReply)
            assert reply.status == 413
            assert server.posts == 1

    run(scenario())


@pytest.mark.parametrize(("size", "kept"), [(BODY_CAP, True), (BODY_CAP + 1, False)])
def test_a_body_over_the_cap_is_not_kept(size: int, run: Run, *, kept: bool, fresh: bool) -> None:
    async def scenario() -> None:
        body = b"x" * size
        async with RawServer(always(answer(body=body))) as server:
            reply = await call(server, fresh=fresh)
        assert isinstance(reply, HttpReply)
        assert reply.body == (body if kept else None)

    run(scenario())


def test_the_cap_holds_without_a_stated_length(run: Run, *, fresh: bool) -> None:
    async def endless(connection: Connection) -> None:
        await connection.request()
        await connection.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await connection.write(b"x" * 65536)

    async def scenario() -> None:
        async with RawServer(endless) as server:
            reply = await call(server, fresh=fresh)
        assert isinstance(reply, HttpReply)
        assert reply.body is None

    run(scenario())


def test_a_compressed_answer_is_read_although_none_was_asked_for(run: Run) -> None:
    async def scenario() -> None:
        coded = answer(
            body=gzip.compress(b'{"result": true}'), headers=(("Content-Encoding", "gzip"),)
        )
        async with RawServer(always(coded)) as server:
            reply = await call(server, fresh=True)
            assert isinstance(reply, HttpReply)
            assert reply.body == b'{"result": true}'
            assert server.received[0].header("accept-encoding") == "identity"

    run(scenario())


def test_a_compression_bomb_is_never_unpacked(run: Run) -> None:
    """200 MB of zeros travel as 200 kB; the reply must not cost their size in memory."""
    bomb = answer(
        body=gzip.compress(bytes(200_000_000), compresslevel=9),
        headers=(("Content-Encoding", "gzip"),),
    )

    async def scenario() -> None:
        async with RawServer(always(bomb)) as server:
            tracemalloc.start()
            try:
                reply = await call(server, fresh=True)
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
        assert isinstance(reply, HttpReply)
        assert reply.body is None
        assert peak < 8_000_000

    run(scenario())


# --- connections ---------------------------------------------------------------------------------


async def calls(server: RawServer, *, fresh: bool, times: int) -> list[HttpReply | NoReply]:
    async with HttpTransport(clock=FakeClock()) as transport:
        return [
            await transport.send(request_to(server.url()), fresh_connection=fresh, seconds=LONG)
            for _ in range(times)
        ]


def test_a_fresh_connection_is_opened_for_every_call(run: Run) -> None:
    async def scenario() -> None:
        async with RawServer(always(answer(body=b"{}"))) as server:
            replies = await calls(server, fresh=True, times=3)
            assert all(isinstance(reply, HttpReply) for reply in replies)
            assert server.connections == 3

    run(scenario())


def test_a_connection_used_a_moment_ago_is_used_again(run: Run) -> None:
    async def scenario() -> None:
        async with RawServer(always(answer(body=b"{}"))) as server:
            replies = await calls(server, fresh=False, times=3)
            assert all(isinstance(reply, HttpReply) for reply in replies)
            assert server.connections == 1

    run(scenario())


def test_a_connection_left_idle_too_long_is_not_used_again(run: Run) -> None:
    """The limit is design's two seconds; a shorter one here, so that nobody waits that long."""

    async def behave(connection: Connection) -> None:
        await connection.request()
        await connection.write(answer(body=b"{}"))
        await connection.gone()
        left.set()

    left = asyncio.Event()

    async def scenario() -> None:
        transport = HttpTransport(clock=FakeClock(), idle_seconds=0.05)
        async with RawServer(behave) as server, transport:
            for expected in (1, 2):
                left.clear()
                reply = await transport.send(
                    request_to(server.url()), fresh_connection=False, seconds=LONG
                )
                assert isinstance(reply, HttpReply)
                assert server.connections == expected
                await left.wait()

    run(scenario())
    assert IDLE_SECONDS == 2.0


@pytest.mark.parametrize("ending", ["finish", "reset"])
def test_a_kept_connection_that_breaks_under_the_second_call_is_not_repeated(
    ending: str, run: Run
) -> None:
    async def behave(connection: Connection) -> None:
        await connection.request()
        await connection.write(answer(body=b"{}"))
        await connection.request()
        getattr(connection, ending)()

    async def scenario() -> None:
        async with RawServer(behave) as server:
            first, second = await calls(server, fresh=False, times=2)
            assert isinstance(first, HttpReply)
            assert second == BROKEN
            assert server.connections == 1
            assert server.posts == 2

    run(scenario())


def test_a_kept_connection_the_peer_closed_is_replaced(run: Run) -> None:
    async def behave(connection: Connection) -> None:
        await connection.request()
        await connection.write(answer(body=b"{}"))
        connection.finish()
        closed.set()

    closed = asyncio.Event()

    async def scenario() -> None:
        async with RawServer(behave) as server, HttpTransport(clock=FakeClock()) as transport:
            for expected in (1, 2):
                closed.clear()
                reply = await transport.send(
                    request_to(server.url()), fresh_connection=False, seconds=LONG
                )
                await closed.wait()
                for _ in range(3):  # the loop hears of the closing within a turn or two
                    await FakeClock().sleep(0)
                assert isinstance(reply, HttpReply)
                assert server.connections == expected
                assert server.posts == expected

    run(scenario())


def test_an_answer_cut_off_at_the_cap_does_not_leak_into_the_next_call(run: Run) -> None:
    async def scenario() -> None:
        sizes = iter((BODY_CAP * 8, 2))

        async def behave(connection: Connection) -> None:
            while True:
                await connection.request()
                await connection.write(answer(body=b"x" * next(sizes)))

        async with RawServer(behave) as server:
            first, second = await calls(server, fresh=False, times=2)
            assert isinstance(first, HttpReply)
            assert first.body is None
            assert isinstance(second, HttpReply)
            assert second.body == b"xx"

    run(scenario())


def test_a_cookie_set_by_one_answer_is_not_sent_with_the_next_call(run: Run) -> None:
    async def scenario() -> None:
        data = answer(body=b"{}", headers=(("Set-Cookie", "session=1"),))
        async with RawServer(always(data)) as server:
            await calls(server, fresh=False, times=2)
            assert [received.header("cookie") for received in server.received] == [None, None]

    run(scenario())


# --- the request as it leaves --------------------------------------------------------------------

SIGNED_TARGET = (
    "/api/lingo/add-basket-item?email=j.d%2Bx%40example.org&NameId=%C3%A9&x=a%20b+c&orig=o.example"
    "&algo=sha256&timestamp=2026-01-02T03%3A04%3A05Z&nonce=0123456789abcdef0123456789abcdef"
    "&signature=TTwMi8U%2BvrLhmA0D5NcYjrF/ihohGw1TiXNtxogYXB0%3D"
)


def test_a_signed_address_leaves_byte_for_byte(run: Run, *, fresh: bool) -> None:
    async def scenario() -> None:
        async with RawServer(always(answer(body=b"{}"))) as server:
            await call(server, fresh=fresh, target=SIGNED_TARGET)
            assert server.received[0].target == SIGNED_TARGET

    run(scenario())


def test_headers_and_body_leave_as_they_were_built(run: Run, *, fresh: bool) -> None:
    async def scenario() -> None:
        transport = HttpTransport(clock=FakeClock())
        async with RawServer(always(answer())) as server, transport:
            await transport.send(
                HttpRequest(
                    url=server.url(),
                    headers=(("Authorization", "Basic eDp5"), ("Content-Type", "application/json")),
                    body='{"display_name": "été"}'.encode(),
                ),
                fresh_connection=fresh,
                seconds=LONG,
            )
            received = server.received[0]
            assert received.method == "POST"
            assert received.header("authorization") == "Basic eDp5"
            assert received.header("content-type") == "application/json"
            assert received.body == '{"display_name": "été"}'.encode()

    run(scenario())


def test_an_unexpected_fault_is_a_fact_too_and_is_logged_without_its_text(
    run: Run, *, fresh: bool
) -> None:
    """A line break in a header is refused by aiohttp itself, after its signal."""

    async def scenario() -> None:
        transport = HttpTransport(clock=FakeClock())
        async with RawServer(always(answer())) as server, transport:
            request = HttpRequest(url=server.url(), headers=(("X-A", "se\r\ncret"),), body=b"{}")
            with structlog.testing.capture_logs() as logs:
                fact = await transport.send(request, fresh_connection=fresh, seconds=LONG)
            assert fact == BROKEN
            assert server.posts == 0
        assert logs == [
            {
                "event": "A call failed in a way nobody foresaw",
                "event.action": "transport.surprise",
                "error.type": "ValueError",
                "log_level": "error",
            }
        ]

    run(scenario())


# --- cancellation --------------------------------------------------------------------------------


def test_a_cancellation_while_waiting_propagates(run: Run, *, fresh: bool) -> None:
    async def behave(connection: Connection) -> None:
        await connection.request()
        arrived.set()
        await connection.gone()
        left.set()

    arrived = asyncio.Event()
    left = asyncio.Event()

    async def scenario() -> None:
        transport = HttpTransport(clock=FakeClock())
        async with RawServer(behave) as server, transport:
            task = asyncio.create_task(
                transport.send(request_to(server.url()), fresh_connection=fresh, seconds=LONG)
            )
            await arrived.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await left.wait()
            assert server.posts == 1

    run(scenario())


def test_closing_the_transport_ends_a_call_as_broken(run: Run, *, fresh: bool) -> None:
    async def behave(connection: Connection) -> None:
        await connection.request()
        arrived.set()
        await connection.gone()

    arrived = asyncio.Event()

    async def scenario() -> None:
        transport = HttpTransport(clock=FakeClock())
        async with RawServer(behave) as server:
            task = asyncio.create_task(
                transport.send(request_to(server.url()), fresh_connection=fresh, seconds=LONG)
            )
            await arrived.wait()
            await transport.close()
            assert await task == BROKEN

    run(scenario())


def test_a_closed_transport_sends_nothing(run: Run, *, fresh: bool) -> None:
    async def scenario() -> None:
        transport = HttpTransport(clock=FakeClock())
        async with RawServer(always(answer())) as server:
            await transport.close()
            fact = await transport.send(
                request_to(server.url()), fresh_connection=fresh, seconds=LONG
            )
            assert fact == NOT_CONNECTED
            assert server.connections == 0

    run(scenario())
