"""A payment that an operator cancels: what is told beforehand, and the message that is sent."""

from dataclasses import replace
from uuid import UUID

import pytest

from tests.core import SILENT, World, basket, email_of, initiation
from tests.rows import EMAIL, payment
from worker.contract.reading import read
from worker.messages import Exchange, OutgoingMessage
from worker.model import Cancellation, Delivery, OperationClass, Source
from worker.operators.cancellations import (
    Asked,
    Cancellations,
    NotAsked,
    NotConfirmed,
    cancellation_message,
)
from worker.records import Kind, Record, State

PAID = replace(
    payment(State.SUCCEEDED, operation_class=OperationClass.NON_IDEMPOTENT),
    item_id="12",
    email=EMAIL,
)


async def bar(world: World, record: Record, *others: Record) -> str | None:
    """Why a payment cannot be cancelled that stands so."""
    for each in (record, *others):
        world.store.tables.records[each.operation_id] = each
    found = await Cancellations(ledger=world.worker().ledger, clock=world.clock).bar(
        record.operation_id
    )
    return found.reason if isinstance(found, NotAsked) else None


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (PAID, None),
        (payment(State.CALLING), None),
        (payment(State.RETRY_WAIT), None),
        (replace(PAID, item_id=None), "link"),
        (replace(PAID, email=None), "erased"),
        (replace(PAID, duplicate_of=PAID.operation_id), "cancel that one"),
        (replace(PAID, kind=Kind.REFUSAL), "not a payment"),
        (payment(State.FAILED), "failed"),
        (payment(State.IN_DOUBT), "settle it first"),
        (payment(State.CANCELLED), "cancelled already"),
    ],
)
async def test_what_cannot_be_cancelled_is_told_before_anything_is_sent(
    record: Record, reason: str | None
) -> None:
    told = await bar(World(), record)
    assert told is None if reason is None else reason in str(told)


async def test_a_cancellation_in_doubt_stands_before_another_one() -> None:
    world = World()
    doubt = replace(
        payment(State.IN_DOUBT),
        operation_id=initiation_id("another"),
        payment_id=PAID.operation_id,
        kind=Kind.CANCELLATION,
    )
    assert "in doubt: settle that first" in str(await bar(world, PAID, doubt))


def initiation_id(key: str) -> UUID:
    return read(initiation(key)).envelope.operation_id


def back(message: OutgoingMessage, world: World) -> Delivery:
    """The message as a worker gets it."""
    return world.broker.copy(message, Source.REPLAY)


async def test_it_is_the_same_message_that_a_producer_would_send() -> None:
    world = World()
    operation_id, message = cancellation_message(PAID, [], world.clock, actor="anna")
    assert (message.exchange, message.routing_key) == (Exchange.REPLAY, "work")
    asked = read(back(message, world))
    assert isinstance(asked, Cancellation)
    assert asked.request.payment_id == PAID.operation_id
    assert asked.request.origin == PAID.origin
    assert asked.envelope.operation_id == operation_id
    assert asked.envelope.attempts == 0
    again, same = cancellation_message(PAID, [], world.clock, actor="bert")
    assert (again, same.message_id) == (operation_id, message.message_id)
    failed = replace(PAID, kind=Kind.CANCELLATION, state=State.FAILED)
    assert cancellation_message(PAID, [failed], world.clock, actor="anna")[0] != operation_id


async def test_a_basket_item_is_removed_once_and_the_act_is_audited() -> None:
    world = World()
    worker = world.worker()
    await worker.processor.handle(basket())
    found = await worker.ledger.find(read(basket()).envelope.operation_id)
    assert found is not None
    cancellations = Cancellations(ledger=worker.ledger, clock=world.clock)
    asked = await cancellations.ask(found[0], world.broker, actor="anna", reason="twice")
    assert isinstance(asked, Asked)
    (message,) = world.broker.sent_to(Exchange.REPLAY)
    assert await cancellations.outcome(asked, seconds=0) is None
    for _ in range(2):
        await worker.processor.handle(back(message, world))
    record = await cancellations.outcome(asked, seconds=0)
    assert record is not None
    assert record.state is State.SUCCEEDED
    assert world.providers.items == {}
    assert email_of("key-1") not in str(message.headers)
    (act,) = [entry for entry in world.store.tables.audit if entry.action == "cancel"]
    assert act.detail == f"asked for as {asked.operation_id}: twice"


async def test_a_broker_that_says_nothing_is_told() -> None:
    world = World()
    world.broker.scripts[Exchange.REPLAY] = [SILENT]
    cancellations = Cancellations(ledger=world.worker().ledger, clock=world.clock)
    said = await cancellations.ask(PAID, world.broker, actor="anna", reason="twice")
    assert isinstance(said, NotConfirmed)
