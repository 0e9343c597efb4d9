"""The published files are what the code says, and the reader keeps their promise."""

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker

from tests.builders import MESSAGE_ID, make_delivery, make_event, payment_body
from worker.codes import Code
from worker.contract.events import DATA_SCHEMA, event_body, result_message
from worker.contract.faults import SENTENCES, FaultCode
from worker.contract.reading import read
from worker.contract.schemas import documents
from worker.contract.yaml_text import write_yaml
from worker.model import Cancellation, Initiation, Unreadable
from worker.records import Answer, State, Status

SCHEMAS = Path(__file__).parents[2] / "schemas"
WRITTEN_ELSEWHERE = {"examples/simulator.json"}
POSITIVE = {Status.SUCCEEDED, Status.CANCELLED}


def load(path: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((SCHEMAS / path).read_text("utf-8"))
    return content


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(load(f"v1/{name}.schema.json"), format_checker=FormatChecker())


def examples(group: str) -> list[Path]:
    found = sorted((SCHEMAS / "examples" / "v1" / group).glob("*.json"))
    assert found, group
    return found


def test_what_is_committed_is_byte_for_byte_what_the_code_says() -> None:
    """After a change: ``payment-worker schemas export``."""
    generated = {path: text.encode() for path, text in documents().items()}
    committed = {
        path.relative_to(SCHEMAS).as_posix(): path.read_bytes()
        for path in SCHEMAS.rglob("*")
        if path.is_file()
    }
    assert set(committed) - WRITTEN_ELSEWHERE == set(generated)
    for path, text in generated.items():
        assert committed[path] == text, path


@pytest.mark.parametrize(
    "path", sorted((SCHEMAS / "v1").glob("*.json")), ids=lambda path: path.name
)
def test_every_schema_is_valid_named_and_accepts_its_own_examples(path: Path) -> None:
    schema = load(f"v1/{path.name}")
    Draft202012Validator.check_schema(schema)
    name = path.name.removesuffix(".schema.json")
    assert schema["$id"] == f"urn:payment-worker:schema:{name}:1.0"
    assert schema["title"]
    assert schema["description"]
    for example in schema["examples"]:
        validator(name).validate(example)


def test_requests_are_published_closed_and_events_open() -> None:
    assert load("v1/payment-request.schema.json")["additionalProperties"] is False
    assert load("v1/cancel-request.schema.json")["additionalProperties"] is False
    assert "additionalProperties" not in json.dumps(load("v1/payment-result.schema.json"))
    assert load("v1/payment-result.schema.json")["$id"] == DATA_SCHEMA


@pytest.mark.parametrize("path", examples("payment-request/valid"), ids=lambda path: path.stem)
def test_a_valid_request_passes_schema_and_reader(path: Path) -> None:
    body = json.loads(path.read_bytes())
    validator("payment-request").validate(body)
    assert isinstance(read(make_delivery(path.read_bytes())), Initiation)


@pytest.mark.parametrize("path", examples("cancel-request/valid"), ids=lambda path: path.stem)
def test_a_valid_cancellation_passes_schema_and_reader(path: Path) -> None:
    validator("cancel-request").validate(json.loads(path.read_bytes()))
    delivery = make_delivery(path.read_bytes(), routing_key="payment.cancel.dcp")
    assert isinstance(read(delivery), Cancellation)


@pytest.mark.parametrize(
    "path",
    [*examples("payment-request/invalid"), *examples("cancel-request/invalid")],
    ids=lambda path: path.stem,
)
def test_an_invalid_example_gives_the_code_and_faults_it_names(path: Path) -> None:
    example = json.loads(path.read_bytes())
    message = example["message"]
    body = message["body_text"] if "body_text" in message else json.dumps(message["body"])
    reading = read(
        make_delivery(
            body,
            routing_key=message["routing_key"],
            message_id=message["message_id"],
            headers=message["headers"],
        )
    )
    assert isinstance(reading, Unreadable)
    assert reading.code == example["code"]
    found = [{"field": fault.field, "code": fault.code} for fault in reading.faults]
    assert found == example["fields"]
    if "body" in message:
        name = path.parent.parent.name
        assert validator(name).is_valid(message["body"]) is example["schema_accepts"]


OFTEN_VALID = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=33),
    st.text("0123456789 \t\n\u00a0\u2003\u3000\u0000\u001f\u0085@,<>ab{}-", max_size=33),
)
ONE_FIELD_CHANGED = st.one_of(
    st.sampled_from(["id_origin", "id_societe", "id_client", "id_commande", "commentaire"]).flatmap(
        lambda name: st.fixed_dictionaries({name: OFTEN_VALID})
    ),
    st.fixed_dictionaries({"amount": st.from_regex(r"^[0-9]{0,13}\n?$")}),
    st.fixed_dictionaries({"email": st.builds("{}@{}".format, OFTEN_VALID, OFTEN_VALID)}),
    st.fixed_dictionaries({"commentaire": st.none()}),
    st.fixed_dictionaries({"payment_target": st.sampled_from(["PAYBOX", "MILLIET", "paybox"])}),
)
PAYMENTS = ONE_FIELD_CHANGED.map(lambda changes: payment_body(**changes))
CANCELS = st.one_of(
    st.fixed_dictionaries(
        {"payment_id": st.uuids().map(str) | st.just("00000000-0000-0000-0000-000000000000")},
        optional={"notify": st.booleans() | st.none()},
    ),
    st.fixed_dictionaries(
        {
            "idempotency_key": OFTEN_VALID
            | st.from_regex(r"^\{?0{8}-?0{4}-?0{4}-?0{4}-?0{12}\}?$", fullmatch=True)
        },
        optional={"notify": st.booleans() | st.none()},
    ),
    st.fixed_dictionaries({"payment_id": st.uuids().map(str), "idempotency_key": OFTEN_VALID}),
)
REQUEST_VALIDATOR = validator("payment-request")
CANCEL_VALIDATOR = validator("cancel-request")


