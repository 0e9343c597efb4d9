"""The books: what was asked for, where it stands, and everything that should not be so.

Received equals decided and in doubt and open by construction; what counts are the exceptions,
each with its id. They are looked for in the whole ledger, whatever period is asked about: a
payment that lost its message last week is as lost today.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum, unique
from uuid import UUID

from worker.inventory import Books
from worker.ledger import Ledger
from worker.letters import LetterEntry, LetterFilter, Verdict
from worker.lifecycle.prospects import verdict_of
from worker.operators.dead_letters import DeadLetters, LetterSeen, Sight
from worker.operators.findings import (
    Finding,
    Flaw,
    finding_of_contradicted,
    finding_of_missing,
    finding_of_open,
    finding_of_unanswered,
)
from worker.ports import Clock
from worker.sweeper import UNPUBLISHED_AGE


@unique
class Walk(StrEnum):
    """When the dead-letter queue is walked, which publishes every letter in it once again."""

    WHEN_COUNTS_DIFFER = "when_counts_differ"
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueFigures:
    """The dead-letter queue beside its index; ``leftover`` letters need nobody any more.

    ``leftover`` is ``None`` where the queue was not walked.
    """

    in_queue: int
    in_index: int
    leftover: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The books of a period with the exceptions of the whole ledger.

    ``queue`` is ``None`` where the broker was not asked.
    """

    since: datetime
    until: datetime
    books: Books
    findings: tuple[Finding, ...]
    queue: QueueFigures | None = None


@dataclass(frozen=True, slots=True)
class _Index:
    """The dead letters as the ledger lists them, by operation."""

    decided: dict[UUID, LetterEntry] = field(default_factory=dict)
    unanswered: dict[UUID, LetterEntry] = field(default_factory=dict)

    @property
    def confirmed(self) -> int:
        """How many of them the queue should hold."""
        return len(self.unanswered) + sum(each.confirmed for each in self.decided.values())

    def unanswered_ones(self) -> list[Finding]:
        """What the last walk that noted them found, as it stands now."""
        found = (
            finding_of_unanswered(each.operation_id, each.state, since=each.failed_at)
            for each in self.unanswered.values()
        )
        return [finding for finding in found if finding is not None]


