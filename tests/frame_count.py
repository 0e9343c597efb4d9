"""A relay before the broker that counts what its clients send, frame by frame."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

from pamqp import commands
from pamqp.base import Frame
from typing_extensions import override

_GREETING = 8
_HEAD = 7
_METHOD, _HEARTBEAT = 1, 8
_NAMES = {2: "header", 3: "body"}


@dataclass(slots=True)
class FrameCount:
    """``frames`` by name, ``Basic.Ack`` or ``header``, of all connections; without heartbeats."""

    port: int = 0
    frames: Counter[str] = field(default_factory=Counter)


class _Reader:
    """Cuts a client's bytes into frames and names each one."""

    def __init__(self, frames: Counter[str]) -> None:
        self._frames = frames
        self._buffer = b""
        self._skipped = 0

    def feed(self, data: bytes) -> None:
        greeting = min(len(data), _GREETING - self._skipped)
        self._skipped += greeting
        self._buffer += data[greeting:]
        while len(self._buffer) > _HEAD:
            size = _HEAD + int.from_bytes(self._buffer[3:_HEAD]) + 1
            if len(self._buffer) < size:
                break
            self._note(self._buffer[:size])
            self._buffer = self._buffer[size:]

    def _note(self, frame: bytes) -> None:
        kind = frame[0]
        if kind == _METHOD:
            method: type[Frame] = commands.INDEX_MAPPING[int.from_bytes(frame[_HEAD : _HEAD + 4])]
            self._frames[method.name] += 1
        elif kind != _HEARTBEAT:
            self._frames[_NAMES[kind]] += 1


class _Side(asyncio.Protocol):
    """One end of a relayed connection; what it receives goes to the other end."""

    def __init__(self, reader: _Reader | None, target: int | None = None) -> None:
        self._reader = reader
        self._target = target
        self._waiting: list[bytes] = []
        self.other: _Side | None = None
        self.transport: asyncio.Transport | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if self._target is not None:
            self._opening = asyncio.ensure_future(self._open(self._target))

    @override
    def data_received(self, data: bytes) -> None:
        if self._reader is not None:
            self._reader.feed(data)
        if self.other is None or self.other.transport is None:
            self._waiting.append(data)
        else:
            self.other.transport.write(data)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()

    async def _open(self, port: int) -> None:
        away = _Side(None)
        away.other = self
        await asyncio.get_running_loop().create_connection(lambda: away, "127.0.0.1", port)
        self.other = away
        assert away.transport is not None
        away.transport.writelines(self._waiting)


@asynccontextmanager
async def counted_frames(target: int) -> AsyncIterator[FrameCount]:
    """Relay connections to a port of this machine for as long as the block lasts."""
    count = FrameCount()
    server = await asyncio.get_running_loop().create_server(
        lambda: _Side(_Reader(count.frames), target), "127.0.0.1", 0
    )
    count.port = server.sockets[0].getsockname()[1]
    try:
        yield count
    finally:
        server.close()
        await server.wait_closed()
