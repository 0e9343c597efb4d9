"""The consumer on a real broker: acknowledging last, surviving, pausing, handing back."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from tests.amqp import QUICK, Line, Troubles, declared
from tests.broker import Broker
from tests.frame_count import counted_frames
from tests.proxy import Proxy, proxy_to
from tests.waiting import until
from worker.adapters.clock import SystemClock
from worker.adapters.connection import TroubleKind
from worker.adapters.consumer import AmqpConsumer
from worker.messages import Action, Disposition, Handled, Story
from worker.model import Delivery, Source
from worker.topology import Topology

pytestmark = pytest.mark.broker

Handler = Callable[[Delivery], Awaitable[Handled]]
_ACKNOWLEDGE = Handled(Disposition.ACKNOWLEDGE, Story(action=Action.ANSWERED))
_RETURN = Handled(Disposition.RETURN, Story(action=Action.RETURNED))


class Desk:
    """Handles deliveries as each test says and keeps them, in order."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self.handled: list[Handled] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.usable = asyncio.Event()
        self.usable.set()
        self.probes = 0
        self.finished = 0
        self.most_at_once = 0
        self.decide: Handler = self._acknowledge
        self._at_once = 0

    @property
    def bodies(self) -> list[str]:
        return [delivery.body.decode() for delivery in self.deliveries]

    async def handle(self, delivery: Delivery) -> Handled:
        self.deliveries.append(delivery)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            await self.gate.wait()
            handled = await self.decide(delivery)
            self.finished += 1
            return handled
        finally:
            self._at_once -= 1

    def note(self, handled: Handled, seconds: float) -> None:
        assert seconds >= 0
        self.handled.append(handled)

    async def until_usable(self) -> None:
        self.probes += 1
        await self.usable.wait()

    async def _acknowledge(self, _: Delivery) -> Handled:
        return _ACKNOWLEDGE


class Stage:
    """A consumer behind a proxy, its desk, and a line to the broker beside it."""

    def __init__(
        self, consumer: AmqpConsumer, desk: Desk, line: Line, topology: Topology, proxy: Proxy
    ) -> None:
        self.consumer = consumer
        self.desk = desk
        self.line = line
        self.topology = topology
        self.proxy = proxy
        self.troubles = Troubles()

    async def empty(self) -> None:
        """Wait until the work queue has nothing left, unacknowledged messages included."""
        consumed = await self.line.queue(self.topology.work_queue)
        await self.consumer.stop(5)
        declared_again = await consumed.declare()
        assert declared_again.message_count == 0


@asynccontextmanager
async def _stage(broker: Broker, **limits: int) -> AsyncIterator[Stage]:
    async with declared(broker) as (topology, line), proxy_to(broker.port) as proxy:
        desk = Desk()
        troubles = Troubles()
        consumer = AmqpConsumer(
            replace(broker.address, port=proxy.port),
            topology,
            desk.handle,
            desk.note,
            until_usable=desk.until_usable,
            clock=SystemClock(),
            on_trouble=troubles.note,
            pace=QUICK,
            **limits,
        )
        stage = Stage(consumer, desk, line, topology, proxy)
        stage.troubles = troubles
        consumer.start()
        try:
            await until(lambda: consumer.is_consuming)
            yield stage
        finally:
            await consumer.stop(0)


async def _sent(stage: Stage, *bodies: str) -> None:
    for body in bodies:
        await stage.line.send(body.encode(), message_id=body)


async def test_a_delivery_is_handled_and_then_acknowledged(broker: Broker) -> None:
    async with _stage(broker) as stage:
        stage.desk.gate.clear()
        await _sent(stage, "a")
        await until(lambda: stage.consumer.in_flight == 1)
        stage.proxy.cut()  # not acknowledged yet, so it comes again
        await until(lambda: len(stage.desk.deliveries) == 2)
        stage.desk.gate.set()
        await until(lambda: stage.desk.finished == 2)
        await stage.empty()
        assert [delivery.redelivered for delivery in stage.desk.deliveries] == [False, True]
        assert stage.desk.deliveries[1].delivery_count == 1


async def test_what_finishes_later_is_acknowledged_without_what_is_still_under_way(
    broker: Broker,
) -> None:
    """One acknowledgement may stand for several, but never for a payment that is being made."""
    held = asyncio.Event()

    async def decide(delivery: Delivery) -> Handled:
        if delivery.body == b"slow":
            await held.wait()
        return _ACKNOWLEDGE

    async with _stage(broker) as stage:
        stage.desk.decide = decide
        await _sent(stage, "before", "slow", "after", "last")
        await until(lambda: len(stage.desk.handled) == 3)
        stage.proxy.cut()
        await until(lambda: len(stage.desk.deliveries) == 5)
        assert stage.desk.bodies[4] == "slow"
        held.set()
        await until(lambda: len(stage.desk.handled) == 5)
        await stage.empty()


