"""``payment-worker watch`` against a real broker, as a process."""

import json
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.amqp import Line, declared
from tests.broker import Broker
from tests.builders import PAYMENT_ID, make_event
from tests.commands import client_settings, run, started
from worker.codes import Code
from worker.contract.events import event_body
from worker.model import Secret
from worker.records import Event, Status

pytestmark = pytest.mark.broker

LINK = "https://pay.example/s/abc?token=secret"
FOLLOWING = "Following"

WORKER = """
environment = "staging"
[ledger]
keys = ["c3VjaCBhIGdvb2Qga2V5LCAzMiBieXRlcyBvZiBpdCE="]
[results.subscribers]
shop = ["web", "televente"]
accounts = ["compta"]
[accounts.combo]
provider = "basket"
[accounts.combo.test]
base_url = "https://combo.test.example"
login = "pay.test.example"
password = "basket-password"
[accounts.combo.test.companies.1]
regie_id = "cantine"
item_url = "https://back.test.example/i/{reference}/"
display_name = "Commande {id_commande}"
"""
"""What a worker's machine has beside the broker's settings."""


def event(status: Status = Status.SUCCEEDED) -> Event:
    if status is Status.SUCCEEDED:
        return replace(make_event(), link=Secret(LINK))
    return replace(make_event(status), code=Code.DECLINED)


async def publish(line: Line, *events: Event, origin: str = "dcp") -> None:
    for each in events:
        key = f"payment.result.{origin}.{each.status}"
        await line.send(event_body(each), key=key, exchange="results")


async def bindings(broker: Broker, prefix: str) -> Sequence[str]:
    """Lines of the broker's own list of what is bound to this prefix's results."""
    listed = await broker.control("list_bindings", "-p", "payments", "source_name", "routing_key")
    return [each for each in listed.splitlines() if each.startswith(f"{prefix}results\t")]


async def test_events_are_shown_and_their_subscriber_gets_them_all_the_same(
    broker: Broker, tmp_path: Path
) -> None:
    async with declared(broker, "dcp") as (topology, line):
        settings = client_settings(tmp_path, broker.address, topology)
        async with started(settings, "watch", "dcp", "--count", "2", "--json") as command:
            await command.tells("counts as delivered")
            await publish(line, event(), event(Status.FAILED))
            ended = await command.ended()
        assert ended.code == 0
        first, second = ended.records
        assert first == {
            **json.loads(event_body(event())),
            "link": "[link pay.example 3d2565aafd60]",
        }
        assert second["code"] == "declined"
        assert await line.depth(topology.named("results.dcp")) == 2


async def test_links_are_printed_when_asked_for(broker: Broker, tmp_path: Path) -> None:
    async with declared(broker, "dcp") as (topology, line):
        settings = client_settings(tmp_path, broker.address, topology)
        arguments = ("watch", "dcp", "--count", "1", "--show-links")
        async with started(settings, *arguments) as command:
            await command.tells(FOLLOWING)
            await publish(line, event())
            ended = await command.ended()
        cells = ended.out.rstrip("\n").split("\t")
        assert cells[1:] == [
            *("succeeded", str(PAYMENT_ID), "40017", "12.50 EUR", "test", LINK, ""),
        ]


async def test_only_the_origins_named_are_followed(broker: Broker, tmp_path: Path) -> None:
    async with declared(broker, "dcp", "web", "compta") as (topology, line):
        settings = client_settings(tmp_path, broker.address, topology)
        arguments = ("watch", "Web", "Télévente", "--for", "30", "--count", "1", "--json")
        async with started(settings, *arguments) as command:
            await command.tells("Following web, televente")
            assert sorted(await bindings(broker, topology.prefix)) == sorted(
                f"{topology.prefix}results\tpayment.result.{origin}.*"
                for origin in ("compta", "dcp", "televente", "web", "web")
            )
            await publish(line, event(), origin="dcp")
            await publish(line, event(Status.FAILED), origin="web")
            ended = await command.ended()
        assert [record["result"] for record in ended.records] == [False]


async def test_without_a_name_every_subscribers_origins_are_followed(
    broker: Broker, tmp_path: Path
) -> None:
    async with declared(broker) as (topology, _):
        settings = client_settings(tmp_path, broker.address, topology)
        text = settings.read_text(encoding="utf-8")
        settings.write_text(f"{WORKER}{text}", encoding="utf-8")
        everyone = await run(settings, "watch", "--for", "1")
        shop = await run(settings, "watch", "shop", "--for", "1")
    assert "Following compta, web, televente;" in everyone.err, everyone.err
    assert "Following web, televente;" in shop.err


