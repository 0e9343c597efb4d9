"""Every request is checked as the worker will, and its identity survives sending it again."""

import json
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import NOON, make_delivery, payment_body
from worker.contract.reading import read
from worker.contract.request_documents import CancelRequestDocument, PaymentRequestDocument
from worker.identity import identity_of, operation_id_of
from worker.messages import Exchange, OutgoingMessage
from worker.model import Cancellation, Initiation, RunMode
from worker.submission.checking import (
    Checked,
    Ready,
    Refused,
    by_mode,
    check,
    check_all,
    check_cancel,
    row_of_fields,
)
from worker.submission.documents import line_rows
from worker.submission.keys import FileKeys, Key
from worker.submission.rows import Row

GUID = "0B9BD9D7-2F3C-4F0E-9A39-3F6F3AC53CF5"
LIMIT = datetime(2026, 12, 31, 17, 0, tzinfo=UTC)


def judge(body: dict[str, object] | str, key: Key | None = None) -> Ready | Refused:
    text = body if isinstance(body, str) else json.dumps(body)
    row = Row(number=7, line=9, body=text.encode())
    return check(row, key or Key.given(GUID), not_after=None, now=NOON)


def ready(body: dict[str, object] | str, key: Key | None = None) -> Ready:
    judged = judge(body, key)
    assert isinstance(judged, Ready)
    return judged


def refused(body: dict[str, object] | str) -> list[tuple[str, str]]:
    judged = judge(body)
    assert isinstance(judged, Refused)
    assert (judged.number, judged.line) == (7, 9)
    return [(fault.field, fault.code) for fault in judged.faults]


def received(message: OutgoingMessage) -> Initiation | Cancellation:
    """What the worker reads when this message reaches it."""
    delivery = make_delivery(
        message.body,
        routing_key=message.routing_key,
        message_id=message.message_id,
        headers=message.headers,
    )
    reading = read(delivery)
    assert isinstance(reading, Initiation | Cancellation)
    return reading


def is_guid(text: str) -> bool:
    return str(UUID(text)) == text


def check_lines(*bodies: dict[str, object], key_column: str | None = None) -> Checked:
    data = "\n".join(json.dumps(body) for body in bodies).encode()
    return check_all(
        line_rows(data, key_column=key_column), FileKeys.of(data), not_after=None, now=NOON
    )


def test_a_request_is_sent_in_the_canonical_form_whatever_it_was_written_in() -> None:
    message = ready(
        {
            "paymentTarget": "la banque postale",
            "PaymentRunMode": "test",
            "payment_type": "sepa_direct",
            "type_paiement": "SEPA",
            "idOrigin": " Télévente ",
            "id_societe": 1,
            "id_client": "2263",
            "id_commande": 0,
            "amount": 1250,
            "email": " client@example.org",
            "commentaire": " two\nlines",
            "surname": "Dupont",
        }
    ).message
    assert (message.exchange, message.routing_key) == (
        Exchange.REQUESTS,
        "payment.initiate.televente",
    )
    assert (message.message_id, message.type, message.timestamp) == (GUID, "payment_initiate", NOON)
    assert json.loads(message.body) == {
        "payment_target": "LABANQUEPOSTALE",
        "payment_run_mode": "TEST",
        "payment_type": "DIRECT_SEPA",
        "id_origin": "Télévente",
        "id_societe": "1",
        "id_client": "2263",
        "id_commande": "0",
        "type_paiement": "SEPA",
        "amount": "1250",
        "email": "client@example.org",
        "commentaire": " two\nlines",
    }
    PaymentRequestDocument.model_validate_json(message.body)  # raises where the schema says no


def test_the_worker_will_know_the_payment_by_the_id_that_was_printed() -> None:
    request = ready(payment_body())
    reading = received(request.message)
    assert reading.envelope.operation_id == request.payment_id
    assert request.payment_id == operation_id_of(identity_of("dcp", GUID))
    assert (request.mode, request.amount) == (RunMode.TEST, 1250)


