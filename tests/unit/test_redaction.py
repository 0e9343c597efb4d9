"""Nothing that looks like a secret or a person survives a log line."""

import hashlib
import json
import string
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.model import Secret
from worker.ports import StoreUnavailableError
from worker.telemetry.patterns import link_mark, redact, redact_thoroughly
from worker.telemetry.redaction import ALLOWED, HIDDEN, facts_of, redact_fields

IBANS = (
    "FR7630006000011234567890189",
    "DE89370400440532013000",
    "GB29NWBK60161331926819",
    "BE68539007547034",
    "MT84MALT011000012345MTLCAST001S",
    "LU280019400644750000",
)
CARDS = (
    "4111111111111111",
    "5555555555554444",
    "378282246310005",
    "4222222222222",
    "30569309025904",
)
WORDS = st.text(string.ascii_letters + " ,.;:()!?éàü\n", max_size=30)
TOKENS = st.text(string.ascii_letters + string.digits + "-_.~", min_size=6, max_size=40)


@st.composite
def cards(draw: st.DrawFn) -> str:
    """A card number of any length, valid by Luhn, written with or without separators."""
    body = draw(st.lists(st.integers(0, 9), min_size=12, max_size=18))
    doubled = [digit * 2 if place % 2 == 0 else digit for place, digit in enumerate(reversed(body))]
    check = -sum(each - 9 if each > 9 else each for each in doubled) % 10
    digits = "".join(str(digit) for digit in [*body, check])
    separator = draw(st.sampled_from(["", " ", "-", ".", "\u00a0"]))
    return separator.join(digits[place : place + 4] for place in range(0, len(digits), 4))


@given(WORDS, cards(), WORDS)
def test_no_card_number_survives(before: str, card: str, after: str) -> None:
    assert card not in redact(f"{before}{card}{after}")


@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize("follower", ["", " 12/29", " 123", "0", "99999"])
def test_a_card_number_is_found_inside_a_longer_run(card: str, follower: str) -> None:
    assert redact(f"carte {card}{follower} refusée").startswith("carte [card]")


@given(WORDS, st.sampled_from(IBANS), st.sampled_from(["", " ", "-", "\u00a0"]), WORDS)
def test_no_iban_survives(before: str, iban: str, separator: str, after: str) -> None:
    written = separator.join(iban[place : place + 4] for place in range(0, len(iban), 4))
    for shown in (written, written.lower()):
        assert shown not in redact(f"{before}{shown}{after}")
        assert iban[-8:] not in redact(f"{before}{shown}{after}")


@given(WORDS, TOKENS, TOKENS, st.sampled_from(["@", "%40"]), WORDS)
def test_no_email_survives(before: str, local: str, host: str, at: str, after: str) -> None:
    shown = redact(f"{before} {local}{at}{host}.fr {after}")
    assert f"{local}{at}" not in shown
    assert f"{at}{host}" not in shown


@given(WORDS, TOKENS, TOKENS, st.sampled_from(["https", "http", "HTTPS"]), WORDS)
def test_of_a_link_only_host_and_digest_survive(
    before: str, path: str, token: str, scheme: str, after: str
) -> None:
    link = f"{scheme}://pay.example.org/{path}?SDESSID={token}"
    shown = redact(f'{before}"{link}" {after}')
    digest = hashlib.sha256(link.encode()).hexdigest()[:12]
    assert f"[link pay.example.org {digest}]" in shown
    assert token not in shown.replace(digest, "") or token in f"{before}{after}pay.example.org link"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("amqp://payworker:s3cr3t@rabbit:5672/payments", "amqp://[userinfo]@rabbit:5672/payments"),
        ("amqps://u:p@ss/w@rd@rabbit/v", "amqps://[userinfo]@rabbit/v"),
        ("Authorization: Basic bWU6c2VjcmV0", "Authorization: Basic [credentials]"),
        ("authorization=bearer:abc.def-123", "authorization=bearer [credentials]"),
        (r"https:\/\/pay.example\/x", f"{link_mark('https://pay.example/x')}"),
        ("https://[broken/x", link_mark("https://[broken/x")),
        ("https://user:pw@pay.example/x", link_mark("https://user:pw@pay.example/x")),
        ("attempt 3 after 2026-11-21T20:14:03.123Z", "attempt 3 after 2026-11-21T20:14:03.123Z"),
        ("order 40017 of company 1", "order 40017 of company 1"),
        ("payment.result.dcp.succeeded", "payment.result.dcp.succeeded"),
    ],
)
def test_texts_as_they_come(text: str, shown: str) -> None:
    assert redact(text) == shown


