"""``payment-worker publish`` against a real broker, as a process."""

import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.amqp import Line, channel_to, declared
from tests.broker import Broker
from tests.builders import payment_body
from tests.commands import Ended, client_settings, run, started
from tests.proxy import proxy_to
from worker.adapters.clock import SystemClock
from worker.adapters.lone_publish import publish_alone
from worker.contract.reading import read
from worker.messages import Exchange, OutgoingMessage, Publication
from worker.model import Delivery, Fault, Initiation, Secret, Source
from worker.ports import Clock
from worker.rules import BrokerAddress
from worker.topology import Topology

pytestmark = pytest.mark.broker

_clock: Clock = SystemClock()


def write(directory: Path, count: int, **changes: object) -> str:
    """A file of so many requests, each for its own order."""
    file = directory / "requests.jsonl"
    bodies = (payment_body(id_commande=str(number), **changes) for number in range(count))
    file.write_text("\n".join(json.dumps(body) for body in bodies), encoding="utf-8")
    return str(file)


def fates(ended: Ended) -> dict[str, int]:
    """The summary, without what is zero."""
    summary = ended.records[-1]
    return {name: each for name, each in summary.items() if isinstance(each, int) and each}


@asynccontextmanager
async def user(
    broker: Broker, name: str, write: str, topic: tuple[str, str] | None = None
) -> AsyncIterator[BrokerAddress]:
    """A user who may write there, and only these routing keys of one topic exchange."""
    await broker.control("add_user", name, "password")
    await broker.control("set_permissions", "-p", "payments", name, "^$", write, "^$")
    if topic is not None:
        await broker.control("set_topic_permissions", "-p", "payments", name, *topic, "^$")
    try:
        yield replace(broker.address, user=name, password=Secret("password"))
    finally:
        await broker.control("delete_user", name)


async def take_all(line: Line, queue: str) -> list[str]:
    """Message ids of everything in a queue."""
    return [(await line.take(queue)).message_id or "" for _ in range(await line.depth(queue))]


async def test_each_request_arrives_persistent_under_the_printed_ids_and_again_under_the_same(
    broker: Broker, tmp_path: Path
) -> None:
    async with declared(broker) as (topology, line):
        settings = client_settings(tmp_path, broker.address, topology)
        file = write(tmp_path, 2, id_origin="Télévente")
        first, second = [await run(settings, "publish", file, "--json") for _ in range(2)]
        assert (first.code, second.code) == (0, 0), first.err
        assert first.records == second.records
        messages = [await line.take(topology.work_queue) for _ in range(4)]
        ids = [record["message_id"] for record in first.records[:-1]]
        assert sorted(message.message_id or "" for message in messages) == sorted(ids * 2)
        message = messages[0]
        assert message.routing_key == "payment.initiate.televente"
        assert (message.delivery_mode, message.content_type) == (2, "application/json")
        reading = read(
            Delivery(
                body=message.body,
                source=Source.REQUESTS,
                routing_key=message.routing_key,
                received_at=_clock.now(),
                message_id=message.message_id,
            )
        )
        assert isinstance(reading, Initiation)
        (record,) = [each for each in first.records if each.get("message_id") == message.message_id]
        assert record["payment_id"] == str(reading.envelope.operation_id)


async def test_what_is_refused_is_listed_and_only_the_rest_is_sent(
    broker: Broker, tmp_path: Path
) -> None:
    async with declared(broker) as (topology, line):
        settings = client_settings(tmp_path, broker.address, topology)
        file = tmp_path / "requests.csv"
        body = payment_body()
        rows = [";".join(body), ";".join(map(str, body.values()))]
        rows += [rows[1].replace("1250", "12,50")]
        file.write_bytes("\r\n".join(rows).encode("utf-8-sig"))
        ended = await run(settings, "publish", str(file))
        assert ended.code == 3
        assert sorted(text.split("\t")[2] for text in ended.out.splitlines()) == [
            "accepted",
            "refused",
        ]
        assert "1 accepted, 1 refused of 2." in ended.err
        assert await line.depth(topology.work_queue) == 1


