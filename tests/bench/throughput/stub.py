"""A provider that answers every POST with a fixed link at once, or after a fixed delay.

As fast as Python gets: one protocol object per connection on uvloop, no routing, no headers read
but the length. It must not be the wall that the subjects run against; the bench measures its own
limit in the same run. It counts POSTs and the distinct references in them, so that a run can prove
that nothing was asked twice. ``python -m tests.bench.throughput.stub --delay-ms 50`` prints its
port as one line of JSON, and what it counted when it is told to stop (SIGTERM).
"""

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar, cast

from typing_extensions import override

LINK_HOST = "pay.simulator.example"

_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = b"content-length:"
_REFERENCE = b'"payment_reference": "'
_REPLY = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    b'{"result": true, "link": "https://%b/paypage?n=%012d"}'
)
_BODY_LENGTH = len(_REPLY.partition(_END_OF_HEAD)[2] % (LINK_HOST.encode(), 0))

Result = TypeVar("Result")


class Books:
    """What was asked for."""

    def __init__(self) -> None:
        self.posts = 0
        self.references: set[bytes] = set()

    def note(self, body: bytes) -> int:
        """Count one POST and return its number."""
        self.posts += 1
        _, found, rest = body.partition(_REFERENCE)
        if found:
            self.references.add(rest.partition(b'"')[0])
        return self.posts

    def told(self) -> str:
        """The counts as one line of JSON."""
        return json.dumps({"posts": self.posts, "references": len(self.references)})


class Conversation(asyncio.Protocol):
    """One connection, kept alive; requests on it are answered in order."""

    def __init__(self, books: Books, delay: float) -> None:
        self._books = books
        self._delay = delay
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    @override
    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        while (end := buffer.find(_END_OF_HEAD)) >= 0:
            whole = end + len(_END_OF_HEAD) + _length_of(buffer[:end])
            if len(buffer) < whole:
                break
            number = self._books.note(buffer[end:whole])
            reply = _REPLY % (_BODY_LENGTH, LINK_HOST.encode(), number)
            if self._delay:
                self._loop.call_later(self._delay, self._answer, reply)
            else:
                self._answer(reply)
            buffer = buffer[whole:]
        self._buffer = buffer

    def _answer(self, reply: bytes) -> None:
        if self._transport is not None:
            self._transport.write(reply)


def _length_of(head: bytes) -> int:
    _, found, rest = head.lower().partition(_LENGTH)
    return int(rest.partition(b"\r\n")[0]) if found else 0


async def serve(delay: float) -> Books:
    """Answer until SIGTERM; prints the port once it listens."""
    books = Books()
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = await loop.create_server(lambda: Conversation(books, delay), "127.0.0.1", 0)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await stop.wait()
    server.close()
    return books


def run_fast(work: Coroutine[Any, Any, Result]) -> Result:
    """Run on uvloop."""
    import uvloop  # noqa: PLC0415 - the bench's own process has no need of it

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def main(arguments: list[str]) -> None:
    """Serve, then tell what was counted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--delay-ms", type=float, default=0.0)
    options = parser.parse_args(arguments)
    print(run_fast(serve(options.delay_ms / 1000)).told(), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
