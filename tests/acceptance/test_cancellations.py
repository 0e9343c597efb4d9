"""Cancelling: what can be taken back is, once, and everything else says why not."""

import pytest

from tests.acceptance.erp import basket_order, new_key, order, payment_id_of
from tests.acceptance.installation import Installation
from tests.acceptance.shared_site import Change, Site

pytestmark = [pytest.mark.broker, pytest.mark.asyncio(loop_scope="module")]

ALONE = {"remove-http-401": "CB", "remove-http-503-retry": "AMEX", "remove-timeout": "COMPTABILITE"}
"""Removals that open a breaker, and the payment type whose account is theirs."""


@pytest.fixture(scope="module")
def change() -> Change:
    """One more basket account for each removal that would stand in the others' way."""

    def bend(installation: Installation) -> None:
        accounts = installation.table("accounts")
        installation.settings["routes"] = [
            {"target": "LABANQUEPOSTALE", "account": "safedebit"},
            {"target": "MILLIET", "account": "combo"},
            *(
                {"target": "MILLIET", "type": kind, "account": f"combo-{kind.lower()}"}
                for kind in ALONE.values()
            ),
        ]
        for kind in ALONE.values():
            accounts[f"combo-{kind.lower()}"] = accounts["combo"]

    return bend


def removed(site: Site, item_id: str) -> int:
    """How often the provider removed an item."""
    return site.simulator.applied.removals.get(item_id, 0)


async def test_a_basket_item_is_taken_back_and_its_payment_stays_cancelled(site: Site) -> None:
    asked = basket_order()
    sent = await site.erp.send(asked)
    payment = await site.erp.answer(sent)
    cancelling = await site.erp.cancel(payment_id=payment["payment_id"])
    event = await site.erp.answer(cancelling)
    assert event.message.routing_key == "payment.result.dcp.cancelled"
    assert event["event_type"] == "payment.cancellation.succeeded"
    assert (event["result"], event["payment_status"]) == (True, "cancelled")
    assert event["payment_id"] == payment["payment_id"]
    assert event["sequence"] == payment["sequence"] + 1
    assert event["basket_item_id"] == payment["basket_item_id"]
    assert {event[name] for name in ("id_commande", "amount")} == {
        asked["id_commande"],
        asked["amount"],
    }
    assert removed(site, payment["basket_item_id"]) == 1
    repeated = await site.erp.answer(await site.erp.send(asked, message_id=sent.message_id))
    assert repeated["event_id"] == event["event_id"]
    assert site.erp.letters(cancelling) == []


async def test_a_payment_is_cancelled_by_its_key(site: Site) -> None:
    key = new_key()
    payment = await site.erp.answer(
        await site.erp.send(basket_order(), headers={"idempotency-key": key})
    )
    event = await site.erp.answer(await site.erp.cancel(idempotency_key=key))
    assert (event.status, event["payment_id"]) == ("cancelled", payment_id_of("dcp", key))
    assert removed(site, payment["basket_item_id"]) == 1


async def test_the_same_cancellation_twice_is_answered_the_same_and_done_once(site: Site) -> None:
    payment = await site.erp.answer(await site.erp.send(basket_order()))
    sent = await site.erp.cancel(payment_id=payment["payment_id"])
    first = await site.erp.answer(sent)
    again = await site.erp.cancel(payment_id=payment["payment_id"], message_id=sent.message_id)
    assert (await site.erp.answer(again)).message.body == first.message.body
    assert removed(site, payment["basket_item_id"]) == 1


async def test_a_second_cancellation_is_told_that_it_comes_too_late(site: Site) -> None:
    payment = await site.erp.answer(await site.erp.send(basket_order()))
    first = await site.erp.answer(await site.erp.cancel(payment_id=payment["payment_id"]))
    sent = await site.erp.cancel(payment_id=payment["payment_id"])
    event = await site.erp.answer(sent)
    assert (event.status, event["code"]) == ("cancel_failed", "already_cancelled")
    assert (event["payment_status"], event["sequence"]) == ("cancelled", first["sequence"])
    assert removed(site, payment["basket_item_id"]) == 1
    assert site.erp.letters(sent) == []
    shown = await site.installation.run("payments", "show", payment["payment_id"], "--json")
    assert [(each["state"], each["code"]) for each in shown.data["cancellations"]] == [
        ("succeeded", None),
        ("failed", "already_cancelled"),
    ]
    people = await site.installation.run("payments", "show", payment["payment_id"], "-o", "human")
    assert "failed, already_cancelled" in people.output


@pytest.mark.parametrize(
    ("asked", "payment_status"),
    [
        pytest.param(order(), "succeeded", id="link"),
        pytest.param(basket_order(email="sim+http-400@example.org"), "failed", id="failed"),
        pytest.param(basket_order(email="sim+http-500@example.org"), "in_doubt", id="in-doubt"),
    ],
)
async def test_what_cannot_be_taken_back_is_not_and_says_so(
    site: Site, asked: dict[str, object], payment_status: str
) -> None:
    payment = await site.erp.answer(await site.erp.send(asked))
    assert payment.status == payment_status
    sent = await site.erp.cancel(payment_id=payment["payment_id"])
    event = await site.erp.answer(sent)
    assert (event.status, event["code"]) == ("cancel_failed", "not_cancellable")
    assert (event["payment_status"], event["sequence"]) == (payment_status, payment["sequence"])
    assert site.erp.letters(sent) == []


