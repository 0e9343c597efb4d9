"""What a run does with the letter in hand.

The ledger is asked first, each time: what the plan saw may be hours old. A wanted letter is sent
only after its operation was reopened for this run; one that a newer decision has overtaken is let
go; any other goes round.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum, unique
from typing import assert_never
from uuid import UUID

from worker.contract.bodies import read_payment_body
from worker.contract.copies import replay_copy
from worker.contract.envelope import envelope_on
from worker.contract.json_text import JsonObject, parse_body
from worker.journal import ReplayResult, ReplayRun, ReplayStep, StepState
from worker.ledger import Ledger
from worker.letters import Verdict
from worker.lifecycle.prospects import is_kept_by_look_up, last_decided
from worker.lifecycle.reopen import NotReopened, Reopened, is_reopened_by, is_untried
from worker.lifecycle.resend import Resending, ResendWish
from worker.messages import OutgoingMessage
from worker.model import PaymentRequest
from worker.operators.walks import WalkedLetter
from worker.ports import Clock
from worker.records import Answer, Kind, Record, State

OTHER_CONTENT = "its letter holds another request than the ledger knows: it was edited since"

Found = tuple[Record, Answer | None]


@unique
class Way(StrEnum):
    """How a letter was let go."""

    SENT = "sent"
    KEPT = "kept"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Handled:
    """How a letter was let go, and how its step stands now; ``None``: it is no letter of the run.

    A step that is still planned waits for another letter; its detail says what was wrong here.
    """

    way: Way
    step: ReplayStep | None = None


@dataclass(frozen=True, slots=True)
class _Done:
    """Up to which decision an operation was dealt with, and the body that was sent, if one was."""

    sequence: int
    body: bytes | None


class LetterHands:
    """Handles one letter after the other; ``done`` are the operations that were dealt with."""

    def __init__(self, *, ledger: Ledger, clock: Clock, run: ReplayRun) -> None:
        self._ledger = ledger
        self._clock = clock
        self._run = run
        self._done: dict[UUID, _Done] = {}

    def note_done(self, operation_id: UUID, sequence: int, *, body: bytes | None = None) -> None:
        """Remember that nothing below that sequence is needed any more, nor unanswered."""
        self._done[operation_id] = _Done(sequence, body)

    async def handle(self, letter: WalkedLetter, wanted: Mapping[UUID, ReplayStep]) -> Handled:
        """Let go of a letter in the way that its operation asks for.

        Raises ``NotConfirmedError``, ``StoreUnavailableError``.
        """
        operation_id = letter.operation_id
        if operation_id is None:
            return await self._keep(letter)
        found = await self._ledger.find(operation_id)
        step = wanted.get(operation_id)
        if self._is_another_request(letter, operation_id, found):
            return await self._let_decide(letter, operation_id, step, found)
        if self._is_overtaken(letter, operation_id, found):
            await letter.remove()
            if letter.is_unanswered:
                await self._ledger.letters.forget_unanswered(operation_id)
            return Handled(Way.REMOVED, self._sent_before(step, found))
        if step is None:
            return await self._keep(letter)
        return await self._replay(letter, step, found)

    def _is_overtaken(self, letter: WalkedLetter, operation_id: UUID, found: Found | None) -> bool:
        """Whether a letter is below the last decided one, or a second copy of one just sent."""
        sequence = letter.sequence
        if found is not None and not _is_copied(found[1]):
            return False
        if found is not None and 0 < sequence < last_decided(found[0]):
            return not is_kept_by_look_up(found[0], sequence)
        done = self._done.get(operation_id)
        return done is not None and (letter.is_unanswered or sequence < done.sequence)

    def _is_another_request(
        self, letter: WalkedLetter, operation_id: UUID, found: Found | None
    ) -> bool:
        """Whether nobody has decided what it asks for, though its operation is known.

        A producer may use one key for two contents. Each is owed a decision (contract section 3),
        and of two that the broker gave up neither is a copy of the other.
        """
        if not letter.is_unanswered:
            return False
        if found is not None:
            return not _holds(letter, found[0])
        done = self._done.get(operation_id)
        return done is not None and done.body is not None and done.body != letter.delivery.body

    async def _let_decide(
        self, letter: WalkedLetter, operation_id: UUID, step: ReplayStep | None, found: Found | None
    ) -> Handled:
        """Send it to work with the operation that it names: the claim refuses it as another one."""
        if step is None and operation_id not in self._done:
            return await self._keep(letter)
        is_answered = step is not None and step.code is None and _is_decided(found)
        done = await self.answer_again(step) if step is not None and is_answered else None
        await letter.send(self._copy(letter, letter.sequence))
        return Handled(Way.SENT, done)

    async def _replay(self, letter: WalkedLetter, step: ReplayStep, found: Found | None) -> Handled:
        record = None if found is None else found[0]
        if step.code is None and step.verdict is Verdict.ALREADY_DONE and not letter.is_unanswered:
            return await self._keep(letter)  # its decision's own letter: not the one meant
        if record is not None and is_reopened_by(record, self._run.run, step.sequence):
            if not is_untried(record):
                # A worker has it: the letter is a second copy, and overtaken soon.
                return await self._keep(letter, self._sent_before(step, found))
        elif letter.is_unanswered and (record is None or record.state.is_open):
            # Nothing was decided, so there is nothing to reopen: the claim says what may be done.
            return await self._send(letter, step, letter.sequence)
        elif found is not None and letter.is_unanswered and step.code is None:
            return await self._answer_again(letter, step, is_copied=_is_copied(found[1]))
        if record is not None and not _holds(letter, record):
            return await self._keep(letter, replace(step, detail=OTHER_CONTENT))
        if letter.broker_made is None and envelope_on(letter.delivery) is None:
            return await self._keep(letter, self._skipped(step, "its headers cannot be read"))
        reopened = await self._ledger.payments.reopen(
            step.operation_id,
            from_sequence=step.sequence,
            actor=self._run.actor,
            run=self._run.run,
            reason=self._run.reason,
        )
        match reopened:
            case Reopened(sequence=sequence):
                return await self._send(letter, step, sequence)
            case NotReopened(reason=reason):
                return await self._keep(letter, self._skipped(step, reason))
            case other:
                assert_never(other)

    async def _send(self, letter: WalkedLetter, step: ReplayStep, sequence: int) -> Handled:
        await letter.send(self._copy(letter, sequence))
        self.note_done(step.operation_id, sequence, body=letter.delivery.body)
        if letter.is_unanswered:
            await self._ledger.letters.forget_unanswered(step.operation_id)
        return Handled(Way.SENT, self._sent(step, sequence))

    def _copy(self, letter: WalkedLetter, sequence: int) -> OutgoingMessage:
        return replay_copy(
            letter.delivery,
            sequence=sequence,
            replay_count=letter.replay_count + 1,
            replay_run=self._run.run,
            replayed_by=self._run.actor,
            envelope=letter.broker_made,
        )

    async def _answer_again(
        self, letter: WalkedLetter, step: ReplayStep, *, is_copied: bool
    ) -> Handled:
        """It was decided after the plan was made: its answer is sent, and nobody is called."""
        done = await self.answer_again(step)
        if not is_copied:
            return await self._keep(letter, done)
        await letter.remove()
        await self._ledger.letters.forget_unanswered(step.operation_id)
        return Handled(Way.REMOVED, done)

    async def answer_again(self, step: ReplayStep) -> ReplayStep:
        """Mark the stored answer of a decided operation for sending again.

        A doubt stays one, however often it is told.
        """
        wish = ResendWish(
            operation_id=step.operation_id, actor=self._run.actor, reason=f"run {self._run.run}"
        )
        match await self._ledger.payments.resend(wish):
            case Resending.MARKED | Resending.OVERTAKEN:
                self.note_done(step.operation_id, step.sequence)
                found = await self._ledger.find(step.operation_id)
                said = "its stored answer is sent again"
                if found is not None and found[0].state is State.IN_DOUBT:
                    doubt = self._ended(step, ReplayResult.IN_DOUBT, said)
                    return replace(doubt, end_code=found[0].code)
                return self._ended(step, ReplayResult.ALREADY_DONE, said)
            case Resending.OPEN:
                return self._skipped(step, "it is open again: its next decision is sent by itself")
            case Resending.UNKNOWN:
                return self._skipped(step, "the ledger does not know it")
            case other:
                assert_never(other)

    async def _keep(self, letter: WalkedLetter, step: ReplayStep | None = None) -> Handled:
        await letter.keep()
        return Handled(Way.KEPT, step)

    def _sent_before(self, step: ReplayStep | None, found: Found | None) -> ReplayStep | None:
        """The step of a letter that this run had sent when it died, before it could note it."""
        if step is None or found is None:
            return None
        if not is_reopened_by(found[0], self._run.run, step.sequence):
            return None
        return self._sent(step, found[0].sequence)

    def _sent(self, step: ReplayStep, sequence: int) -> ReplayStep:
        return sent_step(step, sequence, self._clock)

    def _skipped(self, step: ReplayStep, why: str) -> ReplayStep:
        return self._ended(step, ReplayResult.SKIPPED, why)

    def _ended(self, step: ReplayStep, result: ReplayResult, detail: str) -> ReplayStep:
        return replace(
            step, state=StepState.ENDED, result=result, detail=detail, at=self._clock.now()
        )


def sent_step(step: ReplayStep, sequence: int, clock: Clock) -> ReplayStep:
    """The step once its copy is on its way to a worker."""
    return replace(step, state=StepState.SENT, sent_sequence=sequence, detail=None, at=clock.now())


def _holds(letter: WalkedLetter, record: Record) -> bool:
    """Whether a letter's body is the one that its record's fingerprint was taken of.

    An edit replaces both; a copy with the old body, left by a crash, must not undo it.
    """
    if record.kind is not Kind.INITIATION or record.fingerprint is None:
        return True
    body = parse_body(letter.delivery.body).root or JsonObject(())
    request = read_payment_body(body, has_key=True).request
    return isinstance(request, PaymentRequest) and request.fingerprint == record.fingerprint


def _is_decided(found: Found | None) -> bool:
    return found is not None and not found[0].state.is_open


def _is_copied(newest: Answer | None) -> bool:
    """Whether an older letter may go: the newest decision needs none, or has one of its own.

    A decision of the sweeper owes a letter that it cannot write; the older one is then the only
    place that holds the request.
    """
    return newest is None or newest.letter is None or newest.letter_confirmed
