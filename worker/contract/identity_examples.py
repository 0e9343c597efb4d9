"""Worked vectors: from a message to every id that follows from it.

A client in another language that computes the same texts can name a payment before its answer
comes. Written to ``schemas/examples/identity.json``.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from worker.contract.reading import read
from worker.contract.request_examples import MESSAGE_ID, VALID_CANCELS, VALID_REQUESTS
from worker.identity import event_id_of, payment_reference
from worker.model import Delivery, Initiation, Source, Unreadable
from worker.records import Status

_RECEIVED: Final = datetime(2026, 11, 21, 20, 14, 3, 123000, tzinfo=UTC)


def identity_vectors() -> dict[str, object]:
    """Compute the vectors; ``identity`` holds U+001F between its parts."""
    order = VALID_REQUESTS["order"]
    return {
        "namespace": "uuid5(NAMESPACE_URL, 'urn:payment-worker:v1')",
        "vectors": [
            _vector("By message_id.", order, message_id=MESSAGE_ID),
            _vector(
                "By header idempotency-key, which comes before the message_id; the origin is "
                "normalised.",
                VALID_REQUESTS["no_order"],
                message_id=MESSAGE_ID,
                headers={"idempotency-key": "web-2026-000815"},
            ),
            _vector("By content, where there is no key and an order.", order),
            _vector(
                "A cancellation, in a namespace of its own.",
                VALID_CANCELS["by_key_with_notice"],
                message_id="7d0c2f5e-54a8-4c4f-a3a5-6a4f2d3c7f11",
                routing_key="payment.cancel.dcp",
            ),
        ],
    }


def _vector(
    description: str,
    body: Mapping[str, object],
    *,
    message_id: str | None = None,
    headers: Mapping[str, str] | None = None,
    routing_key: str = "payment.initiate.dcp",
) -> dict[str, object]:
    reading = read(
        Delivery(
            body=json.dumps(body, ensure_ascii=False).encode(),
            source=Source.REQUESTS,
            routing_key=routing_key,
            received_at=_RECEIVED,
            message_id=message_id,
            headers=headers or {},
        )
    )
    if isinstance(reading, Unreadable):
        raise TypeError(description)
    operation_id = reading.envelope.operation_id
    vector: dict[str, object] = {
        "description": description,
        "message": {
            "routing_key": routing_key,
            "message_id": message_id,
            "headers": dict(headers or {}),
            "body": body,
        },
        "origin": reading.request.origin,
        "identity": reading.envelope.identity,
    }
    if not isinstance(reading, Initiation):
        return vector | {
            "cancellation_id": str(operation_id),
            "payment_id": str(reading.request.payment_id),
            "event_id": {
                "cancelled, sequence 2": str(event_id_of(operation_id, Status.CANCELLED, 2))
            },
        }
    return vector | {
        "payment_id": str(operation_id),
        "fingerprint": reading.request.fingerprint,
        "payment_reference": {
            "no unknown attempt": payment_reference(operation_id, 0),
            "one unknown attempt": payment_reference(operation_id, 1),
        },
        "event_id": {
            "succeeded, sequence 1": str(event_id_of(operation_id, Status.SUCCEEDED, 1)),
            "failed, sequence 1": str(event_id_of(operation_id, Status.FAILED, 1)),
        },
    }
