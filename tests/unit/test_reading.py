"""Reading rules of contract section 2, row by row."""

import json
from collections.abc import Callable

import pytest

from tests.builders import MESSAGE_ID, make_delivery, payment_body
from tests.payment_dto import Kind, Mode, PaymentInitiate, Target
from worker.codes import Code
from worker.contract.reading import read
from worker.model import (
    Cancellation,
    Initiation,
    PaymentTarget,
    PaymentType,
    RunMode,
    Unreadable,
)


def initiation(body: dict[str, object] | str | bytes) -> Initiation:
    reading = read(make_delivery(body))
    assert isinstance(reading, Initiation), reading
    return reading


def refusal(body: dict[str, object] | str | bytes) -> Unreadable:
    reading = read(make_delivery(body))
    assert isinstance(reading, Unreadable), reading
    return reading


def faults_of(body: dict[str, object] | str | bytes) -> list[tuple[str, str]]:
    return [(fault.field, fault.code) for fault in refusal(body).faults]


def test_a_message_of_the_dto_class_is_read() -> None:
    text = PaymentInitiate(
        payment_target=Target.LABANQUEPOSTALE,
        payment_run_mode=Mode.FORC_E__L_I_V_E,
        payment_type=Kind.DIREC_T__S_E_P_A,
        id_origin="télévente",
        id_societe="1",
        id_client="2263",
        id_commande="40017",
        type_paiement=Kind.DIREC_T__S_E_P_A,
        amount="1250",
        email="client@example.org",
    ).to_json()
    assert '"paymentRunMode"' in text
    assert '"commentaire": null' in text
    request = initiation(text).request
    assert request.payment_run_mode is RunMode.FORCE_LIVE
    assert request.payment_type is PaymentType.DIRECT_SEPA
    assert request.origin == "televente"


def test_an_empty_message_of_the_dto_class_misses_every_required_field() -> None:
    assert [code for _, code in faults_of(PaymentInitiate().to_json())] == ["missing"] * 10


SAMPLE = (
    '{"payment_target":"LABANQUEPOSTALE","payment_run_mode":"TEST","payment_type":"DIRECT_SEPA",'
    '"id_origin":"String","id_societe":"String","id_client":"String","id_commande":"String",'
    '"type_paiement":"DIRECT_SEPA","amount":"String","email":"String","commentaire":"String"}'
)


def test_the_published_sample_is_read_once_its_placeholders_are_filled() -> None:
    assert faults_of(SAMPLE) == [("amount", "not_cents"), ("email", "not_an_email")]
    filled = SAMPLE.replace('"amount":"String"', '"amount":"1250"').replace(
        '"email":"String"', '"email":"a@b.fr"'
    )
    assert initiation(filled).request.id_client == "String"


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: name,
        lambda name: name.replace("_", ""),
        lambda name: name.upper(),
        lambda name: "".join(part.capitalize() for part in name.split("_")),
        lambda name: name.split("_")[0] + "".join(p.capitalize() for p in name.split("_")[1:]),
    ],
)
def test_every_spelling_of_the_names_means_the_same_payment(
    rename: Callable[[str], str],
) -> None:
    spelled = {rename(name): value for name, value in payment_body().items()}
    assert initiation(spelled) == initiation(payment_body())


