"""One delivery from the broker to its answer, on fakes of every port."""

from collections import Counter
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from tests.core import (
    DECLINES,
    GATEWAY_LOST_IT,
    REFUSED_CONNECTION,
    RESET_AFTER,
    RESET_BEFORE,
    UNAUTHORISED,
    Behaviour,
    World,
    basket,
    book_of,
    cancellation,
    initiation,
    link_account,
    says,
    with_account,
)
from tests.provider_examples import LEAVE, LINK_ACCOUNT, PRODUCTION, STAGING
from worker.messages import Action, Disposition, Exchange, Handled
from worker.model import Delivery, OperationClass, Source
from worker.records import Kind, State, Status
from worker.rules import RouteBook


async def handle(world: World, delivery: Delivery, *, book: RouteBook | None = None) -> Handled:
    """Let a fresh worker handle one delivery."""
    return await world.worker(book=book).processor.handle(delivery)


async def handled(delivery: Delivery, *behaviours: Behaviour) -> tuple[World, Handled]:
    """A world in which one delivery was handled, its provider behaving so."""
    world = World()
    world.providers.behaviours = list(behaviours)
    return world, await handle(world, delivery)


async def to_the_end(world: World) -> list[Handled]:
    """Let one worker handle everything that comes back from the ladder."""
    worker = world.worker()
    ends = []
    while (delivery := world.broker.take()) is not None:
        ends.append(await worker.processor.handle(delivery))
    return ends


# --- outcomes ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """How one first delivery ends."""

    name: str
    behaviours: tuple[Behaviour, ...] = ()
    status: str | None = "succeeded"
    code: str | None = None
    step: str | None = None
    has_letter: bool = False
    is_basket: bool = False
    applied: int = 1


