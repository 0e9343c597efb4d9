"""Failure cases 24, 26, 27 and 28: queues that lose their policies, are full, or hold letters.

The broker is a node of this module's own: its clock for held letters runs faster than the 180
seconds that a broker takes by default, and its policies are taken away.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import aio_pika
import pytest
from aio_pika.abc import HeadersType

from tests.acceptance.erp import Erp, basket_order, connected_erp, new_key, order, payment_id_of
from tests.acceptance.fault_site import (
    SHORT,
    FaultSite,
    fault_site,
    hand_back,
    is_calm,
    nothing_is_left,
)
from tests.acceptance.installation import CHECKOUT, Installation
from tests.acceptance.worker_process import started
from tests.broker import Broker, private_broker
from tests.waiting import until
from worker.adapters.clock import SystemClock

pytestmark = pytest.mark.broker

HELD_MILLISECONDS = 1500
"""The broker tries a held letter again when so much time has passed once or twice."""

FULL: Mapping[str, object] = {"max-length": 1, "overflow": "reject-publish"}

_clock = SystemClock()


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    """A node that tries held letters again after a moment."""
    with private_broker() as node:
        yield node


async def fill(erp: Erp, exchange: str, routing_key: str) -> None:
    """Publish until the queue refuses: its limit takes effect a message or two later."""
    for _ in range(8):
        try:
            await erp.send(b"{}", exchange=exchange, routing_key=routing_key)
        except aio_pika.exceptions.DeliveryError:
            return
    raise AssertionError(routing_key)


async def empty(erp: Erp, suffix: str) -> None:
    """Take everything that is ready out of a queue."""
    await (await erp.channel.get_queue(erp.prefix + suffix, ensure=False)).purge()


async def hurry_held_letters(broker: Broker) -> None:
    """For queues that are declared from now on."""
    await broker.evaluate(
        "application:set_env(rabbit, dead_letter_worker_publisher_confirm_timeout, "
        f"{HELD_MILLISECONDS})."
    )


async def holds_a_letter(site: FaultSite, suffix: str) -> None:
    """Wait until a queue counts one message that is neither ready nor in anybody's hands."""
    name = site.installation.named(suffix)
    columns = ("messages", "messages_ready", "messages_unacknowledged")
    seen: object = None
    async with asyncio.timeout(30):
        while seen != (1, 0, 0):
            listed = await site.installation.broker.control(
                "list_queues", "-p", "payments", "name", *columns, "--formatter=json", "--silent"
            )
            rows = {row["name"]: row for row in json.loads(listed)}
            seen = tuple(rows[name][column] for column in columns)


# --- policies ----------------------------------------------------------------------------------


async def test_case_24_without_its_policies_the_ladder_still_works_and_nothing_is_called_sound(
    broker: Broker, tmp_path: Path
) -> None:
    """A rung's delay and its way back are arguments; what cannot be seen is never called ok."""
    definitions = CHECKOUT / "deploy" / "rabbitmq" / "definitions.staging.json"
    await broker.control("import_definitions", str(definitions))

    def change(installation: Installation) -> None:
        installation.table("broker")["prefix"] = "payments."
        installation.table("topology")["declare"] = False
        installation.table("results")["subscribers"] = {"dcp": ["dcp"]}

    async with fault_site(broker, tmp_path, change=change) as site:
        policies = json.loads(await listed_policies(broker))
        assert {policy["name"] for policy in policies} >= {"payments.work", "payments.retry"}
        for policy in policies:
            await broker.control("clear_policy", "-p", "payments", policy["name"])
        assert json.loads(await listed_policies(broker)) == []
        checked = await site.installation.run("check", "--only", "AMQP003", "--json")
        verdicts = {row["verdict"] for row in checked.rows}
        assert verdicts == {"skip"}, checked.output
        async with started(site.installation), connected_erp(broker, "payments.") as erp:
            sent = await erp.send(order(email="sim+flaky-4@example.org"))
            event = await erp.answer(sent)
            assert (event.status, event["attempts"]) == ("succeeded", 2)
            assert "5s" in erp.rungs(sent)


async def listed_policies(broker: Broker) -> str:
    return await broker.control("list_policies", "-p", "payments", "--formatter=json", "--silent")


# --- no room for dead letters ------------------------------------------------------------------


async def test_case_26_while_dead_letters_are_full_a_request_that_owes_one_waits_uncounted(
    broker: Broker, tmp_path: Path
) -> None:
    """Its event does not go before its letter; others, which owe none, are answered."""
    async with (
        fault_site(broker, tmp_path) as site,
        started(site.installation) as worker,
        connected_erp(broker, site.installation.prefix) as erp,
    ):
        await site.hurry_ladder()
        await site.set_policy("full", "dlq$", FULL)
        await fill(erp, "dlx", "dead")
        sent = await erp.send(order(id_societe="6"))
        line = await worker.tells("delivery.waiting", message_id=sent.message_id)
        assert line["labels.reason"] == "dead letters full"
        await until(lambda: len(erp.copies(sent)) >= 2)
        assert set(erp.rungs(sent)) == {"30s"}
        assert {copy.headers["attempts"] for copy in erp.copies(sent)} == {0}
        await erp.is_answered()
        assert erp.answers(sent) == []
        await empty(erp, "dlq")
        event = await erp.answer(sent)
        assert (event.status, event["code"]) == ("failed", "company_not_configured")
        letter = await erp.take("dlq")
        while letter.headers.get("payment-id") != event["payment_id"]:
            letter = await erp.take("dlq")
        assert letter.headers["error-code"] == "company_not_configured"
        assert await worker.stop() == 0
        assert len(erp.answers(sent)) == 1
        is_calm(worker)


