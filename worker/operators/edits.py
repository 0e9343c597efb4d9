"""Editing dead letters: another e-mail for a payment that failed, in the ledger and in its letter.

First the ledger, then the letter: the edited copy is published to the dead letters, confirmed, and
only then the original acknowledged. Cut off in between, the letter still has the old e-mail and a
replay of it would be refused as another content; running the same edit again finishes it. What a
crash leaves twice is brought down to one, by payment and sequence (operations 1.5 and 1.6).

A message that was refused for its e-mail never bound its key: with another one it is sent to work
as a first request under that key, and the refused letter is set aside.
"""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from enum import StrEnum, unique
from typing import assert_never
from uuid import UUID

from worker.contract.copies import parked, replay_copy, rotated_copy
from worker.contract.corrections import (
    Correction,
    FirstRequest,
    NotCorrectable,
    corrected,
    corrected_refusal,
)
from worker.contract.envelope import envelope_on
from worker.identity import is_refusal
from worker.ledger import Ledger
from worker.lifecycle.aside import AsideWish, LeftAlone, SetAside
from worker.lifecycle.edit import Edited, EditWish, NotEdited, bar_to_correct, bar_to_edit
from worker.messages import Publication
from worker.model import Delivery, Fault, Secret
from worker.operator_ports import LetterQueue
from worker.operators.walks import DEAD_LETTERS, NotConfirmedError, Walk, WalkedLetter, walking
from worker.ports import Publisher
from worker.records import Kind


@unique
class EditResult(StrEnum):
    """How the edit of one letter ended."""

    EDITED = "edited"
    ASKED_AGAIN = "asked_again"
    UNCHANGED = "unchanged"
    NOT_EDITED = "not_edited"
    NOT_FOUND = "not_found"
    NOT_CONFIRMED = "not_confirmed"


@dataclass(frozen=True, slots=True, kw_only=True)
class EditReport:
    """What became of the wish; ``reason`` and ``faults`` say why not, ``removed`` second copies.

    ``payment_id`` is the payment that a corrected message asks for: a refusal has an id of its own.
    """

    result: EditResult = EditResult.NOT_FOUND
    sequence: int | None = None
    payment_id: UUID | None = None
    reason: str | None = None
    faults: tuple[Fault, ...] = ()
    rotated: int = 0
    removed: int = 0
    is_complete: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class EmailEdit:
    """Whose e-mail becomes which, on whose word."""

    operation_id: UUID
    email: str
    actor: str
    reason: str


async def bar_of(ledger: Ledger, operation_id: UUID) -> str | None:
    """Why this operation's e-mail may not be changed, whatever its letter holds."""
    found = await ledger.find(operation_id)
    if found is not None and found[0].kind is Kind.REFUSAL:
        return bar_to_correct(*found)
    return bar_to_edit(None if found is None else found[0])


class Edits:
    """Edits dead letters one at a time; raises ``QueueLockedError``, ``StoreUnavailableError``."""

    def __init__(self, *, ledger: Ledger, queue: LetterQueue, publisher: Publisher) -> None:
        self._ledger = ledger
        self._queue = queue
        self._publisher = publisher

    async def look(self, edit: EmailEdit) -> Secret | EditReport | None:
        """The e-mail in the letter, for the person who decides, or why it is not edited.

        ``None`` where the message was refused for it. Nothing is changed; letters met before it go
        to the end of the queue.
        """
        try:
            async with self._walk(edit, "look at") as walk:
                async for letter in walk:
                    await letter.keep()
                    if not _is_of(letter, edit.operation_id):
                        continue
                    match _corrected(letter.delivery, edit.email):
                        case Correction(before=before):
                            return before.email
                        case FirstRequest():
                            return None
                        case NotCorrectable() as wrong:
                            return _refused(EditReport(), wrong.reason, wrong.faults)
                        case other:
                            assert_never(other)
                return EditReport(is_complete=walk.is_complete)
        except NotConfirmedError:
            return EditReport(result=EditResult.NOT_CONFIRMED)

    async def edit(self, edit: EmailEdit) -> EditReport:
        """Walk the queue once round and exchange the payment's letter for one with the new e-mail.

        Running it again after a crash is safe, and finishes what was begun.
        """
        exchange = _Exchange(self._ledger, self._publisher, edit)
        try:
            async with self._walk(edit, "edit") as walk:
                async for letter in walk:
                    await exchange.handle(letter)
                return replace(exchange.report, is_complete=walk.is_complete)
        except NotConfirmedError:
            return replace(exchange.report, result=EditResult.NOT_CONFIRMED)

    def _walk(self, edit: EmailEdit, purpose: str) -> AbstractAsyncContextManager[Walk]:
        return walking(
            queue=self._queue,
            publisher=self._publisher,
            ledger=self._ledger,
            name=DEAD_LETTERS,
            actor=edit.actor,
            purpose=f"{purpose} {edit.operation_id}",
        )


