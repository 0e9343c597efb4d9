"""Walking a queue, and following events, on a real broker."""

import asyncio

import pytest

from tests.amqp import Line, declared
from tests.broker import Broker
from worker.adapters.clock import SystemClock
from worker.adapters.connection import BrokerTroubleError, TroubleKind, connected
from worker.adapters.follower import follow, follow_queue
from worker.adapters.letters import AmqpLetter, AmqpLetterQueue

pytestmark = pytest.mark.broker


async def _letters(line: Line, *bodies: str) -> None:
    for body in bodies:
        await line.send(body.encode(), exchange="dlx", key="dead", message_id=body)


async def _next_letter(queue: AmqpLetterQueue) -> AmqpLetter:
    """A returned letter is back as soon as the queue's log has it, which nobody confirms."""
    while (letter := await queue.take()) is None:
        await SystemClock().sleep(0.02)
    return letter


async def test_a_walk_takes_letters_in_order_and_knows_how_many(broker: Broker) -> None:
    async with (
        declared(broker) as (topology, line),
        connected(broker.address, role="walk") as connection,
    ):
        await _letters(line, "a", "b")
        queue = await AmqpLetterQueue.open(
            connection, topology.dead_letter_queue, topology=topology, clock=SystemClock()
        )
        assert await queue.depth() == 2
        first = await queue.take()
        assert first is not None
        assert first.delivery.message_id == "a"
        await first.acknowledge()
        second = await queue.take()
        assert second is not None
        assert second.delivery.body == b"b"
        await second.give_back()
        third = await _next_letter(queue)
        assert third.delivery.redelivered
        await third.acknowledge()
        assert await queue.take() is None


async def test_a_letter_in_hand_comes_back_when_the_walk_dies(broker: Broker) -> None:
    async with declared(broker) as (topology, line):
        await _letters(line, "a")
        async with connected(broker.address, role="walk") as connection:
            queue = await AmqpLetterQueue.open(
                connection, topology.dead_letter_queue, topology=topology, clock=SystemClock()
            )
            assert await queue.take() is not None
        assert (await line.take(topology.dead_letter_queue)).redelivered


async def test_a_watcher_sees_events_and_the_subscriber_still_gets_them(broker: Broker) -> None:
    async with (
        declared(broker, "dcp") as (topology, line),
        connected(broker.address, role="watch") as connection,
    ):
        ready = asyncio.Event()
        keys = ["payment.result.dcp.*"]
        events = follow(connection, keys, topology=topology, clock=SystemClock(), ready=ready)
        first = asyncio.ensure_future(anext(events))
        await ready.wait()
        await line.send(b"{}", exchange="results", key="payment.result.dcp.failed")
        assert (await first).routing_key == "payment.result.dcp.failed"
        assert await line.depth(topology.named("results.dcp")) == 1


async def test_following_a_queue_empties_it(broker: Broker) -> None:
    async with (
        declared(broker, "dcp") as (topology, line),
        connected(broker.address, role="watch") as connection,
    ):
        name = topology.named("results.dcp")
        for body in (b"1", b"2"):
            await line.send(body, exchange="results", key="payment.result.dcp.failed")
        events = follow_queue(connection, name, topology=topology, clock=SystemClock())
        assert [(await anext(events)).body for _ in range(2)] == [b"1", b"2"]


@pytest.mark.parametrize("fate", ["connection", "queue"])
async def test_a_watcher_is_told_when_nothing_more_can_come(broker: Broker, fate: str) -> None:
    async with (
        declared(broker, "dcp") as (topology, line),
        connected(broker.address, role="watch") as connection,
    ):
        ready = asyncio.Event()
        events = follow_queue(
            connection,
            topology.named("results.dcp"),
            topology=topology,
            clock=SystemClock(),
            ready=ready,
        )
        waiting = asyncio.ensure_future(anext(events))
        await ready.wait()
        if fate == "connection":
            await broker.drop_connections("watch")
        else:
            await line.channel.queue_delete(topology.named("results.dcp"))
        with pytest.raises(BrokerTroubleError) as caught:
            await waiting
    assert caught.value.kind is (TroubleKind.LOST if fate == "connection" else TroubleKind.MISSING)