async def test_a_duplicate_has_nothing_of_its_own_to_take_back(site: Site) -> None:
    asked = basket_order()
    first = await site.erp.answer(await site.erp.send(asked))
    second = await site.erp.answer(await site.erp.send(asked))
    assert second["duplicate_of"] == first["payment_id"]
    event = await site.erp.answer(await site.erp.cancel(payment_id=second["payment_id"]))
    assert (event.status, event["code"]) == ("cancel_failed", "not_cancellable")
    assert removed(site, first["basket_item_id"]) == 0


async def test_another_origins_payment_is_unknown_at_once(site: Site) -> None:
    """A producer is told nothing of a payment that is not its own, not even its state."""
    payment = await site.erp.answer(await site.erp.send(basket_order()))
    sent = await site.erp.cancel(origin="web", payment_id=payment["payment_id"])
    event = await site.erp.answer(sent)
    assert event.message.routing_key == "payment.result.web.cancel_failed"
    assert event["code"] == "payment_unknown"
    assert (event["payment_status"], event["id_commande"]) == (None, None)
    assert removed(site, payment["basket_item_id"]) == 0
    assert site.erp.rungs(sent) == []


async def test_one_key_for_two_cancellations_is_refused(site: Site) -> None:
    payments = [await site.erp.answer(await site.erp.send(basket_order())) for _ in range(2)]
    key = new_key()
    first, second = [
        await site.erp.answer(await site.erp.cancel(payment_id=each["payment_id"], message_id=key))
        for each in payments
    ]
    assert first.status == "cancelled"
    assert (second.status, second["code"]) == ("cancel_failed", "idempotency_mismatch")
    assert removed(site, payments[1]["basket_item_id"]) == 0


@pytest.mark.parametrize(
    ("name", "status", "code", "times"),
    [
        ("remove-declined", "cancel_failed", "provider_refused", 0),
        ("remove-flaky-2", "cancelled", None, 1),
        ("remove-http-401", "cancel_failed", "provider_credentials", 0),
    ],
)
async def test_what_the_provider_says_to_a_removal_is_answered(
    site: Site, name: str, status: str, code: str | None, times: int
) -> None:
    asked = basket_order(email=f"sim+{name}@example.org", payment_type=ALONE.get(name, "SEPA"))
    payment = await site.erp.answer(await site.erp.send(asked))
    event = await site.erp.answer(await site.erp.cancel(payment_id=payment["payment_id"]))
    assert (event.status, event["code"]) == (status, code)
    assert event["payment_status"] == ("cancelled" if code is None else "succeeded")
    assert removed(site, payment["basket_item_id"]) == times


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("remove-http-503-retry", "provider_unavailable"),
        ("remove-timeout", "outcome_unknown"),
    ],
)
async def test_a_removal_that_may_work_later_waits_on_the_ladder(
    site: Site, name: str, reason: str
) -> None:
    """Removing twice does no harm, so even a lost answer is asked for again."""
    asked = basket_order(email=f"sim+{name}@example.org", payment_type=ALONE[name])
    payment = await site.erp.answer(await site.erp.send(asked))
    sent = await site.erp.cancel(payment_id=payment["payment_id"])
    copy = await site.erp.rung(sent, "5s")
    assert (copy.headers["attempts"], copy.headers["retry-reason"]) == (1, reason)
    assert copy.headers["origin-routing-key"] == "payment.cancel.dcp"
    assert site.erp.answers(sent) == []


async def test_a_payment_that_waits_is_cancelled_without_another_call(site: Site) -> None:
    asked = basket_order(email="sim+http-429@example.org")
    paying = await site.erp.send(asked)
    await site.erp.rung(paying, "5s")
    payment_id = payment_id_of("dcp", paying.message_id)
    event = await site.erp.answer(await site.erp.cancel(payment_id=payment_id))
    assert (event.status, event["payment_status"]) == ("cancelled", "cancelled")
    repeated = await site.erp.answer(paying)  # when its copy comes back from the ladder
    assert repeated["event_id"] == event["event_id"]
    assert site.erp.rungs(paying) == ["5s"]


async def test_a_cancellation_before_its_payment_waits_for_it(site: Site) -> None:
    key = new_key()
    cancelling = await site.erp.cancel(payment_id=payment_id_of("dcp", key))
    copy = await site.erp.rung(cancelling, "5s")
    assert copy.headers["attempts"] == 0
    assert copy.headers["retry-reason"] == "payment unknown so far"
    payment = await site.erp.answer(await site.erp.send(basket_order(), message_id=key))
    event = await site.erp.answer(cancelling)
    assert (event.status, event["payment_id"]) == ("cancelled", payment["payment_id"])
    assert removed(site, payment["basket_item_id"]) == 1
