"""Putting exported letters among the dead letters: each published, confirmed, told.

An import adds letters and takes none away, so one that was cut off is simply run again: what is
in the queue already is found by a walk and left out. What this ledger has moved beyond is left
out too: such a letter would be judged stale by any replay, and removed.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from uuid import UUID

from worker.contract.copies import rotated_copy
from worker.ledger import Ledger
from worker.messages import Publication
from worker.operator_ports import LetterQueue
from worker.operators.exports.files import Export, letters_of
from worker.operators.exports.lines import ExportedLetter, exported
from worker.operators.walks import DEAD_LETTERS, Walk, walking
from worker.ports import Publisher
from worker.records import Answer, AuditEntry, Record, State

ACTION = "import"
"""How the audit calls it."""


@unique
class Fate(StrEnum):
    """What becomes of one letter of a file.

    ``PRESENT``: the queue has it; ``STALE``: a later decision has a letter of its own, or needs
    none; ``DONE``: the payment is paid or cancelled; ``RESOLVED``: an operator set it aside.
    ``UNKNOWN`` is put in the queue although this ledger has no row of it.
    """

    IMPORTED = "imported"
    UNKNOWN = "unknown"
    PRESENT = "present"
    STALE = "stale"
    DONE = "done"
    RESOLVED = "resolved"

    @property
    def is_published(self) -> bool:
        """Whether the letter goes into the queue."""
        return self in {Fate.IMPORTED, Fate.UNKNOWN}


Progress = Callable[[int], None]
OnFate = Callable[[ExportedLetter, Fate], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """How many letters came to what; incomplete where the broker confirmed no longer."""

    fates: Mapping[Fate, int]
    is_complete: bool


class QueueDisturbedError(Exception):
    """Somebody took letters while the queue was looked through: what is in it is not known."""


class Importer:
    """Puts the letters of a file into one queue under its lock; audited."""

    def __init__(self, *, ledger: Ledger, actor: str) -> None:
        self._ledger = ledger
        self._actor = actor

    async def rehearse(self, export: Export, on_fate: OnFate) -> ImportReport:
        """Judge every letter by the ledger alone; nothing is published, no queue is touched.

        Raises ``ExportError``, ``StoreUnavailableError``.
        """
        fates = Counter[Fate]()
        for letter in letters_of(export):
            fate, _ = await self._judged(letter, frozenset())
            fates[fate] += 1
            on_fate(letter, fate)
        return ImportReport(fates=fates, is_complete=True)

    async def bring_in(
        self,
        export: Export,
        *,
        queue: LetterQueue,
        publisher: Publisher,
        reason: str,
        on_fate: OnFate,
        on_met: Progress,
    ) -> ImportReport:
        """Publish what the queue lacks and this ledger has not moved beyond.

        ``on_met`` is told of every letter of the queue that the walk meets first.
        Raises ``QueueLockedError``, ``QueueDisturbedError``, ``NotConfirmedError`` (while the
        queue was looked through: nothing was published), ``ExportError`` and
        ``StoreUnavailableError``.
        """
        await self._audit(f"begun: {_named(export)}: {reason}")
        fates = Counter[Fate]()
        is_complete = True
        async with walking(
            queue=queue,
            publisher=publisher,
            ledger=self._ledger,
            name=DEAD_LETTERS,
            actor=self._actor,
            purpose=ACTION,
        ) as walk:
            present = await _present(walk, on_met)
            for letter in letters_of(export):
                await walk.hold()
                fate, answer = await self._judged(letter, present)
                if fate.is_published:
                    if await publisher.publish(letter.message) is not Publication.CONFIRMED:
                        is_complete = False
                        break
                    self._confirm(letter, answer)
                fates[fate] += 1
                on_fate(letter, fate)
        counts = ", ".join(f"{fates[each]} {each}" for each in Fate)
        ended = "ended" if is_complete else "broken off"
        await self._audit(f"{ended}: {_named(export)}: {counts}")
        return ImportReport(fates=fates, is_complete=is_complete)

    async def _judged(
        self, letter: ExportedLetter, present: frozenset[tuple[UUID, int, bool]]
    ) -> tuple[Fate, Answer | None]:
        if letter.name in present:
            return Fate.PRESENT, None
        found = await self._ledger.find(letter.operation_id)
        if found is None:
            return Fate.UNKNOWN, None
        return _fate(letter, *found), found[1]

    def _confirm(self, letter: ExportedLetter, answer: Answer | None) -> None:
        """Mark a letter that a worker could not publish: now the queue has it."""
        if (
            answer is not None
            and answer.letter is not None
            and not answer.letter_confirmed
            and not letter.is_unanswered
            and letter.sequence == answer.event.sequence
        ):
            self._ledger.confirmed(answer, letter=True)

    async def _audit(self, detail: str) -> None:
        await self._ledger.acts.note(
            AuditEntry(
                at=self._ledger.clock.now(),
                actor=self._actor,
                action=ACTION,
                operation_id=None,
                detail=detail,
            )
        )


async def _present(walk: Walk, on_met: Progress) -> frozenset[tuple[UUID, int, bool]]:
    """What the queue holds; each letter is put back. Raises ``QueueDisturbedError``."""
    names: set[tuple[UUID, int, bool]] = set()
    async for letter in walk:
        copy = exported(rotated_copy(letter.delivery, envelope=letter.broker_made))
        await letter.keep()
        on_met(1)
        if copy is not None:
            names.add(copy.name)
    if not walk.is_complete:
        raise QueueDisturbedError
    return frozenset(names)


def _fate(letter: ExportedLetter, record: Record, newest: Answer | None) -> Fate:
    if record.state in {State.SUCCEEDED, State.CANCELLED}:
        return Fate.DONE
    if newest is not None and newest.letter_resolved:
        return Fate.RESOLVED
    decided = record.sequence - 1 if record.state.is_open else record.sequence
    # A decision of the sweeper owes a letter that it cannot write: an older one is then the only
    # place that holds the request.
    is_copied = newest is None or newest.letter is None or newest.letter_confirmed
    if 0 < letter.sequence < decided and is_copied:
        return Fate.STALE
    return Fate.IMPORTED


def _named(export: Export) -> str:
    return f"{export.letters} letters, sha256 {export.sha256}"
