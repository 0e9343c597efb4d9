"""What a subscriber gets: body, properties, headers, and the ledger's copy of an event."""

import json
from dataclasses import fields, replace
from datetime import UTC
from itertools import product
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import MESSAGE_ID, NOON, PAYMENT_ID, make_delivery, make_event
from worker.codes import Code
from worker.contract.events import (
    LONGEST_TRACEPARENT,
    correlation_of,
    event_body,
    from_stored,
    result_message,
    to_stored,
)
from worker.contract.result_documents import PaymentResultDocument
from worker.messages import Exchange
from worker.model import (
    Cents,
    Facts,
    Fault,
    Origin,
    PaymentTarget,
    PaymentType,
    RunMode,
    Secret,
    Source,
)
from worker.records import Answer, Event, State, Status

LINK = Secret("https://pay.example.org/paypage?SDESSID=1f2e3d")
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
FIELDS = [
    *("event_id", "event_type", "event_version", "occurred_at"),
    *("payment_id", "request_id", "sequence"),
    *("result", "link", "code", "error"),
    *("provider", "provider_reference", "basket_item_id"),
    *("payment_target", "payment_run_mode", "livemode", "payment_type", "type_paiement"),
    *("id_origin", "id_societe", "id_client", "id_commande", "amount", "currency"),
    *("attempts", "duplicate_of", "conflicts_with"),
]
CANCELLATIONS = {Status.CANCELLED, Status.CANCEL_FAILED, Status.CANCEL_IN_DOUBT}
POSITIVE = {Status.SUCCEEDED, Status.CANCELLED}


def test_a_success_reads_as_the_contract_shows_it() -> None:
    event = replace(make_event(), link=LINK, basket_item_id="12")
    assert json.loads(event_body(event)) == {
        "event_id": "41c36cf2-db67-50f2-a797-0f622c663840",
        "event_type": "payment.initiation.succeeded",
        "event_version": "1.0",
        "occurred_at": "2026-11-21T12:00:00.123Z",
        "payment_id": str(PAYMENT_ID),
        "request_id": MESSAGE_ID,
        "sequence": 1,
        "result": True,
        "link": LINK.reveal(),
        "code": None,
        "error": None,
        "provider": "safedebit",
        "provider_reference": "e762ce2829fe26a3d5308ff9de99677a",
        "basket_item_id": "12",
        "payment_target": "LABANQUEPOSTALE",
        "payment_run_mode": "TEST",
        "livemode": False,
        "payment_type": "SEPA",
        "type_paiement": "SEPA",
        "id_origin": "dcp",
        "id_societe": "1",
        "id_client": "2263",
        "id_commande": "40017",
        "amount": "1250",
        "currency": "EUR",
        "attempts": 1,
        "duplicate_of": None,
        "conflicts_with": None,
    }


@pytest.mark.parametrize("status", Status)
def test_every_event_has_all_fields_in_the_order_of_the_contract(status: Status) -> None:
    body = json.loads(event_body(make_event(status)))
    extra = ["payment_status"] if status in CANCELLATIONS else []
    assert list(body) == FIELDS + extra
    assert body["event_type"] == status.event_type
    assert body["result"] is (status in POSITIVE)
    assert (body["error"] is None) is (status in POSITIVE)


def test_a_failure_says_why_in_both_languages_and_field_by_field() -> None:
    event = replace(
        make_event(Status.FAILED),
        code=Code.DECLINED,
        provider_code="NOK_001",
        http_status=200,
        faults=(Fault("amount", "not_cents", "The sentence."),),
    )
    body = json.loads(event_body(event))
    assert body["code"] == "declined"
    assert body["link"] is None
    assert body["error"] == {
        "category": "declined",
        "code": "declined",
        "retryable": False,
        "provider_code": "NOK_001",
        "http_status": 200,
        "message": {"fr": "Paiement refusé", "en": "Payment declined"},
        "fields": [{"field": "amount", "code": "not_cents", "message": "The sentence."}],
    }


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("EXIST_005", "EXIST_005"),
        ("a.b:c-d", "a.b:c-d"),
        ("NOK <script>\n001", "NOKscript001"),
        ("x" * 100, "x" * 64),
        ("é€\u0000", None),
        ("", None),
        (None, None),
    ],
)
def test_a_provider_code_is_filtered(raw: str | None, shown: str | None) -> None:
    event = replace(make_event(Status.FAILED), code=Code.PROVIDER_REFUSED, provider_code=raw)
    assert json.loads(event_body(event))["error"]["provider_code"] == shown


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (Status.FAILED, "internal_error"),
        (Status.CANCEL_FAILED, "internal_error"),
        (Status.IN_DOUBT, "outcome_unknown"),
        (Status.CANCEL_IN_DOUBT, "outcome_unknown"),
    ],
)
def test_a_failure_without_a_reason_never_promises_that_a_retry_is_safe(
    status: Status, code: str
) -> None:
    for without_reason in (None, Code.LINK_ERASED):
        body = json.loads(event_body(replace(make_event(status), code=without_reason)))
        assert body["code"] == code
        assert body["error"]["retryable"] is False


