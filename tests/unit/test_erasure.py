"""Erasing a person: his letters and nobody else's, and nothing that a request is judged by."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.core import World, email_of, initiation
from tests.fakes_letters import PaperLetter, PaperQueue
from worker.contract.reading import read
from worker.model import Secret
from worker.operators.erasure import Eraser, Person, Standing, operations_of
from worker.operators.walks import WalkedLetter

ANN = Person(email=Secret("Ann@example.org"))


def eraser_of(world: World) -> Eraser:
    return Eraser(
        ledger=world.worker().ledger,
        retention=world.store.retention,
        actor="anna",
        reason="data-protection request 4711",
    )


async def test_a_payment_just_made_is_not_made_again_because_its_person_was_erased() -> None:
    """Another key, the same content: known by the fingerprint alone (contract section 2)."""
    world = World()
    first = initiation("key-1")
    again = replace(initiation("key-2", email=email_of("key-1")), received_at=world.clock.now())
    await world.worker().processor.handle(first)
    payment_id = read(first).envelope.operation_id
    assert await eraser_of(world).erase([payment_id]) == {payment_id}
    found = await world.worker().ledger.find(payment_id)
    assert found is not None
    assert (found[0].email, found[0].email_mark, found[0].link) == (None, None, None)
    await world.worker().processor.handle(again)
    assert sum(world.providers.applied.values()) == 1
    assert world.broker.events[-1]["duplicate_of"] == str(payment_id)


async def test_once_nothing_is_judged_by_it_the_content_goes_too() -> None:
    world = World()
    first = initiation("key-1")
    await world.worker().processor.handle(first)
    payment_id = read(first).envelope.operation_id
    assert await standing(world) == [Standing.ERASABLE]
    assert await eraser_of(world).erase([payment_id]) == {payment_id}
    assert await standing(world) == [Standing.ERASED]
    world.clock.advance((world.rules.content_age + timedelta(seconds=1)).total_seconds())
    assert await standing(world) == [Standing.ERASABLE]
    assert await eraser_of(world).erase([payment_id]) == {payment_id}
    assert await standing(world) == [Standing.ERASED]
    found = await world.worker().ledger.find(payment_id)
    assert found is not None
    assert found[0].fingerprint is None


async def standing(world: World) -> list[Standing]:
    found = operations_of(world.worker().ledger, Person(client="2263"))
    return [each.standing async for each in found]


def letter_with(body: bytes) -> WalkedLetter:
    delivery = replace(initiation(), body=body)
    return WalkedLetter(PaperLetter(delivery, PaperQueue()), World().broker)


@pytest.mark.parametrize(
    "text",
    [
        "ann@example.org",
        "ANN@Example.org",
        "write to ann@example.org.",
        "<ann@example.org>",
        "first line\nann@example.org",
        "ann@example.org, or by phone",
    ],
)
@pytest.mark.parametrize("field", ["email", "commentaire"])
def test_an_email_is_found_in_whatever_stands_about_it(field: str, text: str) -> None:
    assert ANN.is_in(letter_with(json.dumps({field: text}).encode()))


def test_an_email_is_found_in_a_body_that_nobody_can_read() -> None:
    assert ANN.is_in(letter_with(b"{email: ann@example.org"))
    assert ANN.is_in(letter_with(b'{"email": "\\u0061nn@example.org"}'))


@pytest.mark.parametrize(
    "email",
    [
        "joann@example.org",
        "jo.ann@example.org",
        "jo-ann@example.org",
        "o'ann@example.org",
        "ann@example.org.uk",
        "ann@example.organic",
        "ann@example.org-site.fr",
    ],
)
def test_the_letter_of_somebody_with_a_longer_email_is_not_his(email: str) -> None:
    """A letter that is erased can never be replayed."""
    assert not ANN.is_in(letter_with(json.dumps({"email": email}).encode()))
