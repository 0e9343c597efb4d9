"""Very many messages into a queue, as quickly as one client can bring them there."""

import asyncio
from collections.abc import Iterator
from itertools import islice
from urllib.parse import urlsplit

from pamqp import commands, frame
from pamqp.body import ContentBody
from pamqp.header import ContentHeader
from typing_extensions import override

from tests.bench.peers.line import CHANNEL, CONFIRMED, HEAD, METHOD, Confirmed, Line
from tests.bench.throughput.requests import Batch

_IN_FLIGHT = 4_000
"""Published and not yet confirmed: what the broker must hold in memory until it has written it."""

_PIECE = 500


class FloodError(Exception):
    """The broker took less than it was given."""


class _Flood(Line):
    def __init__(self, amqp_url: str, exchange: str, routing_key: str, batch: Batch) -> None:
        super().__init__(amqp_url)
        self._messages = _frames(exchange, routing_key, batch)
        self._confirmed = Confirmed()
        self._published = 0
        self._count = batch.count
        self.done = asyncio.Event()

    @override
    def opened(self) -> None:
        self._go_on()

    @override
    def receive(self, buffer: bytes, at: int) -> int:
        while len(buffer) - at > HEAD:
            end = at + HEAD + int.from_bytes(buffer[at + 3 : at + HEAD]) + 1
            if end > len(buffer):
                break
            if buffer[at] == METHOD:
                if buffer[at + HEAD : at + HEAD + 4] != CONFIRMED:  # returned, refused, closed
                    self.close()
                    break
                self._confirmed.read(buffer, at)
            at = end
        self._go_on()
        return at

    def _go_on(self) -> None:
        while self._published - self._confirmed.up_to < _IN_FLIGHT and self._send():
            pass
        if self._confirmed.up_to >= self._count:
            self.done.set()

    def _send(self) -> bool:
        piece = list(islice(self._messages, _PIECE))
        self._published += len(piece)
        self.write(b"".join(piece))
        return bool(piece)


def _frames(exchange: str, routing_key: str, batch: Batch) -> Iterator[bytes]:
    publish = commands.Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=True)
    method = frame.marshal(publish, CHANNEL)
    for number in batch.numbers:
        body = batch.body(number)
        header = ContentHeader(body_size=len(body), properties=batch.properties(number))
        yield method + frame.marshal(header, CHANNEL) + frame.marshal(ContentBody(body), CHANNEL)


async def flood(amqp_url: str, exchange: str, routing_key: str, batch: Batch) -> None:
    """Publish all of them, persistent and confirmed; raises ``FloodError``."""
    address = urlsplit(amqp_url)
    _, line = await asyncio.get_running_loop().create_connection(
        lambda: _Flood(amqp_url, exchange, routing_key, batch),
        address.hostname or "",
        address.port or 5672,
    )
    ends = [asyncio.create_task(each.wait()) for each in (line.done, line.ended)]
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if not line.done.is_set():
            raise FloodError(batch.count)
    finally:
        for each in ends:
            each.cancel()
        line.close()