class Bookkeeper:
    """Holds the ledger against itself and against the broker; changes nothing in either.

    Without ``letters`` the broker is left out. Raises ``StoreUnavailableError``.
    """

    def __init__(self, *, ledger: Ledger, clock: Clock, letters: DeadLetters | None) -> None:
        self._ledger = ledger
        self._clock = clock
        self._letters = letters

    async def report(self, *, since: datetime, until: datetime, walk: Walk) -> Report:
        """Draw up the books of a period."""
        books = await self._ledger.payments.books(since=since, until=until)
        findings = [finding async for finding in self._ledger_findings()]
        index = await self._index()
        findings += self._never_confirmed(index)
        report = Report(since=since, until=until, books=books, findings=tuple(findings))
        if self._letters is None:
            return replace(report, findings=(*findings, *index.unanswered_ones()))
        figures, found = await self._queue(self._letters, index, walk)
        return replace(report, queue=figures, findings=(*findings, *found))

    async def _ledger_findings(self) -> AsyncIterator[Finding]:
        now = self._clock.now()
        async for record in self._ledger.payments.open_operations(untouched_for=timedelta(0)):
            finding = finding_of_open(record, now)
            if finding is not None:
                yield finding
        async for answer in self._ledger.payments.unpublished(older_than=UNPUBLISHED_AGE):
            yield Finding(
                flaw=Flaw.DECIDED_AND_UNPUBLISHED,
                operation_id=answer.operation_id,
                since=answer.event.occurred_at,
                detail=f"{answer.event.status}, event {answer.event.event_id}",
            )
        async for plan in self._ledger.look_ups.breaks():
            yield Finding(
                flaw=Flaw.OTHER_AMOUNT_AT_PROVIDER,
                operation_id=plan.operation_id,
                detail=f"account {plan.account}: `payments show` has what it lists",
            )
        async for operation_id in self._ledger.payments.late_successes():
            history = await self._ledger.history(operation_id)
            finding = None if history is None else finding_of_contradicted(history)
            if finding is not None:
                yield finding

    async def _index(self) -> _Index:
        index = _Index()
        async for entry in self._ledger.letters.listed():
            kept = index.decided if entry.code is not None else index.unanswered
            kept[entry.operation_id] = entry
        return index

    def _never_confirmed(self, index: _Index) -> list[Finding]:
        """Letters that no worker could publish: their body is with their message alone."""
        before = self._clock.now() - UNPUBLISHED_AGE
        return [
            finding_of_missing(entry, "it was never published: its message has not come back")
            for entry in index.decided.values()
            if not entry.confirmed and entry.failed_at < before
        ]

    async def _queue(
        self, letters: DeadLetters, index: _Index, walk: Walk
    ) -> tuple[QueueFigures, list[Finding]]:
        figures = QueueFigures(in_queue=await letters.depth(), in_index=index.confirmed)
        is_equal = figures.in_queue == figures.in_index
        if walk is Walk.NEVER or (walk is Walk.WHEN_COUNTS_DIFFER and is_equal):
            found = index.unanswered_ones()
            if not is_equal:
                detail = f"{figures.in_queue} in the queue, {figures.in_index} in the ledger"
                found.append(Finding(flaw=Flaw.LETTERS_DIFFER, detail=detail))
            return figures, found
        sight = await letters.look()
        leftover, found = await self._strangers(sight, index)
        if sight.is_complete:
            found += await self._absent(sight, index)
        else:
            found.append(
                Finding(
                    flaw=Flaw.LETTERS_DIFFER,
                    detail="the queue could not be walked to its end: another walk is under way,"
                    " or the broker did not confirm",
                )
            )
        return replace(figures, leftover=leftover), found

    async def _strangers(self, sight: Sight, index: _Index) -> tuple[int, list[Finding]]:
        """Letters that nothing was decided about, or that are left over from what is over."""
        leftover, found = 0, []
        seen: set[UUID] = set()
        for letter in sight.letters:
            if letter.operation_id in seen:
                leftover += 1
                continue
            if letter.operation_id is not None:
                seen.add(letter.operation_id)
                if letter.operation_id in index.decided:
                    continue
            finding = await self._unanswered(letter)
            if finding is None:
                leftover += 1
            else:
                found.append(finding)
        return leftover, found

    async def _unanswered(self, letter: LetterSeen) -> Finding | None:
        row = None if letter.operation_id is None else await self._ledger.find(letter.operation_id)
        return finding_of_unanswered(
            letter.operation_id,
            None if row is None else row[0].state,
            since=None if row is None else row[0].updated_at,
            message_id=letter.message_id,
        )

    async def _absent(self, sight: Sight, index: _Index) -> list[Finding]:
        """Letters that should be there; asked for again, since a replay may be under way."""
        there = {letter.operation_id for letter in sight.letters}
        return [
            finding_of_missing(entry, "the queue does not hold it")
            for entry in (*index.decided.values(), *index.unanswered.values())
            if entry.confirmed
            and entry.operation_id not in there
            and await self._is_still_listed(entry)
        ]

    async def _is_still_listed(self, entry: LetterEntry) -> bool:
        wanted = LetterFilter(operation_id=entry.operation_id)
        now = await self._ledger.letters.page(limit=2, wanted=wanted)
        return any(
            (each.code, each.failed_at) == (entry.code, entry.failed_at) and _needs_somebody(each)
            for each in now
        )


def _needs_somebody(entry: LetterEntry) -> bool:
    return verdict_of(entry.case) is not Verdict.ALREADY_DONE
