"""Every operation in memory, found as in the databases; see ``contract/test_store.py``."""

from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime
from uuid import UUID

from tests.fakes_tables import MemoryAccess, MemoryTables
from worker.inventory import BookLine, Books, DecidedPage
from worker.lifecycle.contradiction import TOO_LATE
from worker.look_ups import Finding
from worker.model import Origin, RunMode
from worker.records import Answer, Kind, Record, State
from worker.searches import FoundPayment, PaymentFilter, Place

_FOUND = {Finding.FOUND, Finding.FOUND_WITHOUT_LINK, Finding.OTHER_AMOUNT}


class MemoryPayments:
    """Implements ``operator_ports.PaymentIndex`` on a store's rows in memory."""

    def __init__(self, access: MemoryAccess) -> None:
        self._access = access

    @property
    def _tables(self) -> MemoryTables:
        return self._access.tables()

    async def open_operations(
        self, *, untouched_since: datetime, after: UUID | None, limit: int
    ) -> Sequence[Record]:
        await self._access.read()
        found = sorted(
            (
                record
                for record in self._tables.records.values()
                if record.state.is_open and record.updated_at < untouched_since
            ),
            key=lambda record: record.operation_id,
        )
        return [each for each in found if after is None or each.operation_id > after][:limit]

    async def unpublished(
        self, *, decided_before: datetime, after: tuple[datetime, UUID] | None, limit: int
    ) -> Sequence[Answer]:
        await self._access.read()
        waiting = sorted(
            (
                ((answer.event.occurred_at, answer.event.event_id), answer)
                for answer in self._tables.answers.values()
                if not answer.event_confirmed and answer.event.occurred_at < decided_before
            ),
            key=lambda each: each[0],
        )
        return [answer for place, answer in waiting if after is None or place > after][:limit]

    async def operation_of(self, event_id: UUID) -> UUID | None:
        await self._access.read()
        answer = self._tables.answers.get(event_id)
        return None if answer is None else answer.operation_id

    async def decided_operations(
        self, *, origin: Origin, since: datetime, until: datetime, after: UUID | None, limit: int
    ) -> DecidedPage:
        await self._access.read()
        behind = sorted(each for each in self._tables.records if after is None or each > after)
        looked_at = [self._tables.records[each] for each in behind[:limit]]
        return DecidedPage(
            tuple(
                record.operation_id
                for record in looked_at
                if record.origin == origin
                and not record.state.is_open
                and record.decided_at is not None
                and since <= record.decided_at < until
            ),
            looked_at[-1].operation_id if len(looked_at) == limit else None,
        )

    async def search(
        self, wanted: PaymentFilter, *, after: Place | None, limit: int, newest_first: bool
    ) -> Sequence[FoundPayment]:
        await self._access.read()
        found = sorted(
            (
                found_of(record)
                for record in self._tables.records.values()
                if _is_searched(self._tables, record, wanted)
            ),
            key=lambda each: each.place,
            reverse=newest_first,
        )
        behind = [
            each
            for each in found
            if after is None or (each.place < after if newest_first else each.place > after)
        ]
        return behind[:limit]

    async def cancellations(self, payment_id: UUID) -> Sequence[Record]:
        await self._access.read()
        found = [
            record
            for record in self._tables.records.values()
            if record.kind is Kind.CANCELLATION and record.payment_id == payment_id
        ]
        return sorted(found, key=lambda record: (record.first_seen, record.operation_id))

    async def late_successes(self, *, after: UUID | None, limit: int) -> Sequence[UUID]:
        await self._access.read()
        tables = self._tables
        late = {each.operation_id for each in tables.attempts if each.note == TOO_LATE}
        late |= {each.operation_id for each in tables.look_ups if each.finding in _FOUND}
        told = [
            each.operation_id
            for each in tables.records.values()
            if each.state in {State.FAILED, State.CANCELLED} and each.operation_id in late
        ]
        return [each for each in sorted(told) if after is None or each > after][:limit]

    async def books(self, *, since: datetime, until: datetime) -> Books:
        await self._access.read()
        inside = [
            record for record in self._tables.records.values() if since <= record.first_seen < until
        ]
        counts: Counter[_Line] = Counter(_line_of(record) for record in inside)
        cents: Counter[_Line] = Counter()
        for record in inside:
            cents[_line_of(record)] += record.facts.amount or 0
        undone = (
            self._tables.undone_letter(answer)
            for record in inside
            if (answer := self._tables.answer_of(record)) is not None
            and answer.operation_id == record.operation_id
        )
        return Books(
            received=len(inside),
            lines=tuple(
                BookLine(
                    kind=kind,
                    state=state,
                    account=account,
                    mode=mode,
                    origin=origin,
                    day=day,
                    count=counts[kind, state, account, mode, origin, day],
                    cents=cents[kind, state, account, mode, origin, day],
                )
                for kind, state, account, mode, origin, day in sorted(counts, key=_line_order)
            ),
            letters=dict(
                Counter(
                    found[2].code
                    for found in undone
                    if found is not None and not found[1].letter_resolved
                )
            ),
        )


_Line = tuple[Kind, State, str | None, RunMode | None, Origin, date]


def _line_of(record: Record) -> _Line:
    mode, day = record.facts.payment_run_mode, record.first_seen.date()
    return record.kind, record.state, record.account, mode, record.origin, day


def _line_order(line: _Line) -> tuple[str, str, str, str, str, date]:
    """Absent comes first, as in a database."""
    kind, state, account, mode, origin, day = line
    return kind, state, account or "", mode or "", origin, day


def found_of(record: Record) -> FoundPayment:
    """What a search tells of a record."""
    return FoundPayment(
        operation_id=record.operation_id,
        kind=record.kind,
        payment_id=record.payment_id,
        state=record.state,
        code=record.code,
        sequence=record.sequence,
        attempts=record.attempts,
        first_seen=record.first_seen,
        decided_at=record.decided_at,
        origin=record.origin,
        facts=record.facts,
        account=record.account,
        reference=record.reference,
        duplicate_of=record.duplicate_of,
    )


def _is_searched(tables: MemoryTables, record: Record, wanted: PaymentFilter) -> bool:
    facts = record.facts
    asked: list[tuple[object, object]] = [
        (wanted.order, facts.id_commande),
        (wanted.client, facts.id_client),
        (wanted.company, facts.id_societe),
        (wanted.origin, record.origin),
        (wanted.message_id, record.message_id),
        (wanted.account, record.account),
    ]
    if any(given is not None and given != there for given, there in asked):
        return False
    if wanted.email_marks is not None and record.email_mark not in wanted.email_marks:
        return False
    if wanted.payment_id is not None and wanted.payment_id not in {
        record.operation_id,
        record.payment_id if record.kind is Kind.CANCELLATION else None,
        record.duplicate_of,
    }:
        return False
    if wanted.reference is not None:
        sent = {e.reference for e in tables.attempts if e.operation_id == record.operation_id}
        if record.state is State.CALLING:
            sent.add(record.reference)
        if wanted.reference not in sent:
            return False
    if wanted.states is not None and record.state not in wanted.states:
        return False
    is_begun = wanted.since is None or record.first_seen >= wanted.since
    return is_begun and (wanted.until is None or record.first_seen < wanted.until)
