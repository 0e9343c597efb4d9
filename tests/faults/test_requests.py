"""Failure cases 1, 2, 7 to 11 and 29: what producers and operators send that they should not.

One worker as a process, shared by all of them, so each also proves that it stops nobody else.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aio_pika
import aiormq.exceptions
import pytest
from pamqp.common import FieldTable

from tests.acceptance.erp import (
    Answer,
    basket_order,
    checked_letter,
    connected_erp,
    new_key,
    order,
    payment_id_of,
)
from tests.acceptance.provider_cases import applied_for
from tests.acceptance.shared_site import Site
from tests.broker import Broker

pytestmark = [pytest.mark.broker, pytest.mark.asyncio(loop_scope="module")]

LARGEST_BODY = 64 * 1024
"""The contract's limit for a request, which the broker's own must exceed (publisher rule P8)."""


def times_paid(site: Site, event: Answer) -> int:
    return applied_for(event, site.simulator.applied)


# --- the same key again ------------------------------------------------------------------------


async def test_case_01_the_same_message_twice_gets_the_same_event_and_pays_once(
    site: Site,
) -> None:
    asked = order()
    sent = await site.erp.send(asked)
    first = await site.erp.answer(sent)
    again = await site.erp.send(asked, message_id=sent.message_id)
    second = await site.erp.answer(again)
    assert second.message.body == first.message.body
    assert second.message.message_id == first.message.message_id
    assert first["payment_id"] == payment_id_of("dcp", sent.message_id)
    assert times_paid(site, first) == 1
    await site.worker.tells("delivery.repeated", message_id=sent.message_id)
    await site.erp.has_depth("work", 0)


@pytest.mark.parametrize("changes", [{"amount": "1251"}, {"email": "other@example.org"}])
async def test_case_02_another_content_under_the_same_key_is_refused_and_leaves_the_first_alone(
    site: Site, changes: dict[str, object]
) -> None:
    refusals = await site.worker.counted("jobs_total", code="idempotency_mismatch")
    asked = order()
    sent = await site.erp.send(asked)
    first = await site.erp.answer(sent)
    other = await site.erp.send(asked | changes, message_id=sent.message_id)
    event = await site.erp.answer(other)
    assert (event.status, event["code"]) == ("failed", "idempotency_mismatch")
    assert event["error"]["category"] == "duplicate"
    assert event["conflicts_with"] == first["payment_id"]
    assert event["payment_id"] != first["payment_id"]
    checked_letter(await site.erp.letter(other), event)
    repeated = await site.erp.send(asked | changes, message_id=sent.message_id)
    assert (await site.erp.answer(repeated))["event_id"] == event["event_id"]
    again = await site.erp.send(asked, message_id=sent.message_id)
    assert (await site.erp.answer(again))["event_id"] == first["event_id"]
    assert times_paid(site, first) == 1
    assert times_paid(site, event) == 0
    counted = await site.worker.counted("jobs_total", code="idempotency_mismatch")
    assert counted == refusals + 1
    assert await site.worker.counted("dead_letters_total", code="idempotency_mismatch") == counted


# --- messages that cannot be meant for us ------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"id_client": "zq-2263", "amount": "12', id="cut-off"),
        pytest.param(b"\xff\xfe zq-2263", id="not-utf-8"),
        pytest.param(
            json.dumps(
                {"schema": "payment", "version": "2.0", "payment": {"client": "zq-2263"}}
            ).encode(),
            id="another-version",
        ),
    ],
)
async def test_case_07_a_body_nobody_can_read_is_answered_once_and_kept_out_of_the_log(
    site: Site, body: bytes
) -> None:
    """No retry can help it, and a body may hold anything."""
    called = site.simulator.applied.total
    sent = await site.erp.send(body)
    event = await site.erp.answer(sent)
    assert event.message.routing_key == "payment.result.unknown.failed"
    assert (event["code"], event["attempts"]) == ("invalid_message", 0)
    assert (event["error"]["category"], event["error"]["retryable"]) == ("request", False)
    letter = await site.erp.letter(sent)
    assert letter.body == body
    checked_letter(letter, event)
    await site.worker.tells("delivery.answered", message_id=sent.message_id)
    assert site.erp.rungs(sent) == []
    assert len(site.erp.answers(sent)) == 1
    assert site.simulator.applied.total == called
    assert "zq-2263" not in site.worker.log.read_text("utf-8")
    await site.erp.is_answered()


async def test_case_08_a_copied_message_is_refused_and_recorded_and_reaches_no_other_origin(
    site: Site,
) -> None:
    """Topic permissions look at the main key only before RabbitMQ 4.0.3, so CC gets round them."""
    recorded = await site.worker.counted("suspicious_requests_total", reason="copy_header")
    sent = await site.erp.send(
        basket_order(), headers={"CC": ["payment.cancel.web", "payment.initiate.web"]}
    )
    event = await site.erp.answer(sent)
    assert event.message.routing_key == "payment.result.dcp.failed"
    assert (event["code"], event.faults) == ("invalid_message", [("CC", "not_allowed")])
    letter = await site.erp.letter(sent)
    assert "CC" not in checked_letter(letter, event)
    record = await site.worker.tells("request.suspicious", message_id=sent.message_id)
    assert (record["log.level"], record["labels.reason"]) == ("warning", "copy_header")
    assert record["labels.origin"] == "dcp"
    counted = await site.worker.counted("suspicious_requests_total", reason="copy_header")
    assert counted == recorded + 1
    assert [each.message.routing_key for each in site.erp.answers(sent)] == [
        "payment.result.dcp.failed"
    ]
    assert times_paid(site, event) == 0


async def test_case_08_forged_deaths_are_recorded_and_never_leave_on_a_copy(site: Site) -> None:
    """Believed by the broker up to 3.13, they would make a copy on the ladder look like a cycle."""
    rung = site.installation.named("retry.v1.5s")
    death: FieldTable = {
        "queue": rung,
        "reason": "expired",
        "count": 3,
        "exchange": "",
        "routing-keys": ["5s"],
    }
    forged = order(email="sim+flaky-4@example.org")
    sent = await site.erp.send(
        forged, headers={"x-death": [death], "x-first-death-queue": rung, "sequence": 9}
    )
    copy = await site.erp.rung(sent, "5s")
    assert [name for name in copy.headers if name.startswith("x-")] == []
    assert copy.headers["sequence"] == 1
    event = await site.erp.answer(sent)  # so it came off the ladder
    assert (event.status, event["sequence"], event["attempts"]) == ("succeeded", 1, 2)
    assert event["payment_id"] == payment_id_of("dcp", sent.message_id)
    record = await site.worker.tells("request.suspicious", message_id=sent.message_id)
    assert record["labels.reason"] == "own_header, death_header"
    assert times_paid(site, event) == 1


async def test_case_09_reply_to_is_ignored_and_counted(site: Site) -> None:
    ignored = await site.worker.counted("reply_to_ignored_total")
    queue = await site.erp.channel.declare_queue(exclusive=True)
    sent = await site.erp.send(order(), reply_to=queue.name)
    assert (await site.erp.answer(sent)).status == "succeeded"
    assert await queue.get(fail=False) is None
    line = await site.worker.tells("delivery.answered", message_id=sent.message_id)
    assert line["labels.reply_to_ignored"] is True
    assert await site.worker.counted("reply_to_ignored_total") == ignored + 1


@asynccontextmanager
async def at_most(broker: Broker, size: int) -> AsyncIterator[None]:
    """Channels opened meanwhile take no message above that many bytes."""
    before = (await broker.evaluate("application:get_env(rabbit, max_message_size).")).strip()
    await broker.evaluate(f"application:set_env(rabbit, max_message_size, {size}).")
    try:
        yield
    finally:
        value = before.removeprefix("{ok,").removesuffix("}")
        assert value.isdigit(), before
        await broker.evaluate(f"application:set_env(rabbit, max_message_size, {value}).")


async def test_case_10_what_is_larger_than_the_broker_takes_ends_at_its_producer(
    broker: Broker, site: Site
) -> None:
    """Its channel is closed with 406; what is smaller is ours to refuse, with an answer."""
    async with (
        at_most(broker, LARGEST_BODY + 1024),
        connected_erp(broker, site.erp.prefix) as producer,
    ):
        message_id = new_key()
        with pytest.raises(aiormq.exceptions.ChannelPreconditionFailed, match="larger than"):
            await producer.send(b" " * (LARGEST_BODY + 1025), message_id=message_id)
    async with connected_erp(broker, site.erp.prefix) as producer:
        refused = await producer.answer(await producer.send(b" " * (LARGEST_BODY + 1)))
        assert (refused["code"], refused.faults) == (
            "invalid_message",
            [("body", "body_too_large")],
        )
    lines = [line for line in site.worker.lines if line.get("labels.message_id") == message_id]
    assert lines == []


async def test_case_10_no_answer_of_ours_comes_near_that_limit(site: Site) -> None:
    """Texts as long as they may be, of letters that take most room, and every field wrong."""
    wide = "\U0001f600" * 32
    longest = order(
        id_origin=wide, id_societe="1", id_client=wide, id_commande=wide[:31] + new_key()[0]
    )
    succeeded = await site.erp.answer(
        await site.erp.send(longest, routing_key="payment.initiate.unknown")
    )
    everything = dict.fromkeys(order(), wide * 2) | {"commentaire": wide * 20}
    refused = await site.erp.answer(
        await site.erp.send(everything, headers={"not-after": wide, "idempotency-key": wide * 9})
    )
    assert (succeeded.status, refused.status) == ("succeeded", "failed")
    assert len(refused.faults) == len(everything) + 2
    for event in (succeeded, refused):
        assert len(event.message.body) < LARGEST_BODY / 4


async def test_case_11_a_routing_key_nobody_bound_is_set_aside_where_an_operator_finds_it(
    site: Site,
) -> None:
    asked = json.dumps(order()).encode()
    await site.erp.send(asked, routing_key="payment.refund.dcp")
    kept = await site.erp.take("unrouted")
    assert (kept.body, kept.routing_key) == (asked, "payment.refund.dcp")
    await site.erp.is_answered()


# --- an operator's replay ----------------------------------------------------------------------


async def test_case_29_a_replay_of_a_decided_payment_gets_the_stored_answer(site: Site) -> None:
    """As after a replay that crashed between its publish and its acknowledgement."""
    sent = await site.erp.send(basket_order(email="sim+refuse-once@example.org"))
    failed = await site.erp.answer(sent)
    letter = await site.erp.letter(sent)
    done = await site.installation.run("dead-letters", "replay", failed["payment_id"], "--yes")
    assert done.code == 0, done.complaint
    paid = await site.erp.answer(sent, number=2)
    assert (paid.status, paid["sequence"]) == ("succeeded", 2)
    replay = await site.erp.channel.get_exchange(site.erp.prefix + "replay", ensure=False)
    for number, sequence in ((3, 1), (4, 2)):
        headers = {**letter.headers, "sequence": sequence}
        await replay.publish(
            aio_pika.Message(
                letter.body,
                message_id=letter.message_id,
                correlation_id=letter.correlation_id,
                headers=headers,
                delivery_mode=2,
            ),
            "work",
        )
        again = await site.erp.answer(sent, number=number)
        assert again.message.body == paid.message.body
        assert again["event_id"] == paid["event_id"]
    assert times_paid(site, paid) == 1
    assert len(site.erp.letters(sent)) == 1