async def test_a_cancellation_reaches_the_workers(broker: Broker, tmp_path: Path) -> None:
    async with declared(broker) as (topology, line):
        settings = client_settings(tmp_path, broker.address, topology)
        arguments = ("--cancel-key", "facture 17", "--origin", "dcp", "--notify")
        ended = await run(settings, "publish", *arguments)
        assert ended.code == 0
        message = await line.take(topology.work_queue)
        assert message.routing_key == "payment.cancel.dcp"
        assert json.loads(message.body) == {"idempotency_key": "facture 17", "notify": True}
        assert f"--key {message.message_id}" in ended.err


async def test_no_broker_is_told_at_once_in_one_line(tmp_path: Path, broker: Broker) -> None:
    topology = broker.topology()
    settings = client_settings(tmp_path, replace(broker.address, port=1), topology)
    ended = await run(settings, "publish", write(tmp_path, 3), "--json")
    assert (ended.code, ended.out) == (69, "")
    (line,) = ended.err.splitlines()
    assert json.loads(line)["error"]["code"] == "broker_unreachable"


async def test_a_missing_exchange_is_told_with_what_to_do(broker: Broker, tmp_path: Path) -> None:
    settings = client_settings(tmp_path, broker.address, broker.topology())
    ended = await run(settings, "publish", write(tmp_path, 20), "--json")
    assert ended.code == 1
    assert fates(ended) == {"total": 20, "refused": 10, "not_sent": 10}
    assert "NOT_FOUND" in ended.err
    assert "topology verify" in ended.err


async def test_requests_nobody_takes_come_back(broker: Broker, tmp_path: Path) -> None:
    topology = broker.topology()
    async with channel_to(broker) as channel:
        exchange = await channel.declare_exchange(topology.named("requests"), "topic")
        settings = client_settings(tmp_path, broker.address, topology)
        ended = await run(settings, "publish", write(tmp_path, 2), "--json")
        await exchange.delete()
    assert (ended.code, fates(ended)) == (1, {"total": 2, "returned": 2})


async def test_a_full_queue_is_waited_for_and_then_told(broker: Broker, tmp_path: Path) -> None:
    topology = broker.topology()
    async with channel_to(broker) as channel:
        exchange = await channel.declare_exchange(topology.named("requests"), "topic")
        queue = await channel.declare_queue(
            exclusive=True, arguments={"x-max-length": 0, "x-overflow": "reject-publish"}
        )
        await queue.bind(exchange, "#")
        settings = client_settings(tmp_path, broker.address, topology)
        arguments = ("publish", write(tmp_path, 2), "--patience", "1", "--json")
        ended = await run(settings, *arguments)
        await exchange.delete()
    assert (ended.code, fates(ended)) == (1, {"total": 2, "refused": 1, "not_sent": 1})
    assert ended.records[0]["faults"][0]["code"] == "queue_full"
    assert "nothing is paid twice" in ended.err


async def test_an_origin_the_user_may_not_use_is_refused_and_the_others_arrive(
    broker: Broker, tmp_path: Path
) -> None:
    async with declared(broker) as (topology, line):
        requests = topology.named("requests")
        topic = (requests, r"^payment\.initiate\.dcp$")
        file = tmp_path / "requests.jsonl"
        origins = ["web" if number % 20 == 5 else "dcp" for number in range(60)]
        bodies = [
            payment_body(id_origin=origin, id_commande=str(number))
            for number, origin in enumerate(origins, start=1)
        ]
        file.write_text("\n".join(json.dumps(body) for body in bodies), encoding="utf-8")
        async with user(broker, "erp-dcp", f"^{requests}$", topic) as address:
            settings = client_settings(tmp_path, address, topology)
            ended = await run(settings, "publish", str(file), "--json")
        assert ended.code == 3
        assert fates(ended) == {"total": 60, "accepted": 57, "refused": 3}
        assert ended.err.count("ACCESS_REFUSED") == 1, "said once"
        accepted = {
            record["message_id"] for record in ended.records if record.get("status") == "accepted"
        }
        assert set(await take_all(line, topology.work_queue)) == accepted


async def test_a_connection_that_breaks_on_the_way_loses_nothing(
    broker: Broker, tmp_path: Path
) -> None:
    async with declared(broker) as (topology, line), proxy_to(broker.port) as proxy:
        settings = client_settings(tmp_path, replace(broker.address, port=proxy.port), topology)
        async with started(settings, "publish", write(tmp_path, 2500), "--json") as command:
            await command.tells("Sending")
            while not await line.depth(topology.work_queue):
                await _clock.sleep(0.01)
            proxy.cut()
            ended = await command.ended()
        assert "lost" in ended.err
        assert (ended.code, fates(ended)) == (0, {"total": 2500, "accepted": 2500}), ended.err
        printed = {record["message_id"] for record in ended.records[:-1]}
        assert set(await take_all(line, topology.work_queue)) == printed


