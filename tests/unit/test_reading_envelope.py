"""Who a delivery is: computed on first receipt, believed on our own copies, ignored elsewhere."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import (
    IDENTITY,
    MESSAGE_ID,
    NOON,
    PAYMENT_ID,
    make_delivery,
    make_envelope,
    payment_body,
)
from worker.contract.envelope import envelope_headers
from worker.contract.reading import read, read_broker_letter
from worker.contract.times import exact_time_text, read_time, time_text
from worker.identity import identity_of, is_refusal, operation_id_of, request_id_of
from worker.model import (
    Cancellation,
    Delivery,
    Envelope,
    Fingerprint,
    Initiation,
    Source,
    Unreadable,
)

NO_GUID = "00000000-0000-0000-0000-000000000000"


def payment_id_of(delivery: Delivery) -> UUID:
    reading = read(delivery)
    assert isinstance(reading, Initiation), reading
    return reading.envelope.operation_id


def fingerprint_of(delivery: Delivery) -> Fingerprint:
    reading = read(delivery)
    assert isinstance(reading, Initiation), reading
    return reading.request.fingerprint


def faults_of(delivery: Delivery) -> list[tuple[str, str]]:
    reading = read(delivery)
    assert isinstance(reading, Unreadable), reading
    return [(fault.field, fault.code) for fault in reading.faults]


def test_a_first_receipt_is_sequence_one_without_attempts() -> None:
    reading = read(make_delivery())
    assert reading.envelope == make_envelope()


@pytest.mark.parametrize(
    ("message_id", "header", "key"),
    [
        (MESSAGE_ID, None, MESSAGE_ID),
        (f" {MESSAGE_ID} ", None, MESSAGE_ID),
        (MESSAGE_ID, "K-1", "K-1"),
        (MESSAGE_ID, "  K-1 ", "K-1"),
        (MESSAGE_ID, " ", MESSAGE_ID),
        (MESSAGE_ID, NO_GUID, MESSAGE_ID),
        (None, "K-1", "K-1"),
        ("0", None, "0"),
    ],
)
def test_the_first_key_that_says_something_identifies(
    message_id: str | None, header: str | None, key: str
) -> None:
    headers = {} if header is None else {"idempotency-key": header}
    delivery = make_delivery(message_id=message_id, headers=headers)
    assert payment_id_of(delivery) == operation_id_of(identity_of("dcp", key))


@pytest.mark.parametrize(
    "absent", [None, "", "  ", NO_GUID, "0" * 32, f"{{{NO_GUID}}}", NO_GUID.upper()]
)
def test_without_a_key_the_content_identifies_unless_there_is_no_order(absent: str | None) -> None:
    delivery = make_delivery(message_id=absent)
    expected = identity_of("dcp", fingerprint_of(delivery))
    assert payment_id_of(delivery) == operation_id_of(expected)
    without_order = make_delivery(payment_body(id_commande=0), message_id=absent)
    assert faults_of(without_order) == [("message_id", "identity_missing")]


def test_a_missing_identity_is_told_beside_the_other_faults() -> None:
    body = payment_body(id_commande=" 0 ", amount="0", email="nobody")
    assert faults_of(make_delivery(body, message_id=None)) == [
        ("amount", "not_cents"),
        ("email", "not_an_email"),
        ("message_id", "identity_missing"),
    ]


spellings = st.fixed_dictionaries(
    {
        "payment_target": st.sampled_from(
            ["LABANQUEPOSTALE", "la banque postale", "LaBanquePostale"]
        ),
        "payment_type": st.sampled_from(["DIRECT_SEPA", "sepa_direct", " Sepa_Direct "]),
        "id_origin": st.sampled_from(
            ["Télévente", "TÉLÉVENTE", "televente", "te\u0301le\u0301vente "]
        ),
        "id_societe": st.sampled_from(["1", 1, " 1"]),
        "amount": st.sampled_from(["1250", 1250]),
        "email": st.sampled_from(["client@example.org", "Client@Example.ORG "]),
        "commentaire": st.one_of(st.none(), st.text(st.characters(categories=["L"]), max_size=9)),
    }
)


@given(spellings, spellings, st.booleans())
def test_identity_and_fingerprint_are_stable_under_spelling(
    one: dict[str, object],
    other: dict[str, object],
    has_key: bool,  # noqa: FBT001 - hypothesis passes it
) -> None:
    message_id = MESSAGE_ID if has_key else None
    first = make_delivery(payment_body(**one), message_id=message_id)
    second = make_delivery(payment_body(**other), message_id=message_id)
    assert payment_id_of(first) == payment_id_of(second)
    assert fingerprint_of(first) == fingerprint_of(second)


@pytest.mark.parametrize(
    ("headers", "message_id", "fault"),
    [
        ({"CC": "payment.initiate.web"}, MESSAGE_ID, ("CC", "not_allowed")),
        ({"CC": ""}, MESSAGE_ID, ("CC", "not_allowed")),
        ({"BCC": "x"}, MESSAGE_ID, ("BCC", "not_allowed")),
        ({"not-after": "tomorrow"}, MESSAGE_ID, ("not-after", "not_a_time")),
        ({"not-after": 1790000000}, MESSAGE_ID, ("not-after", "not_a_time")),
        ({"idempotency-key": "x" * 256}, MESSAGE_ID, ("idempotency-key", "too_long")),
        ({"idempotency-key": "a\u001fb"}, MESSAGE_ID, ("idempotency-key", "control_character")),
        ({}, "a\u001fb", ("message_id", "control_character")),
        ({}, "\udcff", ("message_id", "control_character")),
    ],
)
def test_what_stands_around_a_body_can_be_wrong_too(
    headers: Mapping[str, str | int], message_id: str, fault: tuple[str, str]
) -> None:
    assert faults_of(make_delivery(headers=headers, message_id=message_id)) == [fault]


@pytest.mark.parametrize(
    "routing_key",
    ["", "payment.initiate", "payment.refund.dcp", "payments.work", "Payment.Cancel.x"],
)
def test_another_routing_key_is_refused_and_still_answered_to_its_origin(routing_key: str) -> None:
    reading = read(make_delivery(routing_key=routing_key))
    assert isinstance(reading, Unreadable)
    assert [fault.field for fault in reading.faults] == ["routing_key"]
    assert reading.origin == "dcp"
    assert reading.facts.id_commande == "40017"
    assert not reading.is_cancellation


def test_not_after_is_part_of_the_envelope() -> None:
    headers = {"not-after": "2026-11-21T14:00:00.5+01:00"}
    expected = datetime(2026, 11, 21, 13, 0, 0, 500000, tzinfo=UTC)
    assert read(make_delivery(headers=headers)).envelope.not_after == expected


def test_a_refusal_leaves_its_key_free_and_is_the_same_for_the_same_body() -> None:
    broken = read(make_delivery(payment_body(amount="0")))
    again = read(make_delivery(payment_body(amount="0"), received_at=NOON + timedelta(days=1)))
    otherwise_broken = read(make_delivery(payment_body(amount="00")))
    corrected = read(make_delivery())
    ids = {reading.envelope.operation_id for reading in (broken, otherwise_broken, corrected)}
    assert len(ids) == 3
    assert again.envelope.operation_id == broken.envelope.operation_id
    assert is_refusal(broken.envelope.identity)


def copy_headers(**changes: str | int) -> dict[str, str | int]:
    envelope = make_envelope(attempts=3, sequence=2, first_seen=NOON - timedelta(hours=1))
    written = dict(envelope_headers(envelope, sequence=2, attempts=3, replay_count=1))
    return written | {name.replace("_", "-"): value for name, value in changes.items()}


def believed_envelope(source: Source) -> Envelope:
    envelope = make_envelope(
        attempts=3, sequence=2, first_seen=NOON - timedelta(hours=1), source=source
    )
    return replace(envelope, replay_count=1)


@pytest.mark.parametrize("source", [Source.LADDER, Source.REPLAY])
def test_a_copy_of_ours_is_believed_and_nothing_is_computed_again(source: Source) -> None:
    delivery = make_delivery(
        source=source, routing_key="work", headers=copy_headers(), message_id="another"
    )
    assert read(delivery).envelope == believed_envelope(source)


@pytest.mark.parametrize("source", [Source.REQUESTS, Source.ELSEWHERE])
def test_our_headers_are_ignored_on_anything_else(source: Source) -> None:
    headers = copy_headers(payment_id=NO_GUID, identity="web\u001fforged")
    assert read(make_delivery(source=source, headers=headers)).envelope == make_envelope(
        source=source
    )


def test_the_kind_of_a_copy_is_that_of_its_first_routing_key() -> None:
    headers = copy_headers(origin_routing_key="payment.cancel.dcp")
    body = {"payment_id": str(PAYMENT_ID)}
    delivery = make_delivery(body, source=Source.LADDER, routing_key="work", headers=headers)
    assert isinstance(read(delivery), Cancellation)


@pytest.mark.parametrize("routing_key", ["", " "])
def test_a_copy_of_a_message_without_a_routing_key_keeps_its_identity(routing_key: str) -> None:
    refused = read(make_delivery(source=Source.ELSEWHERE, routing_key=routing_key))
    on_copy = envelope_headers(refused.envelope, sequence=1, attempts=1, replay_count=0)
    again = read(make_delivery(source=Source.LADDER, routing_key="work", headers=on_copy))
    assert again.envelope.operation_id == refused.envelope.operation_id
    assert isinstance(again, Unreadable)


def test_a_numeric_header_may_come_as_text() -> None:
    delivery = make_delivery(source=Source.LADDER, headers=copy_headers(attempts="3"))
    assert read(delivery).envelope.attempts == 3


@pytest.mark.parametrize(
    ("name", "garbled"),
    [
        ("identity", ""),
        ("payment-id", "40017"),
        ("sequence", "two"),
        ("sequence", -1),
        ("attempts", "1.5"),
        ("attempts", "9" * 5000),
        ("first-seen", "yesterday"),
        ("replay-count", "x"),
    ],
)
def test_a_copy_with_garbled_headers_is_refused_under_an_id_of_its_own(
    name: str, garbled: str | int
) -> None:
    headers = copy_headers() | {name: garbled}
    delivery = make_delivery(source=Source.LADDER, headers=headers)
    assert ("headers", "headers_unreadable") in faults_of(delivery)
    assert is_refusal(read(delivery).envelope.identity)
    assert read(delivery).envelope.operation_id != PAYMENT_ID


def test_a_copy_without_any_header_is_refused_and_not_taken_for_a_request() -> None:
    delivery = make_delivery(source=Source.REPLAY, routing_key="work")
    assert faults_of(delivery) == [
        ("headers", "headers_unreadable"),
        ("routing_key", "unknown_routing_key"),
    ]


def test_an_unreadable_copy_keeps_its_believed_identity() -> None:
    delivery = make_delivery(payment_body(amount="0"), source=Source.LADDER, headers=copy_headers())
    reading = read(delivery)
    assert isinstance(reading, Unreadable)
    assert reading.envelope == believed_envelope(Source.LADDER)


@pytest.mark.parametrize(
    "refused",
    [
        make_delivery(headers={"CC": "x"}),
        make_delivery(payment_body(id_commande="0"), message_id=None),
    ],
)
def test_what_was_refused_cannot_become_a_payment_on_its_way_back(refused: Delivery) -> None:
    """A copy has no CC header and always has a message_id: the reason itself is gone."""
    envelope = read(refused).envelope
    copy = replace(
        refused,
        source=Source.REPLAY,
        message_id=str(envelope.operation_id),
        headers=envelope_headers(envelope, sequence=2, attempts=0, replay_count=1),
    )
    assert faults_of(copy) == [("headers", "refused_before")]
    assert read(copy).envelope.operation_id == envelope.operation_id


def test_a_letter_of_the_broker_is_read_as_the_first_receipt_it_was() -> None:
    letter = make_delivery(source=Source.ELSEWHERE, routing_key="dead", exchange="payments.dlx")
    reading = read_broker_letter(letter, origin_routing_key="payment.initiate.dcp")
    assert reading == read(make_delivery())
    assert reading.envelope.identity == IDENTITY


def test_a_message_id_we_gave_a_copy_is_not_the_producers() -> None:
    copy = make_delivery(message_id=str(PAYMENT_ID), source=Source.LADDER, headers=copy_headers())
    assert request_id_of(copy) is None
    assert request_id_of(make_delivery(message_id=None)) is None
    assert request_id_of(make_delivery()) == MESSAGE_ID


@given(
    body=st.one_of(st.binary(), st.text().map(str.encode)),
    routing_key=st.sampled_from(["payment.initiate.a", "payment.cancel.b", ""]),
    source=st.sampled_from(Source),
    message_id=st.one_of(st.none(), st.text()),
    headers=st.dictionaries(
        st.sampled_from(["idempotency-key", "not-after", "CC", *copy_headers()]),
        st.one_of(st.text(), st.integers()),
    ),
)
def test_reading_never_raises(
    body: bytes,
    routing_key: str,
    source: Source,
    message_id: str | None,
    headers: dict[str, str | int],
) -> None:
    delivery = make_delivery(
        body, routing_key=routing_key, source=source, message_id=message_id, headers=headers
    )
    reading = read(delivery)
    assert isinstance(reading, Unreadable)
    assert reading.faults


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
)


@given(st.dictionaries(st.sampled_from([*payment_body(), "commentaire", "x"]), json_values))
def test_reading_never_raises_for_any_value_of_a_field(changes: dict[str, object]) -> None:
    reading = read(make_delivery(payment_body(**changes)))
    assert isinstance(reading, Initiation | Unreadable)
    assert isinstance(reading, Initiation) or reading.faults


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-21T20:14:03Z", datetime(2026, 11, 21, 20, 14, 3, tzinfo=UTC)),
        ("2026-11-21t20:14:03.1234567z", datetime(2026, 11, 21, 20, 14, 3, 123456, tzinfo=UTC)),
        ("2026-11-21 20:14:03-01:30", datetime(2026, 11, 21, 21, 44, 3, tzinfo=UTC)),
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
        ("2026-11-21T20:14:03", None),
        ("2026-13-21T20:14:03Z", None),
        ("2026-02-29T20:14:03Z", None),
        ("2026-11-21T24:00:00Z", None),
        ("2026-11-21T20:14:61Z", None),
        ("2026-11-21T20:14:03+24:00", None),
        ("0001-01-01T00:00:00+01:00", None),
        ("9999-12-31T23:59:60Z", None),
        ("0000-01-01T00:00:00Z", None),
        ("2026-11-21", None),
        ("/Date(1700000000000)/", None),
        ("1700000000", None),
        ("2026-11-21T20:14:03Z\n", None),
    ],
)
def test_a_time_is_read_as_rfc_3339_or_not_at_all(text: str, expected: datetime | None) -> None:
    assert read_time(text) == expected


@given(st.datetimes(timezones=st.just(UTC)))
def test_our_own_times_come_back_exactly(time: datetime) -> None:
    assert read_time(exact_time_text(time)) == time
    shown = read_time(time_text(time))
    assert shown is not None
    assert timedelta() <= time - shown < timedelta(milliseconds=1)
