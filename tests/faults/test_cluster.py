"""Failure cases 17 and 18: one of three nodes is killed; ``tests.faults.cluster`` does more."""

import asyncio
import signal
from dataclasses import replace

import pytest

from tests.amqp import QUICK, Troubles
from tests.cluster import SIZE, private_cluster
from tests.waiting import until
from worker.adapters.clock import SystemClock
from worker.adapters.connection import connected
from worker.adapters.publisher import AmqpPublisher
from worker.adapters.topology import declare
from worker.messages import Exchange, OutgoingMessage, Publication
from worker.model import Environment
from worker.topology import Topology

pytestmark = [pytest.mark.broker, pytest.mark.time_limit(120)]

_REQUEST = OutgoingMessage(
    exchange=Exchange.REQUESTS, routing_key="payment.initiate.dcp", body=b"{}", message_id="m-1"
)


async def test_case_17_and_18_a_killed_node_is_left_for_another_one() -> None:
    """Every queue has a replica on each node, so what is left of the cluster confirms."""
    troubles = Troubles()
    topology = Topology(environment=Environment.STAGING, prefix="payments.")
    async with private_cluster() as cluster:
        first, *others = cluster.members
        async with connected(first.broker.address, role="test") as connection:
            await declare(connection, topology)
        await cluster.becomes_whole()
        queues = await cluster.quorums(first)
        assert len(queues) == len(topology.queues)
        assert {len(states) for states in queues.values()} == {SIZE}
        address = replace(
            first.broker.address,
            others=tuple(("127.0.0.1", member.broker.port) for member in others),
        )
        async with AmqpPublisher(
            address, topology, clock=SystemClock(), on_trouble=troubles.note, pace=QUICK
        ) as publisher:
            assert await publisher.publish(_REQUEST) is Publication.CONFIRMED
            left = cluster.at(publisher.place or "")
            left.signal(signal.SIGKILL)
            await until(lambda: publisher.is_ready and publisher.place != left.place)
            async with asyncio.timeout(40):
                while await publisher.publish(_REQUEST) is not Publication.CONFIRMED:
                    assert not troubles.seen[-1].needs_person