@pytest.mark.parametrize(
    ("changes", "attribute", "expected"),
    [
        ({"payment_target": "la banque postale"}, "payment_target", PaymentTarget.LABANQUEPOSTALE),
        ({"payment_target": " PayBox "}, "payment_target", PaymentTarget.PAYBOX),
        ({"payment_type": "sepa_direct"}, "payment_type", PaymentType.DIRECT_SEPA),
        ({"type_paiement": "SEPA_DIRECT"}, "type_paiement", PaymentType.DIRECT_SEPA),
        ({"payment_run_mode": "force_live"}, "payment_run_mode", RunMode.FORCE_LIVE),
        ({"amount": 1250}, "amount", 1250),
        ({"amount": "999999999999"}, "amount", 999999999999),
        ({"id_societe": 1}, "id_societe", "1"),
        ({"id_client": -5}, "id_client", "-5"),
        ({"id_client": "\u2003 2263\n"}, "id_client", "2263"),
        ({"id_client": "  " + "é" * 32}, "id_client", "é" * 32),
        ({"id_client": "👍" * 32}, "id_client", "👍" * 32),
        ({"commentaire": "a\r\n\tb"}, "id_client", "2263"),
        ({"commentaire": None}, "id_client", "2263"),
        ({"commentaire": " " * 600 + "x" * 500}, "id_client", "2263"),
        ({"commentaire": ""}, "id_client", "2263"),
    ],
)
def test_what_producers_send_is_read(
    changes: dict[str, object], attribute: str, expected: object
) -> None:
    assert getattr(initiation(payment_body(**changes)).request, attribute) == expected


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("payment_target", 1, "not_a_name"),
        ("payment_target", "1", "unknown_value"),
        ("payment_target", True, "not_a_name"),
        ("payment_target", "LA  BANQUE POSTALE", "unknown_value"),
        ("payment_run_mode", "LIVE\u0000", "unknown_value"),
        ("payment_run_mode", "l\u0131ve", "unknown_value"),
        ("payment_type", "\u017fepa", "unknown_value"),
        ("payment_run_mode", ["LIVE"], "not_a_name"),
        ("payment_type", "SEPADIRECT", "unknown_value"),
        ("id_origin", "", "too_short"),
        ("id_origin", " \t ", "too_short"),
        ("id_societe", "x" * 33, "too_long"),
        ("id_societe", 10**40, "too_long"),
        ("id_societe", 1.5, "not_text"),
        ("id_societe", True, "not_text"),
        ("id_client", {"a": 1}, "not_text"),
        ("id_client", "a\u0007b", "control_character"),
        ("id_client", "a\u0085b", "control_character"),
        ("id_client", "ab\u001f", "control_character"),
        ("id_client", "a\nb", "control_character"),
        ("id_client", "\ud800", "control_character"),
        ("amount", "0", "not_cents"),
        ("amount", 0, "not_cents"),
        ("amount", -1, "not_cents"),
        ("amount", "+1", "not_cents"),
        ("amount", "1250 ", "not_cents"),
        ("amount", "1250\n", "not_cents"),
        ("amount", "1_250", "not_cents"),
        ("amount", "\uff11\uff12", "not_cents"),
        ("amount", "12.50", "not_cents"),
        ("amount", "12,50", "not_cents"),
        ("amount", "0012", "not_cents"),
        ("amount", "1" * 13, "not_cents"),
        ("amount", 12.0, "not_cents"),
        ("amount", True, "not_cents"),
        ("amount", "", "not_cents"),
        ("amount", None, "missing"),
        ("email", "a@", "too_short"),
        ("email", "ab@", "not_an_email"),
        ("email", "@ab", "not_an_email"),
        ("email", "a@b@c", "not_an_email"),
        ("email", "a b@c", "not_an_email"),
        ("email", "a@b,c@d", "not_an_email"),
        ("email", "A <a@b>", "not_an_email"),
        ("email", "x" * 68 + "@bc", "too_long"),
        ("email", 12345, "not_text"),
        ("email", "a\u0000@bc", "control_character"),
        ("commentaire", "x" * 501, "too_long"),
        ("commentaire", "a\u0000", "control_character"),
        ("commentaire", 5, "not_text"),
    ],
)
def test_a_wrong_value_is_one_fault_of_its_field(field: str, value: object, code: str) -> None:
    body = payment_body(**{field: value})
    assert faults_of(body) == [(field, code)]
    expected = Code.INVALID_AMOUNT if field == "amount" else Code.INVALID_MESSAGE
    assert refusal(body).code is expected


@pytest.mark.parametrize("field", list(payment_body()))
def test_a_missing_or_null_field_is_missing(field: str) -> None:
    body = payment_body(**{field: None})
    assert faults_of(body) == [(field, "missing")]
    del body[field]
    assert faults_of(body) == [(field, "missing")]


