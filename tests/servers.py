"""Loopback servers that misbehave on purpose, on raw sockets, under any event loop."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

_PIECE = 64 * 1024
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, zero seconds: close sends RST


@dataclass(frozen=True, slots=True)
class Received:
    """One request as its bytes arrived."""

    head: bytes
    body: bytes

    @property
    def method(self) -> str:
        return self.head.split(b" ", 1)[0].decode()

    @property
    def target(self) -> str:
        """The request target exactly as sent, path and query."""
        return self.head.split(b" ", 2)[1].decode()

    def header(self, name: str) -> str | None:
        for line in self.head.split(b"\r\n")[1:]:
            key, _, value = line.partition(b":")
            if key.decode().lower() == name.lower():
                return value.decode().strip()
        return None


@dataclass(slots=True)
class Connection:
    """One accepted connection; a behaviour reads and writes it as it likes."""

    number: int
    _socket: socket.socket
    _received: list[Received]
    _buffer: bytearray = field(default_factory=bytearray)

    async def readable(self) -> None:
        """Wait until the client has sent something, without reading it."""
        loop = asyncio.get_running_loop()
        arrived = asyncio.Event()
        loop.add_reader(self._socket.fileno(), arrived.set)
        try:
            await arrived.wait()
        finally:
            loop.remove_reader(self._socket.fileno())

    async def head(self) -> bytes:
        """Read up to the blank line and count the request, its body unread."""
        while b"\r\n\r\n" not in self._buffer:
            await self._more()
        head, _, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        self._buffer = bytearray(rest)
        self._received.append(Received(head, b""))
        return head

    async def request(self) -> Received:
        """Read one whole request and count it."""
        head = await self.head()
        length = int(Received(head, b"").header("content-length") or "0")
        while len(self._buffer) < length:
            await self._more()
        whole = Received(head, bytes(self._buffer[:length]))
        del self._buffer[:length]
        self._received[-1] = whole
        return whole

    async def write(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._socket, data)

    def finish(self) -> None:
        """Close in order: the client sees the end of the stream."""
        self._socket.close()

    def reset(self) -> None:
        """Close with RST: the client sees a reset."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._socket.close()

    async def gone(self) -> None:
        """Wait until the client has closed, reading and dropping what it still sends."""
        with contextlib.suppress(ConnectionError):
            while await asyncio.get_running_loop().sock_recv(self._socket, _PIECE):
                pass

    async def _more(self) -> None:
        piece = await asyncio.get_running_loop().sock_recv(self._socket, _PIECE)
        if not piece:
            raise ConnectionResetError
        self._buffer += piece


Behaviour = Callable[[Connection], Awaitable[None]]


class RawServer:
    """Accepts on a free loopback port and runs one behaviour per connection.

    ``received`` holds every request read, so a test can count them; ``connections`` counts
    those accepted, read or not.
    """

    def __init__(self, behave: Behaviour, *, receive_buffer: int | None = None) -> None:
        self.received: list[Received] = []
        self.connections = 0
        self.faults: list[Exception] = []
        self._behave = behave
        self._listener = socket.socket()
        if receive_buffer is not None:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self._listener.settimeout(0)  # zero seconds: never block the loop
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def posts(self) -> int:
        """How many POST requests were seen, on all connections together."""
        return sum(received.method == "POST" for received in self.received)

    def url(self, target: str = "/pay", *, scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.port}{target}"

    async def __aenter__(self) -> Self:
        self._start(self._accept())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._listener.close()
        assert self.faults == []

    def _start(self, work: Awaitable[None]) -> None:
        async def run() -> None:
            await work

        self._tasks.add(asyncio.create_task(run()))

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            accepted, _ = await loop.sock_accept(self._listener)
            accepted.settimeout(0)
            self.connections += 1
            self._start(self._serve(accepted, self.connections))

    async def _serve(self, accepted: socket.socket, number: int) -> None:
        try:
            await self._behave(Connection(number, accepted, self.received))
        except ConnectionError:
            pass  # the client left first, which is its right
        except Exception as error:  # noqa: BLE001  kept, and shown when the server closes
            self.faults.append(error)
        finally:
            accepted.close()


def answer(
    status: str = "200 OK", body: bytes = b"", headers: tuple[tuple[str, str], ...] = ()
) -> bytes:
    """Bytes of a complete answer, its length stated."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@contextlib.contextmanager
def refused_port() -> Iterator[int]:
    """A port that is taken and does not listen: every connect is refused."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@contextlib.contextmanager
def silent_port() -> Iterator[int]:
    """A port whose queue of pending connections is full, so that a connect never completes.

    Linux drops further SYNs then; they are sent again until the caller gives up.
    """
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.settimeout(0)
            filler.connect_ex(address)
        yield address[1]
