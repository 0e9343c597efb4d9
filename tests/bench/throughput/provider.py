"""The provider stub as a process, and how much it can take."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import cast

from typing_extensions import override

from worker.adapters.clock import SystemClock

CHECKOUT = Path(__file__).parents[3]

_END_SECONDS = 10.0
_CONNECTIONS = 32
_BODY = b'{"payment_reference": "0123456789abcdef0123456789abcdef", "amount": "1250"}'
_REQUEST = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n%b" % (
    len(_BODY),
    _BODY,
)

_clock = SystemClock()


@dataclass(slots=True)
class Provider:
    """A running stub; ``posts`` and ``references`` are known once it has ended."""

    process: asyncio.subprocess.Process
    port: int
    posts: int = 0
    references: int = 0

    @property
    def url(self) -> str:
        """Base address of the link API."""
        return f"http://127.0.0.1:{self.port}"

    async def stop(self) -> None:
        """End it and read what it counted; safe to call again."""
        if self.process.returncode is not None:
            return
        self.process.terminate()
        async with asyncio.timeout(_END_SECONDS):
            output, _ = await self.process.communicate()
        told = json.loads(output)
        self.posts, self.references = told["posts"], told["references"]


@asynccontextmanager
async def provider_stub(delay_ms: float) -> AsyncIterator[Provider]:
    """A stub of its own for as long as the block lasts."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.throughput.stub", "--delay-ms", str(delay_ms)),
        cwd=CHECKOUT,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        provider = Provider(process, json.loads(await process.stdout.readline())["port"])
        yield provider
        await provider.stop()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@dataclass(slots=True)
class _Caller(asyncio.Protocol):
    """Sends the next request when an answer has come."""

    counts: list[int]
    _transport: asyncio.Transport | None = field(default=None)

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._transport.write(_REQUEST)

    @override
    def data_received(self, data: bytes) -> None:
        self.counts[0] += data.count(b"HTTP/1.1 200")
        if self._transport is not None:
            self._transport.write(_REQUEST)


async def measure_limit(seconds: float = 1.0) -> float:
    """POSTs per second that the stub answers without a delay, on keep-alive connections."""
    loop = asyncio.get_running_loop()
    counts = [0]
    async with provider_stub(0.0) as provider:
        made = [
            (await loop.create_connection(lambda: _Caller(counts), "127.0.0.1", provider.port))[0]
            for _ in range(_CONNECTIONS)
        ]
        await _clock.sleep(0.2)
        before, began = counts[0], perf_counter()
        await _clock.sleep(seconds)
        rate = (counts[0] - before) / (perf_counter() - began)
        for transport in made:
            transport.abort()
    return rate
