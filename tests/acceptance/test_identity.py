"""One intent is paid once: what is the same request, what is another, and until when."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.acceptance.erp import (
    BLANK,
    Answer,
    basket_order,
    checked_letter,
    new_key,
    order,
    payment_id_of,
)
from tests.acceptance.provider_cases import applied_for
from tests.acceptance.shared_site import Site
from worker.adapters.clock import SystemClock

pytestmark = [pytest.mark.broker, pytest.mark.asyncio(loop_scope="module")]


def in_seconds(seconds: float) -> str:
    """A time from now, as RFC 3339 writes it."""
    return (SystemClock().now() + timedelta(seconds=seconds)).isoformat()


def times_paid(site: Site, event: Answer) -> int:
    return applied_for(event, site.simulator.applied)


async def test_the_header_is_the_key_before_the_message_id(site: Site) -> None:
    asked, key = order(), new_key()
    first = await site.erp.answer(await site.erp.send(asked, headers={"idempotency-key": key}))
    second = await site.erp.answer(await site.erp.send(asked, headers={"idempotency-key": key}))
    assert first["event_id"] == second["event_id"]
    assert first["payment_id"] == payment_id_of("dcp", key)
    assert first["request_id"] == second["request_id"]
    assert times_paid(site, first) == 1


async def test_without_a_key_the_content_is_the_key(site: Site) -> None:
    """Spelling, white space and the case of the e-mail make no other content."""
    asked = order(email="Client@Example.org")
    other = {name.upper(): value for name, value in asked.items()} | {
        "EMAIL": " client@example.org ",
        "PAYMENT_TARGET": "la banque postale",
    }
    first = await site.erp.answer(await site.erp.send(asked, message_id=BLANK))
    second = await site.erp.answer(await site.erp.send(other, message_id=BLANK))
    assert first["event_id"] == second["event_id"]
    assert times_paid(site, first) == 1


async def test_the_same_key_of_another_origin_is_another_payment(site: Site) -> None:
    key = new_key()
    asked = order()
    first = await site.erp.answer(await site.erp.send(asked, message_id=key))
    asked = order(id_origin="web")
    second = await site.erp.answer(
        await site.erp.send(asked, message_id=key, routing_key="payment.initiate.web")
    )
    assert second["payment_id"] == payment_id_of("web", key) != first["payment_id"]
    assert (second.status, times_paid(site, second)) == ("succeeded", 1)


@pytest.mark.parametrize("make", [order, basket_order], ids=["link", "basket"])
async def test_the_same_content_under_another_key_is_answered_as_a_duplicate(
    site: Site,
    make: type[dict[str, object]],
) -> None:
    asked = make()
    first = await site.erp.answer(await site.erp.send(asked))
    sent = await site.erp.send(asked)
    event = await site.erp.answer(sent)
    assert event.status == "succeeded"
    assert event["duplicate_of"] == first["payment_id"]
    assert event["payment_id"] == payment_id_of("dcp", sent.message_id)
    assert event["event_id"] != first["event_id"]
    for name in ("link", "basket_item_id", "provider_reference"):
        assert event[name] == first[name]
    assert (times_paid(site, first), times_paid(site, event)) == (1, 0)
    assert site.erp.letters(sent) == []


async def test_a_duplicate_of_a_doubt_is_in_doubt_itself(site: Site) -> None:
    asked = basket_order(email="sim+http-500-after@example.org")
    first = await site.erp.answer(await site.erp.send(asked))
    sent = await site.erp.send(asked)
    event = await site.erp.answer(sent)
    assert (first.status, event.status) == ("in_doubt", "in_doubt")
    assert (event["code"], event["duplicate_of"]) == ("outcome_unknown", first["payment_id"])
    checked_letter(await site.erp.letter(sent), event)
    assert (times_paid(site, first), times_paid(site, event)) == (1, 0)


async def test_what_was_declined_may_be_asked_for_again_under_another_key(site: Site) -> None:
    asked = order(email="sim+declined@example.org")
    first = await site.erp.answer(await site.erp.send(asked))
    event = await site.erp.answer(await site.erp.send(asked))
    assert (first["code"], event["code"]) == ("declined", "declined")
    assert event["duplicate_of"] is None
    assert event["attempts"] == 1


async def test_order_0_is_never_a_duplicate(site: Site) -> None:
    asked = order(id_commande="0")
    first = await site.erp.answer(await site.erp.send(asked))
    second = await site.erp.answer(await site.erp.send(asked))
    assert second["duplicate_of"] is None
    assert (times_paid(site, first), times_paid(site, second)) == (1, 1)


async def test_past_its_time_a_request_is_not_started(site: Site) -> None:
    sent = await site.erp.send(order(), headers={"not-after": in_seconds(-1)})
    event = await site.erp.answer(sent)
    assert (event.status, event["code"]) == ("failed", "request_expired")
    assert (event["error"]["retryable"], event["attempts"]) == (True, 0)
    checked_letter(await site.erp.letter(sent), event)
    assert times_paid(site, event) == 0


async def test_before_its_time_a_request_is_started(site: Site) -> None:
    until = datetime(2040, 1, 1, tzinfo=UTC).isoformat()
    event = await site.erp.answer(await site.erp.send(order(), headers={"not-after": until}))
    assert event.status == "succeeded"


async def test_a_request_whose_next_attempt_would_come_too_late_is_answered_at_once(
    site: Site,
) -> None:
    """Nobody waits half an hour on the ladder to be told that time is up."""
    asked = order(email="sim+http-429@example.org")
    sent = await site.erp.send(asked, headers={"not-after": in_seconds(4)})
    event = await site.erp.answer(sent)
    assert (event.status, event["code"]) == ("failed", "provider_rate_limited")
    assert (event["error"]["retryable"], event["attempts"]) == (True, 1)
    checked_letter(await site.erp.letter(sent), event)
    assert site.erp.rungs(sent) == []


async def test_answers_go_to_the_origin_whatever_the_routing_key_says(site: Site) -> None:
    sent = await site.erp.send(order(id_origin="W\u00e9b"), routing_key="payment.initiate.dcp")
    event = await site.erp.answer(sent)
    assert event.message.routing_key == "payment.result.web.succeeded"


async def test_without_a_correlation_id_answers_carry_the_message_id(site: Site) -> None:
    sent = await site.erp.send(order(), is_correlated=False)
    event = await site.erp.answer(sent)
    assert event.message.correlation_id == event["request_id"] == sent.message_id


async def test_a_trace_goes_on_into_the_event(site: Site) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    event = await site.erp.answer(await site.erp.send(order(), headers={"traceparent": trace}))
    assert event.message.headers["traceparent"] == trace
