"""Letters that a real broker holds and made, carried in a file to another set of queues."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aio_pika
import pytest
from aio_pika.abc import AbstractIncomingMessage

from tests.amqp import QUICK, Line, Troubles, declared
from tests.broker import Broker
from tests.builders import NOON
from tests.core import World
from tests.unit.test_export_lines import sound
from worker.adapters.clock import SystemClock
from worker.adapters.connection import connected
from worker.adapters.letters import AmqpLetterQueue
from worker.adapters.publisher import AmqpPublisher
from worker.messages import Publication
from worker.model import Environment
from worker.operators.exports.exporting import Exporter
from worker.operators.exports.files import read_export, writing_export
from worker.operators.exports.importing import Fate, Importer
from worker.operators.exports.lines import ExportHeader
from worker.topology import Topology

pytestmark = pytest.mark.broker

HEADER = ExportHeader(environment=Environment.STAGING, exported_at=NOON)


@asynccontextmanager
async def desk(
    broker: Broker, topology: Topology
) -> AsyncIterator[tuple[AmqpLetterQueue, AmqpPublisher]]:
    """The dead letters of a topology, and a publisher to put them back."""
    clock = SystemClock()
    async with (
        connected(broker.address, role="walk") as connection,
        AmqpPublisher(
            broker.address, topology, clock=clock, on_trouble=Troubles().note, pace=QUICK
        ) as publisher,
    ):
        queue = await AmqpLetterQueue.open(
            connection, topology.dead_letter_queue, topology=topology, clock=clock
        )
        yield queue, publisher


async def given_up(line: Line, topology: Topology) -> None:
    """Have the broker dead-letter a request as its producer sent it, odd headers and all."""
    target = await line.channel.get_exchange(topology.named("requests"), ensure=False)
    request = aio_pika.Message(
        b'{"caf\xe9": "\x00"}',
        message_id="key-9",
        correlation_id="order-9",
        headers={"tracestate": "a=b", "CC": ["payment.initiate.web"], "count": 7},
        delivery_mode=2,
    )
    await target.publish(request, "payment.initiate.dcp", timeout=10)
    work = await line.channel.get_queue(topology.work_queue, ensure=False)
    while (message := await work.get(fail=False, timeout=10)) is None:
        await SystemClock().sleep(0.02)
    await message.reject(requeue=False)
    while not await line.depth(topology.dead_letter_queue):
        await SystemClock().sleep(0.02)


def facts(message: AbstractIncomingMessage) -> tuple[object, ...]:
    """All of a letter that a copy keeps."""
    return (
        message.body,
        message.message_id,
        message.correlation_id,
        message.type,
        message.timestamp,
        dict(message.headers),
    )


async def test_letters_arrive_elsewhere_as_a_walk_leaves_them_here(
    broker: Broker, tmp_path: Path
) -> None:
    world, path = World(), tmp_path / "letters.jsonl"
    ledger = world.worker().ledger
    async with declared(broker) as (here, line), declared(broker) as (there, other):
        await given_up(line, here)
        async with desk(broker, here) as (queue, publisher):
            assert await publisher.publish(sound().message) is Publication.CONFIRMED
            with writing_export(path, HEADER) as writer:
                exporter = Exporter(ledger=ledger, queue=queue, publisher=publisher, actor="anna")
                report = await exporter.export(writer, wanted=None, on_progress=lambda _: None)
            assert (report.kept, report.seal.letters, report.nameless) == (2, 2, 0)
            assert report.is_complete
            assert await queue.depth() == 2
        async with desk(broker, there) as (queue, publisher):
            importer = Importer(ledger=ledger, actor="anna")
            for expected in ({Fate.UNKNOWN: 2}, {Fate.PRESENT: 2}):
                done = await importer.bring_in(
                    read_export(path),
                    queue=queue,
                    publisher=publisher,
                    reason="another broker",
                    on_fate=lambda _letter, _fate: None,
                    on_met=lambda _steps: None,
                )
                assert (done.fates, done.is_complete) == (expected, True)
            assert await queue.depth() == 2
        before = [facts(await line.take(here.dead_letter_queue)) for _ in range(2)]
        after = [facts(await other.take(there.dead_letter_queue)) for _ in range(2)]
        assert after == before
        assert before[0][0] == b'{"caf\xe9": "\x00"}'
