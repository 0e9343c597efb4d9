"""What every publisher does: one suite on the fake and on RabbitMQ."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

import pytest

from tests.amqp import QUICK, Line, Troubles, declared
from tests.broker import Broker
from tests.fakes_publisher import FakePublisher
from tests.proxy import Proxy, proxy_to
from tests.waiting import until
from worker.adapters.clock import SystemClock
from worker.adapters.deliveries import headers_of
from worker.adapters.publisher import AmqpPublisher
from worker.messages import Exchange, OutgoingMessage, Publication
from worker.ports import Publisher
from worker.topology import Topology

_BOUND = "payment.result.dcp.succeeded"
_UNBOUND = "payment.result.nobody.succeeded"
_FULL = "payment.result.full.succeeded"
_MESSAGE = OutgoingMessage(
    exchange=Exchange.RESULTS,
    routing_key=_BOUND,
    body=b'{"amount": "1250"}',
    message_id="event-1",
    correlation_id="request-1",
    type="payment.initiation.succeeded",
    timestamp=datetime(2026, 11, 21, 20, 14, 3, tzinfo=UTC),
    headers={"payment-id": "5b1f", "attempts": 3},
)


class Setting(Protocol):
    """A publisher and the other side of it."""

    @property
    def publisher(self) -> Publisher: ...

    async def received(self) -> OutgoingMessage:
        """The next message that arrived under the bound key."""

    async def fill(self) -> None:
        """Make the queue behind the key ``full`` refuse everything."""

    def fall_silent(self) -> None:
        """Let nothing be answered any more."""


class FakeSetting:
    """The fake, told what the broker would do."""

    def __init__(self) -> None:
        self.fake = FakePublisher()
        self.fake.answer(Publication.UNROUTABLE, routing_key=_UNBOUND)
        self._read = 0

    @property
    def publisher(self) -> Publisher:
        return self.fake

    async def received(self) -> OutgoingMessage:
        message = self.fake.to(Exchange.RESULTS)[self._read]
        self._read += 1
        return message

    async def fill(self) -> None:
        self.fake.answer(Publication.REFUSED, routing_key=_FULL)

    def fall_silent(self) -> None:
        self.fake.answer(Publication.UNKNOWN)


class BrokerSetting:
    """The adapter on a private node, behind a proxy that can go dark."""

    def __init__(
        self, publisher: AmqpPublisher, line: Line, topology: Topology, proxy: Proxy
    ) -> None:
        self.publisher = publisher
        self._line = line
        self._topology = topology
        self._proxy = proxy

    async def received(self) -> OutgoingMessage:
        message = await self._line.take(self._topology.named("results.dcp"))
        assert message.delivery_mode == 2
        assert message.content_type == "application/json"
        headers = headers_of(message.headers)
        return OutgoingMessage(
            exchange=Exchange((message.exchange or "").removeprefix(self._topology.prefix)),
            routing_key=message.routing_key or "",
            body=message.body,
            message_id=message.message_id or "",
            correlation_id=message.correlation_id,
            type=message.type,
            timestamp=message.timestamp,
            headers={name: value for name, value in headers.items() if name[:2] != "x-"},
        )

    async def fill(self) -> None:
        queue = await self._line.channel.declare_queue(
            exclusive=True, arguments={"x-max-length": 0, "x-overflow": "reject-publish"}
        )
        await queue.bind(self._topology.named("results"), _FULL)

    def fall_silent(self) -> None:
        self._proxy.go_dark()


@pytest.fixture(params=["fake", pytest.param("broker", marks=pytest.mark.broker)])
async def setting(request: pytest.FixtureRequest) -> AsyncIterator[Setting]:
    """The same questions to the fake and to RabbitMQ."""
    if request.param == "fake":
        yield FakeSetting()
        return
    broker: Broker = request.getfixturevalue("broker")
    async with AsyncExitStack() as stack:
        topology, line = await stack.enter_async_context(declared(broker, "dcp"))
        proxy = await stack.enter_async_context(proxy_to(broker.port))
        publisher = AmqpPublisher(
            replace(broker.address, port=proxy.port),
            topology,
            clock=SystemClock(),
            on_trouble=Troubles().note,
            seconds=1.0,
            pace=QUICK,
        )
        await stack.enter_async_context(publisher)
        await until(lambda: publisher.is_ready)
        yield BrokerSetting(publisher, line, topology, proxy)


async def test_a_confirmed_message_arrives_whole(setting: Setting) -> None:
    assert await setting.publisher.publish(_MESSAGE) is Publication.CONFIRMED
    assert await setting.received() == _MESSAGE


async def test_an_event_without_a_subscriber_is_unroutable(setting: Setting) -> None:
    lost = replace(_MESSAGE, routing_key=_UNBOUND)
    assert await setting.publisher.publish(lost) is Publication.UNROUTABLE


async def test_a_full_queue_refuses(setting: Setting) -> None:
    await setting.fill()
    full = replace(_MESSAGE, routing_key=_FULL)
    assert await setting.publisher.publish(full) is Publication.REFUSED
    assert await setting.publisher.publish(_MESSAGE) is Publication.CONFIRMED


async def test_silence_is_unknown(setting: Setting) -> None:
    setting.fall_silent()
    assert await setting.publisher.publish(_MESSAGE) is Publication.UNKNOWN


async def test_publishes_at_once_with_one_id_each_get_their_own_fate(setting: Setting) -> None:
    """Unguarded, the client mixes these two up every time (measured)."""
    lost = replace(_MESSAGE, routing_key=_UNBOUND)
    for _ in range(10):
        first, second = await asyncio.gather(
            setting.publisher.publish(_MESSAGE), setting.publisher.publish(lost)
        )
        assert (first, second) == (Publication.CONFIRMED, Publication.UNROUTABLE)


async def test_many_publishes_at_once_are_all_confirmed(setting: Setting) -> None:
    messages = [replace(_MESSAGE, message_id=f"event-{number}") for number in range(100)]
    fates = await asyncio.gather(*map(setting.publisher.publish, messages))
    assert set(fates) == {Publication.CONFIRMED}
