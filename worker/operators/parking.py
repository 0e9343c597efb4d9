"""Setting dead letters aside and bringing them back: the ledger first, then the letter.

The ledger says what is seen to; the letter follows it to the parking queue, and back. Between the
two a crash leaves a letter in the other queue than the ledger says, with nothing lost, and doing
the same again finishes it: what is decided stays decided, and the letter is moved.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from enum import StrEnum, unique
from typing import assert_never
from uuid import UUID

from worker.contract.copies import dead_letter, parked, rotated_copy
from worker.ledger import Ledger
from worker.lifecycle.aside import AsideWish, BroughtBack, LeftAlone, SetAside, UnansweredInHand
from worker.messages import OutgoingMessage
from worker.model import Source
from worker.operator_ports import LetterQueue
from worker.operators.unanswered import unanswered_letter
from worker.operators.walks import DEAD_LETTERS, NotConfirmedError, WalkedLetter, walking
from worker.ports import Publisher

PARKING = "parking"
"""The name under which the parking queue is locked."""


@unique
class Parked(StrEnum):
    """What became of one letter."""

    RESOLVED = "resolved"
    RESTORED = "restored"
    WITHOUT_LETTER = "without_letter"
    LEFT_ALONE = "left_alone"


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkingOutcome:
    """What became of one operation's letter; ``reason`` where it was left alone."""

    operation_id: UUID
    result: Parked
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkingAct:
    """Who acts and why, kept in the audit; ``worker_version`` stands on letters made anew."""

    actor: str
    reason: str
    worker_version: str


Tell = Callable[[ParkingOutcome], None]


