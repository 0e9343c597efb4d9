"""Copying dead letters into a file: one walk, in which every letter is put back.

Nothing rests on the file before it is whole: a letter is written, then put at the end of its
queue as any walk does it. Cut off anywhere, the queue holds every letter and there is no file.
"""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from worker.contract.copies import rotated_copy
from worker.ledger import Ledger
from worker.letters import LetterFilter
from worker.lifecycle.lost import attempts_known
from worker.operator_ports import LetterQueue
from worker.operators.exports.files import ExportWriter
from worker.operators.exports.lines import ExportedLetter, Seal, exported
from worker.operators.walks import DEAD_LETTERS, WalkedLetter, walking
from worker.ports import Publisher
from worker.records import AuditEntry

Progress = Callable[[int], None]

ACTION = "export"
"""How the audit calls it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What a walk copied, as the file's ``seal`` counts it.

    ``repeated`` letters were met a second time and written once; ``nameless`` ones do not say
    truthfully whose they are and are not in the file; ``missing`` were wanted and not met.
    ``is_complete`` is false where somebody else took a letter meanwhile.
    """

    seal: Seal
    kept: int
    repeated: int
    nameless: int
    missing: frozenset[UUID]
    is_complete: bool


async def wanted_operations(ledger: Ledger, wanted: LetterFilter) -> frozenset[UUID]:
    """Whose letters a filter means, by the index; raises ``StoreUnavailableError``."""
    return frozenset([entry.operation_id async for entry in ledger.letters.listed(wanted)])


class Exporter:
    """Copies letters of one queue under its lock; ``actor`` is who asked for it."""

    def __init__(
        self, *, ledger: Ledger, queue: LetterQueue, publisher: Publisher, actor: str
    ) -> None:
        self._ledger = ledger
        self._queue = queue
        self._publisher = publisher
        self._actor = actor

    async def export(
        self, writer: ExportWriter, *, wanted: frozenset[UUID] | None, on_progress: Progress
    ) -> ExportReport:
        """Write the wanted letters, all where ``wanted`` is ``None``, seal the file, audit it.

        Raises ``QueueLockedError``, ``NotConfirmedError``, ``StoreUnavailableError`` and
        ``ExportError``; the file is then without its seal.
        """
        written: set[tuple[UUID, int, bool]] = set()
        met: set[UUID] = set()
        kept = repeated = nameless = 0
        async with walking(
            queue=self._queue,
            publisher=self._publisher,
            ledger=self._ledger,
            name=DEAD_LETTERS,
            actor=self._actor,
            purpose=ACTION,
        ) as walk:
            async for letter in walk:
                if wanted is None or letter.operation_id in wanted:
                    copy = await self._copied(letter)
                    if copy is None:
                        nameless += 1
                    elif copy.name in written:
                        repeated += 1
                    else:
                        writer.add(copy)
                        written.add(copy.name)
                        met.add(copy.operation_id)
                await letter.keep()
                kept += 1
                on_progress(1)
            is_complete = walk.is_complete
        seal = writer.seal()
        await self._audit(seal)
        return ExportReport(
            seal=seal,
            kept=kept,
            repeated=repeated,
            nameless=nameless,
            missing=frozenset() if wanted is None else wanted - met,
            is_complete=is_complete,
        )

    async def _audit(self, seal: Seal) -> None:
        """Before the file takes its name: no copy of personal data that nobody answers for."""
        await self._ledger.acts.note(
            AuditEntry(
                at=self._ledger.clock.now(),
                actor=self._actor,
                action=ACTION,
                operation_id=None,
                detail=f"{seal.letters} letters, sha256 {seal.sha256}",
            )
        )

    async def _copied(self, letter: WalkedLetter) -> ExportedLetter | None:
        """The copy that ``keep`` would publish, if it says truthfully whose it is.

        Of a request that the broker gave up this ledger may know more than its letter. That goes
        with it: another ledger would take it for one that nobody has called.
        """
        copy = exported(rotated_copy(letter.delivery, envelope=letter.broker_made))
        if copy is None or not copy.is_unanswered:
            return copy
        found = await self._ledger.find(copy.operation_id)
        return copy if found is None else copy.with_attempts(attempts_known(found[0]))