def test_all_faults_come_together_in_the_order_of_the_fields() -> None:
    body = payment_body(
        email="nobody", amount="1.5", id_client="", payment_type=2, payment_target=None
    )
    found = refusal(body)
    assert [(fault.field, fault.code) for fault in found.faults] == [
        ("payment_target", "missing"),
        ("payment_type", "not_a_name"),
        ("id_client", "too_short"),
        ("amount", "not_cents"),
        ("email", "not_an_email"),
    ]
    assert found.code is Code.INVALID_MESSAGE
    assert all(fault.message.endswith(".") for fault in found.faults)
    assert found.origin == "dcp"
    assert found.facts.id_commande == "40017"
    assert found.facts.amount is None


def test_no_fault_repeats_the_value() -> None:
    marker = "zq7"
    body = payment_body(**dict.fromkeys(payment_body(), f"{marker}\u0001{marker}"))
    assert marker not in repr(refusal(body).faults)


@pytest.mark.parametrize("value", ["2263", "2264"])
def test_one_field_under_two_spellings_is_refused_even_when_equal(value: str) -> None:
    assert faults_of(payment_body(idClient=value)) == [("id_client", "repeated")]


@pytest.mark.parametrize(
    ("body", "faults"),
    [
        (b"", [("body", "not_json")]),
        (b"{", [("body", "not_json")]),
        (b"null", [("body", "not_an_object")]),
        (b"[]", [("body", "not_an_object")]),
        (b'"text"', [("body", "not_an_object")]),
        (b"[NaN]", [("body", "not_an_object"), ("body", "not_finite")]),
        (b"\xef\xbb\xbf{}", [("body", "byte_order_mark")]),
        (b"\xff\xfe{\x00}\x00", [("body", "not_utf8")]),
        (b'{"a":"\xff"}', [("body", "not_utf8")]),
        (b'{"a":"\xed\xa0\x80"}', [("body", "not_utf8")]),
        (b"[" * 17 + b"]" * 17, [("body", "too_deep")]),
        (b"[" * 60_000, [("body", "too_deep")]),
        (b'{"a":' * 10_000, [("body", "too_deep")]),
        (b'{"a":"' + b"x" * 65_536 + b'"}', [("body", "body_too_large")]),
        (b'{"a":"\x01"}', [("body", "not_json")]),
        (b"{'a':1}", [("body", "not_json")]),
        (b'{"a":1,}', [("body", "not_json")]),
        (b'{"a":01}', [("body", "not_json")]),
    ],
)
def test_a_body_that_is_no_request_says_why_and_nothing_else(
    body: bytes, faults: list[tuple[str, str]]
) -> None:
    assert faults_of(body) == faults
    assert refusal(body).origin == "unknown"


@pytest.mark.parametrize(
    ("extra", "faults"),
    [
        ('"x":{"a":1,"a":1}', [("body", "duplicate_key")]),
        ('"x":[{"a":1,"a":2}]', [("body", "duplicate_key")]),
        ('"x":1,"x":1', [("body", "duplicate_key")]),
        ('"x":NaN', [("body", "not_finite")]),
        ('"x":[-Infinity]', [("body", "not_finite")]),
        ('"amount":"1"', [("amount", "duplicate_key")]),
    ],
)
def test_what_is_refused_anywhere_is_refused_in_unknown_properties_too(
    extra: str, faults: list[tuple[str, str]]
) -> None:
    text = json.dumps(payment_body())[:-1] + f",{extra}}}"
    assert faults_of(text) == faults


@pytest.mark.parametrize(
    "extra",
    [
        '"x":1.5',
        '"x":1e999999999999999999999',
        '"x":' + "9" * 5000,
        '"x":-0.0',
        '"x":{"amount":"1"}',
        '"x":' + "[" * 15 + "]" * 15,
        '"x":"{[{[{[{[{[{[{[{[{[{[{[{["',
        r'"x":"\"{[{[{[{[{[{[{[{[{[{[{[{["',
        '"payment-target":"y"',
        '"":null',
        r'"x":"\ud800"',
    ],
)
def test_an_unknown_property_is_ignored_whatever_it_holds(extra: str) -> None:
    text = json.dumps(payment_body())[:-1] + f",{extra}}}"
    read_with = initiation(text)
    assert read_with.request == initiation(payment_body()).request
    assert len(read_with.unknown_properties) == 1