def ends_with_a_line_break(body: dict[str, Any]) -> bool:
    """Python's ``$`` also matches before a final line break, where ECMA 262 and we do not."""
    return any(isinstance(value, str) and value.endswith("\n") for value in body.values())


@given(PAYMENTS)
def test_everything_valid_under_the_published_request_schema_is_read(body: dict[str, Any]) -> None:
    if REQUEST_VALIDATOR.is_valid(body) and not ends_with_a_line_break(body):
        reading = read(make_delivery(body))
        assert isinstance(reading, Initiation), reading


@given(CANCELS)
def test_everything_valid_under_the_published_cancel_schema_is_read(body: dict[str, Any]) -> None:
    if CANCEL_VALIDATOR.is_valid(body) and not ends_with_a_line_break(body):
        reading = read(make_delivery(body, routing_key="payment.cancel.dcp"))
        assert isinstance(reading, Cancellation), reading


@pytest.mark.parametrize(
    "body",
    [
        payment_body(unknown=1),
        payment_body(amount=1250),
        payment_body(payment_target="paybox"),
        payment_body(id_client=" 2263"),
        {"idClient" if name == "id_client" else name: v for name, v in payment_body().items()},
    ],
)
def test_the_published_schema_is_stricter_than_the_reader(body: dict[str, Any]) -> None:
    assert not REQUEST_VALIDATOR.is_valid(body)
    assert isinstance(read(make_delivery(body)), Initiation)


RESULT_VALIDATOR = validator("payment-result")
POSSIBLE = [
    (status, code)
    for status, code in product(Status, [None, *Code])
    if (status in POSITIVE) == (code in {None, Code.LINK_ERASED})
]


@pytest.mark.parametrize(("status", "code"), POSSIBLE)
def test_every_status_and_code_gives_an_event_of_the_published_shape(
    status: Status, code: Code | None
) -> None:
    event = replace(make_event(status), code=code, payment_status=State.SUCCEEDED)
    RESULT_VALIDATOR.validate(json.loads(event_body(event)))


