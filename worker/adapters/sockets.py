"""The broker's socket: what is sent within a few turns of the event loop leaves in one piece.

The client writes frame by frame, and each write is a call of the system that costs more than making
the frame did, wakes the broker up and, where processors are few, gives it ours (measured: a fifth
of all processor time under load, and most of the broker's). Decisions come in groups, because
payments share commits, and so do their events and acknowledgements.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

from aiormq.connection import SSLContextProvider, TransportFactory
from aiormq.exceptions import AMQPConnectionError
from typing_extensions import override
from yarl import URL

MOST_TURNS = 32
"""Turns of the event loop that a write is held, at most, besides its own.

Some hundred microseconds where the loop is idle, some milliseconds where it is busy. Measured at
full load: with none a payment costs 1,152 microseconds, with 32 from the first write on 893, with
as many as there was company 908; at an equal pace below that no latency differs.
"""

LARGEST_PIECE = 65_536
"""Bytes that are sent at once, whatever else may come: bodies of dead letters add up."""


class GatheringWriter(asyncio.StreamWriter):
    """Holds what is written for as many turns of the loop as writes left together last time.

    So the more payments are under way the more of them share a call, and after a quiet time a write
    leaves with the next turn but one. ``drain`` waits for what was handed to the socket, not for
    what is held. Nobody takes "written" for "arrived": a publish waits for its confirm, and an
    acknowledgement that was lost means a redelivery.
    """

    def __init__(
        self,
        transport: asyncio.WriteTransport,
        protocol: asyncio.StreamReaderProtocol,
        reader: asyncio.StreamReader,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(transport, protocol, reader, loop)
        self._gathering_loop = loop
        self._pieces: list[bytes] = []
        self._size = 0
        self._company = 0

    @override
    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._pieces:
            self._gathering_loop.call_soon(self._come_round, min(self._company, MOST_TURNS))
        self._pieces.append(bytes(data))
        self._size += len(data)
        if self._size >= LARGEST_PIECE:
            self._send()

    @override
    def writelines(self, data: Iterable[bytes | bytearray | memoryview]) -> None:
        for each in data:
            self.write(each)

    @override
    def write_eof(self) -> None:
        self._send()
        super().write_eof()

    @override
    def close(self) -> None:
        self._send()
        super().close()

    def _come_round(self, turns: int) -> None:
        if turns and self._pieces:
            self._gathering_loop.call_soon(self._come_round, turns - 1)
        else:
            self._send()

    def _send(self) -> None:
        pieces, self._pieces, self._size = self._pieces, [], 0
        self._company = len(pieces) or self._company
        # A socket that has ended meanwhile takes nothing: asyncio's drops it, uvloop's raises.
        if pieces and not self.is_closing():
            super().write(b"".join(pieces))


class GatheringTransport(TransportFactory):
    """Opens the broker's connection as the client would, TLS included."""

    @override
    async def create(
        self,
        url: URL,
        **options: Any,
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Raises the client's own error where the connection cannot be opened."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        tls = None
        if url.scheme == "amqps":
            provider: SSLContextProvider = options["ssl_context_provider"]
            tls = await provider.get_context()
        try:
            transport, _ = await loop.create_connection(
                lambda: protocol, url.host or "", url.port or 0, ssl=tls
            )
        except OSError as error:
            raise AMQPConnectionError(*error.args) from error
        return reader, GatheringWriter(transport, protocol, reader, loop)