def test_names_of_unknown_properties_are_told_printable_short_and_few() -> None:
    names = {f"n{number}": 0 for number in range(30)}
    told = initiation({"a\n\x1b" + "b" * 100: 0} | payment_body() | names).unknown_properties
    assert told[0] == "a??" + "b" * 61
    assert len(told) == 20


def test_nesting_of_16_levels_is_read() -> None:
    deep = json.loads("[" * 15 + "]" * 15)
    assert initiation(payment_body(x=deep)).unknown_properties == ("x",)
    assert faults_of(payment_body(x=json.loads("[" * 16 + "]" * 16))) == [("body", "too_deep")]


def test_a_body_of_exactly_64_kib_is_read() -> None:
    text = json.dumps(payment_body(x=""))
    exact = text.replace('"x": ""', '"x": "' + "y" * (65_536 - len(text)) + '"')
    assert len(exact) == 65_536
    assert initiation(exact).unknown_properties == ("x",)
    assert faults_of(exact + " ") == [("body", "body_too_large")]


def cancellation(body: dict[str, object], key: str = "payment.cancel.dcp") -> Cancellation:
    reading = read(make_delivery(body, routing_key=key))
    assert isinstance(reading, Cancellation), reading
    return reading


def test_a_cancellation_by_key_names_the_payment_of_that_key() -> None:
    by_key = cancellation({"IdempotencyKey": f" {MESSAGE_ID} ", "notify": False})
    payment = initiation(payment_body())
    assert by_key.request.payment_id == payment.envelope.operation_id
    assert by_key.request.notify is False
    assert by_key.request.origin == "dcp"
    assert by_key.envelope.operation_id != payment.envelope.operation_id


@pytest.mark.parametrize("form", ["D", "N", "upper"])
def test_a_cancellation_by_payment_id_reads_every_form_of_a_guid(form: str) -> None:
    payment_id = initiation(payment_body()).envelope.operation_id
    text = {"D": str(payment_id), "N": payment_id.hex, "upper": str(payment_id).upper()}[form]
    assert cancellation({"paymentId": text, "notify": None}).request.payment_id == payment_id


@pytest.mark.parametrize(
    ("body", "faults"),
    [
        ({}, [("payment_id", "exactly_one")]),
        ({"payment_id": None, "idempotency_key": " "}, [("payment_id", "exactly_one")]),
        (
            {"payment_id": "00000000-0000-0000-0000-000000000000"},
            [("payment_id", "exactly_one")],
        ),
        (
            {"payment_id": MESSAGE_ID, "idempotency_key": MESSAGE_ID, "notify": 1},
            [("payment_id", "exactly_one"), ("notify", "not_a_boolean")],
        ),
        ({"payment_id": "40017"}, [("payment_id", "not_a_guid")]),
        ({"payment_id": 40017}, [("payment_id", "not_a_guid")]),
        ({"idempotency_key": "x" * 256}, [("idempotency_key", "too_long")]),
        ({"idempotency_key": "a\u001fb"}, [("idempotency_key", "control_character")]),
        ({"payment_id": MESSAGE_ID, "PaymentId": MESSAGE_ID}, [("payment_id", "repeated")]),
        ({"payment_id": MESSAGE_ID, "notify": "true"}, [("notify", "not_a_boolean")]),
    ],
)
def test_a_wrong_cancellation_says_what_is_wrong(
    body: dict[str, object], faults: list[tuple[str, str]]
) -> None:
    reading = read(make_delivery(body, routing_key="payment.cancel.dcp"))
    assert isinstance(reading, Unreadable)
    assert [(fault.field, fault.code) for fault in reading.faults] == faults
    assert reading.is_cancellation
    assert reading.origin == "dcp"
    assert reading.code is Code.INVALID_MESSAGE
