"""Retention in memory; it passes ``contract/test_retention.py`` as the databases do."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID

from tests.fakes_tables import MemoryAccess
from worker.calls import Succeeded, Try, Unknown
from worker.codes import Code
from worker.identity import event_id_of
from worker.inventory import Erased, Stretch
from worker.model import Identity
from worker.records import Answer, AttemptEntry, Kind, Record, State, Status

Result = TypeVar("Result")
_EVER = datetime(9999, 1, 1, tzinfo=UTC)


class MemoryRetention:
    """Implements ``operator_ports.Retention`` on a store's rows in memory.

    Each stretch held the payments for ``held_seconds``, as it says; ``limits`` were asked for.
    """

    def __init__(self, access: MemoryAccess) -> None:
        self.held_seconds = 0.0
        self.limits: list[int] = []
        self._rows = access.tables
        self._submit = access.submit

    async def erase_emails(self, stretch: Stretch) -> Erased:
        def chosen(record: Record) -> bool:
            return record.fingerprint is not None

        return await self._take(stretch, chosen, self._is_quiet, self._forget)

    async def erase_links(self, stretch: Stretch) -> Erased:
        def chosen(record: Record) -> bool:
            is_erased = record.fingerprint is None
            return is_erased != stretch.is_unerased and record.link is not None

        return await self._take(stretch, chosen, self._is_sent, self._cut_links)

    async def remove_operations(self, stretch: Stretch) -> Erased:
        def chosen(record: Record) -> bool:
            return (record.fingerprint is None) != stretch.is_unerased

        return await self._take(stretch, chosen, self._is_removable, self._remove)

    async def erase_people(
        self, operations: Collection[UUID], *, decided_before: datetime
    ) -> Collection[UUID]:
        def work() -> Collection[UUID]:
            records = self._rows().records
            erased = [
                each
                for each in operations
                if each in records and self._is_removable(records[each], _EVER)
            ]
            for each in erased:
                decided_at = records[each].decided_at
                if decided_at is not None and decided_at < decided_before:
                    self._forget(records[each])
                else:
                    self._forget_email(records[each])
                self._cut_links(records[each])
            return erased

        return await self._submit(work)

    async def remove_runs(self, stretch: Stretch) -> Erased:
        def work() -> Erased:
            kept = self._rows().replays
            ended = sorted(
                (run.ended_at, run.run)
                for run in kept.runs.values()
                if run.ended_at is not None
                and run.ended_at < stretch.before
                and (stretch.after is None or run.ended_at > stretch.after)
            )[: stretch.limit]
            for _, name in ended if not stretch.is_dry else ():
                del kept.runs[name]
                kept.steps.pop(name, None)
            is_full = len(ended) >= stretch.limit
            return Erased(erased=len(ended), kept=0, after=ended[-1][0] if is_full else None)

        return await self._submit(work)

    async def remove_tombstones(self, *, until: datetime, is_dry: bool) -> int:
        def work() -> int:
            stones = self._rows().tombstones
            over = [each for each, stone in stones.items() if stone.until <= until]
            for each in over if not is_dry else ():
                del stones[each]
            return len(over)

        return await self._submit(work)

    async def _take(
        self,
        stretch: Stretch,
        chosen: Callable[[Record], bool],
        may_go: Callable[[Record, datetime], bool],
        erase: Callable[[Record], None],
    ) -> Erased:
        self.limits.append(stretch.limit)

        def work() -> Erased:
            rows = sorted(
                (
                    record
                    for record in self._rows().records.values()
                    if chosen(record)
                    and record.created_at < stretch.before
                    and (stretch.after is None or record.created_at > stretch.after)
                ),
                key=lambda record: record.created_at,
            )
            if len(rows) >= stretch.limit:
                last = rows[stretch.limit - 1].created_at
                rows = [record for record in rows if record.created_at <= last]
            due = [record for record in rows if may_go(record, stretch.before)]
            for record in due if not stretch.is_dry else ():
                erase(record)
            is_full = len(rows) >= stretch.limit
            return Erased(
                erased=len(due),
                kept=len(rows) - len(due),
                after=rows[-1].created_at if is_full else None,
                held_seconds=self.held_seconds,
            )

        return await self._submit(work)

    def _is_quiet(self, record: Record, before: datetime) -> bool:
        return (
            record.state in {State.SUCCEEDED, State.FAILED, State.CANCELLED}
            and record.decided_at is not None
            and record.decided_at < before
            and not any(
                other.kind is Kind.CANCELLATION
                and other.payment_id == record.operation_id
                and (other.state.is_open or other.state is State.IN_DOUBT)
                for other in self._rows().records.values()
            )
        )

    def _is_sent(self, record: Record, before: datetime) -> bool:
        answer = self._latest(record)
        return self._is_quiet(record, before) and answer is not None and answer.event_confirmed

    def _is_removable(self, record: Record, before: datetime) -> bool:
        answer = self._latest(record)
        return (
            self._is_sent(record, before)
            and answer is not None
            and (
                answer.letter is None or answer.letter_resolved or record.state is not State.FAILED
            )
            and record.operation_id not in self._rows().letters_found
        )

    def _latest(self, record: Record) -> Answer | None:
        return None if record.event_id is None else self._rows().answers.get(record.event_id)

    def _forget(self, record: Record) -> None:
        """Erase an e-mail's traces from one operation."""
        tables, own, content = self._rows(), record.operation_id, record.fingerprint
        tables.records[own] = replace(
            record,
            email=None,
            email_mark=None,
            fingerprint=None,
            identity=record.identity
            if content is None
            else Identity(record.identity.replace(content, "erased")),
            version=record.version + 1,
        )
        if content is not None and tables.owners.get(content) == own:
            del tables.owners[content]
        tables.attempts[:] = [
            _without_links(entry) if entry.operation_id == own else entry
            for entry in tables.attempts
        ]
        self._cut(each for each in self._events(record) if each != record.event_id)

    def _forget_email(self, record: Record) -> None:
        """Erase the e-mail alone: a second request for the same is still known by the rest."""
        tables, own = self._rows(), record.operation_id
        tables.records[own] = replace(
            record, email=None, email_mark=None, version=record.version + 1
        )
        tables.attempts[:] = [
            _without_links(entry) if entry.operation_id == own else entry
            for entry in tables.attempts
        ]

    def _cut_links(self, record: Record) -> None:
        tables = self._rows()
        tables.records[record.operation_id] = replace(record, link=None, version=record.version + 1)
        self._cut(self._events(record))

    def _cut(self, events: Iterable[UUID]) -> None:
        answers = self._rows().answers
        for each in events:
            if each in answers and answers[each].event.link is not None:
                event = replace(answers[each].event, link=None, code=Code.LINK_ERASED)
                answers[each] = replace(answers[each], event=event)

    def _remove(self, record: Record) -> None:
        tables = self._rows()
        for each in self._events(record):
            tables.answers.pop(each, None)
        tables.attempts[:] = [
            entry for entry in tables.attempts if entry.operation_id != record.operation_id
        ]
        tables.look_up_plans.pop(record.operation_id, None)
        tables.look_ups[:] = [
            each for each in tables.look_ups if each.operation_id != record.operation_id
        ]
        del tables.records[record.operation_id]

    def _events(self, record: Record) -> Sequence[UUID]:
        derived = {
            event_id_of(record.operation_id, status, sequence)
            for sequence in range(1, record.sequence + 1)
            for status in Status
        }
        latest = set() if record.event_id is None else {record.event_id}
        return sorted(derived | latest)


def _without_links(entry: AttemptEntry) -> AttemptEntry:
    return replace(entry, tries=tuple(_without_link(each) for each in entry.tries))


def _without_link(call: Try) -> Try:
    if isinstance(call.outcome, Succeeded | Unknown):
        return replace(call, outcome=replace(call.outcome, link=None))
    return call
