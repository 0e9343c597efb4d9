"""Setting a dead letter aside, once a person has seen to it, and bringing it back.

A letter that is set aside waits for nobody: the index no longer lists it, and it lies in the
parking queue. The payment itself stays as it was decided. One that the broker made was never
decided; setting it aside is the decision, and its producer is owed that (contract section 3).
"""

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from worker.codes import Code
from worker.lifecycle.births import decided_at_birth, unwritten_request
from worker.lifecycle.claim import closed_without_success
from worker.lifecycle.decide import Reason
from worker.lifecycle.lost import knows_more, was_perhaps_called
from worker.lifecycle.table import Move
from worker.lifecycle.wishes import Decided
from worker.model import Cancellation, Delivery, Initiation, Reading, Source, Unreadable
from worker.ports import View
from worker.records import (
    Answer,
    AuditEntry,
    Change,
    Kind,
    Needs,
    Record,
    Restoration,
    State,
)
from worker.rules import Rules

_UNKNOWN = "the ledger does not know it"
_ANOTHER = "it is another request under the key of a decided one: replay it, a worker refuses it"


@dataclass(frozen=True, slots=True)
class UnansweredInHand:
    """A letter that the broker made: what it asks for, and the letter itself."""

    reading: Reading
    delivery: Delivery


@dataclass(frozen=True, slots=True, kw_only=True)
class AsideWish:
    """Whose letter, on whose word; ``unanswered`` is the letter in hand where the broker made it.

    It is ``None`` for a decided letter, and where the queue holds none.
    """

    operation_id: UUID
    actor: str
    reason: str
    unanswered: UnansweredInHand | None = None

    @property
    def needs(self) -> Needs:
        """Rows to load: the operation's own, and the payment that a cancellation is about."""
        if self.unanswered is not None and isinstance(self.unanswered.reading, Cancellation):
            return Needs((self.operation_id, self.unanswered.reading.request.payment_id))
        return Needs((self.operation_id,))


@dataclass(frozen=True, slots=True)
class SetAside:
    """The letter is seen to; ``answer`` is what was decided, ``is_new`` whether it was just now."""

    record: Record
    answer: Answer
    is_new: bool


@dataclass(frozen=True, slots=True)
class BroughtBack:
    """The letter waits for a person again; ``is_new`` says whether it did not before."""

    is_new: bool


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """Nothing was changed; why, in words that follow "it was not resolved:"."""

    reason: str


def set_aside(
    view: View, wish: AsideWish, rules: Rules, now: datetime, restoration: Restoration | None
) -> Change[SetAside | LeftAlone]:
    """Mark the newest letter of an operation as seen to; audited. Doing it twice does it once.

    Only a letter that is undone: what is open a worker decides, what went well needs nobody.
    """
    record = view.record(wish.operation_id)
    if record is None:
        if wish.unanswered is None:
            return Change(result=LeftAlone(_UNKNOWN))
        return _decided_unanswered(view, wish, wish.unanswered, rules, now, restoration)
    answer = view.answer(wish.operation_id)
    if record.state.is_open or answer is None:
        return Change(result=LeftAlone(f"it is open ({record.state}): a worker decides it"))
    if wish.unanswered is not None and _is_another(wish.unanswered.reading, record):
        return Change(result=LeftAlone(_ANOTHER))
    if wish.unanswered is not None:
        # It is decided, and its own letter, if it has one, is another: this copy needs nobody.
        # Resolved already, it was decided so by an earlier run that did not come to move it.
        is_new = not answer.letter_resolved
        act = _act(wish, now, f"a letter of the broker's own, it is {record.state}")
        return Change(
            result=SetAside(record, answer, is_new=is_new), audit=(act,) if is_new else ()
        )
    if not _is_undone(record, answer):
        return Change(result=LeftAlone(f"it is {record.state}: no letter of it is undone"))
    if answer.letter_resolved:
        return Change(result=SetAside(record, answer, is_new=False))
    seen_to = replace(answer, letter_resolved=True)
    return Change(
        result=SetAside(record, seen_to, is_new=True),
        answers=(seen_to,),
        audit=(_act(wish, now, f"sequence {record.sequence}, {record.state} {record.code}"),),
    )


