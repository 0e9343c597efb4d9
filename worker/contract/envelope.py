"""Who a message is: computed once, on first receipt, and believed on our own copies."""

import re
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from uuid import UUID

from worker.contract import headers
from worker.contract.faults import FaultCode, fault
from worker.contract.fields import KEY_LENGTH, has_control_character, present_key, read_guid
from worker.contract.times import exact_time_text, read_time
from worker.identity import digest_of, operation_id_of, refusal_identity
from worker.model import Delivery, Envelope, Fault, Identity

_WHOLE_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)
_FIRST_SEQUENCE = 1


def key_of(delivery: Delivery) -> tuple[str | None, tuple[Fault, ...]]:
    """Return the key a producer sent: header ``idempotency-key``, else ``message_id``.

    A key that is too long or holds a control character is a fault; in its place comes its
    digest, so that refusals of different keys stay apart.
    """
    key = present_key(delivery.header(headers.IDEMPOTENCY_KEY))
    field = headers.IDEMPOTENCY_KEY
    if key is None:
        key, field = present_key(delivery.message_id), "message_id"
    if key is None:
        return None, ()
    if has_control_character(key):
        code = FaultCode.CONTROL_CHARACTER
    elif len(key) > KEY_LENGTH:
        code = FaultCode.TOO_LONG
    else:
        return key, ()
    return digest_of(key.encode("utf-8", "surrogatepass")), (fault(field, code),)


def not_after_of(delivery: Delivery) -> tuple[datetime | None, tuple[Fault, ...]]:
    """Return the time past which no attempt may start, from the producer's header."""
    text = delivery.header(headers.NOT_AFTER)
    if text is None:
        return None, ()
    time = read_time(text)
    return time, () if time is not None else (fault(headers.NOT_AFTER, FaultCode.NOT_A_TIME),)


def first_envelope(delivery: Delivery, identity: Identity, not_after: datetime | None) -> Envelope:
    """Build the envelope of a message seen for the first time."""
    return Envelope(
        operation_id=operation_id_of(identity),
        identity=identity,
        sequence=_FIRST_SEQUENCE,
        attempts=0,
        first_seen=delivery.received_at,
        not_after=not_after,
        origin_routing_key=delivery.routing_key,
        source=delivery.source,
    )


def refused_envelope(
    delivery: Delivery, identity: Identity, not_after: datetime | None
) -> Envelope:
    """Build the envelope of a refusal, which leaves the key it came under free.

    A corrected body under the same key is a first request (contract section 2).
    """
    refused = refusal_identity(identity, digest_of(delivery.body))
    return first_envelope(delivery, refused, not_after)


def envelope_on(copy: Delivery) -> Envelope | None:
    """Read the envelope that a copy of ours carries in its headers, whatever brought it.

    ``None`` when a header is missing or garbled. Whether to believe it is the caller's question:
    contract section 2 believes ``payments.requeue`` and ``payments.replay``.
    """
    identity = copy.header(headers.IDENTITY)
    operation_id = read_guid(copy.header(headers.PAYMENT_ID) or "")
    sequence = _number(copy, headers.SEQUENCE)
    attempts = _number(copy, headers.ATTEMPTS)
    first_seen = read_time(copy.header(headers.FIRST_SEEN) or "")
    # Blank is a key too: a message may come with none, and its copy must not become another one.
    routing_key = copy.headers.get(headers.ORIGIN_ROUTING_KEY)
    replay_count = _number(copy, headers.REPLAY_COUNT, absent=0)
    if (
        identity is None
        or operation_id is None
        or sequence is None
        or attempts is None
        or first_seen is None
        or routing_key is None
        or replay_count is None
    ):
        return None
    return Envelope(
        operation_id=operation_id,
        identity=Identity(identity),
        sequence=sequence,
        attempts=attempts,
        first_seen=first_seen,
        not_after=not_after_of(copy)[0],
        origin_routing_key=str(routing_key),
        source=copy.source,
        replay_count=replay_count,
    )


def envelope_headers(
    envelope: Envelope, *, sequence: int, attempts: int, replay_count: int
) -> Mapping[str, str | int]:
    """Write an envelope as the headers every copy carries (contract section 2)."""
    return MappingProxyType(
        {
            headers.IDENTITY: envelope.identity,
            headers.PAYMENT_ID: str(envelope.operation_id),
            headers.SEQUENCE: sequence,
            headers.ATTEMPTS: attempts,
            headers.FIRST_SEEN: exact_time_text(envelope.first_seen),
            headers.ORIGIN_ROUTING_KEY: envelope.origin_routing_key,
            headers.REPLAY_COUNT: replay_count,
        }
    )


def message_id_for(delivery: Delivery, operation_id: UUID) -> str:
    """Return the ``message_id`` of a copy: as received, or our own id where there was none."""
    return delivery.message_id or str(operation_id)


def _number(copy: Delivery, name: str, *, absent: int | None = None) -> int | None:
    text = copy.header(name)
    if text is None:
        return absent
    return int(text) if _WHOLE_NUMBER.fullmatch(text) else None