@pytest.mark.parametrize("path", examples("payment-result/valid"), ids=lambda path: path.stem)
def test_every_golden_event_has_the_published_shape(path: Path) -> None:
    RESULT_VALIDATOR.validate(json.loads(path.read_bytes()))


def test_there_is_a_golden_event_for_every_status() -> None:
    golden = [json.loads(path.read_bytes()) for path in examples("payment-result/valid")]
    assert {event["event_type"] for event in golden} == {status.event_type for status in Status}


def test_an_event_lacking_a_field_is_not_of_the_published_shape() -> None:
    body = json.loads(event_body(make_event()))
    assert all(
        not RESULT_VALIDATOR.is_valid({n: v for n, v in body.items() if n != name}) for name in body
    )


@pytest.mark.parametrize("status", Status)
def test_the_headers_of_every_result_have_the_published_shape(status: Status) -> None:
    event = make_event(status)
    answer = Answer(
        operation_id=event.payment_id, event=event, letter=None, correlation_id=MESSAGE_ID
    )
    message = result_message(answer, correlation_id=None, traceparent=None, source="/s")
    validator("headers").validate(
        {
            "message_id": message.message_id,
            "correlation_id": message.correlation_id,
            "content_type": "application/json",
            "delivery_mode": 2,
            "type": message.type,
            "timestamp": 1,
            "headers": dict(message.headers),
        }
    )


def test_every_code_is_told_to_subscribers() -> None:
    definitions = load("v1/payment-result.schema.json")["$defs"]
    faults = definitions["FieldFaultDocument"]["properties"]["code"]
    assert faults["examples"] == [code.value for code in FaultCode]
    assert all(sentence in faults["description"] for sentence in SENTENCES.values())
    codes = definitions["ErrorDocument"]["properties"]["code"]["examples"]
    assert set(codes) == {code.value for code in Code} - {"link_erased"}


def references(content: object) -> Iterator[str]:
    if isinstance(content, dict):
        for name, value in content.items():
            if name == "$ref":
                yield value
            yield from references(value)
    elif isinstance(content, list):
        for value in content:
            yield from references(value)


def resolve(root: object, pointer: str) -> object:
    for part in pointer.split("/")[1:]:
        assert isinstance(root, dict)
        root = root[part.replace("~1", "/").replace("~0", "~")]
    return root


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    document = yaml.safe_load((SCHEMAS / "asyncapi.yaml").read_text("utf-8"))
    assert document["asyncapi"] == "3.1.0"
    found = list(references(document))
    assert len(found) > 10
    for reference in found:
        file, _, pointer = reference.partition("#")
        root = load(file.removeprefix("./")) if file else document
        assert resolve(root, pointer)


def test_the_asyncapi_document_says_what_the_contract_says() -> None:
    document = yaml.safe_load((SCHEMAS / "asyncapi.yaml").read_text("utf-8"))
    channels = document["channels"]
    assert {name: channel["address"] for name, channel in channels.items()} == {
        "requests": "payment.initiate.{origin}",
        "cancellations": "payment.cancel.{origin}",
        "results": "payment.result.{origin}.{status}",
    }
    assert channels["results"]["parameters"]["status"]["enum"] == [s.value for s in Status]
    actions = {name: operation["action"] for name, operation in document["operations"].items()}
    assert actions == {"initiate": "receive", "cancel": "receive", "announce": "send"}
    formats = {
        message["payload"]["schemaFormat"]
        for message in document["components"]["messages"].values()
    }
    assert formats == {"application/schema+json;version=draft-2020-12"}


yaml_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.text(st.characters(categories=["L", "N", "P", "Z"])),
    ),
    lambda inner: st.one_of(
        st.lists(
            st.one_of(
                st.text("abc: #-"), st.dictionaries(st.text("ab", min_size=1), inner, min_size=1)
            )
        ),
        st.dictionaries(st.text("abyn: #-{}", min_size=1), inner),
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.text("abno: #-~1"), yaml_values, min_size=1))
def test_our_yaml_reads_back_as_what_was_written(value: dict[str, Any]) -> None:
    assert yaml.safe_load(write_yaml(value)) == value
