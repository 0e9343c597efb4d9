"""The proxy that the other tests break their lines with does what it says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from tests.proxy import Proxy, Way, proxy_to
from tests.waiting import until
from worker.adapters.clock import SystemClock

_clock = SystemClock()


@dataclass(slots=True)
class Target:
    """Keeps what arrives, repeats it, and notes how each connection ended."""

    heard: bytearray = field(default_factory=bytearray)
    ends: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                self.heard += data
                writer.write(data)
                await writer.drain()
            self.ends.append("closed")
        except ConnectionResetError:
            self.ends.append("reset")
        writer.close()


@asynccontextmanager
async def lined_up() -> AsyncIterator[tuple[Proxy, Target]]:
    """A proxy in front of a target."""
    target = Target()
    server = await asyncio.start_server(target.serve, "127.0.0.1", 0)
    async with server, proxy_to(server.sockets[0].getsockname()[1]) as proxy:
        yield proxy, target


@dataclass(frozen=True, slots=True)
class Caller:
    """One connection through the proxy."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def say(self, words: bytes) -> bytes:
        """Send, and read as many bytes back."""
        self.writer.write(words)
        return await self.reader.readexactly(len(words))

    async def rest(self) -> tuple[bytes, str]:
        """Everything that still arrives, and how the connection ends."""
        arrived = bytearray()
        try:
            while data := await self.reader.read(65536):
                arrived += data
        except ConnectionResetError:
            return bytes(arrived), "reset"
        return bytes(arrived), "closed"


@asynccontextmanager
async def calling(proxy: Proxy) -> AsyncIterator[Caller]:
    """A caller, closed at the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield Caller(reader, writer)
    finally:
        writer.close()


async def test_without_a_fault_bytes_and_the_end_pass_both_ways() -> None:
    async with lined_up() as (proxy, target):
        async with calling(proxy) as caller:
            assert await caller.say(b"one") == b"one"
        await until(lambda: target.ends == ["closed"])
        assert proxy.carried == {Way.THERE: 3, Way.BACK: 3}
        assert proxy.accepted == 1


async def test_a_reset_is_a_reset_on_both_sides() -> None:
    async with lined_up() as (proxy, target), calling(proxy) as caller:
        await caller.say(b"one")
        proxy.cut()
        assert await caller.rest() == (b"", "reset")
        await until(lambda: target.ends == ["reset"])
        async with calling(proxy) as another:
            assert await another.say(b"two") == b"two"


async def test_nobody_at_the_target_is_a_reset() -> None:
    async with proxy_to(1) as proxy, calling(proxy) as caller:
        assert await caller.rest() == (b"", "reset")


async def test_a_swallowed_connection_is_silent_while_others_are_carried() -> None:
    """Even its end vanishes, as behind a router that has forgotten it."""
    async with lined_up() as (proxy, target):
        async with calling(proxy) as one, calling(proxy) as another:
            await one.say(b"I am one;")
            await another.say(b"another;")
            assert proxy.swallow(b"am one") == 1
            one.writer.write(b"lost")
            assert await another.say(b"kept;") == b"kept;"
        async with calling(proxy) as later:
            assert await later.say(b"I am one, later;") == b"I am one, later;"
        await until(lambda: target.ends == ["closed", "closed"])
        assert b"lost" not in target.heard
    await until(lambda: len(target.ends) == 3)


async def test_in_the_dark_nothing_passes_and_nothing_ends_until_the_light_is_back() -> None:
    async with lined_up() as (proxy, target), calling(proxy) as caller:
        await caller.say(b"one")
        proxy.go_dark()
        caller.writer.write(b"two")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await caller.reader.read(1)
        assert target.heard == b"one"
        assert target.ends == []
        proxy.light_up()
        assert await caller.reader.readexactly(3) == b"two"


async def test_half_of_the_line_may_be_dark() -> None:
    """The request arrives and its answer does not."""
    async with lined_up() as (proxy, target), calling(proxy) as caller:
        await caller.say(b"one")
        proxy.go_dark(Way.BACK)
        answer = asyncio.create_task(caller.say(b"two"))
        await until(lambda: target.heard == b"onetwo")
        assert proxy.carried == {Way.THERE: 6, Way.BACK: 3}
        assert not answer.done()
        proxy.light_up()
        assert await answer == b"two"


@pytest.mark.parametrize(("ways", "least"), [((Way.BACK,), 0.1), ((), 0.2)])
async def test_a_slow_line_delays_each_way_it_is_slow(ways: tuple[Way, ...], least: float) -> None:
    async with lined_up() as (proxy, _), calling(proxy) as caller:
        proxy.slow_down(0.1, *ways)
        began = _clock.monotonic()
        assert await caller.say(b"one") == b"one"
        assert _clock.monotonic() - began >= least


async def test_an_endless_delay_does_not_outlast_the_proxy() -> None:
    async with lined_up() as (proxy, target):
        proxy.slow_down(3600)
        async with calling(proxy) as caller:
            caller.writer.write(b"one")
            await until(lambda: proxy.accepted == 1)
        assert target.heard == b""


async def test_a_connection_is_cut_after_exactly_so_many_bytes_of_the_request() -> None:
    async with lined_up() as (proxy, target), calling(proxy) as caller:
        await caller.say(b"before")
        proxy.cut_after(3, Way.THERE)
        caller.writer.write(b"abcdef")
        arrived, end = await caller.rest()
        assert b"abc".startswith(arrived)
        assert end == "reset"
        await until(lambda: target.ends == ["reset"])
        assert target.heard == b"beforeabc"


async def test_a_connection_is_cut_after_exactly_so_many_bytes_of_the_answer() -> None:
    async with lined_up() as (proxy, target), calling(proxy) as caller:
        proxy.cut_after(3, Way.BACK)
        caller.writer.write(b"abcdef")
        assert await caller.rest() == (b"abc", "reset")
        assert target.heard == b"abcdef"


async def test_an_answer_may_be_cut_off_whole() -> None:
    async with lined_up() as (proxy, target), calling(proxy) as caller:
        proxy.cut_after(0, Way.BACK)
        caller.writer.write(b"abcdef")
        assert await caller.rest() == (b"", "reset")
        assert target.heard == b"abcdef"


async def test_every_connection_has_a_count_of_its_own_until_cuts_are_taken_back() -> None:
    async with lined_up() as (proxy, _):
        proxy.cut_after(4, Way.THERE)
        for _attempt in range(2):
            async with calling(proxy) as caller:
                assert await caller.say(b"abc") == b"abc"
                caller.writer.write(b"def")
                assert (await caller.rest())[1] == "reset"
        proxy.cut_after(None)
        async with calling(proxy) as caller:
            assert await caller.say(b"abcdef") == b"abcdef"
