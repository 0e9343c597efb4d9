"""The table of magic names holds together, and its document is written from it."""

from pathlib import Path

import pytest

from worker.codes import Category, Code, category_of
from worker.providers.link import LINK_CODES
from worker.records import Status
from worker.simulator.acting import applies
from worker.simulator.effects import (
    Break,
    Breakage,
    Effect,
    Flaky,
    OnRemoval,
    Reject,
    Respond,
    Shape,
    Succeed,
)
from worker.simulator.expected import Decided, Expected, Magic
from worker.simulator.magic import EVERY_MAGIC, MAGIC, magic_document, magic_name

DOCUMENT = Path(__file__).parents[2] / "schemas" / "examples" / "simulator.json"

LONGEST_EMAIL = 70
"""Characters both contract and provider allow."""


def test_the_document_is_the_table_byte_for_byte() -> None:
    assert DOCUMENT.read_bytes() == magic_document().encode()


def test_no_name_stands_twice() -> None:
    assert len(MAGIC) == len(EVERY_MAGIC)


@pytest.mark.parametrize("name", MAGIC)
def test_a_name_fits_an_e_mail_and_is_found_in_it(name: str) -> None:
    email = f"sim+{name}@customers.example.org"
    assert len(email) <= LONGEST_EMAIL
    assert magic_name(email) == name
    assert magic_name(email.upper()) == name


@pytest.mark.parametrize(
    ("email", "name"),
    [
        ("client@example.org", None),
        ("sim@example.org", None),
        ("simon+x@example.org", None),
        ("x.sim+timeout@example.org", None),
        ("sim+@example.org", ""),
        ("sim+timeuot@example.org", "timeuot"),
        ("", None),
        ("sim+timeout", None),
    ],
)
def test_only_the_local_part_chooses(email: str, name: str | None) -> None:
    assert magic_name(email) == name


def expectations() -> list[tuple[Magic, Expected]]:
    return [
        (magic, expected)
        for magic in EVERY_MAGIC
        for expected in (magic.link, magic.basket, magic.removal)
        if expected is not None
    ]


@pytest.mark.parametrize(
    ("magic", "expected"), expectations(), ids=lambda value: getattr(value, "name", "")
)
def test_status_and_code_agree(magic: Magic, expected: Expected) -> None:
    """A success has no code; a doubt has one of its category; a failure has any other."""
    doubts = {Status.IN_DOUBT, Status.CANCEL_IN_DOUBT}
    if expected.status in {Status.SUCCEEDED, Status.CANCELLED}:
        assert expected.code is None
        assert expected.applied >= 1
    else:
        assert expected.code is not None
        is_doubt = category_of(expected.code) is Category.IN_DOUBT
        assert is_doubt == (expected.status in doubts)
        assert is_doubt or expected.applied == 0, magic.name


def test_no_basket_expectation_is_applied_twice() -> None:
    """Class E: a duplicate is a debt the customer sees."""
    assert all(magic.basket.applied <= 1 for magic in EVERY_MAGIC)
    assert all(magic.basket.decided is not Decided.SENT_AGAIN for magic in EVERY_MAGIC)


def test_every_documented_provider_code_has_a_name() -> None:
    rejected = {effect.provider_code for _, effect in rejections()}
    assert set(LINK_CODES) < rejected
    assert rejected - set(LINK_CODES) == {"NEW_999"}


def test_a_rejection_names_the_code_the_worker_reads_it_as() -> None:
    for magic, effect in rejections():
        assert magic.link.code is LINK_CODES.get(effect.provider_code, Code.PROVIDER_REFUSED)


def test_every_behaviour_there_is_has_a_name() -> None:
    effects = [single(magic.effect) for magic in EVERY_MAGIC]
    shapes = {effect.shape for effect in effects if isinstance(effect, Succeed)}
    breakages = {effect.how for effect in effects if isinstance(effect, Break)}
    assert shapes == set(Shape)
    assert breakages == set(Breakage)


def test_what_is_applied_follows_from_the_act() -> None:
    assert applies(Succeed())
    assert not applies(Reject("NOK_001"))
    for applied in (True, False):
        assert applies(Respond(status=500, applied=applied)) is applied
        assert applies(Break(how=Breakage.HOLD, applied=applied)) is applied


def rejections() -> list[tuple[Magic, Reject]]:
    return [(magic, magic.effect) for magic in EVERY_MAGIC if isinstance(magic.effect, Reject)]


def single(effect: Effect) -> Effect:
    """The act inside the counting and removal knobs."""
    match effect:
        case OnRemoval(effect=inner):
            return single(inner)
        case Flaky(failure=failure):
            return failure
        case _:
            return effect
