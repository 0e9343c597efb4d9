"""Who a message is: the ids are a published rule, so they are checked against plain hashing."""

import hashlib
import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import MESSAGE_ID, PAYMENT_ID, make_request
from worker.contract.identity_examples import identity_vectors
from worker.identity import (
    SEPARATOR,
    UNKNOWN_ORIGIN,
    cancellation_identity,
    event_id_of,
    identity_of,
    is_refusal,
    normalise_origin,
    operation_id_of,
    origin_of_routing_key,
    payment_reference,
    refusal_identity,
)
from worker.model import Cents
from worker.records import Status

EXAMPLES = Path(__file__).parents[2] / "schemas" / "examples"


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("Télévente", "televente"),
        ("Te\u0301le\u0301vente", "televente"),
        ("DCP", "dcp"),
        ("  web ", "web"),
        ("compta 2", "compta-2"),
        ("a.b_c*#", "a-b-c--"),
        ("x" * 40, "x" * 32),
        ("", "unknown"),
        ("   ", "unknown"),
        ("\u0301", "unknown"),
        ("日本", "--"),
    ],
)
def test_an_origin_is_normalised_as_the_contract_says(text: str, origin: str) -> None:
    assert normalise_origin(text) == origin


@given(st.text())
def test_an_origin_is_always_a_word_of_a_routing_key(text: str) -> None:
    origin = normalise_origin(text)
    assert 1 <= len(origin) <= 32
    assert set(origin) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert normalise_origin(origin) == origin


def test_the_origin_of_a_routing_key_is_its_last_word() -> None:
    assert origin_of_routing_key("payment.cancel.Télévente") == "televente"
    assert origin_of_routing_key("payment.cancel.") == UNKNOWN_ORIGIN


def test_a_payment_id_is_the_uuid5_chain_of_the_contract() -> None:
    namespace = uuid.uuid5(uuid.NAMESPACE_URL, "urn:payment-worker:v1")
    expected = uuid.uuid5(namespace, f"televente\u001f{MESSAGE_ID}")
    assert operation_id_of(identity_of(normalise_origin("Télévente"), MESSAGE_ID)) == expected


def test_a_reference_is_half_a_hash_and_changes_with_each_unknown_attempt() -> None:
    expected = hashlib.sha256(f"{PAYMENT_ID}:1".encode()).hexdigest()[:32]
    assert payment_reference(PAYMENT_ID, 1) == expected
    assert payment_reference(PAYMENT_ID, 0) != expected


def test_event_ids_differ_by_operation_status_and_sequence_and_by_nothing_else() -> None:
    other = operation_id_of(identity_of("dcp", "other"))
    ids = {
        event_id_of(operation, status, sequence)
        for operation in (PAYMENT_ID, other)
        for status in Status
        for sequence in (0, 1, 2)
    }
    assert len(ids) == 2 * len(Status) * 3
    assert event_id_of(PAYMENT_ID, Status.FAILED, 1) == event_id_of(PAYMENT_ID, Status.FAILED, 1)


@given(
    st.text(st.characters(exclude_characters=SEPARATOR)),
    st.sampled_from(["dcp", "cancel", "refusal", "unknown"]),
)
def test_identities_of_different_namespaces_never_meet(key: str, name: str) -> None:
    """An origin may be called "cancel" or "refusal"; its payments stay payments."""
    origin = normalise_origin(name)
    payment = identity_of(origin, key)
    cancellation = cancellation_identity(origin, key)
    refusals = {refusal_identity(payment, "f" * 64), refusal_identity(cancellation, "f" * 64)}
    assert len({payment, cancellation, *refusals}) == 4
    assert all(is_refusal(refusal) for refusal in refusals)
    assert not is_refusal(payment)
    assert not is_refusal(cancellation)


def test_the_fingerprint_ignores_the_spelling_and_nothing_that_is_paid() -> None:
    fingerprint = make_request(id_origin="Télévente", email="Client@Example.org").fingerprint
    assert (
        make_request(id_origin="TÉLÉVENTE", email="client@example.ORG").fingerprint == fingerprint
    )
    changed = [
        make_request(id_origin="web"),
        make_request(id_societe="2"),
        make_request(id_client="2264"),
        make_request(id_commande="40018"),
        make_request(amount=1251),
        make_request(email="other@example.org"),
    ]
    assert len({request.fingerprint for request in changed} | {fingerprint}) == 7


def test_the_fingerprint_is_the_hash_of_sorted_json_without_spaces() -> None:
    request = make_request(id_origin="Télévente", id_client="Été", amount=Cents(7))
    text = (
        '{"amount":"7","email":"client@example.org","id_client":"Été","id_commande":"40017",'
        '"id_origin":"televente","id_societe":"1","payment_run_mode":"TEST",'
        '"payment_target":"LABANQUEPOSTALE","payment_type":"SEPA","type_paiement":"SEPA"}'
    )
    assert request.fingerprint == hashlib.sha256(text.encode()).hexdigest()


def test_the_worked_vectors_follow_from_plain_hashing() -> None:
    """A client in another language needs uuid5 and SHA-256 and nothing of ours."""
    committed: dict[str, Any] = json.loads((EXAMPLES / "identity.json").read_text("utf-8"))
    assert committed == identity_vectors()
    namespace = uuid.uuid5(uuid.NAMESPACE_URL, "urn:payment-worker:v1")
    for vector in committed["vectors"]:
        operation = uuid.uuid5(namespace, vector["identity"])
        assert str(operation) == vector.get("cancellation_id", vector["payment_id"])
        for label, event_id in vector["event_id"].items():
            status, sequence = label.split(", sequence ")
            assert str(uuid.uuid5(operation, f"{status}:{sequence}")) == event_id
        for number, reference in enumerate(vector.get("payment_reference", {}).values()):
            digest = hashlib.sha256(f"{operation}:{number}".encode()).hexdigest()
            assert digest[:32] == reference
