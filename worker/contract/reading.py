"""From a delivery to what it asks for, or to everything that is wrong with it.

Nothing here raises for anything a producer can send: a message that cannot be read is an answer
of its own (``Unreadable``), because every request that arrives gets exactly one. Source: the
reading rules and "Identity" of contract section 2.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum, auto, unique
from typing import assert_never

from worker.codes import Code
from worker.contract import headers
from worker.contract.bodies import BodyReading, read_cancel_body, read_payment_body
from worker.contract.envelope import (
    envelope_on,
    first_envelope,
    key_of,
    not_after_of,
    refused_envelope,
)
from worker.contract.faults import FaultCode, fault
from worker.contract.json_text import JsonObject, ParsedBody, parse_body
from worker.identity import (
    cancellation_identity,
    identity_of,
    is_refusal,
    origin_of_routing_key,
)
from worker.model import (
    Cancellation,
    CancelRequest,
    Delivery,
    Envelope,
    Fault,
    Identity,
    Initiation,
    Reading,
    Source,
    Unreadable,
)

INITIATE_PREFIX = "payment.initiate."
CANCEL_PREFIX = "payment.cancel."

_NOTHING = JsonObject(())


@unique
class _Kind(Enum):
    INITIATE = auto()
    CANCEL = auto()
    NEITHER = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outside:
    """What is known of a message before its body is looked at; ``believed`` on our copies."""

    believed: Envelope | None
    kind: _Kind
    routing_key: str
    key: str | None
    not_after: datetime | None
    faults: tuple[Fault, ...]


def read(delivery: Delivery) -> Reading:
    """Read one delivery completely: the request with its identity, or all faults at once."""
    outside = _read_outside(delivery)
    parsed = parse_body(delivery.body)
    inside = _read_inside(parsed, outside)
    identity = _identity(outside, inside)
    faults = _faults(outside, parsed, inside)
    if faults or inside.request is None:
        return _unreadable(delivery, outside, inside, identity, faults)
    envelope = outside.believed or first_envelope(delivery, identity, outside.not_after)
    if isinstance(inside.request, CancelRequest):
        return Cancellation(
            envelope=envelope,
            request=inside.request,
            unknown_properties=inside.unknown_properties,
        )
    return Initiation(
        envelope=envelope,
        request=inside.request,
        unknown_properties=inside.unknown_properties,
    )


def read_broker_letter(letter: Delivery, *, origin_routing_key: str) -> Reading:
    """Read a message the broker itself dead-lettered as what it was: a first receipt.

    It carries no header of ours; ``origin_routing_key`` comes from the broker's ``x-death``.
    """
    return read(replace(letter, source=Source.REQUESTS, routing_key=origin_routing_key))


def _read_outside(delivery: Delivery) -> _Outside:
    faults: list[Fault] = []
    believed: Envelope | None = None
    routing_key = delivery.routing_key
    if delivery.source.is_believed:
        believed = envelope_on(delivery)
        if believed is not None:
            routing_key = believed.origin_routing_key
        else:
            routing_key = delivery.header(headers.ORIGIN_ROUTING_KEY) or routing_key
            faults.append(fault("headers", FaultCode.HEADERS_UNREADABLE))
    else:
        faults.extend(
            fault(name, FaultCode.NOT_ALLOWED)
            for name in headers.COPY_HEADERS
            if name in delivery.headers
        )
    kind = _kind_of(routing_key)
    if kind is _Kind.NEITHER:
        faults.append(fault("routing_key", FaultCode.UNKNOWN_ROUTING_KEY))
    not_after, time_faults = not_after_of(delivery)
    key, key_faults = key_of(delivery)
    return _Outside(
        believed=believed,
        kind=kind,
        routing_key=routing_key,
        key=key,
        not_after=not_after,
        faults=(*faults, *time_faults, *key_faults),
    )


def _kind_of(routing_key: str) -> _Kind:
    if routing_key.startswith(INITIATE_PREFIX):
        return _Kind.INITIATE
    return _Kind.CANCEL if routing_key.startswith(CANCEL_PREFIX) else _Kind.NEITHER


def _read_inside(parsed: ParsedBody, outside: _Outside) -> BodyReading:
    body = parsed.root or _NOTHING
    match outside.kind:
        case _Kind.CANCEL:
            return read_cancel_body(body, origin_of_routing_key(outside.routing_key))
        case _Kind.INITIATE | _Kind.NEITHER:
            # Of neither kind: nobody can say which fields such a body should have, but what it
            # says of a payment is still told, so that the answer reaches its origin.
            has_key = outside.key is not None or outside.believed is not None
            return read_payment_body(body, has_key=has_key)
        case other:
            assert_never(other)


def _identity(outside: _Outside, inside: BodyReading) -> Identity:
    key = outside.key or inside.content_key
    if outside.kind is _Kind.CANCEL:
        return cancellation_identity(inside.origin, key)
    return identity_of(inside.origin, key)


def _faults(outside: _Outside, parsed: ParsedBody, inside: BodyReading) -> tuple[Fault, ...]:
    """Join the faults in a stable order: around the body, of the body, field by field.

    Without a JSON object every field would be "missing"; that says nothing new and is left out.
    """
    codes = list(parsed.faults)
    if inside.repeats_unknown and FaultCode.DUPLICATE_KEY not in codes:
        codes.append(FaultCode.DUPLICATE_KEY)
    has_fields = parsed.root is not None and outside.kind is not _Kind.NEITHER
    found = (
        *outside.faults,
        *(fault("body", code) for code in codes),
        *(inside.faults if has_fields else ()),
    )
    if not found and outside.believed is not None and is_refusal(outside.believed.identity):
        # What made it a refusal need not survive on a copy (a CC header is stripped, a missing
        # message_id is filled in): it must not turn into a payment on the way.
        return (fault("headers", FaultCode.REFUSED_BEFORE),)
    return found


def _unreadable(
    delivery: Delivery,
    outside: _Outside,
    inside: BodyReading,
    identity: Identity,
    faults: tuple[Fault, ...],
) -> Unreadable:
    is_about_amount = bool(faults) and all(found.field == "amount" for found in faults)
    return Unreadable(
        envelope=outside.believed or refused_envelope(delivery, identity, outside.not_after),
        code=Code.INVALID_AMOUNT if is_about_amount else Code.INVALID_MESSAGE,
        faults=faults,
        origin=inside.origin,
        facts=inside.facts,
        is_cancellation=outside.kind is _Kind.CANCEL,
    )
