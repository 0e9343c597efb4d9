"""Rows that did not exist: how they begin, and those that are decided from the start."""

from dataclasses import replace
from datetime import datetime
from typing import assert_never
from uuid import UUID

from worker.identity import request_id_of
from worker.lifecycle.decide import Reason, answered
from worker.lifecycle.table import Move, after
from worker.lifecycle.wishes import Claim, Decided
from worker.model import (
    Cancellation,
    Delivery,
    Envelope,
    Facts,
    Fingerprint,
    Initiation,
    Origin,
    Reading,
    Secret,
    Unreadable,
)
from worker.records import Change, Kind, Record, State


def unwritten(
    envelope: Envelope,
    delivery: Delivery,
    now: datetime,
    *,
    kind: Kind,
    origin: Origin,
    facts: Facts,
    payment_id: UUID | None = None,
    fingerprint: Fingerprint | None = None,
    live: bool | None = None,
) -> Record:
    """Return a row that does not exist yet: version 0, open until its first move."""
    return Record(
        operation_id=envelope.operation_id,
        kind=kind,
        payment_id=payment_id or envelope.operation_id,
        identity=envelope.identity,
        fingerprint=fingerprint,
        origin=origin,
        facts=facts,
        state=State.RETRY_WAIT,
        sequence=max(envelope.sequence, 1),
        version=0,
        first_seen=envelope.first_seen,
        created_at=now,
        updated_at=now,
        not_after=envelope.not_after,
        message_id=request_id_of(delivery),
        correlation_id=delivery.correlation_id,
        traceparent=delivery.header("traceparent"),
        live=live,
    )


def unwritten_request(reading: Reading, delivery: Delivery, now: datetime) -> Record:
    """Return the row that what was read would get."""
    match reading:
        case Initiation(envelope=envelope, request=asked):
            return unwritten(
                envelope,
                delivery,
                now,
                kind=Kind.INITIATION,
                origin=asked.origin,
                facts=asked.facts,
                fingerprint=asked.fingerprint,
            )
        case Cancellation(envelope=envelope, request=asked_back):
            return unwritten(
                envelope,
                delivery,
                now,
                kind=Kind.CANCELLATION,
                origin=asked_back.origin,
                facts=Facts(id_origin=asked_back.origin),
                payment_id=asked_back.payment_id,
            )
        case Unreadable(envelope=envelope):
            return unwritten(
                envelope,
                delivery,
                now,
                kind=Kind.REFUSAL,
                origin=reading.origin,
                facts=reading.facts,
            )
        case other:
            assert_never(other)


def fresh_record(wish: Claim, now: datetime) -> Record:
    """Return the row of a payment that does not exist yet."""
    fresh = unwritten(
        wish.envelope,
        wish.delivery,
        now,
        kind=Kind.INITIATION,
        origin=wish.request.origin,
        facts=wish.request.facts,
        fingerprint=wish.request.fingerprint,
        live=wish.plan.live,
    )
    return replace(fresh, email_mark=wish.email_mark)


def decided_at_birth(
    fresh: Record,
    move: Move,
    now: datetime,
    reason: Reason | None,
    *,
    link: Secret | None = None,
    item_id: str | None = None,
    conflicts_with: UUID | None = None,
    cancels: bool = False,
) -> Change[Decided]:
    """Write a row that is decided from the start."""
    closed, answer = answered(
        fresh,
        after(None, move),
        now,
        reason=reason,
        link=link,
        item_id=item_id,
        conflicts_with=conflicts_with,
        cancels=cancels,
    )
    return Change(
        result=Decided(answer, closed, repeated=False), records=(closed,), answers=(answer,)
    )
