"""The publisher when the broker misbehaves."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from tests.amqp import QUICK, Line, Troubles, declared
from tests.broker import Broker
from tests.proxy import Proxy, proxy_to
from tests.waiting import until
from worker.adapters.clock import SystemClock
from worker.adapters.publisher import AmqpPublisher
from worker.messages import Exchange, OutgoingMessage, Publication
from worker.topology import Topology

pytestmark = pytest.mark.broker
_EVENT = OutgoingMessage(
    exchange=Exchange.RESULTS,
    routing_key="payment.result.dcp.succeeded",
    body=b"{}",
    message_id="event-1",
)


class Stage:
    """A ready publisher behind a proxy, and a line to the broker beside it."""

    def __init__(self, topology: Topology, line: Line, proxy: Proxy) -> None:
        self.topology = topology
        self.line = line
        self.proxy = proxy
        self.troubles = Troubles()
        self.fates: list[tuple[str, Publication]] = []

    @property
    def results(self) -> str:
        return self.topology.named("results.dcp")

    def note(self, message: OutgoingMessage, publication: Publication) -> None:
        self.fates.append((message.message_id, publication))


@asynccontextmanager
async def _stage(
    broker: Broker, seconds: float = 5.0
) -> AsyncIterator[tuple[AmqpPublisher, Stage]]:
    async with declared(broker, "dcp") as (topology, line), proxy_to(broker.port) as proxy:
        stage = Stage(topology, line, proxy)
        publisher = AmqpPublisher(
            replace(broker.address, port=proxy.port),
            topology,
            clock=SystemClock(),
            on_trouble=stage.troubles.note,
            on_publication=stage.note,
            seconds=seconds,
            pace=QUICK,
        )
        async with publisher:
            await until(lambda: publisher.is_ready)
            yield publisher, stage


async def test_it_publishes_again_after_the_broker_dropped_its_connection(broker: Broker) -> None:
    async with _stage(broker) as (publisher, stage):
        stage.proxy.cut()
        await until(lambda: stage.troubles.seen)
        assert await publisher.publish(_EVENT) is Publication.CONFIRMED
        assert await stage.line.depth(stage.results) == 1


async def test_a_black_hole_is_unknown_and_over_when_the_line_is_back(broker: Broker) -> None:
    """The first publish arrived late: silence is never "not sent"."""
    async with _stage(broker, seconds=0.5) as (publisher, stage):
        stage.proxy.go_dark()
        assert await publisher.publish(_EVENT) is Publication.UNKNOWN
        stage.proxy.light_up()
        await until(lambda: publisher.is_ready)
        assert await publisher.publish(_EVENT) is Publication.CONFIRMED
        assert await stage.line.depth(stage.results) == 2


async def test_a_late_return_is_not_taken_for_the_fate_of_the_next_publish(broker: Broker) -> None:
    """The first one comes back unroutable only after it was given up."""
    async with _stage(broker, seconds=0.5) as (publisher, stage):
        lost = replace(_EVENT, routing_key="payment.result.nobody.failed")
        stage.proxy.go_dark()
        assert await publisher.publish(lost) is Publication.UNKNOWN
        again = asyncio.create_task(publisher.publish(_EVENT))
        stage.proxy.light_up()
        assert await again is Publication.CONFIRMED


async def test_a_publish_whose_connection_dies_under_it_is_unknown(broker: Broker) -> None:
    async with _stage(broker, seconds=20.0) as (publisher, stage):
        stage.proxy.go_dark()
        publishing = asyncio.create_task(publisher.publish(_EVENT))
        await until(lambda: publisher.in_flight)
        stage.proxy.cut()
        assert await publishing is Publication.UNKNOWN


async def test_a_missing_exchange_is_unknown_and_hinders_nobody(broker: Broker) -> None:
    """The broker answers 404 by closing the channel."""
    async with _stage(broker) as (publisher, stage):
        await stage.line.channel.exchange_delete(stage.topology.named("replay"))
        lost = replace(_EVENT, exchange=Exchange.REPLAY, message_id="event-2")
        assert await publisher.publish(lost) is Publication.UNKNOWN
        assert await publisher.publish(_EVENT) is Publication.CONFIRMED
        assert not stage.troubles.seen


async def test_a_memory_alarm_is_unknown_until_it_is_over(broker: Broker) -> None:
    async with _stage(broker, seconds=2.0) as (publisher, stage):
        await broker.control("set_vm_memory_high_watermark", "0.00001")
        try:
            fates = [await publisher.publish(_EVENT) for _ in range(2)]
        finally:
            await broker.control("set_vm_memory_high_watermark", "0.4")
        assert Publication.UNKNOWN in fates
        await until(lambda: publisher.is_ready)
        assert await publisher.publish(_EVENT) is Publication.CONFIRMED
        assert await stage.line.depth(stage.results) >= 1


async def test_a_frozen_broker_is_unknown_and_forgiven(broker: Broker) -> None:
    async with _stage(broker, seconds=0.5) as (publisher, _):
        broker.signal(signal.SIGSTOP)
        try:
            assert await publisher.publish(_EVENT) is Publication.UNKNOWN
        finally:
            broker.signal(signal.SIGCONT)
        await until(lambda: publisher.is_ready)
        assert await publisher.publish(_EVENT) is Publication.CONFIRMED


async def test_our_own_cancellation_is_not_an_outcome(broker: Broker) -> None:
    async with _stage(broker) as (publisher, stage):
        stage.proxy.go_dark()
        publishing = asyncio.create_task(publisher.publish(_EVENT))
        await until(lambda: publisher.in_flight)
        publishing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await publishing
        stage.proxy.light_up()
        assert await publisher.publish(_EVENT) is Publication.CONFIRMED
        assert stage.fates == [("event-1", Publication.CONFIRMED)]


async def test_without_a_broker_a_publish_ends_in_time(broker: Broker) -> None:
    async with declared(broker) as (topology, _), proxy_to(1) as nothing_there:
        troubles = Troubles()
        publisher = AmqpPublisher(
            replace(broker.address, port=nothing_there.port),
            topology,
            clock=SystemClock(),
            on_trouble=troubles.note,
            seconds=0.3,
            pace=QUICK,
        )
        async with publisher:
            assert await publisher.publish(_EVENT) is Publication.UNKNOWN
            assert not publisher.is_ready
    assert troubles.seen


async def test_after_a_nack_it_goes_on_with_another_channel_but_not_after_each_one(
    broker: Broker,
) -> None:
    """A channel may refuse what others would take; a full queue refuses on all of them."""

    async def channels() -> set[str]:
        return set((await broker.evaluate("rabbit_channel:list().")).strip("[]\n").split(","))

    async with _stage(broker) as (publisher, stage):
        await broker.control(
            *("set_policy", "-p", "payments", "--apply-to", "queues", "nacks"),
            f"^{stage.results}$",
            '{"max-length": 1, "overflow": "reject-publish"}',
        )
        before = await channels()
        fates = [
            await publisher.publish(replace(_EVENT, message_id=f"event-{number}"))
            for number in range(6)
        ]
        await until(lambda: publisher.is_ready)
        after = await channels()
    assert fates.count(Publication.REFUSED) >= 2
    assert len(after - before) == 1
    assert len(after) == len(before)