def bring_back(
    view: View, operation_id: UUID, *, actor: str, reason: str, now: datetime
) -> Change[BroughtBack | LeftAlone]:
    """Undo ``set_aside``; audited. Doing it twice does it once."""
    record, answer = view.record(operation_id), view.answer(operation_id)
    if record is None:
        return Change(result=LeftAlone(_UNKNOWN))
    if answer is None or not _is_undone(record, answer):
        return Change(result=LeftAlone(f"it is {record.state}: no letter of it is undone"))
    if not answer.letter_resolved:
        return Change(result=BroughtBack(is_new=False))
    wish = AsideWish(operation_id=operation_id, actor=actor, reason=reason)
    return Change(
        result=BroughtBack(is_new=True),
        answers=(replace(answer, letter_resolved=False),),
        audit=(_act(wish, now, f"sequence {record.sequence}", action="restore"),),
    )


def _is_undone(record: Record, answer: Answer) -> bool:
    return answer.letter is not None and record.state in {State.FAILED, State.IN_DOUBT}


def _is_another(reading: Reading, record: Record) -> bool:
    """Whether one key was given to two contents: each is owed an answer (contract section 3)."""
    if record.kind is not Kind.INITIATION or record.fingerprint is None:
        return False
    return not isinstance(reading, Initiation) or reading.request.fingerprint != record.fingerprint


def _decided_unanswered(
    view: View,
    wish: AsideWish,
    letter: UnansweredInHand,
    rules: Rules,
    now: datetime,
    restoration: Restoration | None,
) -> Change[SetAside | LeftAlone]:
    """Give up what nobody has called; what may have been called, a worker brings into doubt."""
    reading, delivery = letter.reading, letter.delivery
    # The broker gave it up after it had given it to workers, as its replayed copy would say.
    put_back = replace(reading.envelope, source=Source.REPLAY, replay_count=1)
    if knows_more(reading.envelope, None) or was_perhaps_called(
        delivery, put_back, restoration, rules, now
    ):
        why = "its history is lost, it may have been called: replay it, a worker sees what is safe"
        return Change(result=LeftAlone(why))
    fresh = unwritten_request(reading, delivery, now)
    why_not = Reason(code=Code.DELIVERY_LIMIT_REACHED, detail="resolved by an operator")
    change: Change[Decided]
    if isinstance(reading, Unreadable):
        change = decided_at_birth(fresh, Move.FAIL, now, why_not, cancels=reading.is_cancellation)
    else:
        payment = _own_payment(view, fresh)
        change = closed_without_success(fresh, why_not, now, payment=payment)
    decided = change.result
    # Parked it is both confirmed and seen to; its event is the sweeper's to send.
    answer = replace(decided.answer, letter_confirmed=True, letter_resolved=True)
    return Change(
        result=SetAside(decided.record, answer, is_new=True),
        records=change.records,
        answers=(answer,),
        audit=(_act(wish, now, "it was unanswered"),),
    )


def _own_payment(view: View, record: Record) -> Record | None:
    """What a cancellation is about, where it is its own origin's."""
    if record.kind is not Kind.CANCELLATION:
        return None
    found = view.record(record.payment_id)
    if found is None or found.kind is not Kind.INITIATION or found.origin != record.origin:
        return None
    return found


def _act(wish: AsideWish, now: datetime, what: str, *, action: str = "resolve") -> AuditEntry:
    return AuditEntry(
        at=now,
        actor=wish.actor,
        action=action,
        operation_id=wish.operation_id,
        detail=f"{what}: {wish.reason}",
    )