LOST_LINK = Behaviour(acts=True, fact=says(200, body=b"<html>").fact)
UNLISTED = says(200, body=b'{"result": true, "link": "https://elsewhere.example/p"}')
THREE_TIMES = (REFUSED_CONNECTION,) * 3
ROWS = [
    Row("link"),
    Row("item", is_basket=True),
    Row("link after a refused connection", (REFUSED_CONNECTION,)),
    Row("declined", (DECLINES,), "failed", "declined", applied=0),
    Row(
        "refused with a code we do not know",
        (says(200, body=b'{"result": false, "code": "NEW_1"}'),),
        "failed",
        "provider_refused",
        has_letter=True,
        applied=0,
    ),
    Row(
        "our password",
        (UNAUTHORISED,),
        "failed",
        "provider_credentials",
        has_letter=True,
        applied=0,
    ),
    Row("redirected", (says(307),), "failed", "provider_redirect", has_letter=True, applied=0),
    Row("no connection", THREE_TIMES, None, None, "5s", applied=0),
    Row(
        "too many, come back in 90 s",
        (says(429, headers={"retry-after": "90"}),),
        None,
        None,
        "2m",
        applied=0,
    ),
    Row("link lost on the way", (RESET_AFTER,), None, None, "30s"),
    Row("gateway lost the link", (GATEWAY_LOST_IT,), None, None, "30s"),
    Row("link nobody can read", (LOST_LINK,), None, None, "30s"),
    Row(
        "link on another host",
        (UNLISTED,),
        "in_doubt",
        "outcome_unknown",
        has_letter=True,
        applied=0,
    ),
    Row(
        "item lost on the way",
        (RESET_AFTER,),
        "in_doubt",
        "outcome_unknown",
        has_letter=True,
        is_basket=True,
    ),
    Row(
        "item reset before it was added",
        (RESET_BEFORE,),
        "in_doubt",
        "outcome_unknown",
        has_letter=True,
        is_basket=True,
        applied=0,
    ),
    Row("item, no connection", THREE_TIMES, None, None, "5s", is_basket=True, applied=0),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_each_outcome_ends_in_its_event_letter_or_copy(row: Row) -> None:
    delivery = basket() if row.is_basket else initiation()
    world, end = await handled(delivery, *row.behaviours)
    assert end.disposition is Disposition.ACKNOWLEDGE
    assert sum(world.providers.applied.values()) == row.applied
    assert world.broker.steps == ([row.step] if row.step else [])
    assert len(world.broker.letters) == row.has_letter
    if row.status is None:
        assert end.story.action is Action.WAITING
        assert world.broker.events == []
        return
    assert end.story.action is Action.ANSWERED
    (event,) = world.broker.events
    assert (event["code"], event["result"]) == (row.code, row.status == "succeeded")
    assert (
        world.broker.sent_to(Exchange.RESULTS)[0].routing_key == f"payment.result.dcp.{row.status}"
    )
    assert end.story.dead_lettered == row.has_letter


async def test_a_link_reaches_its_subscriber() -> None:
    world, end = await handled(initiation(correlation_id="c-1", headers={"traceparent": "00-1"}))
    (message,) = world.broker.sent_to(Exchange.RESULTS)
    (event,) = world.broker.events
    assert event["link"] in world.providers.links
    assert message.correlation_id == "c-1"
    assert message.headers["traceparent"] == "00-1"
    assert (event["request_id"], event["attempts"], event["sequence"]) == ("key-1", 1, 1)
    assert len(end.story.tries) == 1
    assert end.story.status is Status.SUCCEEDED
    assert (end.story.account, end.story.live) == ("safedebit", False)


@pytest.mark.parametrize("key", ["link", "item"])
async def test_the_dead_letter_goes_before_the_event(key: str) -> None:
    """Payment rules I5: an event says that a person can find the letter."""
    delivery = basket() if key == "item" else initiation()
    world, _end = await handled(delivery, says(307))
    exchanges = [message.exchange for message in world.broker.published]
    assert exchanges == [Exchange.DEAD_LETTER, Exchange.RESULTS]
    (letter,) = world.broker.letters
    assert letter.headers["error-code"] == "provider_redirect"
    assert letter.headers["attempts"] == 1
    assert letter.headers["sequence"] == 1
    assert letter.body == delivery.body


async def test_the_ladder_is_climbed_to_its_end_and_then_the_attempts_are_used_up() -> None:
    """The breaker opens on the way; its waits are not counted."""
    world = World()
    world.providers.behaviours = [says(503)] * 100
    world.broker.ready.append(initiation())
    ends = await to_the_end(world)
    (event,) = world.broker.events
    assert (event["code"], event["attempts"]) == ("provider_unavailable", 7)
    assert isinstance(event["error"], dict)
    assert event["error"]["retryable"] is True
    assert len(world.broker.letters) == 1
    assert {end.disposition for end in ends} == {Disposition.ACKNOWLEDGE}
    assert world.providers.applied.total() == 0
    assert "waiting" in {end.story.action.value for end in ends}


async def test_an_account_nobody_reaches_keeps_its_messages_waiting_until_it_is_back() -> None:
    """What opened the breaker is counted; probes that reach nobody, and waits, are not."""
    world = World()
    world.providers.behaviours = [REFUSED_CONNECTION] * 12
    world.broker.ready.extend(initiation(f"key-{number}") for number in range(8))
    await to_the_end(world)
    assert {event["result"] for event in world.broker.events} == {True}
    attempts = [event["attempts"] for event in world.broker.events]
    assert Counter(attempts) == {1: 6, 2: 2}
    assert set(world.providers.applied.values()) == {1}
    assert world.broker.letters == []


async def test_a_link_lost_twice_is_in_doubt_and_no_link_was_handed_out() -> None:
    world = World()
    world.providers.behaviours = [RESET_AFTER, RESET_AFTER]
    world.broker.ready.append(initiation())
    await to_the_end(world)
    (event,) = world.broker.events
    assert (event["code"], event["link"]) == ("outcome_unknown", None)
    assert world.broker.steps == ["30s"]
    assert len(set(world.providers.references["key-1@example.org"])) == 2


async def test_a_class_c_link_is_asked_for_again_under_the_same_reference() -> None:
    """The provider refuses the reference: it landed, and the link cannot be read back."""
    world = World(book=book_of(OperationClass.KEYED))
    world.providers.is_keyed = True
    world.providers.behaviours = [RESET_AFTER]
    world.broker.ready.append(initiation())
    await to_the_end(world)
    (event,) = world.broker.events
    assert event["code"] == "link_lost"
    assert world.providers.references["key-1@example.org"] == [event["provider_reference"]]


# --- repeats -------------------------------------------------------------------------------------


@pytest.mark.parametrize("behaviours", [(), (DECLINES,), (UNAUTHORISED,), (UNLISTED,)])
async def test_a_repeat_is_the_stored_answer_byte_for_byte(
    behaviours: tuple[Behaviour, ...],
) -> None:
    world, _end = await handled(initiation(), *behaviours)
    world.clock.advance(3600)
    again = await handle(world, initiation(correlation_id="another"))
    first, second = world.broker.sent_to(Exchange.RESULTS)
    assert (second.body, second.message_id) == (first.body, first.message_id)
    assert second.correlation_id == "another"
    assert again.story.action is Action.REPEATED
    assert len(world.providers.requests) == 1


async def test_a_letter_that_was_confirmed_is_not_sent_again() -> None:
    world, _end = await handled(initiation(), UNAUTHORISED)
    await handle(world, initiation())
    assert len(world.broker.letters) == 1
    assert len(world.broker.events) == 2


async def test_another_content_under_the_same_key_is_refused_and_the_first_untouched() -> None:
    world, _end = await handled(initiation())
    await handle(world, initiation(amount="9999"))
    first, second = world.broker.events
    assert second["code"] == "idempotency_mismatch"
    assert second["conflicts_with"] == first["payment_id"]
    (letter,) = world.broker.letters
    assert letter.headers["payment-id"] == second["payment_id"]
    assert len(world.providers.requests) == 1


async def test_the_same_content_under_another_key_gets_the_first_ones_link() -> None:
    world, _end = await handled(initiation())
    await handle(world, initiation("key-2", email="key-1@example.org"))
    first, second = world.broker.events
    assert second["link"] == first["link"]
    assert second["duplicate_of"] == first["payment_id"]
    assert len(world.providers.requests) == 1


async def test_an_unreadable_message_is_answered_and_frees_its_key() -> None:
    world, _end = await handled(replace(initiation(), body=b"{"))
    end = await handle(world, initiation())
    refused, paid = world.broker.events
    assert (refused["code"], refused["id_origin"]) == ("invalid_message", None)
    assert paid["result"] is True
    assert end.story.action is Action.ANSWERED
    (letter,) = world.broker.letters
    assert letter.headers["payment-id"] == refused["payment_id"]


# --- what the account says -----------------------------------------------------------------------


async def test_a_probe_that_meets_our_wrong_password_decides_nothing_all_night() -> None:
    """Payment rules, section 9: no payment is decided by it, the wait doubles up to an hour."""
    world = World()
    world.providers.behaviours = [UNAUTHORISED] * 100
    worker = world.worker()
    await worker.processor.handle(initiation("first"))
    world.broker.ready.append(initiation("second", id_commande="2"))
    for _ in range(12):
        delivery = world.broker.take()
        assert delivery is not None
        end = await worker.processor.handle(delivery)
        assert end.disposition is Disposition.ACKNOWLEDGE
    assert [event["request_id"] for event in world.broker.events] == ["first"]
    waiting = [each for each in world.store.tables.records.values() if each.state.is_open]
    assert [each.attempts for each in waiting] == [0]
    assert max(change.pause for change in worker.changes) == 3600
    world.providers.behaviours = []
    world.clock.advance(3600)
    delivery = world.broker.take()
    assert delivery is not None
    await worker.processor.handle(delivery)
    assert world.broker.events[-1]["result"] is True


async def test_an_open_breaker_makes_its_messages_wait_uncounted_and_others_go_on() -> None:
    world = World()
    world.providers.behaviours = [UNAUTHORISED]
    worker = world.worker()
    await worker.processor.handle(initiation("first"))
    end = await worker.processor.handle(initiation("second", id_commande="2"))
    assert (end.story.action, end.story.reason) == (Action.WAITING, "no permit")
    assert len(world.store.tables.records) == 1, "nothing was claimed"
    other = await worker.processor.handle(basket("third"))
    assert other.story.status is Status.SUCCEEDED


async def test_a_full_disk_claims_nothing_and_still_answers_what_is_decided() -> None:
    world, _end = await handled(initiation())
    world.store.room = False
    waiting = await handle(world, initiation("second", id_commande="2"))
    repeated = await handle(world, initiation())
    assert waiting.story.action is Action.WAITING
    assert repeated.story.action is Action.REPEATED
    assert len(world.providers.requests) == 1


# --- settings that change ------------------------------------------------------------------------


@pytest.mark.parametrize("refuses", [False, True])
async def test_a_payment_stays_with_the_account_of_its_first_attempt(refuses: object) -> None:
    """Also when the account that the settings of today name would refuse it."""
    world = World()
    world.providers.behaviours = [*THREE_TIMES]
    await handle(world, initiation())
    another = replace(
        LINK_ACCOUNT, name="another", test_companies={} if refuses else LINK_ACCOUNT.test_companies
    )
    moved = replace(
        with_account(another),
        routes=dict.fromkeys(STAGING.routes, "another"),
    )
    delivery = world.broker.take()
    assert delivery is not None
    await handle(world, delivery, book=moved)
    (event,) = world.broker.events
    assert (event["provider"], event["result"], event["attempts"]) == ("safedebit", True, 2)


async def test_a_payment_keeps_the_class_of_its_first_attempt() -> None:
    """Once it might have been e-mailed by the provider, it is never sent again."""
    world = World(book=book_of(OperationClass.NON_IDEMPOTENT))
    world.providers.behaviours = [*THREE_TIMES, RESET_AFTER]
    await handle(world, initiation())
    delivery = world.broker.take()
    assert delivery is not None
    await handle(world, delivery, book=with_account(link_account(OperationClass.ORPHAN_SAFE)))
    (event,) = world.broker.events
    assert event["code"] == "outcome_unknown"
    assert world.broker.steps == ["5s"]


# --- guards --------------------------------------------------------------------------------------


async def test_a_forced_live_call_is_audited_and_told() -> None:
    world = World(book=replace(STAGING, force_live=LEAVE))
    delivery = initiation(payment_run_mode="FORCE_LIVE", amount="1005")
    end = await handle(world, delivery)
    (entry,) = world.store.tables.audit
    assert (entry.action, entry.actor) == ("force_live", "worker")
    assert end.story.livemode_forced
    (event,) = world.broker.events
    assert event["livemode"] is True
    assert world.providers.requests[0].url.startswith("https://live.example.org/")
    repeated = await handle(world, delivery)
    assert not repeated.story.livemode_forced
    assert len(world.store.tables.audit) == 1


async def test_removing_a_live_item_from_staging_is_a_use_of_its_own() -> None:
    world = World(book=replace(STAGING, force_live=LEAVE))
    await handle(
        world,
        initiation(payment_target="MILLIET", payment_run_mode="FORCE_LIVE", amount="1005"),
    )
    end = await handle(world, cancellation())
    assert world.broker.events[-1]["event_type"] == "payment.cancellation.succeeded"
    assert [entry.action for entry in world.store.tables.audit] == ["force_live"] * 2
    assert end.story.livemode_forced


async def test_in_production_forced_equals_live_and_is_not_audited() -> None:
    world = World(book=PRODUCTION)
    end = await handle(world, initiation(payment_run_mode="FORCE_LIVE"))
    assert world.store.tables.audit == []
    assert not end.story.livemode_forced
    assert world.broker.events[0]["livemode"] is True


async def test_a_live_request_on_staging_is_refused_and_never_downgraded() -> None:
    world, _end = await handled(initiation(payment_run_mode="LIVE"))
    assert world.broker.events[0]["code"] == "mode_not_allowed"
    assert world.providers.requests == []


async def test_a_ledger_that_is_away_hands_the_delivery_back() -> None:
    world = World()
    world.store.unavailable = True
    for delivery in (initiation(), cancellation(), replace(initiation(), body=b"{")):
        end = await handle(world, delivery)
        assert end.disposition is Disposition.RETURN
        assert end.story.reason == "ledger unavailable"
    assert world.broker.published == []
    assert world.providers.requests == []


async def test_remarks_about_a_message_are_told_with_its_story() -> None:
    world = World()
    delivery = replace(initiation(nickname="x"), reply_to="somewhere")
    end = await handle(world, delivery)
    assert end.story.reply_to_ignored
    assert end.story.unknown_properties == ("nickname",)
    assert end.story.age == 0.0


async def test_a_lost_ledger_is_proved_by_a_copy_that_knows_more() -> None:
    """Payment rules I10: in doubt, never sent."""
    world = World()
    world.providers.behaviours = [*THREE_TIMES]
    await handle(world, initiation())
    world.store.tables.records.clear()
    copy = world.broker.take()
    assert copy is not None
    await handle(world, copy)
    (event,) = world.broker.events
    assert event["code"] == "ledger_lost"
    assert len(world.providers.requests) == 3


async def test_a_message_delivered_a_hundred_times_is_given_up() -> None:
    world, _end = await handled(initiation(delivery_count=100))
    assert world.broker.events[0]["code"] == "delivery_limit_reached"
    assert world.providers.requests == []


async def test_an_expired_request_is_decided_without_a_call() -> None:
    world = World()
    past = (world.clock.now() - timedelta(seconds=1)).isoformat()
    await handle(world, initiation(headers={"not-after": past}))
    assert world.broker.events[0]["code"] == "request_expired"
    assert world.providers.requests == []


# --- cancellations -------------------------------------------------------------------------------


async def test_an_item_is_removed_and_its_payment_answers_cancelled_from_then_on() -> None:
    world, _end = await handled(basket())
    end = await handle(world, cancellation())
    repeated = await handle(world, basket())
    paid, cancelled, again = world.broker.events
    assert world.providers.items == {}
    assert (paid["sequence"], cancelled["sequence"]) == (1, 2)
    assert cancelled["payment_status"] == "cancelled"
    assert again == cancelled
    assert end.story.kind is Kind.CANCELLATION
    assert repeated.story.action is Action.REPEATED
    assert world.broker.sent_to(Exchange.RESULTS)[1].routing_key == "payment.result.dcp.cancelled"


async def test_a_waiting_payment_is_cancelled_without_a_call() -> None:
    world, _end = await handled(basket(), *THREE_TIMES)
    await handle(world, cancellation())
    await to_the_end(world)
    assert {event["event_type"] for event in world.broker.events} == {
        "payment.cancellation.succeeded"
    }
    assert world.providers.applied.total() == 0


async def test_a_link_cannot_be_cancelled() -> None:
    world, _end = await handled(initiation())
    await handle(world, cancellation())
    event = world.broker.events[1]
    assert (event["code"], event["payment_status"]) == ("not_cancellable", "succeeded")
    assert event["sequence"] == 1
    assert world.broker.letters == []


async def test_an_unknown_payment_is_waited_for_and_its_late_request_is_cancelled() -> None:
    world = World()
    world.broker.ready.append(cancellation())
    await to_the_end(world)
    assert world.broker.steps == ["5s", "30s", "2m"]
    assert world.broker.events[0]["code"] == "payment_unknown"
    await handle(world, basket())
    assert world.broker.events[1]["event_type"] == "payment.cancellation.succeeded"
    assert world.providers.requests == []


async def test_another_origin_learns_nothing_and_cancels_nothing() -> None:
    world, _end = await handled(basket())
    await handle(
        world, replace(cancellation(), routing_key="payment.cancel.web", body=_by_id(world))
    )
    event = world.broker.events[1]
    assert (event["code"], event["sequence"], event["payment_status"]) == (
        "payment_unknown",
        0,
        None,
    )
    assert len(world.providers.items) == 1


def _by_id(world: World) -> bytes:
    payment_id = world.broker.events[0]["payment_id"]
    return f'{{"payment_id": "{payment_id}"}}'.encode()


async def test_a_removal_whose_answer_was_lost_is_sent_again_and_removes_once() -> None:
    world, _end = await handled(basket())
    world.providers.behaviours = [RESET_AFTER]
    world.broker.ready.append(cancellation())
    await to_the_end(world)
    assert world.broker.events[-1]["event_type"] == "payment.cancellation.succeeded"
    assert world.broker.steps == ["5s"]


async def test_a_replay_that_was_edited_beyond_reading_is_answered() -> None:
    world, _end = await handled(initiation(), UNAUTHORISED)
    worker = world.worker()
    (letter,) = world.broker.letters
    payment_id = next(iter(world.store.tables.records))
    await worker.ledger.payments.reopen(
        payment_id, from_sequence=1, actor="ops", run="run-1", reason="fixed"
    )
    copy = replace(world.broker.copy(letter, Source.REPLAY), body=b"{")
    end = await worker.processor.handle(copy)
    assert end.disposition is Disposition.ACKNOWLEDGE
    event = world.broker.events[-1]
    assert (event["code"], event["sequence"]) == ("invalid_message", 2)
    assert world.store.tables.records[payment_id].state is State.FAILED