async def test_deliveries_that_finish_together_are_acknowledged_together(broker: Broker) -> None:
    async with counted_frames(broker.port) as relay:
        async with _stage(replace(broker, port=relay.port)) as stage:
            stage.desk.gate.clear()
            await _sent(stage, *(str(number) for number in range(20)))
            await until(lambda: stage.consumer.in_flight == 20)
            before = relay.frames["Basic.Ack"]
            stage.desk.gate.set()
            await until(lambda: len(stage.desk.handled) == 20)
            await stage.empty()
        assert relay.frames["Basic.Ack"] - before == 1


async def test_a_delivery_says_where_it_came_from(broker: Broker) -> None:
    async with _stage(broker) as stage:
        await stage.line.send(b"1", key="payment.cancel.dcp", message_id="m")
        await stage.line.send(b"2", exchange="replay", key="work")
        await until(lambda: stage.desk.finished == 2)
        first, second = stage.desk.deliveries
        assert (first.source, first.routing_key) == (Source.REQUESTS, "payment.cancel.dcp")
        assert (second.source, second.routing_key) == (Source.REPLAY, "work")
        assert first.message_id == "m"
        assert first.received_at.tzinfo is not None


async def test_a_handler_outlives_a_dropped_connection(broker: Broker) -> None:
    """Its acknowledgement is lost, which is only logged, and the redelivery is acknowledged."""
    async with _stage(broker) as stage:
        stage.desk.gate.clear()
        await _sent(stage, "a")
        await until(lambda: stage.consumer.in_flight == 1)
        await broker.drop_connections("consumer")
        await until(lambda: stage.consumer.in_flight == 2)
        with capture_logs() as logs:
            stage.desk.gate.set()
            await until(lambda: stage.desk.finished == 2 and not stage.consumer.in_flight)
        await stage.empty()
        lost = [entry["event.action"] for entry in logs]
        assert lost == ["delivery.acknowledgement_lost"]
        assert stage.troubles.seen[0].kind is TroubleKind.LOST


async def test_the_consumer_comes_back_after_each_kind_of_loss(broker: Broker) -> None:
    """A delivery may come twice then, because its acknowledgement may have been lost."""
    async with _stage(broker) as stage:
        await broker.drop_connections("consumer")
        await _sent(stage, "a")
        await until(lambda: "a" in stage.desk.bodies)
        stage.proxy.cut()
        await _sent(stage, "b")
        await until(lambda: "b" in stage.desk.bodies)
        assert len(stage.troubles.seen) == 2


async def test_a_deleted_queue_is_reported_and_consumed_again_once_it_is_back(
    broker: Broker,
) -> None:
    async with _stage(broker) as stage:
        work = next(q for q in stage.topology.queues if q.name == stage.topology.work_queue)
        await stage.line.channel.queue_delete(work.name)
        await until(lambda: len(stage.troubles.seen) >= 2)
        kinds = [trouble.kind for trouble in stage.troubles.seen]
        assert kinds[:2] == [TroubleKind.LOST, TroubleKind.MISSING]
        assert not stage.consumer.is_consuming
        queue = await stage.line.channel.declare_queue(
            work.name, durable=True, arguments=dict(work.arguments)
        )
        await queue.bind(stage.topology.named("requests"), "payment.initiate.#")
        await until(lambda: stage.consumer.is_consuming)
        await _sent(stage, "a")
        await until(lambda: stage.desk.finished == 1)


async def test_prefetch_and_concurrency_are_kept(broker: Broker) -> None:
    async with _stage(broker, prefetch=4, concurrency=2) as stage:
        stage.desk.gate.clear()
        await _sent(stage, *"abcdefgh")
        await until(lambda: stage.consumer.in_flight == 2)
        left = await stage.line.depth(stage.topology.work_queue)
        assert left == 4
        stage.desk.gate.set()
        await until(lambda: stage.desk.finished == 8)
        assert stage.desk.most_at_once == 2


async def test_a_returned_delivery_waits_until_things_are_usable(broker: Broker) -> None:
    async with _stage(broker) as stage:
        stage.desk.usable.clear()
        stage.desk.decide = _returning_once(stage.desk)
        await _sent(stage, "a")
        await until(lambda: stage.desk.probes == 1)
        assert not stage.consumer.is_consuming
        assert stage.consumer.pauses == {"returned"}
        assert await stage.line.depth(stage.topology.work_queue) == 1
        assert stage.desk.bodies == ["a"]
        stage.desk.usable.set()
        await until(lambda: stage.desk.finished == 2)
        await stage.empty()
        assert stage.desk.handled == [_RETURN, _ACKNOWLEDGE]


def _returning_once(desk: Desk) -> Handler:
    async def decide(_: Delivery) -> Handled:
        return _RETURN if len(desk.deliveries) == 1 else _ACKNOWLEDGE

    return decide