def test_the_worker_reads_the_same_request_from_what_is_sent_as_from_what_was_given() -> None:
    body = payment_body(payment_target="La Banque Postale", email=" Client@Example.org ")
    given = read(make_delivery(body, message_id=GUID))
    assert isinstance(given, Initiation)
    sent = received(ready(body).message)
    assert sent.request == given.request


def test_a_key_that_is_no_guid_travels_as_a_header_beside_a_guid() -> None:
    """A ServiceStack subscriber parses the answer's correlation id as a GUID."""
    request = ready(payment_body(), Key.given("facture 17"))
    assert request.message.headers == {"idempotency-key": "facture 17"}
    assert is_guid(request.message.message_id)
    assert request.payment_id == operation_id_of(identity_of("dcp", "facture 17"))
    assert received(request.message).envelope.operation_id == request.payment_id


@given(st.text(st.characters(categories=["L", "Cs", "Cc", "N"]), max_size=40))
def test_a_key_gives_the_same_ids_every_time(text: str) -> None:
    assert Key.given(text) == Key.given(text)
    assert is_guid(Key.given(text).message_id)


def test_not_after_is_carried_as_the_worker_reads_it() -> None:
    row = row_of_fields({name: str(value) for name, value in payment_body().items()})
    judged = check(row, Key.given("k"), not_after=LIMIT, now=NOON)
    assert isinstance(judged, Ready)
    assert received(judged.message).envelope.not_after == LIMIT
    assert judged.message.headers["idempotency-key"] == "k"


@pytest.mark.parametrize(
    ("body", "faults"),
    [
        ("no json", [("body", "not_json")]),
        ("[]", [("body", "not_an_object")]),
        ({**payment_body(), "amount": "12,50"}, [("amount", "not_cents")]),
        (
            {**payment_body(), "email": "nobody", "payment_target": 1},
            [("payment_target", "not_a_name"), ("email", "not_an_email")],
        ),
        ({**payment_body(), "id_client": "half\ud800"}, [("id_client", "control_character")]),
        ({**payment_body(), "Amount": "1250"}, [("amount", "repeated")]),
    ],
)
def test_what_the_worker_would_refuse_is_refused_with_all_its_faults(
    body: dict[str, object] | str, faults: list[tuple[str, str]]
) -> None:
    assert refused(body) == faults


@pytest.mark.parametrize("key", ["x" * 256, "tab\tinside", "half\ud800"])
def test_a_key_the_worker_would_refuse_is_refused(key: str) -> None:
    judged = judge(payment_body(), Key.given(key))
    assert isinstance(judged, Refused)
    assert [fault.field for fault in judged.faults] == ["idempotency-key"]


def test_no_refusal_repeats_a_value() -> None:
    judged = judge(payment_body(email="personal", amount="secret", id_origin="x" * 40))
    assert isinstance(judged, Refused)
    assert not any(word in repr(judged) for word in ("personal", "secret", "xxxx"))


# --- a whole file --------------------------------------------------------------------------------


def test_the_same_file_gives_the_same_ids_and_each_row_its_own() -> None:
    first, again = (check_lines(payment_body(), payment_body()) for _ in range(2))
    ids = [each.payment_id for each in first.ready]
    assert ids == [each.payment_id for each in again.ready]
    assert len(set(ids)) == first.total == 2


def test_an_edited_file_and_a_new_intent_give_other_ids() -> None:
    keys = [
        FileKeys.of(b"a").row(1),
        FileKeys.of(b"a").row(2),
        FileKeys.of(b"b").row(1),
        FileKeys.of(b"a", UUID(GUID)).row(1),
        FileKeys.of(b"a", UUID(int=1)).row(1),
    ]
    assert len({key.message_id for key in keys}) == len(keys)
    assert FileKeys.of(b"a", UUID(GUID)).row(1) == keys[3]