async def test_silence_is_unknown_and_the_advice_repeats_the_same_intent(
    broker: Broker, tmp_path: Path
) -> None:
    """A new intent run again as it stands would be another new intent: it must say so."""
    async with declared(broker) as (topology, line), proxy_to(broker.port) as proxy:
        settings = client_settings(tmp_path, replace(broker.address, port=proxy.port), topology)
        file = write(tmp_path, 500)
        arguments = ("publish", file, "--json", "--patience", "1", "--new-intent")
        async with started(settings, *arguments) as command:
            await command.tells("Sending")
            proxy.go_dark()
            ended = await command.ended()
        assert ended.code in {1, 3}
        counted = fates(ended)
        assert counted["unknown"] >= 1
        assert counted["unknown"] + counted.get("accepted", 0) + counted["not_sent"] == 500
        intent = ended.err.partition("--intent ")[2].partition(" ")[0]
        assert f"with --intent {intent} in place of --new-intent" in ended.err
        proxy.light_up()
        again = await run(settings, "publish", file, "--json", "--intent", intent)
        assert (again.code, fates(again)) == (0, {"total": 500, "accepted": 500})
        ids = {record["message_id"] for record in ended.records[:-1]}
        assert ids == {record["message_id"] for record in again.records[:-1]}
        assert set(await take_all(line, topology.work_queue)) == ids


async def test_a_signal_ends_it_in_order(broker: Broker, tmp_path: Path) -> None:
    async with declared(broker) as (topology, line), proxy_to(broker.port) as proxy:
        settings = client_settings(tmp_path, replace(broker.address, port=proxy.port), topology)
        async with started(settings, "publish", write(tmp_path, 500), "--json") as command:
            await command.tells("Sending")
            proxy.go_dark()
            command.signal(signal.SIGINT)
            await command.tells("Stopping")
            proxy.light_up()
            ended = await command.ended()
        assert ended.code == 2, ended.err
        counted = fates(ended)
        assert counted["not_sent"] >= 400
        assert counted["total"] == 500
        assert await line.depth(topology.work_queue) >= counted.get("accepted", 0)


@pytest.mark.parametrize(
    ("exchange", "key", "answer"),
    [
        (Exchange.REQUESTS, "payment.initiate.dcp", Publication.CONFIRMED),
        (Exchange.RESULTS, "payment.result.nobody.failed", Publication.UNROUTABLE),
    ],
)
async def test_a_lone_message_has_one_fate(
    broker: Broker, exchange: Exchange, key: str, answer: Publication
) -> None:
    async with declared(broker) as (topology, _):
        message = OutgoingMessage(exchange=exchange, routing_key=key, body=b"{}", message_id="1")
        assert await publish_alone(broker.address, topology, message) is answer


async def test_silence_and_no_broker_at_all_leave_a_lone_message_unknown(broker: Broker) -> None:
    topology: Topology = broker.topology()
    message = OutgoingMessage(
        exchange=Exchange.REQUESTS, routing_key="k", body=b"{}", message_id="1"
    )
    async with proxy_to(broker.port) as proxy:
        proxy.go_dark()
        dark = replace(broker.address, port=proxy.port)
        assert await publish_alone(dark, topology, message, seconds=0.5) is Publication.UNKNOWN
    nowhere = replace(broker.address, port=1)
    assert await publish_alone(nowhere, topology, message) is Publication.UNKNOWN


async def test_the_brokers_words_of_a_lone_message_name_no_credential(broker: Broker) -> None:
    async with user(broker, "nobody-at-all", "^$") as address:
        message = OutgoingMessage(
            exchange=Exchange.REQUESTS, routing_key="k", body=b"{}", message_id="1"
        )
        async with declared(broker) as (topology, _):
            fault = await publish_alone(address, topology, message)
    assert isinstance(fault, Fault)
    assert (fault.field, fault.code) == ("routing_key", "not_permitted")
    assert "password" not in fault.message
