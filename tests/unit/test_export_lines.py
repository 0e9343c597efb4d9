"""A letter's line is the copy a walk would publish, and no line may lie about whose it is."""

import json
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import NOON, make_delivery
from tests.core import initiation
from tests.store_samples import times
from worker.contract import headers
from worker.contract.copies import rotated_copy
from worker.contract.envelope import envelope_headers, first_envelope
from worker.contract.reading import read_broker_letter
from worker.identity import identity_of
from worker.messages import OutgoingMessage
from worker.model import Delivery, Environment, Source
from worker.operators.exports.lines import (
    ExportedLetter,
    ExportHeader,
    LineError,
    Seal,
    exported,
    header_line,
    letter_line,
    read_header,
    read_letter,
    read_seal,
    seal_line,
    version_in,
)

HEADER = ExportHeader(environment=Environment.STAGING, exported_at=NOON)
OWN = (*headers.PRODUCER_HEADERS, *headers.LETTER_HEADERS, *headers.REPLAY_HEADERS)

texts = st.text(max_size=40)
properties = st.none() | st.text(min_size=1, max_size=40)
values = texts | st.text(min_size=1100, max_size=1200) | st.integers(-(2**31), 2**31)
extras = st.dictionaries(st.sampled_from((*OWN, "x-death", "CC", "stranger")), values)
keys = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=60)


@st.composite
def decided_letters(draw: st.DrawFn) -> Delivery:
    """Any letter of a worker's, with whatever the broker or a stranger wrote on it."""
    asked = make_delivery(received_at=draw(times))
    envelope = first_envelope(asked, identity_of("dcp", draw(keys).strip() or "key"), None)
    own = envelope_headers(
        envelope,
        sequence=draw(st.integers(0, 10**9 - 1)),
        attempts=draw(st.integers(0, 10**9 - 1)),
        replay_count=draw(st.integers(0, 10**9 - 1)),
    )
    return Delivery(
        body=draw(st.binary(max_size=200)),
        source=Source.ELSEWHERE,
        routing_key="dead",
        received_at=NOON,
        message_id=draw(properties),
        correlation_id=draw(properties),
        type=draw(properties),
        timestamp=draw(st.none() | times),
        headers=MappingProxyType({**draw(extras), **own}),
    )


@given(decided_letters())
def test_any_letter_comes_back_as_the_copy_a_walk_would_publish(letter: Delivery) -> None:
    copy = rotated_copy(letter)
    kept = exported(copy)
    assert kept is not None
    again = read_letter(letter_line(kept))
    assert again == kept
    assert again.message == copy


@given(body=st.binary(max_size=200), message_id=properties)
def test_any_letter_the_broker_made_comes_back_as_a_copy_that_is_unanswered_still(
    body: bytes, message_id: str | None
) -> None:
    deaths = json.dumps([{"routing-keys": ["payment.initiate.dcp"], "reason": "delivery_limit"}])
    letter = replace(
        make_delivery(body),
        message_id=message_id,
        headers=MappingProxyType({"x-death": deaths, "error-code": "forged"}),
    )
    envelope = read_broker_letter(letter, origin_routing_key="payment.initiate.dcp").envelope
    copy = rotated_copy(letter, envelope=envelope)
    kept = exported(copy)
    assert kept is not None
    assert (kept.operation_id, kept.is_unanswered) == (envelope.operation_id, True)
    assert read_letter(letter_line(kept)).message == copy


def sound() -> ExportedLetter:
    """A letter like any other."""
    asked = replace(initiation(), timestamp=NOON, correlation_id="order-1", type="payment")
    envelope = first_envelope(asked, identity_of("dcp", "key-1"), None)
    own: dict[str, str | int] = {
        **envelope_headers(envelope, sequence=2, attempts=3, replay_count=1),
        headers.ERROR_CODE: "provider_credentials",
    }
    letter = exported(rotated_copy(replace(asked, headers=MappingProxyType(own))))
    assert letter is not None
    return letter


@pytest.mark.parametrize(
    "lie",
    [
        {headers.PAYMENT_ID: "5b1f0c1e-0000-4000-8000-000000000001"},
        {headers.IDENTITY: "dcp\x1fkey-2"},
        {headers.IDENTITY: "dcp\x1fkey-1\x1f"},
        {headers.SEQUENCE: "2"},
        {headers.SEQUENCE: -2},
        {headers.FIRST_SEEN: "yesterday"},
        {headers.FIRST_SEEN: "2026-11-21T12:00:00Z"},
        {"CC": "payment.initiate.web"},
        {"x-death": "[]"},
        {headers.ERROR_DETAIL: "x" * 2000},
    ],
    ids=repr,
)
def test_headers_that_lie_or_are_not_as_we_write_them_are_no_letter(
    lie: Mapping[str, str | int],
) -> None:
    message = sound().message
    changed = replace(message, headers=MappingProxyType({**message.headers, **lie}))
    assert exported(changed) is None
    assert _refused(replace(sound(), message=changed))


@pytest.mark.parametrize("name", headers.ENVELOPE_HEADERS)
def test_a_header_that_is_missing_makes_it_nobodys_letter(name: str) -> None:
    message = sound().message
    rest = {each: value for each, value in message.headers.items() if each != name}
    assert exported(replace(message, headers=MappingProxyType(rest))) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("payment_id", "5b1f0c1e-0000-4000-8000-000000000001"),
        ("sequence", 3),
        ("sequence", True),
        ("message_id", 7),
        ("message_id", None),
        ("correlation_id", []),
        ("timestamp", "noon"),
        ("headers", []),
        ("headers", {"sequence": 1.0}),
        ("body", "no base64!"),
        ("body", 7),
        ("stranger", 1),
    ],
)
def test_a_line_of_another_shape_is_refused(name: str, value: object) -> None:
    fields = json.loads(letter_line(sound())) | {name: value}
    with pytest.raises(LineError):
        read_letter(json.dumps(fields, separators=(",", ":")).encode() + b"\n")


@pytest.mark.parametrize(
    "line", [b"", b"\n", b"[]\n", b"{}\n", b"\xff\n", b"[" * 100_000, letter_line(sound())[:-1]]
)
def test_what_is_no_line_of_ours_is_refused_and_raises_nothing_else(line: bytes) -> None:
    with pytest.raises(LineError):
        read_letter(line)
    with pytest.raises(LineError):
        read_header(line)
    assert (read_seal(line), version_in(line)) == (None, None)


def test_header_and_seal_come_back() -> None:
    assert read_header(header_line(HEADER)) == HEADER
    assert version_in(header_line(HEADER)) == 1
    assert read_seal(seal_line(Seal(3, "ab"))) == Seal(3, "ab")
    for changed in (b'"staging"', b'"2026-'):
        with pytest.raises(LineError):
            read_header(header_line(HEADER).replace(changed, b'"moon'))


def test_no_line_error_tells_what_the_line_holds() -> None:
    with pytest.raises(LineError) as refused:
        read_letter(b'{"body":"planted.person@example.test"}\n')
    assert str(refused.value) == ""


def _refused(letter: ExportedLetter) -> bool:
    try:
        read_letter(letter_line(letter))
    except LineError:
        return True
    return False


def test_a_letter_names_what_its_copies_have_in_common() -> None:
    letter = sound()
    other: OutgoingMessage = replace(letter.message, correlation_id="order-2")
    assert replace(letter, message=other).name == letter.name