def test_a_cancellation_tells_the_state_of_its_payment() -> None:
    event = replace(make_event(Status.CANCEL_FAILED), payment_status=State.SUCCEEDED)
    assert json.loads(event_body(event))["payment_status"] == "succeeded"


def test_half_a_surrogate_pair_in_an_id_loses_no_answer() -> None:
    event = replace(make_event(), request_id="a\udcffb")
    assert json.loads(event_body(event))["request_id"] == "a?b"
    assert from_stored(to_stored(event), None).request_id == "a?b"


POSSIBLE = [
    (status, code)
    for status, code in product(Status, [None, *Code])
    if (status in POSITIVE) == (code in {None, Code.LINK_ERASED})
]


@pytest.mark.parametrize(("status", "code"), POSSIBLE)
def test_every_status_and_code_validates_against_its_own_model(
    status: Status, code: Code | None
) -> None:
    body = event_body(replace(make_event(status), code=code))
    document = PaymentResultDocument.model_validate_json(body, strict=True)
    assert document.code == code
    assert (document.error is None) is (status in POSITIVE)


def make_answer(event: Event) -> Answer:
    return Answer(
        operation_id=PAYMENT_ID,
        event=event,
        letter=None,
        correlation_id="of the request",
        traceparent=TRACEPARENT,
    )


def test_a_result_carries_its_attributes_as_text_headers() -> None:
    event = replace(make_event(Status.IN_DOUBT), code=Code.OUTCOME_UNKNOWN)
    message = result_message(
        make_answer(event),
        correlation_id="of this delivery",
        traceparent=None,
        source="/payment-worker/staging",
    )
    assert message.exchange is Exchange.RESULTS
    assert message.routing_key == "payment.result.dcp.in_doubt"
    assert message.body == event_body(event)
    assert message.message_id == str(event.event_id)
    assert message.correlation_id == "of this delivery"
    assert message.type == "payment.initiation.in_doubt"
    assert message.timestamp == NOON
    assert dict(message.headers) == {
        "cloudEvents_specversion": "1.0",
        "cloudEvents_id": str(event.event_id),
        "cloudEvents_source": "/payment-worker/staging",
        "cloudEvents_type": "payment.initiation.in_doubt",
        "cloudEvents_time": "2026-11-21T12:00:00.123Z",
        "cloudEvents_subject": str(PAYMENT_ID),
        "cloudEvents_dataschema": "urn:payment-worker:schema:payment-result:1.0",
        "traceparent": TRACEPARENT,
    }


def test_a_repeat_differs_in_correlation_only() -> None:
    answer = make_answer(make_event())
    first = result_message(answer, correlation_id="1", traceparent=None, source="/s")
    again = result_message(answer, correlation_id="2", traceparent=None, source="/s")
    assert replace(again, correlation_id="1") == first


def test_a_traceparent_that_would_burst_the_frame_is_left_out() -> None:
    """A request may fill its own frame; ours would close the connection under all the others."""
    answer = make_answer(make_event())
    longest = "0" * LONGEST_TRACEPARENT
    for own, stored in ((longest + "0", None), (None, longest + "0")):
        sent = result_message(
            replace(answer, traceparent=stored), correlation_id=None, traceparent=own, source="/s"
        )
        assert "traceparent" not in sent.headers
    sent = result_message(answer, correlation_id=None, traceparent=longest, source="/s")
    assert sent.headers["traceparent"] == longest


