"""Dead letters: looking them up in the ledger, and putting one back to work.

A queue gives its hundredth letter only after ninety-nine others, and a letter held while an
operator thinks is invisible to everybody else. So looking reads the ledger's index, and acting
walks the queue once round, with one letter in hand: the wanted one is published to be replayed,
any other is put back at the end, and each is acknowledged only after its copy is confirmed. A
crash leaves a duplicate, never a gap (rabbitmq, "Replay").
"""

from dataclasses import dataclass, replace
from enum import StrEnum, unique
from typing import assert_never
from uuid import UUID

from worker.contract.copies import replay_copy
from worker.ledger import Ledger
from worker.lifecycle.reopen import NotReopened, Reopened
from worker.ports import LetterQueue, Publisher
from worker.records import Answer, Record
from worker.walks import DEAD_LETTERS, NotConfirmedError, WalkedLetter, walking


@unique
class Replayed(StrEnum):
    """How the replay of one letter ended."""

    REPLAYED = "replayed"
    NOT_REOPENED = "not_reopened"
    NOT_FOUND = "not_found"
    NOT_CONFIRMED = "not_confirmed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Who replays, in which run, and why: kept in the audit and on the replayed copy."""

    actor: str
    run: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayReport:
    """What a walk did: ``rotated`` letters kept, ``stale`` ones removed as overtaken."""

    result: Replayed
    sequence: int | None = None
    reason: str | None = None
    rotated: int = 0
    stale: int = 0


@dataclass(frozen=True, slots=True)
class LetterSeen:
    """One letter of the queue: whose it is, or what its producer called it."""

    operation_id: UUID | None
    message_id: str | None


@dataclass(frozen=True, slots=True)
class Sight:
    """What a walk saw; incomplete where somebody else walks too, or the broker stayed silent."""

    letters: tuple[LetterSeen, ...]
    is_complete: bool


class DeadLetters:
    """Replays dead letters; every reopening is audited under the actor's name."""

    def __init__(
        self, *, ledger: Ledger, queue: LetterQueue, publisher: Publisher, actor: str
    ) -> None:
        self._actor = actor
        self._ledger = ledger
        self._queue = queue
        self._publisher = publisher

    async def depth(self) -> int:
        """Letters in the queue now."""
        return await self._queue.depth()

    async def look(self) -> Sight:
        """Walk the queue once round and leave it as it was; each letter is published anew.

        Raises ``QueueLockedError``, ``StoreUnavailableError``.
        """
        seen: list[LetterSeen] = []
        async with walking(
            queue=self._queue,
            publisher=self._publisher,
            ledger=self._ledger,
            name=DEAD_LETTERS,
            actor=self._actor,
            purpose="report",
        ) as walk:
            try:
                async for letter in walk:
                    seen.append(LetterSeen(letter.operation_id, letter.message_name))
                    await letter.keep()
            except NotConfirmedError:
                return Sight(tuple(seen), is_complete=False)
            return Sight(tuple(seen), is_complete=walk.is_complete)

    async def replay(self, operation_id: UUID, act: Act) -> ReplayReport:
        """Walk the queue once round and replay the letter of one operation.

        Running it again after a crash is safe: an operation is reopened once per opening, and the
        ledger decides what a second copy may do. Raises ``StoreUnavailableError``.
        """
        report = ReplayReport(result=Replayed.NOT_FOUND)
        for _ in range(await self._queue.depth()):
            taken = await self._queue.take()
            if taken is None:
                break
            letter = WalkedLetter(taken, self._publisher)
            try:
                report = await self._handle(letter, operation_id, report, act)
            except NotConfirmedError:
                why = "the broker did not confirm"
                return replace(report, result=Replayed.NOT_CONFIRMED, reason=why)
        return report

    async def _handle(
        self, letter: WalkedLetter, wanted: UUID, report: ReplayReport, act: Act
    ) -> ReplayReport:
        if letter.operation_id != wanted:
            return await _rotate(letter, report)
        found = await self._ledger.find(wanted)
        sequence = letter.sequence
        if found is not None and 0 < sequence < _last_decided(found[0]) and _is_copied(found[1]):
            await letter.remove()
            return replace(report, stale=report.stale + 1)
        if report.sequence is not None and (letter.is_unanswered or sequence < report.sequence):
            # A second copy of what was just replayed: a crashed walk left it.
            await letter.remove()
            return replace(report, stale=report.stale + 1)
        if letter.is_unanswered:
            # The broker gave this delivery up, we decided nothing about it: there is nothing to
            # reopen, and the ledger says what the copy may do. A decided one repeats its event.
            return await _replay(letter, sequence, report, act)
        reopened = await self._ledger.reopen(
            wanted,
            from_sequence=_decided(found, sequence),
            actor=act.actor,
            run=act.run,
            reason=act.reason,
        )
        match reopened:
            case Reopened(sequence=sequence):
                return await _replay(letter, sequence, report, act)
            case NotReopened(reason=reason):
                refused = replace(report, result=Replayed.NOT_REOPENED, reason=reason)
                return await _rotate(letter, refused)
            case other:
                assert_never(other)


async def _replay(
    letter: WalkedLetter, sequence: int, report: ReplayReport, act: Act
) -> ReplayReport:
    await letter.send(
        replay_copy(
            letter.delivery,
            sequence=sequence,
            replay_count=letter.replay_count + 1,
            replay_run=act.run,
            replayed_by=act.actor,
            envelope=letter.broker_made,
        )
    )
    return replace(report, result=Replayed.REPLAYED, sequence=sequence)


async def _rotate(letter: WalkedLetter, report: ReplayReport) -> ReplayReport:
    await letter.keep()
    return replace(report, rotated=report.rotated + 1)


def _is_copied(newest: Answer | None) -> bool:
    """Whether an older letter may go: the newest decision needs none, or has one of its own.

    A decision of the sweeper owes a letter that it cannot write; the older one is then the only
    place that holds the request.
    """
    return newest is None or newest.letter is None or newest.letter_confirmed


def _decided(found: tuple[Record, Answer | None] | None, sequence: int) -> int:
    """The decision to replay: the newest, whichever letter holds the request."""
    return sequence if found is None or found[0].state.is_open else found[0].sequence


def _last_decided(record: Record) -> int:
    return record.sequence - 1 if record.state.is_open else record.sequence
