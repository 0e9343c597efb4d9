"""The committed definitions on blank nodes: every object is there, every user has its rights."""

import hashlib
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aio_pika
import aiormq.exceptions
import pytest
from aio_pika.abc import AbstractChannel

from tests.broker import Broker, private_broker
from worker.adapters.connection import connected
from worker.adapters.topology import TopologyRefusedError, Verdict, declare, verify
from worker.model import Environment, Origin, Secret
from worker.provisioning import bars_the_start
from worker.rules import BrokerAddress, Subscriber
from worker.topology import Topology

pytestmark = pytest.mark.broker

_FILE = Path(__file__).parents[2] / "deploy" / "rabbitmq" / "definitions.json"
_PASSWORD = "of-this-test-only"  # noqa: S105 (the node is gone after the test)
_TOPOLOGY = Topology(
    environment=Environment.PRODUCTION,
    subscribers=(Subscriber(name="dcp", origins=(Origin("dcp"), Origin("unknown"))),),
)
_REFUSED = aiormq.exceptions.ChannelAccessRefused


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A blank node that imported the committed file at boot, with passwords and a provisioner."""
    salt = b"salt"
    password = b64encode(salt + hashlib.sha256(salt + _PASSWORD.encode()).digest()).decode()
    document = json.loads(_FILE.read_text())
    document["users"].append({**document["users"][0], "name": "provisioner"})
    everything = {"configure": r"^payments\.", "write": r"^payments\.", "read": r"^payments\."}
    document["permissions"].append({"user": "provisioner", "vhost": "payments", **everything})
    for user in document["users"]:
        user["password_hash"] = password
    file = tmp_path_factory.mktemp("definitions") / "definitions.json"
    file.write_text(json.dumps(document))
    with private_broker("--definitions", str(file)) as node:
        yield node


def _as(node: Broker, user: str) -> BrokerAddress:
    return replace(node.address, user=user, password=Secret(_PASSWORD))


@asynccontextmanager
async def _channel(node: Broker, user: str) -> AsyncIterator[AbstractChannel]:
    async with connected(_as(node, user), role="test") as connection:
        yield await connection.channel(on_return_raises=True)


async def test_every_object_is_there_and_alike(production: Broker) -> None:
    """Declared again by who may configure: structure and limits are two policies' business."""
    async with connected(_as(production, "provisioner"), role="test") as connection:
        findings = await verify(connection, _TOPOLOGY)
    assert [found for found in findings if found.is_fault] == []
    seen = [found for found in findings if found.kind in {"exchange", "queue"}]
    assert {found.verdict for found in seen} == {Verdict.OK}


async def test_the_worker_sees_existence_and_says_what_it_cannot_see(production: Broker) -> None:
    async with connected(_as(production, "payworker"), role="test") as connection:
        findings = await verify(connection, _TOPOLOGY)
        staging = replace(_TOPOLOGY, environment=Environment.STAGING)
        elsewhere = {found.name: found for found in await verify(connection, staging)}
        with pytest.raises(TopologyRefusedError, match="other environment"):
            await declare(connection, staging)
        with pytest.raises(TopologyRefusedError, match="ACCESS_REFUSED"):
            await declare(connection, _TOPOLOGY)
    assert [found for found in findings if bars_the_start(found, _TOPOLOGY)] == []
    assert {found.verdict for found in findings if found.kind == "queue"} == {Verdict.SKIP}
    assert elsewhere["payments.environment.staging"].verdict is Verdict.MISSING
    assert elsewhere["payments.environment.production"].verdict is Verdict.MISMATCH


async def test_the_limits_are_in_force(production: Broker) -> None:
    policies = await production.control("list_policies", "-p", "payments", "--formatter=json")
    committed = json.loads(_FILE.read_text())["policies"]
    assert {policy["name"] for policy in json.loads(policies)} == {
        policy["name"] for policy in committed
    }
    queues = json.loads(
        await production.control(
            "list_queues", "-p", "payments", "name", "policy", "--formatter=json"
        )
    )
    assert {queue["name"]: queue["policy"] for queue in queues}["payments.work"] == "payments.work"
    assert all(queue["policy"] for queue in queues)


def _publish(exchange: str, key: str) -> Callable[[AbstractChannel], Awaitable[object]]:
    async def act(channel: AbstractChannel) -> None:
        target = await channel.get_exchange(exchange, ensure=False)
        await target.publish(aio_pika.Message(b"{}"), key, timeout=10)

    return act


def _read(queue: str) -> Callable[[AbstractChannel], Awaitable[object]]:
    async def act(channel: AbstractChannel) -> None:
        source = await channel.get_queue(queue, ensure=False)
        await source.get(fail=False, no_ack=True)

    return act


@pytest.mark.parametrize(
    ("user", "act", "refusal"),
    [
        ("erp-dcp", _publish("payments.requests", "payment.initiate.dcp"), None),
        ("erp-dcp", _publish("payments.requests", "payment.cancel.dcp"), None),
        ("erp-dcp", _publish("payments.requests", "payment.initiate.other"), _REFUSED),
        ("erp-dcp", _publish("payments.requests", "payment.initiat.dcp"), _REFUSED),
        ("erp-dcp", _publish("payments.replay", "work"), _REFUSED),
        ("erp-dcp", _publish("", "payments.work"), _REFUSED),
        ("erp-dcp", _read("payments.results.dcp"), _REFUSED),
        ("payworker", _publish("payments.results", "payment.result.dcp.failed"), None),
        ("payworker", _publish("payments.results", "other.dcp.failed"), _REFUSED),
        ("payworker", _publish("payments.retry", "1h"), None),
        ("payworker", _publish("payments.dlx", "dead"), None),
        ("payworker", _publish("payments.dlx", "unclaimed"), None),
        ("payworker", _publish("payments.requests", "payment.initiate.dcp"), _REFUSED),
        ("payworker", _publish("payments.requeue", "work"), _REFUSED),
        ("payworker", _publish("payments.environment.production", ""), _REFUSED),
        ("payworker", _read("payments.work"), None),
        ("payworker", _read("payments.dlq"), _REFUSED),
        ("dcp", _read("payments.results.dcp"), None),
        ("dcp", _read("payments.work"), _REFUSED),
        ("dcp", _publish("payments.results", "payment.result.dcp.failed"), _REFUSED),
        ("ops-replay", _publish("payments.replay", "work"), None),
        ("ops-replay", _publish("payments.dlx", "dead"), None),
        ("ops-replay", _read("payments.dlq"), None),
        ("ops-replay", _read("payments.unclaimed"), None),
        ("ops-replay", _publish("payments.results", "payment.result.dcp.failed"), _REFUSED),
    ],
)
async def test_each_user_may_do_its_work_and_nothing_else(
    production: Broker,
    user: str,
    act: Callable[[AbstractChannel], Awaitable[object]],
    refusal: type[Exception] | None,
) -> None:
    async with _channel(production, user) as channel:
        if refusal is None:
            await act(channel)
        else:
            with pytest.raises(refusal):
                await act(channel)
