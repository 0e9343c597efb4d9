"""A TCP proxy whose line can be made silent: neither closed nor carrying a byte."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator


class Proxy:
    """Forwards to one port on loopback; in the dark it reads nothing and forwards nothing."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self._target = target
        self._light = asyncio.Event()
        self._light.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    def go_dark(self) -> None:
        """From now on bytes vanish into the buffers of the system: a black hole."""
        self._light.clear()

    def light_up(self) -> None:
        """Carry on, with everything that was held back."""
        self._light.set()

    def cut(self) -> None:
        """Reset every connection under way; new ones are accepted."""
        for writer in self._writers:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection both ways until both sides have ended."""
        task = asyncio.current_task()
        try:
            away_reader, away_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except ConnectionRefusedError:
            writer.transport.abort()
            return
        ends = {writer, away_writer}
        self._writers |= ends
        if task is not None:
            self._tasks.add(task)
        await asyncio.gather(self._carry(reader, away_writer), self._carry(away_reader, writer))
        self._writers -= ends
        for end in ends:
            end.close()
            with contextlib.suppress(OSError):
                await end.wait_closed()

    async def close(self) -> None:
        """End every connection."""
        self.cut()
        self.light_up()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._light.wait()
                writer.write(data)
                await writer.drain()
        writer.close()


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