class Parking:
    """Moves letters between the dead letters and the parking queue; tells of each as it goes.

    Both walks return whether they reached their end; cut short, the rest is as it was, and the
    same again goes on. They raise ``QueueLockedError``, ``QueueLockLostError`` and
    ``StoreUnavailableError``.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        dead_letters: LetterQueue,
        parking: LetterQueue,
        publisher: Publisher,
        act: ParkingAct,
        tell: Tell,
    ) -> None:
        self._ledger = ledger
        self._dead_letters = dead_letters
        self._parking = parking
        self._publisher = publisher
        self._act = act
        self._tell = tell

    async def resolve(
        self, wanted: Collection[UUID], *, unfinished: Collection[UUID] = frozenset()
    ) -> bool:
        """Set the letters of these operations aside.

        ``unfinished`` are resolved ones whose letter a killed walk may have left behind: it is
        moved without a word. A letter that a whole walk did not meet is gone; its operation is
        resolved all the same, for nothing else could end it.
        """
        met: set[UUID] = set()
        async with walking(
            queue=self._dead_letters,
            publisher=self._publisher,
            ledger=self._ledger,
            name=DEAD_LETTERS,
            actor=self._act.actor,
            purpose="resolve",
        ) as walk:
            try:
                async for letter in walk:
                    operation_id = letter.operation_id
                    if operation_id in wanted or operation_id in unfinished:
                        await self._resolve(letter, met, is_told=operation_id in wanted)
                    else:
                        await letter.keep()
            except NotConfirmedError:
                return False
            if not walk.is_complete:
                return False
            for operation_id in wanted:
                if operation_id not in met:
                    await walk.hold()
                    await self._resolve_without(operation_id)
        return True

    async def restore(self, wanted: Collection[UUID]) -> bool:
        """Put the letters of these operations back among the dead letters."""
        met: set[UUID] = set()
        async with walking(
            queue=self._parking,
            publisher=self._publisher,
            ledger=self._ledger,
            name=PARKING,
            actor=self._act.actor,
            purpose="restore",
        ) as walk:
            try:
                async for letter in walk:
                    await self._restore(letter, met, is_wanted=letter.operation_id in wanted)
            except NotConfirmedError:
                return False
            if not walk.is_complete:
                return False
            for operation_id in wanted:
                if operation_id not in met:
                    await walk.hold()
                    self._say(operation_id, Parked.WITHOUT_LETTER, await self._unmet(operation_id))
        return True

    async def _resolve(self, letter: WalkedLetter, met: set[UUID], *, is_told: bool) -> None:
        operation_id = letter.operation_id
        if operation_id is None:
            raise TypeError(letter)
        in_hand = None
        if letter.is_unanswered:
            in_hand = UnansweredInHand(reading=letter.reading, delivery=letter.delivery)
        done = await self._ledger.letters.set_aside(self._wish(operation_id, in_hand))
        match done:
            case SetAside():
                await letter.send(parked(self._letter_of(letter, done)))
                if letter.is_unanswered:
                    await self._ledger.letters.forget_unanswered(operation_id)
            case LeftAlone():
                await self._index_again(letter)
                await letter.keep()
            case other:
                assert_never(other)
        if is_told and (operation_id not in met or isinstance(done, LeftAlone)):
            self._say(operation_id, Parked.RESOLVED, done)
        met.add(operation_id)

    async def _index_again(self, letter: WalkedLetter) -> None:
        """Two letters of the broker's own may share a key: the first took both out of the index."""
        noted = (
            unanswered_letter(letter, self._ledger.clock.now()) if letter.is_unanswered else None
        )
        if noted is not None:
            await self._ledger.letters.keep_unanswered([noted])

    async def _resolve_without(self, operation_id: UUID) -> None:
        noted = await self._ledger.letters.unanswered(operation_id)
        if noted is not None:
            await self._ledger.letters.forget_unanswered(operation_id)
        done = await self._ledger.letters.set_aside(self._wish(operation_id, None))
        if noted is not None and isinstance(done, LeftAlone):
            # The index knew it, its queue no more: that is seen to now.
            self._say(operation_id, Parked.WITHOUT_LETTER, None)
        elif isinstance(done, SetAside) and not done.is_new:
            self._say(operation_id, Parked.RESOLVED, None)
        else:
            self._say(operation_id, Parked.WITHOUT_LETTER, done)

    async def _restore(self, letter: WalkedLetter, met: set[UUID], *, is_wanted: bool) -> None:
        operation_id = letter.operation_id
        copy = rotated_copy(letter.delivery, envelope=letter.broker_made)
        if not is_wanted or operation_id is None:
            await letter.send(parked(copy))
            return
        back = await self._bring_back(operation_id)
        await letter.send(copy if isinstance(back, BroughtBack) else parked(copy))
        if operation_id not in met:
            self._say(operation_id, Parked.RESTORED, back)
            met.add(operation_id)

    async def _unmet(self, operation_id: UUID) -> BroughtBack | LeftAlone:
        back = await self._bring_back(operation_id)
        if isinstance(back, BroughtBack) and not back.is_new:
            return LeftAlone("it is not set aside: it waits for a person already")
        return back

    async def _bring_back(self, operation_id: UUID) -> BroughtBack | LeftAlone:
        return await self._ledger.letters.bring_back(
            operation_id, actor=self._act.actor, reason=self._act.reason
        )

    def _letter_of(self, letter: WalkedLetter, done: SetAside) -> OutgoingMessage:
        """The letter as it is; one that was just decided is told as what it was decided."""
        if not letter.is_unanswered or done.answer.letter is None:
            return rotated_copy(letter.delivery, envelope=letter.broker_made)
        # What our own copy says of its first receipt holds; a producer's headers say nothing.
        is_ours = letter.broker_made is None
        source = Source.REPLAY if is_ours else Source.REQUESTS
        envelope = letter.reading.envelope
        return dead_letter(
            replace(letter.delivery, source=source),
            replace(envelope, operation_id=done.record.operation_id, identity=done.record.identity),
            done.answer.letter,
            worker_version=self._act.worker_version,
            attempts=done.record.attempts,
            sequence=done.record.sequence,
        )

    def _wish(self, operation_id: UUID, in_hand: UnansweredInHand | None) -> AsideWish:
        return AsideWish(
            operation_id=operation_id,
            actor=self._act.actor,
            reason=self._act.reason,
            unanswered=in_hand,
        )

    def _say(
        self, operation_id: UUID, result: Parked, done: SetAside | BroughtBack | LeftAlone | None
    ) -> None:
        if isinstance(done, LeftAlone):
            outcome = ParkingOutcome(
                operation_id=operation_id, result=Parked.LEFT_ALONE, reason=done.reason
            )
        else:
            outcome = ParkingOutcome(operation_id=operation_id, result=result)
        self._tell(outcome)
