"""A line to PostgreSQL that breaks at the one moment that matters: when a commit is sent."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from enum import Enum, auto, unique

_COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"
"""The simple query as the protocol frames it: PostgreSQL manual, "Message Formats"."""


@unique
class Theft(Enum):
    """What becomes of a commit."""

    OF_THE_ANSWER = auto()  # the server commits and says so, and nobody hears it
    OF_THE_COMMIT = auto()  # the server never sees it and takes the transaction back
    OF_BOTH = auto()  # the server holds the commit back until the thief lets it go


class CommitThief:
    """Forwards to a server's port; the next ``thefts`` happen in order, one commit each."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self.thefts: list[Theft] = []
        self.stolen = 0
        self.let_go = asyncio.Event()
        self._target = target
        self._tasks: set[asyncio.Task[None]] = set()
        self._ends: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection until it ends or is robbed."""
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        away_reader, away_writer = await asyncio.open_connection("127.0.0.1", self._target)
        ends = {writer, away_writer}
        self._ends |= ends
        answers = asyncio.ensure_future(_carry(away_reader, writer))
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while data := await reader.read(65536):
                if _COMMIT in data and self.thefts:
                    answers.cancel()
                    await self._steal(self.thefts.pop(0), data, away_reader, away_writer, writer)
                    break
                away_writer.write(data)
                await away_writer.drain()
        answers.cancel()
        await asyncio.gather(answers, return_exceptions=True)
        self._ends -= ends
        for end in ends:
            end.transport.abort()
            with contextlib.suppress(OSError):
                await end.wait_closed()

    async def _steal(
        self,
        theft: Theft,
        data: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        victim: asyncio.StreamWriter,
    ) -> None:
        self.stolen += 1
        match theft:
            case Theft.OF_THE_COMMIT:
                return
            case Theft.OF_THE_ANSWER:
                writer.write(data)
                await reader.readuntil(b"COMMIT\x00")
            case Theft.OF_BOTH:
                victim.transport.abort()  # the worker goes on while its commit is under way
                await self.let_go.wait()
                writer.write(data)
                await reader.readuntil(b"COMMIT\x00")

    async def close(self) -> None:
        """End every connection."""
        self.let_go.set()
        for end in self._ends:
            end.transport.abort()
        if self._tasks:
            await asyncio.wait(self._tasks)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


@contextlib.asynccontextmanager
async def thief_before(target: int) -> AsyncIterator[CommitThief]:
    """A thief on a port of its own for as long as the block lasts."""
    thief = CommitThief(target)
    server = await asyncio.start_server(thief.serve, "127.0.0.1", 0)
    thief.port = server.sockets[0].getsockname()[1]
    try:
        yield thief
    finally:
        server.close()
        await thief.close()
        await server.wait_closed()
