"""A person's word on a doubt: it was applied, it was not, or it may be asked again.

The first two are decisions: the next sequence, an event of their own, and the letter of the doubt
is overtaken. The third decides nothing: it only takes away what bars a replay of the letter, which
alone holds the body (payment rules, rule set 2).

What was not applied fails as ``provider_unavailable``, as it would by a late answer that says so:
of all codes that promise that nothing was applied and that another request under a new key is safe
(contract section 4), it is the one that blames neither the request nor its time.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from typing import assert_never

from worker.codes import Code
from worker.lifecycle.decide import Reason, decided
from worker.lifecycle.limits import is_expired, may_be_applied
from worker.lifecycle.settle import cancelled
from worker.lifecycle.table import Move
from worker.lifecycle.wishes import Decided
from worker.model import Secret
from worker.ports import View
from worker.records import (
    ActFacts,
    Answer,
    AuditEntry,
    Change,
    Kind,
    Needs,
    Record,
    State,
    Status,
)
from worker.rules import Rules

SHORT = 12
"""Hex digits of a link's hash that are shown: enough to compare, of no use to anybody else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WasApplied:
    """The provider has it: the link it gave, the basket item, or for a cancellation neither."""

    link: Secret | None = None
    item_id: str | None = None


@dataclass(frozen=True, slots=True)
class WasNotApplied:
    """The provider does not have it, and this request is given up."""


@dataclass(frozen=True, slots=True)
class MayBeReplayed:
    """The provider does not have it, and its letter is to be replayed."""


Ruling = WasApplied | WasNotApplied | MayBeReplayed


