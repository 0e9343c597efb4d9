"""The dead-letter index in memory; it passes ``contract/test_store.py`` as the databases do."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from tests.fakes_tables import MemoryAccess, MemoryTables
from worker.letters import (
    EVERY_LETTER,
    LetterCase,
    LetterEntry,
    LetterFilter,
    LetterTally,
    UnansweredLetter,
    folded,
)
from worker.lifecycle.duplicates import NO_ORDER
from worker.model import Facts, Fingerprint, Origin
from worker.records import Answer, Letter, Record, State


class MemoryLetters:
    """Implements ``operator_ports.LetterIndex`` on a store's rows in memory."""

    def __init__(self, access: MemoryAccess) -> None:
        self._access = access

    @property
    def _tables(self) -> MemoryTables:
        return self._access.tables()

    async def page(
        self,
        *,
        after: tuple[datetime, UUID] | None,
        limit: int,
        now: datetime,
        first_seen_before: datetime,
        wanted: LetterFilter = EVERY_LETTER,
    ) -> Sequence[LetterEntry]:
        await self._access.read()
        entries = sorted(self._entries(wanted, now, first_seen_before), key=_place)
        return [entry for entry in entries if after is None or _place(entry) > after][:limit]

    async def tallies(
        self, *, now: datetime, first_seen_before: datetime, wanted: LetterFilter
    ) -> Sequence[LetterTally]:
        await self._access.read()
        by_case: dict[LetterCase, list[LetterEntry]] = {}
        for entry in self._entries(wanted, now, first_seen_before):
            by_case.setdefault(entry.case, []).append(entry)
        return [
            LetterTally(
                case=case,
                count=len(entries),
                confirmed=sum(entry.confirmed for entry in entries),
                first=min(entry.failed_at for entry in entries),
                last=max(entry.failed_at for entry in entries),
            )
            for case, entries in by_case.items()
        ]

    def _entries(
        self, wanted: LetterFilter, now: datetime, first_seen_before: datetime
    ) -> list[LetterEntry]:
        decided = (
            _letter_entry(self._tables, *found, now, first_seen_before)
            for answer in self._tables.answers.values()
            if (found := self._tables.undone_letter(answer)) is not None
            and answer.letter_resolved == wanted.resolved
            and _mentions(wanted.text, found[2].detail, found[0].origin, found[0].facts)
        )
        unanswered = (
            _unanswered_entry(self._tables, letter, now, first_seen_before)
            for letter in self._tables.unanswered.values()
            if not wanted.resolved
            and _mentions(wanted.text, letter.cause, letter.origin, letter.facts)
        )
        return [entry for entry in (*decided, *unanswered) if _is_wanted(entry, wanted)]

    async def unanswered(self, operation_id: UUID) -> UnansweredLetter | None:
        await self._access.read()
        return self._tables.unanswered.get(operation_id)

    async def keep_unanswered(self, found: Sequence[UnansweredLetter]) -> None:
        def work() -> None:
            for letter in found:
                first = self._tables.unanswered.setdefault(letter.operation_id, letter)
                self._tables.unanswered[letter.operation_id] = replace(
                    first, found_at=letter.found_at, cause=first.cause or letter.cause
                )

        await self._access.submit(work)

    async def forget_unanswered(self, operation_id: UUID) -> None:
        await self._access.submit(lambda: self._tables.unanswered.pop(operation_id, None))

    async def forget_unfound(self, *, found_before: datetime) -> int:
        def work() -> int:
            gone = [
                each.operation_id
                for each in self._tables.unanswered.values()
                if each.found_at < found_before
            ]
            for operation_id in gone:
                del self._tables.unanswered[operation_id]
            return len(gone)

        return await self._access.submit(work)


def _letter_entry(
    tables: MemoryTables,
    record: Record,
    answer: Answer,
    letter: Letter,
    now: datetime,
    first_seen_before: datetime,
) -> LetterEntry:
    too_late = record.not_after is not None and record.not_after < now
    return LetterEntry(
        operation_id=record.operation_id,
        payment_id=record.payment_id,
        sequence=record.sequence,
        failed_at=letter.failed_at,
        origin=record.origin,
        facts=record.facts,
        confirmed=answer.letter_confirmed,
        case=LetterCase(
            code=letter.code,
            kind=record.kind,
            state=record.state,
            operation_class=record.operation_class,
            link_published=record.link_published,
            may_be_applied=record.unknown_attempts > record.cleared_attempts,
            is_expired=too_late or record.first_seen < first_seen_before,
            names_order=record.facts.id_commande not in {None, NO_ORDER},
            is_superseded=_is_superseded(tables, record.operation_id, record.fingerprint),
            is_edited=record.decided_at is not None and record.updated_at > record.decided_at,
        ),
    )


def _unanswered_entry(
    tables: MemoryTables, letter: UnansweredLetter, now: datetime, first_seen_before: datetime
) -> LetterEntry:
    row = tables.records.get(letter.operation_id)
    too_late = letter.not_after is not None and letter.not_after < now
    return LetterEntry(
        operation_id=letter.operation_id,
        payment_id=letter.payment_id,
        sequence=letter.sequence,
        failed_at=letter.failed_at,
        origin=letter.origin,
        facts=letter.facts,
        confirmed=True,
        case=LetterCase(
            code=None,
            kind=letter.kind,
            state=None if row is None else row.state,
            operation_class=None if row is None else row.operation_class,
            link_published=False,
            may_be_applied=False,
            is_expired=too_late or letter.first_seen < first_seen_before,
            names_order=letter.facts.id_commande not in {None, NO_ORDER},
            is_superseded=_is_superseded(tables, letter.operation_id, letter.fingerprint),
        ),
    )


def _mentions(text: str | None, detail: str | None, origin: Origin, facts: Facts) -> bool:
    parts = (detail, origin, facts.id_origin, facts.id_societe, facts.id_client, facts.id_commande)
    return text is None or any(folded(text) in folded(part or "") for part in parts)


def _is_superseded(
    tables: MemoryTables, operation_id: UUID, fingerprint: Fingerprint | None
) -> bool:
    if fingerprint is None:
        return False
    owner = tables.records.get(tables.owners.get(fingerprint, operation_id))
    if owner is None or owner.operation_id == operation_id:
        return False
    if owner.fingerprint != fingerprint:
        return False
    return owner.state.is_open or owner.state in {State.IN_DOUBT, State.SUCCEEDED}


def _is_wanted(entry: LetterEntry, wanted: LetterFilter) -> bool:
    return (
        (wanted.codes is None or entry.code in wanted.codes)
        and wanted.origin in {None, entry.origin}
        and wanted.company in {None, entry.facts.id_societe}
        and wanted.target in {None, entry.facts.payment_target}
        and wanted.payment_id in {None, entry.payment_id}
        and wanted.operation_id in {None, entry.operation_id}
        and (wanted.since is None or wanted.since <= entry.failed_at)
        and (wanted.until is None or entry.failed_at < wanted.until)
    )


def _place(entry: LetterEntry) -> tuple[datetime, UUID]:
    return entry.failed_at, entry.operation_id
