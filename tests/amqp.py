"""What the tests send and read over AMQP, apart from the code under test."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aio_pika
from aio_pika.abc import (
    AbstractChannel,
    AbstractConnection,
    AbstractIncomingMessage,
    AbstractQueue,
)

from tests.broker import Broker
from worker.adapters.clock import SystemClock
from worker.adapters.connection import BrokerTroubleError, Pace, connected
from worker.adapters.topology import declare
from worker.topology import Topology

_clock = SystemClock()

QUICK = Pace(first=0.05, most=0.4, stable=5.0)
"""A backoff for tests: as the product's, twenty times shorter."""


@dataclass(slots=True)
class Troubles:
    """Collects what a connection reports."""

    seen: list[BrokerTroubleError] = field(default_factory=list)

    def note(self, trouble: BrokerTroubleError, _delay: float) -> None:
        """Take one report."""
        self.seen.append(trouble)


@asynccontextmanager
async def channel_to(broker: Broker) -> AsyncIterator[AbstractChannel]:
    """A plain channel of an administrator."""
    async with connected(broker.address, role="test") as connection:
        yield await connection.channel(on_return_raises=True)


class Line:
    """Sends requests and reads queues of one topology."""

    def __init__(self, channel: AbstractChannel, topology: Topology) -> None:
        self.channel = channel
        self._topology = topology

    async def send(
        self,
        body: bytes,
        *,
        key: str = "payment.initiate.dcp",
        message_id: str | None = None,
        exchange: str = "requests",
    ) -> None:
        """Publish persistently and wait for the confirm."""
        target = await self.channel.get_exchange(self._topology.named(exchange), ensure=False)
        message = aio_pika.Message(body, message_id=message_id, delivery_mode=2)
        await target.publish(message, key, timeout=10)

    async def queue(self, name: str) -> AbstractQueue:
        """A queue by its full name."""
        return await self.channel.declare_queue(name, passive=True)

    async def depth(self, name: str) -> int:
        """Ready messages of a queue, exactly."""
        return (await self.queue(name)).declaration_result.message_count or 0

    async def take(self, name: str) -> AbstractIncomingMessage:
        """The next message of a queue, acknowledged; waits for it."""
        queue = await self.channel.get_queue(name, ensure=False)
        while True:
            message = await queue.get(fail=False, timeout=10)
            if message is not None:
                await message.ack()
                return message
            await _clock.sleep(0.05)


@asynccontextmanager
async def declared(broker: Broker, *subscribers: str) -> AsyncIterator[tuple[Topology, Line]]:
    """A fresh topology on the broker, and a line to it."""
    topology = broker.topology(*subscribers)
    async with connected(broker.address, role="test") as connection:
        await declare(connection, topology)
        try:
            yield topology, Line(await connection.channel(on_return_raises=True), topology)
        finally:
            async with connected(broker.address, role="test") as another:
                await _remove(another, topology)


async def _remove(connection: AbstractConnection, topology: Topology) -> None:
    """Hundreds of idle quorum queues would slow the node down."""
    channel = await connection.channel()
    for queue in topology.queues:
        await channel.queue_delete(queue.name)
    for exchange in topology.exchanges:
        await channel.exchange_delete(exchange.name)
