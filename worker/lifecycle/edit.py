"""Changing the e-mail of a failed payment: only while nothing was applied or may have been.

The e-mail is part of what a payment asks for, so its fingerprint changes in the same write; else
the replayed copy would be refused as another content under the same key (contract section 2,
"Replay and edit"; operations 1.6). Nothing else writes the row of a failed payment, so one that was
written after its decision is known for an edited one.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from worker.codes import Code
from worker.lifecycle.duplicates import other_owner
from worker.model import EmailMark, PaymentRequest
from worker.ports import View
from worker.records import Answer, AuditEntry, Change, Kind, Needs, Record, State


@dataclass(frozen=True, slots=True, kw_only=True)
class EditWish:
    """Whose e-mail, on whose word: the request as the letter in hand has it, and as it will be.

    ``email_mark`` is what the new e-mail is found by, set by the ledger.
    """

    operation_id: UUID
    sequence: int
    before: PaymentRequest
    after: PaymentRequest
    actor: str
    reason: str
    email_mark: EmailMark | None = None

    @property
    def needs(self) -> Needs:
        """The rows it is decided by."""
        return Needs((self.operation_id,), self.after.fingerprint)

    @property
    def is_respelling(self) -> bool:
        """Whether the e-mail changes in capitals alone, which a fingerprint does not show."""
        is_same_content = self.before.fingerprint == self.after.fingerprint
        return is_same_content and self.before.email != self.after.email


@dataclass(frozen=True, slots=True)
class Edited:
    """The ledger goes by the new e-mail; ``repeated`` where it already did."""

    sequence: int
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class NotEdited:
    """The payment stays as it is, for this reason."""

    reason: str


def edit_email(view: View, wish: EditWish, now: datetime) -> Change[Edited | NotEdited]:
    """Have a failed payment go by another e-mail; audited, without the e-mail.

    Doing it twice is doing it once: an edit that was cut off before its letter was exchanged may
    be run again.
    """
    record = view.record(wish.operation_id)
    bar = bar_to_edit(record) or _other_content(record, wish) or _superseded(view, wish)
    if record is None or bar is not None:
        return Change(result=NotEdited(bar or _UNKNOWN))
    if record.fingerprint == wish.after.fingerprint and not wish.is_respelling:
        return Change(result=Edited(record.sequence, repeated=True))
    edited = replace(
        record,
        version=record.version + 1,
        updated_at=now,
        fingerprint=wish.after.fingerprint,
        email=None if record.email is None else wish.after.email,
        email_mark=wish.email_mark,
    )
    audit = AuditEntry(
        at=now,
        actor=wish.actor,
        action="edit",
        operation_id=record.operation_id,
        detail=f"e-mail changed, sequence {record.sequence}: {wish.reason}",
    )
    # Nobody is looked up by what it no longer asks for, and the hash contains the old e-mail.
    is_new = record.fingerprint is not None and record.fingerprint != edited.fingerprint
    return Change(
        result=Edited(record.sequence),
        records=(edited,),
        audit=(audit,),
        disowned=(record.fingerprint, record.operation_id)
        if is_new and record.fingerprint
        else None,
    )


def bar_to_edit(record: Record | None) -> str | None:
    """Why the e-mail of this operation may not be changed; ``None`` when it may."""
    if record is None:
        return _UNKNOWN
    if record.kind is Kind.CANCELLATION:
        return "a cancellation has no e-mail"
    if record.kind is Kind.REFUSAL:
        return "it was refused unread: its key is free for a corrected request"
    if record.state.is_open:
        return f"it is open ({record.state})"
    if record.code is Code.LEDGER_LOST:
        return "its history is lost; a person must check at the provider"
    if record.state is not State.FAILED:
        return f"it is decided: {record.state}"
    if record.unknown_attempts or record.link_published or record.item_id is not None:
        # Also where a reopening has declared it harmless: with another e-mail it is no repeat.
        return "an attempt may have been applied under the old e-mail"
    if record.fingerprint is None:
        return "what it asked for was erased"
    return None


def bar_to_correct(refusal: Record, answer: Answer | None) -> str | None:
    """Why a refused message may not be sent again with another e-mail; ``None`` when it may.

    The stored faults decide: what else was wrong need not survive in the letter.
    """
    if refusal.code is not Code.INVALID_MESSAGE or answer is None:
        return "it was refused for what no e-mail mends"
    if not answer.event.faults or any(fault.field != _FIELD for fault in answer.event.faults):
        return "its e-mail is not all that is wrong: its producer sends it corrected"
    return None


_FIELD = "email"
_UNKNOWN = "the ledger does not know it"


def _other_content(record: Record | None, wish: EditWish) -> str | None:
    """The e-mail alone may differ: all else that a fingerprint covers is among the facts."""
    if record is None:
        return None
    if record.sequence != wish.sequence:
        return "its letter is of another decision"
    if record.facts != wish.after.facts:
        return "the letter asks for something else than the ledger knows"
    return None


def _superseded(view: View, wish: EditWish) -> str | None:
    owner = other_owner(view, wish.after.fingerprint, wish.operation_id)
    if owner is None:
        return None
    if owner.state.is_open or owner.state in {State.IN_DOUBT, State.SUCCEEDED}:
        return "with this e-mail it asks for what another payment is about, open, in doubt or paid"
    return None
