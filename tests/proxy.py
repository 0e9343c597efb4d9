"""A TCP proxy whose line can be silent, slow, reset, or cut after a number of bytes."""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import Enum, auto

_LINGER_NOT = struct.pack("ii", 1, 0)
"""Closing such a socket sends a reset, not an orderly end (socket(7), SO_LINGER)."""


class Way(Enum):
    """Which way bytes go: from the caller to the target, or back."""

    THERE = auto()
    BACK = auto()


_BOTH = (Way.THERE, Way.BACK)
_OPENING = 4096


@dataclass(slots=True, eq=False)
class _Stream:
    """One way of one connection; ``left`` bytes may still pass, None means any number.

    ``opening`` is what its caller said first, the same for both ways.
    """

    way: Way
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    left: int | None
    opening: bytearray
    is_swallowed: bool = False


class Proxy:
    """Forwards to one port on loopback, each way of each connection under the faults set for it.

    Faults hold for connections under way and for new ones, until they are taken back.
    """

    def __init__(self, target: int) -> None:
        self.port = 0
        self.accepted = 0
        self.carried = dict.fromkeys(Way, 0)
        self._target = target
        self._light = {way: asyncio.Event() for way in Way}
        self._delays = dict.fromkeys(Way, 0.0)
        self._limits: dict[Way, int | None] = dict.fromkeys(Way)
        self._ended = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._streams: set[_Stream] = set()
        self.light_up()

    def go_dark(self, *ways: Way) -> None:
        """From now on bytes vanish into the buffers of the system: a black hole, or half of one."""
        for way in ways or _BOTH:
            self._light[way].clear()

    def light_up(self) -> None:
        """Carry on, with everything that was held back."""
        for light in self._light.values():
            light.set()

    def swallow(self, naming: bytes) -> int:
        """From now on connections whose caller began with this are silent for good; how many.

        New ones are carried, as behind a router that has forgotten the old ones.
        """
        found = [each for each in self._streams if naming in each.opening]
        for stream in found:
            stream.is_swallowed = True
        return len(found) // len(_BOTH)

    def slow_down(self, seconds: float, *ways: Way) -> None:
        """Whatever arrives is passed on so much later at least; 0 takes it back."""
        for way in ways or _BOTH:
            self._delays[way] = seconds

    def cut_after(self, count: int | None, *ways: Way) -> None:
        """Reset each connection once this many more bytes have passed that way.

        Exactly so many are sent on, and arrive where the receiver has room for them. A count of 0
        resets it instead of passing on its next byte; new connections start the same count; None
        takes it back.
        """
        for way in ways or _BOTH:
            self._limits[way] = count
        for stream in self._streams:
            stream.left = self._limits[stream.way]

    def cut(self) -> None:
        """Reset every connection under way; new ones are accepted."""
        for stream in self._streams:
            _reset(stream.writer)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection both ways until both sides have ended."""
        self.accepted += 1
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            away_reader, away_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except ConnectionRefusedError:
            _reset(writer)
            return
        opening = bytearray()
        there = _Stream(Way.THERE, reader, away_writer, self._limits[Way.THERE], opening)
        back = _Stream(Way.BACK, away_reader, writer, self._limits[Way.BACK], opening)
        self._streams |= {there, back}
        if self._ended.is_set():
            self.cut()
        await asyncio.gather(self._carry(there, back), self._carry(back, there))
        self._streams -= {there, back}
        for end in (writer, away_writer):
            end.close()
            with contextlib.suppress(OSError):
                await end.wait_closed()

    async def close(self) -> None:
        """End every connection."""
        self._ended.set()
        self.cut()
        self.light_up()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _carry(self, stream: _Stream, opposite: _Stream) -> None:
        with contextlib.suppress(OSError):
            while data := await stream.reader.read(65536):
                if stream.way is Way.THERE and len(stream.opening) < _OPENING:
                    stream.opening += data
                await self._wait(stream.way)
                if stream.is_swallowed:
                    await self._ended.wait()
                passed = data if stream.left is None else data[: stream.left]
                if stream.left is not None:  # draining then means that the system has it all
                    stream.writer.transport.set_write_buffer_limits(high=0)
                stream.writer.write(passed)
                await stream.writer.drain()
                self.carried[stream.way] += len(passed)
                if stream.left is not None:
                    stream.left -= len(passed)
                    if not stream.left:
                        _reset(stream.writer)
                        _reset(opposite.writer)
        if stream.is_swallowed:  # an end vanishes like everything else
            await self._ended.wait()
        stream.writer.close()

    async def _wait(self, way: Way) -> None:
        if self._delays[way]:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._delays[way]):
                    await self._ended.wait()
        await self._light[way].wait()


def _reset(writer: asyncio.StreamWriter) -> None:
    end: socket.socket | None = writer.get_extra_info("socket")
    # Under TLS nothing is left of one that was closed before, on uvloop only a number below zero.
    if end is not None and end.fileno() >= 0:
        with contextlib.suppress(OSError):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    writer.transport.abort()


@contextlib.asynccontextmanager
async def proxy_to(target: int, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Proxy]:
    """A proxy on a port of its own for as long as the block lasts; it may speak TLS in front."""
    proxy = Proxy(target)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, ssl=tls)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
        await server.wait_closed()
