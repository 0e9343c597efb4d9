"""The topology on a real broker: declaring, refusing, seeing."""

from dataclasses import replace

import pytest

from tests.amqp import Line, channel_to, declared
from tests.broker import Broker
from tests.proxy import Way, proxy_to
from worker.adapters.connection import CLIENT_ERRORS, BrokerTroubleError, connected
from worker.adapters.topology import Finding, TopologyRefusedError, Verdict, declare, verify
from worker.messages import Exchange
from worker.model import Environment
from worker.rules import BrokerAddress
from worker.topology import Topology

pytestmark = pytest.mark.broker


def _verdicts(findings: list[Finding]) -> dict[str, Verdict]:
    return {f"{found.kind} {found.name}": found.verdict for found in findings}


async def test_what_was_declared_verifies_as_ok_and_the_invisible_as_skip(broker: Broker) -> None:
    async with declared(broker, "dcp") as (topology, _):
        async with connected(broker.address, role="test") as connection:
            findings = await verify(connection, topology)
        skipped = [found.kind for found in findings if found.verdict is Verdict.SKIP]
        assert skipped == ["bindings", "policies"]
        assert {found.verdict for found in findings} == {Verdict.OK, Verdict.SKIP}


async def test_declaring_twice_changes_nothing(broker: Broker) -> None:
    async with declared(broker, "dcp") as (topology, line):
        await line.send(b"{}")
        async with connected(broker.address, role="test") as connection:
            await declare(connection, topology)
        assert await line.depth(topology.work_queue) == 1


async def test_a_blank_broker_has_everything_missing(broker: Broker) -> None:
    topology = broker.topology("dcp")
    async with connected(broker.address, role="test") as connection:
        verdicts = _verdicts(await verify(connection, topology))
    assert verdicts[f"queue {topology.work_queue}"] is Verdict.MISSING
    assert verdicts[f"exchange {topology.mark}"] is Verdict.MISSING


async def test_other_arguments_are_a_mismatch_in_the_brokers_words(broker: Broker) -> None:
    topology = broker.topology()
    async with channel_to(broker) as channel:
        await channel.declare_queue(
            topology.work_queue,
            durable=True,
            arguments={"x-queue-type": "quorum", "x-delivery-limit": 3},
        )
        async with connected(broker.address, role="test") as connection:
            findings = await verify(connection, topology)
            with pytest.raises(TopologyRefusedError, match="inequivalent arg"):
                await declare(connection, topology)
    work = next(found for found in findings if found.name == topology.work_queue)
    assert work.verdict is Verdict.MISMATCH
    assert "inequivalent arg" in work.reason


async def test_nothing_is_declared_on_the_other_environments_broker(broker: Broker) -> None:
    async with declared(broker) as (topology, line):
        ours = Topology(environment=Environment.PRODUCTION, prefix=topology.prefix)
        async with connected(broker.address, role="test") as connection:
            with pytest.raises(TopologyRefusedError, match="other environment"):
                await declare(connection, ours)
            verdicts = _verdicts(await verify(connection, ours))
        assert verdicts[f"exchange {ours.mark}"] is Verdict.MISSING
        assert verdicts[f"exchange {topology.mark}"] is Verdict.MISMATCH
        assert await line.depth(topology.work_queue) == 0


async def test_a_request_nobody_bound_ends_in_the_unrouted_queue(broker: Broker) -> None:
    async with declared(broker) as (topology, line):
        await line.send(b"{}", key="payment.initiat.dcp")
        assert (await line.take(topology.unrouted_queue)).routing_key == "payment.initiat.dcp"


@pytest.mark.parametrize("key", ["payment.initiate.dcp", "payment.cancel.web", "payment.initiate"])
async def test_requests_reach_the_work_queue(broker: Broker, key: str) -> None:
    async with declared(broker) as (topology, line):
        await line.send(b"{}", key=key)
        assert (await line.take(topology.work_queue)).routing_key == key


@pytest.mark.parametrize(
    ("exchange", "key", "queue"),
    [
        ("replay", "work", "work"),
        ("replay", "parking", "parking"),
        ("dlx", "dead", "dlq"),
        ("dlx", "parking", "parking"),
        ("dlx", "unclaimed", "unclaimed"),
        ("retry", "1h", "retry.v1.1h"),
        ("results", "payment.result.dcp.failed", "results.dcp"),
    ],
)
async def test_every_other_key_has_its_queue(
    broker: Broker, exchange: str, key: str, queue: str
) -> None:
    async with declared(broker, "dcp") as (topology, line):
        await line.send(b"{}", exchange=exchange, key=key)
        assert await line.depth(topology.named(queue)) == 1


async def test_the_shortest_rung_gives_a_message_back_after_five_seconds(broker: Broker) -> None:
    """It comes back through the internal exchange, which proves where it has been."""
    async with declared(broker) as (topology, line):
        await _ladder_round_trip(topology, line)


async def _ladder_round_trip(topology: Topology, line: Line) -> None:
    await line.send(b"{}", exchange=Exchange.RETRY, key="5s", message_id="m-1")
    message = await line.take(topology.work_queue)
    assert message.exchange == topology.requeue_exchange
    assert message.routing_key == "work"
    assert message.message_id == "m-1"
    assert not message.redelivered


async def test_nobody_publishes_to_the_ladders_way_back(broker: Broker) -> None:
    async with declared(broker) as (_, line):
        with pytest.raises(Exception, match="ACCESS_REFUSED"):
            await line.send(b"{}", exchange="requeue", key="work")


async def test_a_connection_that_ends_in_mid_look_is_a_trouble_and_no_surprise(
    broker: Broker,
) -> None:
    """Wherever it is cut, the start of a worker can tell and tries again."""

    async def look(address: BrokerAddress) -> None:
        async with connected(address, role="test") as connection:
            await declare(connection, topology)
            await verify(connection, topology)

    async with declared(broker, "dcp") as (topology, _), proxy_to(broker.port) as proxy:
        address = replace(broker.address, port=proxy.port)
        await look(address)
        whole = proxy.carried[Way.BACK]
        for part in range(1, 40):
            proxy.cut_after(whole * part // 40, Way.BACK)
            with pytest.raises((BrokerTroubleError, *CLIENT_ERRORS)):
                await look(address)