def test_the_id_of_a_row_never_changes_over_versions() -> None:
    """Another id for an old file would pay it again."""
    assert FileKeys.of(b"a").row(1).message_id == "4954bc7e-1796-5120-bac7-0076db83d815"
    assert Key.given("facture 17").message_id == "b4cd9ef1-eb0a-520d-9584-278892be09f4"


def test_a_refused_row_keeps_its_number_so_that_the_others_keep_their_ids() -> None:
    keys = FileKeys("digest")
    rows = [row_of_fields({"amount": "x"}), row_of_fields({})]
    whole = Row(number=2, line=2, body=json.dumps(payment_body()).encode())
    checked = check_all([rows[0], whole], keys, not_after=None, now=NOON)
    assert [each.number for each in checked.refused] == [1]
    assert [each.message.message_id for each in checked.ready] == [keys.row(2).message_id]


def test_of_two_rows_under_one_key_only_the_first_is_sent() -> None:
    checked = check_lines(
        {**payment_body(), "piece": "a"},
        {**payment_body(amount="1"), "piece": "a"},
        {**payment_body(), "piece": "b"},
        key_column="piece",
    )
    assert [each.number for each in checked.ready] == [1, 3]
    (second,) = checked.refused
    assert [(fault.field, fault.code) for fault in second.faults] == [
        ("message_id", "key_repeated")
    ]
    assert "row 1" in second.faults[0].message


def test_a_row_without_its_key_is_refused_with_its_other_faults() -> None:
    checked = check_lines(payment_body(amount="0"), payment_body(), key_column="piece")
    assert [[fault.field for fault in each.faults] for each in checked.refused] == [
        ["piece", "amount"],
        ["piece"],
    ]


def test_what_no_request_has_is_named_once() -> None:
    checked = check_lines({**payment_body(), "nom": 1}, {**payment_body(), "nom": 2, "ville": 3})
    assert checked.ignored == ("nom", "ville")


def test_sums_are_told_apart_by_mode() -> None:
    modes = ["LIVE", "TEST", "LIVE"]
    checked = check_lines(*(payment_body(payment_run_mode=mode) for mode in modes))
    assert list(by_mode(checked.ready)) == [(RunMode.TEST, 1, 1250), (RunMode.LIVE, 2, 2500)]


# --- cancellations -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [{"payment_id": GUID.lower()}, {"idempotency_key": "facture 17", "notify": False}],
)
def test_a_cancellation_names_the_payment_it_is_about(content: dict[str, str | bool]) -> None:
    judged = check_cancel(content, "DCP", Key.given(GUID), now=NOON)
    assert isinstance(judged, Ready)
    assert judged.message.routing_key == "payment.cancel.dcp"
    assert judged.message.type == "payment_cancel"
    CancelRequestDocument.model_validate_json(judged.message.body)
    reading = received(judged.message)
    assert isinstance(reading, Cancellation)
    assert reading.request.payment_id == judged.payment_id
    assert list(by_mode([judged])) == []


def test_a_cancellation_by_key_finds_the_payment_that_was_sent_under_it() -> None:
    payment = ready(payment_body(), Key.given("facture 17"))
    cancel = check_cancel({"idempotency_key": "facture 17"}, "dcp", Key.given("c"), now=NOON)
    assert isinstance(cancel, Ready)
    assert cancel.payment_id == payment.payment_id
    assert cancel.message.headers == {"idempotency-key": "c"}


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({}, "payment_id"),
        ({"payment_id": GUID, "idempotency_key": "k"}, "payment_id"),
        ({"idempotency_key": "x" * 300}, "idempotency_key"),
    ],
)
def test_a_cancellation_the_worker_would_refuse_is_refused(
    content: dict[str, str | bool], field: str
) -> None:
    judged = check_cancel(content, "dcp", Key.given(GUID), now=NOON)
    assert isinstance(judged, Refused)
    assert [fault.field for fault in judged.faults] == [field]