def test_an_answer_without_a_delivery_correlates_to_the_request_that_led_to_it() -> None:
    event = make_event()
    answer = make_answer(event)
    sent = result_message(answer, correlation_id=None, traceparent=None, source="/s")
    assert sent.correlation_id == "of the request"
    bare = replace(answer, correlation_id=None, traceparent=None)
    sent = result_message(bare, correlation_id=None, traceparent=None, source="/s")
    assert sent.correlation_id == MESSAGE_ID
    assert "traceparent" not in sent.headers


def test_an_answer_correlates_to_the_message_being_answered() -> None:
    assert correlation_of(make_delivery(correlation_id="order-1")) == "order-1"
    assert correlation_of(make_delivery()) == MESSAGE_ID
    assert correlation_of(make_delivery(message_id=None)) is None
    copy = make_delivery(
        message_id=str(PAYMENT_ID), source=Source.LADDER, headers={"payment-id": str(PAYMENT_ID)}
    )
    assert correlation_of(copy) is None


text = st.text(st.characters(exclude_categories=["Cs"]))
whole = st.integers(min_value=0, max_value=10**12)
facts = st.builds(
    Facts,
    payment_target=st.none() | st.sampled_from(PaymentTarget),
    payment_run_mode=st.none() | st.sampled_from(RunMode),
    payment_type=st.none() | st.sampled_from(PaymentType),
    type_paiement=st.none() | st.sampled_from(PaymentType),
    id_origin=st.none() | text,
    id_societe=st.none() | text,
    id_client=st.none() | text,
    id_commande=st.none() | text,
    amount=st.none() | whole.map(Cents),
)
events = st.builds(
    Event,
    event_id=st.uuids(),
    status=st.sampled_from(Status),
    occurred_at=st.datetimes(timezones=st.just(UTC)),
    origin=text.map(Origin),
    payment_id=st.uuids(),
    request_id=st.none() | text,
    sequence=whole,
    facts=facts,
    attempts=whole,
    link=st.none() | st.just(LINK),
    code=st.none() | st.sampled_from(Code),
    provider_code=st.none() | text,
    http_status=st.none() | whole,
    faults=st.lists(st.builds(Fault, text, text, text), max_size=3).map(tuple),
    provider=st.none() | text,
    provider_reference=st.none() | text,
    basket_item_id=st.none() | text,
    livemode=st.none() | st.booleans(),
    duplicate_of=st.none() | st.uuids(),
    conflicts_with=st.none() | st.uuids(),
    payment_status=st.none() | st.sampled_from(State),
)


@given(events)
def test_a_stored_event_comes_back_whole_and_never_holds_its_link(event: Event) -> None:
    stored = to_stored(event)
    assert "SDESSID" not in stored
    back = from_stored(stored, event.link)
    assert back == event
    assert event_body(back) == event_body(event)


def test_an_erased_link_is_told_apart_from_one_that_never_was() -> None:
    erased = from_stored(to_stored(replace(make_event(), link=LINK)), None)
    body = json.loads(event_body(erased))
    assert (body["result"], body["link"], body["code"], body["error"]) == (
        True,
        None,
        "link_erased",
        None,
    )
    without_link = from_stored(to_stored(make_event()), None)
    assert without_link == make_event()


def test_a_link_kept_for_the_operator_is_never_published() -> None:
    doubtful = replace(make_event(Status.IN_DOUBT), code=Code.OUTCOME_UNKNOWN)
    assert from_stored(to_stored(doubtful), LINK).link is None


@pytest.mark.parametrize("change", [("format", 2), ("status", "paid"), ("event_id", "x")])
def test_a_text_nobody_stored_is_refused_without_repeating_it(change: tuple[str, object]) -> None:
    content = json.loads(to_stored(replace(make_event(), request_id="personal")))
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the type is all the port promises
        from_stored(json.dumps(content | dict([change])), None)
    assert "personal" not in str(raised.value)


def test_no_representation_shows_the_link() -> None:
    event = replace(make_event(), link=LINK, duplicate_of=UUID(int=1))
    message = result_message(make_answer(event), correlation_id=None, traceparent=None, source="/s")
    assert "SDESSID" not in repr(event)
    assert "SDESSID" not in repr(message)


def test_every_field_of_an_event_is_kept() -> None:
    """A field that is added to the event and forgotten in its stored form would be lost."""
    content = json.loads(to_stored(make_event()))
    names = {each.name for each in fields(Event)} - {"link"}
    assert set(content) == names | {"format", "has_link"}
    assert set(content["facts"]) == {each.name for each in fields(Facts)}
