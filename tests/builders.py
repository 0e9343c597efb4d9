"""Small builders for the values tests talk about: each gives a plain, valid one to change."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import UUID

from worker.identity import (
    fingerprint_of,
    identity_of,
    normalise_origin,
    operation_id_of,
)
from worker.model import (
    Cents,
    Delivery,
    Envelope,
    Facts,
    Identity,
    PaymentRequest,
    PaymentTarget,
    PaymentType,
    RunMode,
    Secret,
    Source,
)
from worker.records import Event, Kind, Record, State, Status

NOON = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)
MESSAGE_ID = "0b9bd9d7-2f3c-4f0e-9a39-3f6f3ac53cf5"
ROUTING_KEY = "payment.initiate.dcp"
IDENTITY = identity_of("dcp", MESSAGE_ID)
PAYMENT_ID = operation_id_of(IDENTITY)


def payment_body(**changes: object) -> dict[str, object]:
    """Body of a payment request in canonical spelling."""
    return {
        "payment_target": "LABANQUEPOSTALE",
        "payment_run_mode": "TEST",
        "payment_type": "SEPA",
        "id_origin": "dcp",
        "id_societe": "1",
        "id_client": "2263",
        "id_commande": "40017",
        "type_paiement": "SEPA",
        "amount": "1250",
        "email": "client@example.org",
    } | changes


def make_delivery(
    body: Mapping[str, object] | bytes | str | None = None,
    *,
    source: Source = Source.REQUESTS,
    routing_key: str = ROUTING_KEY,
    message_id: str | None = MESSAGE_ID,
    correlation_id: str | None = None,
    headers: Mapping[str, str | int] | None = None,
    received_at: datetime = NOON,
    delivery_count: int = 0,
    exchange: str = "payments.requests",
) -> Delivery:
    """A delivery of a payment request, or of any body given as bytes, text or JSON content."""
    content = payment_body() if body is None else body
    if isinstance(content, Mapping):
        content = json.dumps(content)
    return Delivery(
        body=content.encode() if isinstance(content, str) else content,
        source=source,
        routing_key=routing_key,
        received_at=received_at,
        exchange=exchange,
        message_id=message_id,
        correlation_id=correlation_id,
        headers=headers or {},
        delivery_count=delivery_count,
    )


def make_envelope(
    *,
    identity: Identity = IDENTITY,
    sequence: int = 1,
    attempts: int = 0,
    first_seen: datetime = NOON,
    not_after: datetime | None = None,
    origin_routing_key: str = ROUTING_KEY,
    source: Source = Source.REQUESTS,
    replay_count: int = 0,
) -> Envelope:
    """The envelope of a first receipt; its operation id follows from the identity."""
    return Envelope(
        operation_id=operation_id_of(identity),
        identity=identity,
        sequence=sequence,
        attempts=attempts,
        first_seen=first_seen,
        not_after=not_after,
        origin_routing_key=origin_routing_key,
        source=source,
        replay_count=replay_count,
    )


def make_request(
    *,
    payment_target: PaymentTarget = PaymentTarget.LABANQUEPOSTALE,
    payment_run_mode: RunMode = RunMode.TEST,
    payment_type: PaymentType = PaymentType.SEPA,
    type_paiement: PaymentType = PaymentType.SEPA,
    id_origin: str = "dcp",
    id_societe: str = "1",
    id_client: str = "2263",
    id_commande: str = "40017",
    amount: int = 1250,
    email: str = "client@example.org",
) -> PaymentRequest:
    """A payment request as the reader gives it; origin and fingerprint follow from the rest."""
    origin = normalise_origin(id_origin)
    return PaymentRequest(
        payment_target=payment_target,
        payment_run_mode=payment_run_mode,
        payment_type=payment_type,
        type_paiement=type_paiement,
        id_origin=id_origin,
        id_societe=id_societe,
        id_client=id_client,
        id_commande=id_commande,
        amount=Cents(amount),
        email=Secret(email),
        origin=origin,
        fingerprint=fingerprint_of(
            payment_target=payment_target,
            payment_run_mode=payment_run_mode,
            payment_type=payment_type,
            type_paiement=type_paiement,
            origin=origin,
            id_societe=id_societe,
            id_client=id_client,
            id_commande=id_commande,
            amount=Cents(amount),
            email=email,
        ),
    )


def make_facts() -> Facts:
    """What an event repeats of ``make_request()``."""
    return make_request().facts


def make_record(
    *,
    identity: Identity = IDENTITY,
    kind: Kind = Kind.INITIATION,
    state: State = State.CALLING,
    request: PaymentRequest | None = None,
    payment_id: UUID | None = None,
    sequence: int = 1,
    version: int = 1,
    attempts: int = 0,
    at: datetime = NOON,
) -> Record:
    """A ledger row; change the rest with ``dataclasses.replace``."""
    asked = request or make_request()
    operation_id = operation_id_of(identity)
    return Record(
        operation_id=operation_id,
        kind=kind,
        payment_id=payment_id or operation_id,
        identity=identity,
        fingerprint=asked.fingerprint,
        origin=asked.origin,
        facts=asked.facts,
        state=state,
        sequence=sequence,
        version=version,
        first_seen=at,
        created_at=at,
        updated_at=at,
        attempts=attempts,
    )


def make_event(status: Status = Status.SUCCEEDED, *, sequence: int = 1) -> Event:
    """An event with every field that is not optional; change it with ``dataclasses.replace``."""
    return Event(
        event_id=UUID("41c36cf2-db67-50f2-a797-0f622c663840"),
        status=status,
        occurred_at=NOON,
        origin=normalise_origin("dcp"),
        payment_id=PAYMENT_ID,
        request_id=MESSAGE_ID,
        sequence=sequence,
        facts=make_facts(),
        attempts=1,
        provider="safedebit",
        provider_reference="e762ce2829fe26a3d5308ff9de99677a",
        livemode=False,
    )
