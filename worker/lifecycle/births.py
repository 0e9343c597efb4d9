"""Rows that did not exist: how they begin, and those that are decided from the start."""

from dataclasses import replace
from datetime import datetime
from uuid import UUID

from worker.identity import request_id_of
from worker.lifecycle.decide import Reason, answered
from worker.lifecycle.table import Move, after
from worker.lifecycle.wishes import Claim, Decided
from worker.model import Secret
from worker.records import Change, Kind, Record, State


def fresh_record(wish: Claim, now: datetime) -> Record:
    """Return a row that does not exist yet: version 0, state to be set by its first move."""
    envelope, request, delivery = wish.envelope, wish.request, wish.delivery
    return Record(
        operation_id=envelope.operation_id,
        kind=Kind.INITIATION,
        payment_id=envelope.operation_id,
        identity=envelope.identity,
        fingerprint=request.fingerprint,
        origin=request.origin,
        facts=request.facts,
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
        live=wish.plan.live,
    )


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
    first = replace(fresh, state=after(None, move), version=1)
    closed, answer = answered(
        first,
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
