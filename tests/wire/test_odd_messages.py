"""Messages that the broker takes from a producer and a client library may choke on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiormq.abc import AbstractChannel
from pamqp.commands import Basic
from typing_extensions import override

from tests.amqp import QUICK, Troubles, declared
from tests.broker import Broker
from tests.waiting import until
from worker.adapters.clock import SystemClock
from worker.adapters.connection import connected, open_channel
from worker.adapters.consumer import AmqpConsumer
from worker.messages import Action, Disposition, Handled, Story
from worker.model import Delivery
from worker.topology import Topology

pytestmark = pytest.mark.broker


class _Latin(str):
    """A text that a producer writes in Latin-1, as programs older than UTF-8 do."""

    __slots__ = ()

    @override
    def encode(self, encoding: str = "", errors: str = "") -> bytes:
        return str.encode(self, "latin-1")


@asynccontextmanager
async def _consuming(
    broker: Broker,
) -> AsyncIterator[tuple[Topology, AbstractChannel, list[Delivery], Troubles]]:
    seen: list[Delivery] = []
    troubles = Troubles()

    async def handle(delivery: Delivery) -> Handled:
        seen.append(delivery)
        return Handled(Disposition.ACKNOWLEDGE, Story(action=Action.ANSWERED))

    async def usable() -> None:
        return

    async with (
        declared(broker) as (topology, _),
        connected(broker.address, role="producer") as connection,
    ):
        consumer = AmqpConsumer(
            broker.address,
            topology,
            handle,
            lambda _handled, _seconds: None,
            until_usable=usable,
            clock=SystemClock(),
            on_trouble=troubles.note,
            pace=QUICK,
        )
        consumer.start()
        try:
            await until(lambda: consumer.is_consuming)
            yield topology, await open_channel(connection), seen, troubles
        finally:
            await consumer.stop(5)


async def test_an_odd_message_is_read_and_the_next_one_too(broker: Broker) -> None:
    """Without lenient decoding each of them drops the connection, again and again."""
    odd = Basic.Properties(
        message_id=_Latin("commandé-1"),
        correlation_id=_Latin("é" * 255),
        headers={_Latin("clé"): _Latin("é"), "CC": ["payment.cancel.dcp"], "empty": None},
    )
    async with _consuming(broker) as (topology, channel, seen, troubles):
        key = _Latin("payment.initiate.télévente")
        requests = topology.named("requests")
        await channel.basic_publish(b"1", exchange=requests, routing_key=key, properties=odd)
        await channel.basic_publish(b"2", exchange=requests, routing_key="payment.initiate.dcp")
        await until(lambda: len({delivery.body for delivery in seen}) == 2)
        first = next(delivery for delivery in seen if delivery.body == b"1")
        assert not troubles.seen
    assert first.routing_key == "payment.initiate.télévente"
    assert first.message_id == "commandé-1"
    assert first.headers["clé"] == "é"
    assert first.headers["CC"] == '["payment.cancel.dcp"]'
    assert first.headers["empty"] == ""
    assert first.correlation_id == "é" * 127


async def test_an_empty_body_is_delivered(broker: Broker) -> None:
    async with _consuming(broker) as (topology, channel, seen, _):
        requests = topology.named("requests")
        await channel.basic_publish(b"", exchange=requests, routing_key="payment.initiate.dcp")
        await until(lambda: seen)
    assert seen[0].body == b""


async def test_a_large_body_is_delivered_whole(broker: Broker) -> None:
    """Its refusal is the contract's business; several frames are the client's."""
    body = bytes(range(256)) * 4096
    async with _consuming(broker) as (topology, channel, seen, _):
        requests = topology.named("requests")
        await channel.basic_publish(body, exchange=requests, routing_key="payment.initiate.dcp")
        await until(lambda: seen)
    assert seen[0].body == body
