"""What a few turns of the event loop write to the broker leaves in one piece, and all of it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiormq.exceptions import AMQPConnectionError
from typing_extensions import override
from yarl import URL

from tests.broker import free_port
from worker.adapters.clock import SystemClock
from worker.adapters.sockets import LARGEST_PIECE, MOST_TURNS, GatheringTransport, GatheringWriter


class Heard:
    """A server that remembers the pieces in which it was told something."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.came = asyncio.Event()
        self.ended = asyncio.Event()

    async def hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(65536):
            self.pieces.append(piece)
            self.came.set()
        self.ended.set()
        writer.close()


class Noted(asyncio.WriteTransport):
    """A socket that only notes what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []
        self.is_closed = False

    @override
    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.pieces.append(bytes(data))

    @override
    def is_closing(self) -> bool:
        return self.is_closed

    @override
    def close(self) -> None:
        self.is_closed = True


@asynccontextmanager
async def opened() -> AsyncIterator[tuple[GatheringWriter, Heard]]:
    heard = Heard()
    server = await asyncio.start_server(heard.hear, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        _, writer = await GatheringTransport().create(URL(f"amqp://127.0.0.1:{port}"))
        assert isinstance(writer, GatheringWriter)
        yield writer, heard
        writer.close()
        await writer.wait_closed()


async def test_frames_of_one_turn_leave_in_one_piece() -> None:
    async with opened() as (writer, heard):
        for frame in (b"publish", b"header", b"body"):
            writer.write(frame)
            await writer.drain()
        assert not heard.pieces
        await heard.came.wait()
        assert heard.pieces == [b"publishheaderbody"]


def noted() -> tuple[GatheringWriter, Noted]:
    loop, reader, socket = asyncio.get_running_loop(), asyncio.StreamReader(), Noted()
    return GatheringWriter(socket, asyncio.StreamReaderProtocol(reader), reader, loop), socket


async def test_a_write_is_held_as_many_turns_as_it_had_company_last_time() -> None:
    """Lone frames leave at once; those of a busy worker wait for others, for a bounded time."""
    writer, socket = noted()

    async def turns_held(frames: int) -> int:
        sent, turns = len(socket.pieces), 0
        for _ in range(frames):
            writer.write(b"x")
        while len(socket.pieces) == sent and turns <= 2 * MOST_TURNS:
            turns += 1
            await SystemClock().sleep(0)
        assert socket.pieces[-1] == b"x" * frames
        return turns

    held = [await turns_held(frames) for frames in (1, 3, 50, 1, 1)]
    assert held == [1, 2, 4, MOST_TURNS + 1, 2]
    writer.close()


async def test_what_comes_while_a_write_is_held_leaves_with_it() -> None:
    writer, socket = noted()
    for frame in (b"1", b"2", b"3"):
        writer.write(frame)
    await SystemClock().sleep(0)
    for frame in (b"a", b"b", b"c", b"d", b"e"):
        writer.write(frame)
        await SystemClock().sleep(0)
    writer.close()
    assert socket.pieces == [b"123", b"abcd", b"e"]


async def test_much_is_sent_at_once_and_nothing_overtakes() -> None:
    writer, socket = noted()
    much = b"x" * LARGEST_PIECE
    writer.write(b"first")
    writer.writelines((b"second", much))
    assert socket.pieces == [b"firstsecond" + much]
    writer.writelines((b"third", b"fourth"))
    writer.close()
    assert socket.pieces[1:] == [b"thirdfourth"]


@pytest.mark.parametrize("ends", [GatheringWriter.close, GatheringWriter.write_eof])
async def test_what_is_held_for_company_is_sent_before_the_end(
    ends: Callable[[GatheringWriter], None],
) -> None:
    async with opened() as (writer, heard):
        for frame in (b"1", b"2", b"3"):
            writer.write(frame)
        await heard.came.wait()
        writer.write(b"held")
        ends(writer)
        await heard.ended.wait()
        assert b"".join(heard.pieces) == b"123held"


async def test_what_is_written_last_is_sent_before_the_socket_closes() -> None:
    """An acknowledgement just given must not be lost to an orderly end."""
    async with opened() as (writer, heard):
        writer.write(b"acknowledgement")
        writer.close()
        await heard.ended.wait()
        assert heard.pieces == [b"acknowledgement"]


async def test_what_is_written_last_is_sent_before_the_end_of_the_stream() -> None:
    async with opened() as (writer, heard):
        writer.write(b"close")
        writer.write_eof()
        await heard.ended.wait()
        assert heard.pieces == [b"close"]


async def test_what_is_written_after_the_socket_ended_is_dropped_quietly() -> None:
    """The broker delivers again what was not acknowledged; uvloop would raise into the loop."""
    complaints: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    async with opened() as (writer, heard):
        writer.transport.abort()
        await heard.ended.wait()
        writer.write(b"acknowledgement")
        turned = asyncio.Event()
        loop.call_soon(turned.set)
        await turned.wait()
    assert not heard.pieces
    assert not complaints


async def test_a_connection_that_cannot_be_opened_is_the_clients_own_error() -> None:
    with pytest.raises(AMQPConnectionError):
        await GatheringTransport().create(URL(f"amqp://127.0.0.1:{free_port()}"))