@dataclass(slots=True)
class _Exchange:
    """One walk's work: at its end one letter of the payment is left, with the new e-mail."""

    ledger: Ledger
    publisher: Publisher
    edit: EmailEdit
    report: EditReport = field(default_factory=EditReport)
    is_one_left: bool = False

    async def handle(self, letter: WalkedLetter) -> None:
        if not _is_of(letter, self.edit.operation_id):
            await self._keep(letter)
            return
        match _corrected(letter.delivery, self.edit.email):
            case FirstRequest() as first:
                await self._ask_again(letter, first)
            case NotCorrectable(reason=reason, faults=faults):
                await self._keep(letter)
                self.report = _refused(self.report, reason, faults)
            case Correction() as correction:
                await self._correct(letter, correction)
            case other:
                assert_never(other)

    async def _ask_again(self, letter: WalkedLetter, first: FirstRequest) -> None:
        """Send a refused message as the first request that it would have been, and set it aside.

        In this order: a letter whose request is not on its way yet stays listed.
        """
        payment_id = first.envelope.operation_id
        bar = await bar_of(self.ledger, self.edit.operation_id)
        known = await self.ledger.find(payment_id)
        if bar is None and known is not None and known[0].fingerprint != first.request.fingerprint:
            bar = "its key has been used since, for another request"
        if bar is not None:
            await self._keep(letter)
            self.report = _refused(self.report, bar)
            return
        if known is None and not self.is_one_left:
            await self._publish(letter, first)
        self.is_one_left = True
        wish = AsideWish(
            operation_id=self.edit.operation_id,
            actor=self.edit.actor,
            reason=f"e-mail changed, asked for as {payment_id}: {self.edit.reason}",
        )
        match await self.ledger.letters.set_aside(wish):
            case SetAside():
                await letter.send(parked(rotated_copy(letter.delivery)))
            case LeftAlone():
                await self._keep(letter)
            case other:
                assert_never(other)
        self.report = replace(
            self.report, result=EditResult.ASKED_AGAIN, payment_id=payment_id, sequence=1
        )

    async def _publish(self, letter: WalkedLetter, first: FirstRequest) -> None:
        copy = replay_copy(
            first.letter,
            sequence=1,
            replay_count=letter.replay_count + 1,
            replay_run="edit",
            replayed_by=self.edit.actor,
            envelope=first.envelope,
        )
        if await self.publisher.publish(copy) is not Publication.CONFIRMED:
            await letter.give_back()
            raise NotConfirmedError

    async def _correct(self, letter: WalkedLetter, correction: Correction) -> None:
        wish = EditWish(
            operation_id=self.edit.operation_id,
            sequence=letter.sequence,
            before=correction.before,
            after=correction.after,
            actor=self.edit.actor,
            reason=self.edit.reason,
        )
        match await self.ledger.payments.edit_email(wish):
            case NotEdited(reason=reason):
                await self._keep(letter)
                self.report = _refused(self.report, reason)
            case Edited(repeated=repeated):
                await self._exchange(letter, correction, is_new=not repeated)
            case other:
                assert_never(other)

    async def _exchange(
        self, letter: WalkedLetter, correction: Correction, *, is_new: bool
    ) -> None:
        """The first of them is left with the new e-mail; any other a crash has left behind."""
        if self.is_one_left:
            await letter.remove()
            self.report = replace(self.report, removed=self.report.removed + 1)
        elif correction.is_needed:
            await letter.send(rotated_copy(correction.letter))
        else:
            await self._keep(letter)
        self.is_one_left = True
        is_changed = is_new or correction.is_needed or self.report.result is EditResult.EDITED
        self.report = replace(
            self.report,
            result=EditResult.EDITED if is_changed else EditResult.UNCHANGED,
            sequence=letter.sequence,
        )

    async def _keep(self, letter: WalkedLetter) -> None:
        await letter.keep()
        self.report = replace(self.report, rotated=self.report.rotated + 1)


def _corrected(letter: Delivery, email: str) -> Correction | FirstRequest | NotCorrectable:
    envelope = envelope_on(letter)
    if envelope is not None and is_refusal(envelope.identity):
        return corrected_refusal(letter, email)
    return corrected(letter, email)


def _refused(report: EditReport, reason: str, faults: tuple[Fault, ...] = ()) -> EditReport:
    """A reason counts only where no letter of the payment has been found fit."""
    if report.result is not EditResult.NOT_FOUND:
        return report
    return replace(report, result=EditResult.NOT_EDITED, reason=reason, faults=faults)


def _is_of(letter: WalkedLetter, operation_id: UUID) -> bool:
    """Whether it is a letter of ours about that operation: an unanswered one was not decided."""
    return letter.operation_id == operation_id and not letter.is_unanswered