@pytest.mark.parametrize(("arguments", "code"), [([], 0), (["--count", "1"], 1)])
async def test_time_ends_it_and_what_was_asked_for_and_did_not_come_fails(
    broker: Broker, tmp_path: Path, arguments: list[str], code: int
) -> None:
    async with declared(broker, "dcp") as (topology, _):
        settings = client_settings(tmp_path, broker.address, topology)
        ended = await run(settings, "watch", "dcp", "--for", "0.5", *arguments)
    assert (ended.code, ended.out) == (code, "")


async def test_ctrl_c_ends_it_cleanly_and_nothing_stays_bound(
    broker: Broker, tmp_path: Path
) -> None:
    async with declared(broker) as (topology, _):
        settings = client_settings(tmp_path, broker.address, topology)
        async with started(settings, "watch", "dcp") as command:
            await command.tells("counts as delivered")
            assert len(await bindings(broker, topology.prefix)) == 1
            command.signal(signal.SIGINT)
            ended = await command.ended()
        assert ended.code == 130
        assert ended.out == ""
        assert "Traceback" not in ended.err
        assert await bindings(broker, topology.prefix) == []


async def test_a_lost_connection_is_told_and_followed_by_another(
    broker: Broker, tmp_path: Path
) -> None:
    async with declared(broker, "dcp") as (topology, line):
        settings = client_settings(tmp_path, broker.address, topology)
        async with started(settings, "watch", "dcp", "--count", "1", "--json") as command:
            await command.tells(FOLLOWING)
            await broker.drop_connections("watch", "maintenance")
            await command.tells("Connected again")
            await publish(line, event())
            ended = await command.ended()
        assert ended.code == 0
        assert len(ended.records) == 1
        assert "maintenance; trying again in" in ended.err
        assert "Traceback" not in ended.err


async def test_a_user_without_the_right_to_a_queue_is_told_which_right(
    broker: Broker, tmp_path: Path
) -> None:
    async with declared(broker) as (topology, _):
        await broker.control("add_user", "watcher", "password")
        try:
            await broker.control("set_permissions", "-p", "payments", "watcher", "^$", "^$", "^$")
            address = replace(broker.address, user="watcher", password=Secret("password"))
            settings = client_settings(tmp_path, address, topology)
            refused = await run(settings, "watch", "dcp", "--for", "20")
            results = topology.named("results").replace(".", r"\.")
            rights = (r"^amq\.gen-.*$", r"^amq\.gen-.*$", rf"^(amq\.gen-.*|{results})$")
            await broker.control("set_permissions", "-p", "payments", "watcher", *rights)
            allowed = await run(settings, "watch", "dcp", "--for", "1")
        finally:
            await broker.control("delete_user", "watcher")
    assert refused.code == 78
    assert "ACCESS_REFUSED" in refused.err
    assert rf"configure and write on ^amq\.gen-.*$ and read on that and on {topology.prefix}" in (
        refused.err
    )
    assert allowed.code == 0, allowed.err


async def test_a_missing_exchange_and_a_missing_broker_are_told_at_once(
    broker: Broker, tmp_path: Path
) -> None:
    topology = broker.topology()
    settings = client_settings(tmp_path, broker.address, topology)
    missing = await run(settings, "watch", "dcp", "--for", "20")
    assert missing.code == 78
    assert "There is nothing to follow: NOT_FOUND" in missing.err
    nowhere = client_settings(tmp_path, replace(broker.address, port=1), topology)
    unreachable = await run(nowhere, "watch", "dcp", "--for", "20")
    assert unreachable.code == 69
    assert "Traceback" not in unreachable.err


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], "No origin to follow"),
        (["*"], "named one by one"),
        (["dcp", "payment.result.#"], "named one by one"),
    ],
)
async def test_origins_must_be_named(
    broker: Broker, tmp_path: Path, names: list[str], words: str
) -> None:
    settings = client_settings(tmp_path, broker.address, broker.topology())
    ended = await run(settings, "watch", *names)
    assert ended.code == 64
    assert words in ended.err
