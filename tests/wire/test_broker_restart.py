"""Publisher and consumer over a restart of the broker, on a node of their own."""

import asyncio
import signal
from collections.abc import Iterator

import pytest

from tests.amqp import QUICK, Troubles, declared
from tests.broker import Broker, private_broker
from tests.waiting import until
from worker.adapters.clock import SystemClock
from worker.adapters.consumer import AmqpConsumer
from worker.adapters.publisher import AmqpPublisher
from worker.messages import (
    Action,
    Disposition,
    Exchange,
    Handled,
    OutgoingMessage,
    Publication,
    Story,
)
from worker.model import Delivery

pytestmark = pytest.mark.broker

_REQUEST = OutgoingMessage(
    exchange=Exchange.REQUESTS, routing_key="payment.initiate.dcp", body=b"{}", message_id="m-1"
)


@pytest.fixture
def node() -> Iterator[Broker]:
    """A node that may be stopped."""
    with private_broker() as own:
        yield own


@pytest.mark.parametrize("way", ["clean", "crash"])
async def test_a_restart_loses_nothing_and_needs_nobody(node: Broker, way: str) -> None:
    """What was confirmed is there again, and both sides come back by themselves."""
    clock, troubles = SystemClock(), Troubles()
    deliveries: list[Delivery] = []
    gate = asyncio.Event()

    async def handle(delivery: Delivery) -> Handled:
        deliveries.append(delivery)
        await gate.wait()
        return Handled(Disposition.ACKNOWLEDGE, Story(action=Action.ANSWERED))

    async def usable() -> None:
        return

    async with declared(node) as (topology, _):
        publisher = AmqpPublisher(
            node.address, topology, clock=clock, on_trouble=troubles.note, pace=QUICK
        )
        consumer = AmqpConsumer(
            node.address,
            topology,
            handle,
            lambda _handled, _seconds: None,
            until_usable=usable,
            clock=clock,
            on_trouble=troubles.note,
            pace=QUICK,
        )
        async with publisher:
            consumer.start()
            assert await publisher.publish(_REQUEST) is Publication.CONFIRMED
            await until(lambda: len(deliveries) == 1)
            if way == "crash":
                node.signal(signal.SIGKILL)
            else:
                await asyncio.to_thread(node.stop)
            await until(lambda: not publisher.is_ready and not consumer.is_consuming)
            await asyncio.to_thread(node.start)
            await until(lambda: publisher.is_ready and consumer.is_consuming, seconds=45)
            await until(lambda: len(deliveries) == 2)
            gate.set()
            assert await publisher.publish(_REQUEST) is Publication.CONFIRMED
            await until(lambda: len(deliveries) == 3 and not consumer.in_flight)
            await consumer.stop(5)
    assert [delivery.redelivered for delivery in deliveries] == [False, True, False]
    assert troubles.seen
