"""Two requests for one thing: the same content under another key, another under the same."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import assert_never
from uuid import UUID

from worker.codes import Code
from worker.identity import operation_id_of
from worker.lifecycle.births import decided_at_birth, fresh_record
from worker.lifecycle.decide import Reason, decided
from worker.lifecycle.table import Move
from worker.lifecycle.wishes import Claim, Claimed, Decided, Held, stored_answer
from worker.model import Fingerprint
from worker.ports import View
from worker.records import AuditEntry, Change, Kind, Record, State
from worker.rules import Rules

NO_ORDER = "0"
"""The order number that means none, and identifies nothing (contract section 2)."""

_HELD_OPEN = timedelta(seconds=30)


def ownership(record: Record) -> tuple[Fingerprint, UUID] | None:
    if record.fingerprint is None or record.facts.id_commande == NO_ORDER:
        return None
    return record.fingerprint, record.operation_id


def answer_of_duplicate(
    view: View, wish: Claim, rules: Rules, now: datetime
) -> Change[Claimed] | None:
    if is_superseded(view, wish, wish.envelope.sequence):
        fresh = fresh_record(wish, now)
        return decided_at_birth(fresh, Move.FAIL, now, Reason(code=Code.SUPERSEDED))
    if wish.request.id_commande == NO_ORDER or not rules.duplicate_window:
        return None
    owner = other_owner(view, wish.request.fingerprint, wish.envelope.operation_id)
    if owner is None:
        return None
    match owner.state:
        case State.CALLING | State.RETRY_WAIT:
            return Change(result=Held(until=now + _HELD_OPEN, reason="its duplicate is open"))
        case State.SUCCEEDED:
            decided_at = owner.decided_at or owner.updated_at
            # When it was asked for counts, not when the ladder gave it back: a request that waited
            # an hour behind an open breaker is no new intent by then.
            if wish.envelope.first_seen - decided_at > rules.duplicate_window:
                return None
            return _adopted(wish, owner, now)
        case State.IN_DOUBT:
            return _adopted(wish, owner, now)
        case State.FAILED | State.CANCELLED:
            return None
        case other:
            assert_never(other)


def _adopted(wish: Claim, owner: Record, now: datetime) -> Change[Claimed]:
    """Answer a second request for the same thing with the first one's answer."""
    fresh = replace(
        fresh_record(wish, now),
        duplicate_of=owner.operation_id,
        account=owner.account,
        operation=owner.operation,
        operation_class=owner.operation_class,
        live=owner.live,
        reference=owner.reference,
    )
    if owner.state is State.SUCCEEDED:
        return decided_at_birth(
            fresh, Move.SUCCEED, now, None, link=owner.link, item_id=owner.item_id
        )
    return decided_at_birth(fresh, Move.DOUBT, now, Reason(code=owner.code or Code.OUTCOME_UNKNOWN))


def follow_owner(view: View, operation_id: UUID, now: datetime) -> Change[Decided | None]:
    """Give a duplicate in doubt the answer that the payment it repeats came to; audited.

    It was answered with that payment's doubt, so it is owed what became of it: the same, under its
    own id, for its own origin (contract section 2). Returns ``None`` and writes nothing while that
    payment is undecided, or when the duplicate is no doubt any more.
    """
    record = view.record(operation_id)
    if record is None or record.state is not State.IN_DOUBT or record.duplicate_of is None:
        return Change(result=None)
    owner = view.record(record.duplicate_of)
    if owner is None or owner.state.is_open or owner.state is State.IN_DOUBT:
        return Change(result=None)
    again = replace(
        record,
        sequence=record.sequence + 1,
        cleared_attempts=record.unknown_attempts,
        account=owner.account,
        reference=owner.reference,
    )
    if owner.state is State.SUCCEEDED:
        link = owner.link if owner.link_published else None
        closed, answer = decided(again, Move.SUCCEED, now, link=link, item_id=owner.item_id)
    else:
        is_cancelled = owner.state is State.CANCELLED
        code = Code.ALREADY_CANCELLED if is_cancelled else owner.code
        reason = Reason(code=code or Code.PROVIDER_UNAVAILABLE)
        closed, answer = decided(again, Move.FAIL, now, reason=reason)
        # Its own letter is overtaken; another one nobody could write, for lack of the body.
        answer = replace(answer, letter=None)
    act = AuditEntry(
        at=now,
        actor="worker",
        action="follow",
        operation_id=operation_id,
        detail=f"sequence {closed.sequence}, as payment {owner.operation_id}: {owner.state}",
    )
    result = Decided(answer, closed, repeated=False)
    return Change(result=result, records=(closed,), answers=(answer,), audit=(act,))


def is_superseded(view: View, wish: Claim, sequence: int) -> bool:
    """Whether a replayed payment is asked for by another one that is open, in doubt or paid.

    A request that the broker gave up was never decided, so its replay opens nothing: its copy
    tells that it is one, and so do the ladder's copies of that.
    """
    replayed = sequence > 1 or wish.envelope.replay_count > 0
    if not replayed or wish.request.id_commande == NO_ORDER:
        return False
    owner = other_owner(view, wish.request.fingerprint, wish.envelope.operation_id)
    if owner is None:
        return False
    return owner.state.is_open or owner.state in {State.IN_DOUBT, State.SUCCEEDED}


def other_owner(view: View, fingerprint: Fingerprint, own_id: UUID) -> Record | None:
    """Another payment of this content; one whose e-mail was edited since is of another content."""
    owner = view.owner(fingerprint)
    if owner is None or owner.operation_id == own_id or owner.fingerprint != fingerprint:
        return None
    return owner


def refuse_mismatch(view: View, wish: Claim, first: Record, now: datetime) -> Change[Claimed]:
    identity = wish.mismatch_identity
    known = view.record(operation_id_of(identity))
    if known is not None:
        return Change(result=stored_answer(view, known))
    refusal = replace(
        fresh_record(wish, now),
        operation_id=operation_id_of(identity),
        payment_id=operation_id_of(identity),
        identity=identity,
        kind=Kind.REFUSAL,
        sequence=1,
    )
    return decided_at_birth(
        refusal,
        Move.FAIL,
        now,
        Reason(code=Code.IDEMPOTENCY_MISMATCH),
        conflicts_with=first.operation_id,
    )