def test_the_mark_of_a_link_shows_no_userinfo_and_no_odd_host() -> None:
    assert link_mark("https://user:pw@pay.example/x").startswith("[link pay.example ")
    assert link_mark("https://p%41y/x").startswith("[link ? ")
    assert "jean" not in link_mark("https://jean.dupont@x y/")


@given(st.text(max_size=200))
def test_redaction_takes_any_text_and_is_done_after_once(text: str) -> None:
    once = redact(text)
    assert redact(once) == once


@given(
    st.dictionaries(
        st.text(max_size=20),
        st.one_of(st.text(), st.binary(), st.floats(), st.decimals(), st.integers(), st.none()),
        max_size=8,
    )
)
def test_whatever_is_logged_becomes_json_and_unknown_names_lose_their_value(
    fields: dict[str, object],
) -> None:
    shown = redact_fields(None, "info", dict(fields))
    json.dumps(shown, allow_nan=False)
    assert {name: shown[name] for name in fields if name not in ALLOWED} == {
        name: HIDDEN for name in fields if name not in ALLOWED
    }


def test_allowed_fields_keep_simple_values_only() -> None:
    payment_id = UUID("11111111-1111-1111-1111-111111111111")
    shown = redact_fields(
        None,
        "info",
        {
            "labels.payment_id": payment_id,
            "labels.message_id": str(payment_id),
            "labels.reason": "client@example.org",
            "labels.age": float("nan"),
            "labels.count": Decimal("1.10"),
            "labels.status": Secret("https://pay.example/x"),
            "labels.queue": b"\xff",
            "labels.unknown_properties": ("nom", "jean@example.org"),
            "labels.livemode": True,
            "@timestamp": datetime(2026, 11, 21, tzinfo=UTC),
            "email": "client@example.org",
        },
    )
    assert shown == {
        "labels.payment_id": str(payment_id),
        "labels.message_id": str(payment_id),
        "labels.reason": "[e-mail]",
        "labels.age": None,
        "labels.count": "[Decimal]",
        "labels.status": "[Secret]",
        "labels.queue": "[bytes]",
        "labels.unknown_properties": ["nom", "[e-mail]"],
        "labels.livemode": True,
        "@timestamp": "2026-11-21T00:00:00+00:00",
        "email": HIDDEN,
    }


def test_a_message_id_that_is_a_person_is_redacted() -> None:
    shown = redact_fields(None, "info", {"labels.message_id": "jean.dupont@example.org"})
    assert shown["labels.message_id"] == "[e-mail]"


@given(st.lists(st.text(max_size=60), max_size=40))
def test_what_was_seen_before_is_shown_as_it_was_then(texts: list[str]) -> None:
    """Short harmless texts are remembered; nothing of that may show."""
    person = "jean.dupont@example.org"
    for text in (person, *texts, person, *texts):
        shown = redact_fields(None, "info", {"labels.reason": text})["labels.reason"]
        assert shown == redact(text)


def test_an_exception_is_told_by_type_and_place_and_never_by_foreign_text() -> None:
    link = "https://pay.example/SDESSID=1"

    def fail(given: dict[str, str], person: str) -> str:
        try:
            return given[link]
        except KeyError as error:
            raise ValueError(person) from error

    with pytest.raises(ValueError, match="Jean") as caught:
        fail({}, "Jean Dupont")
    facts = facts_of(caught.value)
    assert facts["error.type"] == "ValueError"
    assert "error.message" not in facts
    stack = "\n".join(facts["error.stack"])
    assert "KeyError" in stack
    assert "fail" in stack
    assert "Jean" not in stack
    assert link not in stack


def test_texts_of_our_own_and_of_the_system_are_kept() -> None:
    assert (
        facts_of(StoreUnavailableError("ledger is locked"))["error.message"] == "ledger is locked"
    )
    assert facts_of(FileNotFoundError(2, "No such file", "/home/jean"))["error.message"] == (
        "No such file"
    )


def test_a_loop_of_causes_ends() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert len(facts_of(first)["error.stack"]) == 8


@given(
    st.lists(
        st.one_of(
            st.text(max_size=12),
            st.sampled_from(("@", "%40", "://", "http", "BASIC ", "Bearer:", "FR76 ", "4111 ")),
            st.from_regex(r"[A-Za-z]{2}[ .-]?\d[ .-]?\d{1,30}", fullmatch=True),
            st.from_regex(r"(\d[ .-]?){1,20}", fullmatch=True),
        ),
        max_size=8,
    ).map("".join)
)
def test_the_first_look_passes_nothing_that_the_net_would_catch(text: str) -> None:
    """Most lines are let through after one look: that look may only err on the careful side."""
    assert redact(text) == redact_thoroughly(text)