async def test_returns_in_a_row_do_not_spin(broker: Broker) -> None:
    """Each pause is longer than the one before, up to the most."""

    async def always(_: Delivery) -> Handled:
        return _RETURN

    async with _stage(broker) as stage:
        stage.desk.decide = always
        started = SystemClock().monotonic()
        await _sent(stage, "a")
        await until(lambda: len(stage.desk.deliveries) == 6)
        shortest = sum(QUICK.delay(number, 1.0) for number in range(5))
        assert SystemClock().monotonic() - started >= shortest


async def test_a_crashing_handler_loses_nothing_and_names_only_type_and_place(
    broker: Broker,
) -> None:
    async def crash_once(delivery: Delivery) -> Handled:
        if not delivery.redelivered:
            raise ValueError("jean.dupont@example.org")
        return _ACKNOWLEDGE

    async with _stage(broker) as stage:
        stage.desk.decide = crash_once
        with capture_logs() as logs:
            await _sent(stage, "a")
            await until(lambda: stage.desk.finished == 1)
        await stage.empty()
        (crash,) = (entry for entry in logs if entry["log_level"] == "error")
        assert crash["event.action"] == "delivery.handler_failed"
        assert crash["error.type"] == "ValueError"
        assert crash["error.stack"][0].startswith("test_consumer.py:")
        assert "dupont" not in str(logs)


async def test_one_bad_message_does_not_stop_the_others(broker: Broker) -> None:
    async def decide(delivery: Delivery) -> Handled:
        if delivery.body == b"bad":
            raise ZeroDivisionError
        return _ACKNOWLEDGE

    async with _stage(broker, prefetch=3) as stage:
        stage.desk.decide = decide
        await _sent(stage, "bad", *"abcdef")
        await until(lambda: stage.desk.finished == 6)
        assert not stage.consumer.pauses


async def test_a_pause_takes_the_consumer_back_and_keeps_what_is_under_way(broker: Broker) -> None:
    async with _stage(broker) as stage:
        stage.desk.gate.clear()
        await _sent(stage, "a")
        await until(lambda: stage.consumer.in_flight == 1)
        stage.consumer.pause("ledger")
        stage.consumer.pause("operator")
        await until(lambda: not stage.consumer.is_consuming)
        await _sent(stage, "b")
        stage.desk.gate.set()
        await until(lambda: stage.desk.finished == 1)
        stage.consumer.resume("ledger")
        assert await stage.line.depth(stage.topology.work_queue) == 1
        stage.consumer.resume("operator")
        await until(lambda: stage.desk.finished == 2)
        assert stage.desk.bodies == ["a", "b"]


async def test_a_pause_of_hours_hands_back_what_was_not_started(broker: Broker) -> None:
    """Held unacknowledged, it would have the broker close the channel after half an hour."""
    async with _stage(broker, prefetch=3, concurrency=1) as stage:
        stage.desk.gate.clear()
        await _sent(stage, *"abc")
        await until(lambda: stage.consumer.in_flight == 1)
        stage.consumer.pause("operators", gives_back=True)
        async with asyncio.timeout(20):
            while await stage.line.depth(stage.topology.work_queue) != 2:
                await SystemClock().sleep(0.05)
        stage.desk.gate.set()
        await until(lambda: stage.desk.finished == 1)
        assert stage.desk.bodies == ["a"]
        stage.consumer.resume("operators")
        await until(lambda: stage.desk.finished == 3)
        assert sorted(stage.desk.bodies) == ["a", "b", "c"]


async def test_stopping_finishes_what_runs_and_hands_back_the_rest(broker: Broker) -> None:
    async with _stage(broker, prefetch=3, concurrency=1) as stage:
        stage.desk.gate.clear()
        await _sent(stage, *"abc")
        await until(lambda: stage.consumer.in_flight == 1)
        stopping = asyncio.create_task(stage.consumer.stop(10))
        taken = [await stage.line.take(stage.topology.work_queue) for _ in range(2)]
        assert sorted(message.body for message in taken) == [b"b", b"c"]
        assert not stopping.done()
        stage.desk.gate.set()
        await stopping
        assert stage.desk.bodies == ["a"]
        assert stage.desk.handled == [_ACKNOWLEDGE]
        assert await stage.line.depth(stage.topology.work_queue) == 0


async def test_a_handler_that_outstays_the_drain_is_cancelled_and_its_delivery_comes_back(
    broker: Broker,
) -> None:
    async with _stage(broker) as stage:
        stage.desk.gate.clear()
        await _sent(stage, "a")
        await until(lambda: stage.consumer.in_flight == 1)
        await stage.consumer.stop(0.1)
        assert stage.consumer.in_flight == 0
        assert (await stage.line.take(stage.topology.work_queue)).redelivered