@dataclass(frozen=True, slots=True, kw_only=True)
class RulingWish:
    """Whose doubt, what is ruled, on whose word; ``account`` fills in what a lost ledger lost."""

    record: Record
    ruling: Ruling
    actor: str
    reason: str
    account: str | None = None

    @property
    def needs(self) -> Needs:
        """Rows to load: the operation's, its payment's, and that of the payment it repeats."""
        ids = (self.record.operation_id, self.record.payment_id, self.record.duplicate_of)
        return Needs(tuple(dict.fromkeys(each for each in ids if each is not None)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruled:
    """The doubt is decided; ``is_new`` unless it had been decided just so before."""

    record: Record
    answer: Answer
    is_new: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlocked:
    """The letter of the doubt may be replayed; ``is_new`` unless it could be already."""

    record: Record
    is_new: bool


@dataclass(frozen=True, slots=True)
class NotRuled:
    """Nothing was changed; why, in words that follow "it was not settled:"."""

    reason: str


Verdict = Ruled | Unlocked | NotRuled


def rule(view: View, wish: RulingWish, rules: Rules, now: datetime) -> Change[Verdict]:
    """Write a person's word on a doubt, if it still is one; audited. Doing it twice does it once.

    What a late answer or a look-up has decided meanwhile stays.
    """
    record = view.record(wish.record.operation_id)
    if record is None:
        return Change(result=NotRuled("the ledger does not know it"))
    known = _known(view, record, wish.ruling)
    if known is not None:
        return Change(result=known)
    bar = _bar(view, record, wish.ruling, rules, now) or _other_doubt(record, wish)
    if bar is not None:
        return Change(result=NotRuled(bar))
    match wish.ruling:
        case WasApplied():
            return _applied(view, record, wish, wish.ruling, now)
        case WasNotApplied():
            return _given_up(view, record, wish, now)
        case MayBeReplayed():
            return _unlocked(record, wish, now)
        case other:
            assert_never(other)


def is_unlocked(record: Record) -> bool:
    """Whether a doubt may be replayed because somebody found out that nothing was applied."""
    return record.state is State.IN_DOUBT and not may_be_applied(record)


def unlock(record: Record, now: datetime) -> Record:
    """Return the doubt with all its attempts declared harmless: only its replay is unlocked.

    One from before doubts were counted gets its attempt here, or it would stay locked.
    """
    unknown = max(record.unknown_attempts, 1)
    return replace(
        record,
        unknown_attempts=unknown,
        cleared_attempts=unknown,
        version=record.version + 1,
        updated_at=now,
    )


def fingerprint_of(link: Secret) -> str:
    """What may be shown of a link: the beginning of its hash (payment rules, section 7)."""
    return sha256(link.reveal().encode()).hexdigest()[:SHORT]


def _known(view: View, record: Record, ruling: Ruling) -> Verdict | None:
    """What was ruled just so before, or came to the same by itself."""
    if isinstance(ruling, MayBeReplayed):
        return Unlocked(record=record, is_new=False) if is_unlocked(record) else None
    answer = view.answer(record.operation_id)
    if answer is None:
        return None
    if isinstance(ruling, WasNotApplied):
        is_same = record.state is State.FAILED
    else:
        is_same = record.state is State.SUCCEEDED and (
            record.kind is Kind.CANCELLATION
            or (record.item_id == ruling.item_id and ruling.link in {None, record.link})
        )
    return Ruled(record=record, answer=answer, is_new=False) if is_same else None


def _bar(view: View, record: Record, ruling: Ruling, rules: Rules, now: datetime) -> str | None:
    """Why this doubt cannot be ruled on so; ``None`` when it can."""
    if record.state is State.CALLING:
        return "it is being called: wait for its outcome"
    if record.state is State.RETRY_WAIT:
        return "it is open: a worker decides it"
    if record.state is not State.IN_DOUBT:
        code = "" if record.code is None else f" {record.code}"
        return f"it is no doubt any more: {record.state}{code}, sequence {record.sequence}"
    owner = record.duplicate_of
    if owner is not None and view.record(owner) is not None:
        return f"it repeats payment {owner}: settle that one, this one is answered along with it"
    is_refusal = record.kind is Kind.REFUSAL
    match ruling:
        case WasApplied() if is_refusal:
            return "nobody could read what it asks for: it can only be settled as failed"
        case WasApplied() if record.kind is Kind.CANCELLATION:
            payment = view.record(record.payment_id)
            if payment is None or payment.state not in {State.SUCCEEDED, State.CANCELLED}:
                state = "not known" if payment is None else payment.state.value
                return f"its payment is {state}: there is nothing that was cancelled"
        case MayBeReplayed() if is_refusal:
            return "a refused message needs a corrected request, under its key or a new one"
        case MayBeReplayed() if is_expired(record, rules, now):
            return (
                "its time is over, so a replay would be refused: settle it as failed,"
                " and its producer may ask again under a new key"
            )
        case WasApplied() | WasNotApplied() | MayBeReplayed():
            pass
        case other:
            assert_never(other)
    return None


def _other_doubt(record: Record, wish: RulingWish) -> str | None:
    """Why what was found out is not about this doubt: it was replayed meanwhile, or looked up."""
    if record.version == wish.record.version:
        return None
    return "something has changed since it was looked at: look again"


def _applied(
    view: View, record: Record, wish: RulingWish, ruling: WasApplied, now: datetime
) -> Change[Verdict]:
    if record.kind is Kind.CANCELLATION:
        change = cancelled(view, replace(record, sequence=record.sequence + 1), now)
        if not isinstance(change.result, Decided):
            raise TypeError(type(change.result))
        closed, answer = change.result.record, change.result.answer
        return _ruled(wish, record, closed, answer, "it was removed", now, *change.records[1:])
    closed, answer = decided(
        replace(_again(record), account=record.account or wish.account),
        Move.SUCCEED,
        now,
        link=ruling.link,
        item_id=ruling.item_id,
    )
    proofs = [] if ruling.item_id is None else [f"item {ruling.item_id}"]
    if ruling.link is not None:
        proofs.append(f"link sha256 {fingerprint_of(ruling.link)}")
    return _ruled(wish, record, closed, answer, " and ".join(proofs), now)


def _given_up(view: View, record: Record, wish: RulingWish, now: datetime) -> Change[Verdict]:
    doubt = view.answer(record.operation_id)
    is_cancellation = record.kind is Kind.CANCELLATION
    closed, answer = decided(
        _again(record),
        Move.FAIL,
        now,
        reason=Reason(code=Code.PROVIDER_UNAVAILABLE),
        payment=view.record(record.payment_id) if is_cancellation else None,
        cancels=doubt is not None and doubt.event.status is Status.CANCEL_IN_DOUBT,
    )
    # The letter of the doubt is overtaken; another one nobody could write, for lack of the body.
    return _ruled(wish, record, closed, replace(answer, letter=None), "nothing was applied", now)


def _again(record: Record) -> Record:
    """The record before its next decision, which leaves nothing that may have been applied."""
    return replace(record, sequence=record.sequence + 1, cleared_attempts=record.unknown_attempts)


def _ruled(
    wish: RulingWish,
    before: Record,
    closed: Record,
    answer: Answer,
    proof: str,
    now: datetime,
    *others: Record,
) -> Change[Verdict]:
    act = _act(wish, before, closed, "settle", proof, now)
    return Change(
        result=Ruled(record=closed, answer=answer, is_new=True),
        records=(closed, *others),
        answers=(answer,),
        audit=(act,),
    )


def _unlocked(record: Record, wish: RulingWish, now: datetime) -> Change[Verdict]:
    free = unlock(record, now)
    act = _act(wish, record, free, "unlock", "nothing was applied", now)
    return Change(result=Unlocked(record=free, is_new=True), records=(free,), audit=(act,))


def _act(
    wish: RulingWish, before: Record, after: Record, action: str, proof: str, now: datetime
) -> AuditEntry:
    return AuditEntry(
        at=now,
        actor=wish.actor,
        action=action,
        operation_id=before.operation_id,
        detail=(
            f"sequence {after.sequence}, was {before.state} {before.code}, {proof}: {wish.reason}"
        ),
        facts=ActFacts(account=after.account, result=after.state.value, cents=after.facts.amount),
    )
