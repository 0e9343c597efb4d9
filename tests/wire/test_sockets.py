"""What one turn of the event loop writes to the broker leaves in one piece, and all of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiormq.exceptions import AMQPConnectionError
from yarl import URL

from tests.broker import free_port
from worker.adapters.sockets import GatheringTransport, GatheringWriter


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
