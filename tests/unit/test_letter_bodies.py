"""Looking into a dead letter: masked, audited, and the letter is kept."""

import json
from collections import deque

import pytest

from tests.core import REFUSED, World, initiation
from tests.fakes_letters import PaperQueue, given_up
from worker.contract.masking import MaskedBody, masked_body, masked_email
from worker.identity import identity_of, operation_id_of
from worker.messages import Exchange
from worker.operators.bodies import BodyWish, NotSeen, look_into

KEY = operation_id_of(identity_of("dcp", "key-1"))
WISH = BodyWish(operation_id=KEY, actor="anna")
PERSON = "marie.durand@example.org"


def masked(**body: object) -> dict[str, object]:
    found = masked_body(json.dumps(body).encode()).properties
    assert found is not None
    return dict(found)


def test_fields_are_shown_and_people_are_not() -> None:
    assert masked(
        payment_target="PAYBOX",
        amount="1250",
        idCommande=40017,
        Email=PERSON,
        commentaire="call Marie on 06 12",
        notify=True,
        id_client=None,
    ) == {
        "payment_target": "PAYBOX",
        "amount": "1250",
        "idCommande": "40017",
        "Email": "m***@…",
        "commentaire": "***",
        "notify": True,
        "id_client": None,
    }


def test_what_is_no_field_of_ours_is_named_and_not_shown() -> None:
    found = masked(nom="Durand", amount=12.5, id_client={"nom": "Durand"}, id_societe=["1"])
    assert found == {"nom": "***", "amount": "***", "id_client": "***", "id_societe": "***"}


@pytest.mark.parametrize("value", [PERSON, f"order of {PERSON}", "https://example.org/x"])
def test_an_address_is_masked_wherever_it_stands(value: str) -> None:
    shown = masked(**{"id_commande": value, value: "1"})
    assert shown == {"id_commande": "***", "***": "***"}


@pytest.mark.parametrize(
    ("email", "shown"), [(PERSON, "m***@…"), ("@x", "***"), ("x", "***"), ("", "***")]
)
def test_an_email_is_known_by_its_first_letter_at_most(email: str, shown: str) -> None:
    assert masked_email(email) == shown


def test_a_long_or_unprintable_value_stays_on_one_line() -> None:
    assert masked(id_commande="a\nb" + "c" * 500) == {"id_commande": "a?b" + "c" * 197}


@pytest.mark.parametrize("body", [b"{", b"[1]", b"\xff", b""])
def test_of_what_is_no_object_only_the_size_is_told(body: bytes) -> None:
    assert masked_body(body) == MaskedBody(len(body), None)


def desk() -> tuple[World, PaperQueue]:
    letters = (given_up(initiation(f"key-{n}", id_commande=f"{n}")) for n in range(3))
    return World(), PaperQueue(deque(letters))


async def look(world: World, queue: PaperQueue) -> MaskedBody | NotSeen:
    ledger = world.worker().ledger
    return await look_into(WISH, ledger=ledger, queue=queue, publisher=world.broker)


async def test_the_letter_is_found_kept_and_the_look_is_audited() -> None:
    world, queue = desk()
    await world.worker().processor.handle(initiation("key-1", id_commande="1"))
    seen = await look(world, queue)
    assert isinstance(seen, MaskedBody)
    assert seen.properties is not None
    assert (seen.properties["id_commande"], seen.properties["email"]) == ("1", "k***@…")
    rotated = [message.message_id for message in world.broker.letters]
    assert rotated == ["key-0", "key-1"]
    assert [letter.message_id for letter in queue.letters] == ["key-2"]
    history = await world.worker().ledger.history(KEY)
    assert history is not None
    (act,) = history.audit
    assert (act.actor, act.action, act.operation_id) == ("anna", "show_body", KEY)
    assert "@" not in act.detail


async def test_a_body_that_no_letter_holds_and_a_walk_cut_short_are_told_apart() -> None:
    world, queue = desk()
    del queue.letters[1]
    assert await look(world, queue) is NotSeen.NOT_IN_QUEUE
    world, queue = desk()
    world.broker.scripts[Exchange.DEAD_LETTER] = [REFUSED]
    assert await look(world, queue) is NotSeen.CUT_SHORT
    assert len(queue.letters) == 3


async def test_an_empty_queue_has_no_letter() -> None:
    assert await look(World(), PaperQueue()) is NotSeen.NOT_IN_QUEUE