async def test_case_26_without_the_exchange_for_dead_letters_nothing_spins_and_nothing_is_lost(
    broker: Broker, tmp_path: Path
) -> None:
    async with (
        fault_site(broker, tmp_path, timing=SHORT) as site,
        started(site.installation) as worker,
        connected_erp(broker, site.installation.prefix) as erp,
    ):
        await erp.channel.exchange_delete(site.installation.named("dlx"))
        sent = await erp.send(order(id_societe="6"))
        line = await worker.tells("delivery.returned", message_id=sent.message_id)
        assert line["labels.reason"] == "dead letter unknown"
        assert erp.answers(sent) == []
        applied = await site.installation.run("topology", "apply")
        assert applied.code == 0, applied.complaint
        event = await erp.answer(sent)
        assert (event.status, event["code"]) == ("failed", "company_not_configured")
        await erp.has_depth("dlq", 1)
        assert len(worker.told("delivery.returned")) <= 3
        assert await worker.stop() == 0
        assert len(erp.answers(sent)) == 1


async def test_case_26_what_the_broker_cannot_dead_letter_stays_in_the_work_queue(
    broker: Broker, tmp_path: Path
) -> None:
    """Held: counted, and neither ready nor in hand. It moves by itself once there is room."""
    await hurry_held_letters(broker)
    async with fault_site(broker, tmp_path) as site:
        await site.set_policy("net", "work$", {"delivery-limit": 3})
        assert (await site.installation.run("topology", "apply")).code == 0
        async with connected_erp(broker, site.installation.prefix) as erp:
            await site.set_policy("full", "dlq$", FULL)
            await fill(erp, "dlx", "dead")
            sent = await erp.send(order())
            work = await erp.channel.get_queue(site.installation.named("work"), ensure=False)
            await hand_back(work, 4)
            await holds_a_letter(site, "work")
            await empty(erp, "dlq")
            letter = await erp.take("dlq")
            assert letter.message_id == sent.message_id
            assert letter.headers["x-first-death-reason"] == "delivery_limit"
            await erp.has_depth("work", 0)


# --- no room for work --------------------------------------------------------------------------


async def test_case_27_a_copy_whose_time_has_come_waits_on_its_rung_while_work_is_full(
    broker: Broker, tmp_path: Path
) -> None:
    """It comes late and not twice; at the broker's own pace it is 180 to 360 seconds late."""
    await hurry_held_letters(broker)
    async with fault_site(broker, tmp_path) as site:
        assert (await site.installation.run("topology", "apply")).code == 0
        await site.hurry_ladder()
        async with connected_erp(broker, site.installation.prefix) as erp:
            await site.set_policy("full", "work$", FULL)
            await fill(erp, "requests", "payment.initiate.dcp")
            asked, message_id = basket_order(), new_key()
            await copy_by_hand(erp, asked, message_id)
            await holds_a_letter(site, "retry.v1.5s")
            await empty(erp, "work")
            async with started(site.installation):
                await until(lambda: erp.heard_of(payment_id_of("dcp", message_id)), 40)
            (event,) = erp.heard_of(payment_id_of("dcp", message_id))
            assert (event.status, event["attempts"]) == ("succeeded", 1)
            assert site.simulator.applied.total == 1
            await nothing_is_left(erp)


async def copy_by_hand(erp: Erp, asked: Mapping[str, object], message_id: str) -> None:
    """Put a request that was never called on the shortest rung, as a worker does."""
    exchange = await erp.channel.get_exchange(erp.prefix + "retry", ensure=False)
    headers: HeadersType = {
        "identity": f"dcp\u001f{message_id}",
        "payment-id": payment_id_of("dcp", message_id),
        "sequence": 1,
        "attempts": 0,
        "first-seen": _clock.now().isoformat(),
        "origin-routing-key": "payment.initiate.dcp",
    }
    message = aio_pika.Message(
        json.dumps(asked).encode(), message_id=message_id, delivery_mode=2, headers=headers
    )
    await exchange.publish(message, "5s")


# --- a letter with a past ----------------------------------------------------------------------


async def test_case_28_a_replayed_letter_comes_off_the_ladder_without_its_deaths(
    broker: Broker, tmp_path: Path
) -> None:
    """With its ``x-death`` the broker would see a cycle and hold it for ever (to 3.13)."""
    async with fault_site(broker, tmp_path) as site:
        await site.set_policy("net", "work$", {"delivery-limit": 3})
        assert (await site.installation.run("topology", "apply")).code == 0
        async with connected_erp(broker, site.installation.prefix) as erp:
            sent = await erp.send(order(email="sim+flaky-4@example.org"))
            work = await erp.channel.get_queue(site.installation.named("work"), ensure=False)
            await hand_back(work, 4)
            await erp.has_depth("dlq", 1)
            async with started(site.installation):
                done = await site.installation.run(
                    *("dead-letters", "replay", payment_id_of("dcp", sent.message_id)),
                    *("--yes", "--json"),
                )
                assert (done.code, done.outcome["result"]) == (0, "settled")
                event = await erp.answer(sent)
            assert (event.status, event["attempts"]) == ("succeeded", 2)
            assert erp.rungs(sent) == ["5s"]
            ours = {erp.prefix + "replay", erp.prefix + "retry"}
            copies = [each for each in erp.heard if each.exchange in ours]
            assert len(copies) == 2
            for copy in copies:
                assert [name for name in copy.headers if name.startswith("x-")] == []
            await nothing_is_left(erp)
    log = (broker.directory / "log" / "node.log").read_text("utf-8")
    assert "cycle" not in log
