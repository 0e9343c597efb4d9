"""The broker's side of a measurement: fresh queues, how full they are, and what came out."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import cast

import aiormq
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel
from pamqp.commands import Basic

from tests.acceptance.installation import ORIGINS, SUBSCRIBER, remove_objects
from tests.broker import Broker
from tests.postgres import PostgresServer
from worker.adapters.clock import SystemClock
from worker.adapters.connection import connected
from worker.adapters.topology import declare
from worker.model import Environment, Origin
from worker.rules import Subscriber
from worker.topology import Topology

ANSWERED_WELL = "succeeded"

_COLLECT_SECONDS = 60.0
_SUBSCRIBER = Subscriber(name=SUBSCRIBER, origins=tuple(Origin(each) for each in ORIGINS))

_clock = SystemClock()


@dataclass(frozen=True, slots=True)
class Results:
    """What came out: how often each request was answered, well or otherwise, and when first."""

    answers: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    seen_at: dict[str, float] = field(default_factory=dict)

    def note(self, message: DeliveredMessage) -> None:
        """Count one event by the request it answers."""
        properties = message.header.properties
        key = str(properties.correlation_id)
        self.seen_at.setdefault(key, perf_counter())
        told = message.delivery
        routing_key = told.routing_key if isinstance(told, Basic.Deliver) else None
        well = str(routing_key).endswith(f".{ANSWERED_WELL}")
        (self.answers if well else self.others)[key] += 1

    @property
    def count(self) -> int:
        """All events."""
        return self.answers.total() + self.others.total()


@dataclass(frozen=True, slots=True)
class Queues:
    """The objects of one measurement, under a prefix of their own."""

    topology: Topology
    channel: Channel

    @property
    def work(self) -> str:
        """Full name of the queue that the subject consumes."""
        return self.topology.work_queue

    @property
    def results(self) -> str:
        """Full name of the queue that the answers get into."""
        return self.topology.named(f"results.{SUBSCRIBER}")

    async def depth(self, name: str) -> int:
        """Ready messages of a queue, exactly."""
        told = await self.channel.queue_declare(name, passive=True)
        return told.message_count or 0

    async def astray(self) -> dict[str, int]:
        """What lies where nothing may lie once all is done, by queue."""
        names = [each.name for each in self.topology.queues if each.name != self.results]
        depths = {name: await self.depth(name) for name in names}
        return {name: depth for name, depth in depths.items() if depth}

    async def collect(self, results: Results) -> None:
        """Take every answer that is there."""
        expected = results.count + await self.depth(self.results)
        async with self.listening(results), asyncio.timeout(_COLLECT_SECONDS):
            while results.count < expected:
                await _clock.sleep(0.02)

    @asynccontextmanager
    async def listening(self, results: Results) -> AsyncIterator[None]:
        """Take the answers as they come, as quickly as a client can."""

        async def hear(message: DeliveredMessage) -> None:
            results.note(message)

        told = await self.channel.basic_consume(self.results, hear, no_ack=True)
        try:
            yield
        finally:
            await self.channel.basic_cancel(str(told.consumer_tag))


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What a whole run stands on."""

    broker: Broker
    directory: Path
    postgres: PostgresServer | None = None

    @property
    def amqp_url(self) -> str:
        """Of the administrator ``guest``."""
        return f"amqp://guest:guest@127.0.0.1:{self.broker.port}/payments"

    @property
    def broker_process(self) -> int:
        """Its first process."""
        return int((self.broker.directory / "node.pid").read_text(encoding="ascii"))

    @property
    def postgres_process(self) -> int | None:
        """The database server's first process, where there is one."""
        if self.postgres is None:
            return None
        file = self.postgres.directory / "data" / "postmaster.pid"
        return int(file.read_text(encoding="ascii").split()[0])

    @asynccontextmanager
    async def queues(self) -> AsyncIterator[Queues]:
        """Fresh quorum queues, as the product declares them; gone at the end."""
        topology = Topology(
            environment=Environment.STAGING,
            prefix=self.broker.topology().prefix,
            subscribers=(_SUBSCRIBER,),
        )
        async with connected(self.broker.address, role="bench") as declaring:
            await declare(declaring, topology)
        connection = await aiormq.connect(self.amqp_url)
        try:
            channel = await connection.channel(publisher_confirms=True)
            yield Queues(topology, cast("Channel", channel))  # the only kind there is
        finally:
            await connection.close()
            await remove_objects(self.broker, topology.prefix)
