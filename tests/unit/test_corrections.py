"""Another e-mail in a body: every other byte stays, and what comes out is read as a whole."""

import json
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.core import cancellation, initiation
from tests.store_samples import sample_letter
from worker.contract.copies import dead_letter
from worker.contract.corrections import (
    Correction,
    NotCorrectable,
    accepted_email,
    corrected,
    with_email,
)
from worker.contract.names import fold_name
from worker.contract.reading import read
from worker.model import Delivery, Secret, Source

NEW = "new.person@example.org"

spellings = st.sampled_from(
    ["email", "Email", "EMAIL", "e_mail", "E_Mail", "eMail", "_email", "\\u0065mail"]
)
white = st.text(" \t\r\n", max_size=3)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12),
    st.just("email"),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=6) | st.just("email"), inner, max_size=3)
    ),
    max_leaves=8,
)
others = st.dictionaries(
    st.text(max_size=8).filter(lambda name: fold_name(name) != "email"), values, max_size=5
)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, str, str]:
    """A JSON object in three parts: what is before the e-mail's value, the value, what follows."""
    pairs = [
        f"{json.dumps(name, ensure_ascii=draw(st.booleans()))}{draw(white)}:{draw(white)}"
        f"{json.dumps(value, ensure_ascii=draw(st.booleans()))}"
        for name, value in draw(others).items()
    ]
    place = draw(st.integers(0, len(pairs)))
    old = json.dumps(draw(st.text(max_size=20)), ensure_ascii=draw(st.booleans()))

    def comma() -> str:
        return f"{draw(white)},{draw(white)}"

    before = "".join(f"{pair}{comma()}" for pair in pairs[:place])
    after = "".join(f"{comma()}{pair}" for pair in pairs[place:])
    name = f'"{draw(spellings)}"{draw(white)}:{draw(white)}'
    return (
        f"{draw(white)}{{{draw(white)}{before}{name}",
        old,
        f"{draw(white)}{after}{draw(white)}}}{draw(white)}",
    )


@given(parts=bodies(), email=st.text(min_size=1, max_size=30))
def test_every_byte_but_the_emails_stays(parts: tuple[str, str, str], email: str) -> None:
    """Names folded as the reader folds them, wherever it stands, however it is written."""
    assume(email.isprintable())
    before, old, after = parts
    changed = with_email(f"{before}{old}{after}".encode(), email)
    assert changed is not None
    assert changed.startswith(before.encode())
    assert changed.endswith(after.encode())
    assert json.loads(changed[len(before.encode()) : len(changed) - len(after.encode())]) == email
    first, second = json.loads(f"{before}{old}{after}"), json.loads(changed)
    assert [*first] == [*second]
    for name, value in first.items():
        assert second[name] == (email if fold_name(name) == "email" else value)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"{}",
        b'"email"',
        b'{"mail": "a@b"}',
        b'{"other": {"email": "a@b"}}',
        b'{"email": "a@b", "E_MAIL": "a@b"}',
        b'\xef\xbb\xbf{"email": "a@b"}',
        b'{"email": "\xff"}',
        b'{"email": "a@b"',
    ],
)
def test_a_body_without_exactly_one_email_is_left_alone(body: bytes) -> None:
    assert with_email(body, NEW) is None


def test_what_nobody_reads_may_be_as_absurd_as_it_likes() -> None:
    absurd = b'{"a": 1e999999999999999999999, "b": %s, "email": "a@b", "c": []}' % (b"9" * 5000)
    changed = with_email(absurd, NEW)
    assert changed == absurd.replace(b"a@b", NEW.encode())


# --- a whole letter ----------------------------------------------------------------------------


def dead(request: Delivery) -> Delivery:
    """A request as its dead letter comes back from the queue."""
    owed = dead_letter(
        request, read(request).envelope, sample_letter(), worker_version="1", attempts=1
    )
    return replace(
        request,
        body=owed.body,
        source=Source.ELSEWHERE,
        routing_key=owed.routing_key,
        headers=owed.headers,
    )


def letter(body: bytes | None = None) -> Delivery:
    """A letter of ours, as it lies in the dead letters."""
    return dead(initiation() if body is None else replace(initiation(), body=body))


def test_a_corrected_letter_differs_in_its_email_alone() -> None:
    found = corrected(letter(), NEW)
    assert isinstance(found, Correction)
    assert found.is_needed
    assert found.after.email == Secret(NEW)
    assert found.after.facts == found.before.facts
    assert found.after.fingerprint != found.before.fingerprint
    old = found.before.email.reveal().encode()
    assert found.letter == replace(letter(), body=letter().body.replace(old, NEW.encode()))


def test_an_email_that_is_there_already_needs_no_correction() -> None:
    first = corrected(letter(), NEW)
    assert isinstance(first, Correction)
    again = corrected(first.letter, NEW)
    assert isinstance(again, Correction)
    assert (again.is_needed, again.letter) == (False, first.letter)


def test_an_email_that_the_contract_refuses_is_not_put_in() -> None:
    found = corrected(letter(), "nobody")
    assert isinstance(found, NotCorrectable)
    assert [fault.field for fault in found.faults] == ["email"]
    assert "nobody" not in str(found)


def test_what_is_no_payment_request_is_not_corrected() -> None:
    for wrong in (dead(cancellation()), letter(b"{}"), replace(letter(), headers={})):
        assert isinstance(corrected(wrong, NEW), NotCorrectable)


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        (" jo@example.org ", "jo@example.org"),
        ("jo", None),
        ("jo@", None),
        ("jo@a@b", None),
        ("jo doe@example.org", None),
        ("<jo@example.org>", None),
        ("jo\n@example.org", None),
        (f"{'j' * 70}@example.org", None),
    ],
)
def test_an_email_is_taken_as_the_contract_reads_it(text: str, accepted: str | None) -> None:
    assert accepted_email(text) == accepted
