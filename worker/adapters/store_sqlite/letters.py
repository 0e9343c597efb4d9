"""The dead-letter index: a page of it, and all of it counted by case.

The decided letters follow the small index of the letters and look each one's operation up by its
id; the unanswered ones have a table of their own. A whole index is counted within SQLite, so its
size costs time and no memory of ours.
"""

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from worker.adapters.store_rows.letters import (
    UNANSWERED_COLUMNS,
    filter_values,
    merged_page,
    page_start,
    read_letter_tally,
    read_unanswered,
    unanswered_rows,
)
from worker.adapters.store_rows.values import FACT_COLUMNS, Row, Scalar, to_micros
from worker.adapters.store_sqlite.reading import ReadingThread
from worker.adapters.store_sqlite.writer import Writer
from worker.letters import EVERY_LETTER, LetterEntry, LetterFilter, LetterTally, UnansweredLetter

# Put together from our own column names only; values are always bound.
_JOINED = (
    " FROM answers JOIN operations ON operations.operation_id = answers.operation_id"
    " AND operations.event_id = answers.event_id"
)
# Who owns the content now, where that is another one: contract section 2, Replay.
_OWNED = (
    " LEFT JOIN fingerprints ON fingerprints.fingerprint = {about}.fingerprint"
    " LEFT JOIN operations AS owners ON owners.operation_id = fingerprints.operation_id"
    " AND owners.operation_id <> {about}.operation_id"
    # Whose e-mail was edited since, owns another content.
    " AND owners.fingerprint = {about}.fingerprint"
)
_IS_OWNED = "coalesce(owners.state IN ('calling', 'retry_wait', 'in_doubt', 'succeeded'), 0)"
_TIMELY = (
    "{about}.first_seen < :first_seen_before OR coalesce({about}.not_after < :now, 0),"
    " coalesce({about}.id_commande, '0') <> '0'"
)
_WANTED = (
    " AND {failed_at} < :until"
    " AND (:origin IS NULL OR {about}.origin = :origin)"
    " AND (:company IS NULL OR {about}.id_societe = :company)"
    " AND (:target IS NULL OR {about}.payment_target = :target)"
    " AND (:payment_id IS NULL OR {about}.payment_id = :payment_id)"
    " AND (:operation_id IS NULL OR {about}.operation_id = :operation_id)"
    " AND (:text IS NULL OR instr(lower(coalesce({detail}, '') || char(31) || {about}.origin"
    " || char(31) || coalesce({about}.id_origin, '')"
    " || char(31) || coalesce({about}.id_societe, '')"
    " || char(31) || coalesce({about}.id_client, '')"
    " || char(31) || coalesce({about}.id_commande, '')), :text) > 0)"
)
_FACTS = ", ".join(f"{{about}}.{name}" for name in FACT_COLUMNS)
_DECIDED = {
    "about": "operations",
    "failed_at": "answers.letter_failed_at",
    "detail": "answers.letter_detail",
}
_UNANSWERED = {
    "about": "unanswered_letters",
    "failed_at": "unanswered_letters.failed_at",
    "detail": "unanswered_letters.cause",
}
# What decides whether a replay can help comes first: the fields of ``LetterCase`` in their order.
_DECIDED_CASE = (
    "SELECT answers.letter_code, operations.kind, operations.state, operations.operation_class,"
    " operations.link_published, operations.unknown_attempts > operations.cleared_attempts,"
    f" {_TIMELY}, {_IS_OWNED},"
    " coalesce(operations.updated_at > operations.decided_at, 0)"
)
_DECIDED_ONES = (
    f"{_JOINED}{_OWNED}"  # noqa: S608
    " WHERE answers.letter_failed_at IS NOT NULL AND operations.state IN ('failed', 'in_doubt')"
    " AND answers.letter_resolved = :resolved"
    " AND (:codes IS NULL OR answers.letter_code IN (SELECT value FROM json_each(:codes)))"
    f"{_WANTED}"
)
_PAGE = (
    f"{_DECIDED_CASE}, operations.operation_id, operations.payment_id, operations.sequence,"
    f" answers.letter_failed_at, operations.origin, answers.letter_confirmed, {_FACTS}"
    f"{_DECIDED_ONES}"
    " AND (answers.letter_failed_at, answers.operation_id) > (:failed_at, :after)"
    " ORDER BY answers.letter_failed_at, answers.operation_id LIMIT :limit"
).format_map(_DECIDED)
_TALLIES = (
    f"{_DECIDED_CASE}, count(*), sum(answers.letter_confirmed),"
    f" min(answers.letter_failed_at), max(answers.letter_failed_at){_DECIDED_ONES}"
    " AND answers.letter_failed_at >= :since GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10"
).format_map(_DECIDED)
# Nothing was decided about these, so nothing can have been applied because of them.
_UNANSWERED_CASE = (
    "SELECT NULL, unanswered_letters.kind, operations.state, operations.operation_class, 0, 0,"
    f" {_TIMELY}, {_IS_OWNED}, 0"
)
_UNANSWERED_ONES = (
    " FROM unanswered_letters"
    " LEFT JOIN operations ON operations.operation_id = unanswered_letters.operation_id"
    f"{_OWNED} WHERE TRUE{_WANTED}"
)
_UNANSWERED_PAGE = (
    f"{_UNANSWERED_CASE}, unanswered_letters.operation_id, unanswered_letters.payment_id,"
    " unanswered_letters.sequence, unanswered_letters.failed_at, unanswered_letters.origin, 1,"
    f" {_FACTS}{_UNANSWERED_ONES}"
    " AND (unanswered_letters.failed_at, unanswered_letters.operation_id) > (:failed_at, :after)"
    " ORDER BY unanswered_letters.failed_at, unanswered_letters.operation_id LIMIT :limit"
).format_map(_UNANSWERED)
_UNANSWERED_TALLIES = (
    f"{_UNANSWERED_CASE}, count(*), count(*), min(unanswered_letters.failed_at),"
    f" max(unanswered_letters.failed_at){_UNANSWERED_ONES}"
    " AND unanswered_letters.failed_at >= :since GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10"
).format_map(_UNANSWERED)

_COLUMNS = ", ".join(UNANSWERED_COLUMNS)
_KEEP = (
    f"INSERT INTO unanswered_letters ({_COLUMNS})"  # noqa: S608 (own column names)
    f" VALUES ({', '.join('?' * len(UNANSWERED_COLUMNS))})"
    # What was noted first stays: its time is its place in the list.
    " ON CONFLICT (operation_id) DO UPDATE SET found_at = excluded.found_at,"
    " cause = coalesce(unanswered_letters.cause, excluded.cause)"
)
_FIND = f"SELECT {_COLUMNS} FROM unanswered_letters WHERE operation_id = ?"  # noqa: S608
_FORGET = "DELETE FROM unanswered_letters WHERE operation_id = ?"
_FORGET_UNFOUND = "DELETE FROM unanswered_letters WHERE found_at < ?"


class SqliteLetters:
    """Implements ``operator_ports.LetterIndex`` on the store's own writer and reading thread."""

    def __init__(self, writer: Writer, reading: ReadingThread) -> None:
        self._writer = writer
        self._reading = reading

    async def page(
        self,
        *,
        after: tuple[datetime, UUID] | None,
        limit: int,
        now: datetime,
        first_seen_before: datetime,
        wanted: LetterFilter = EVERY_LETTER,
    ) -> Sequence[LetterEntry]:
        failed_at, place = page_start(wanted, after)
        values = _values(wanted, now, first_seen_before)
        values |= {"failed_at": failed_at, "after": place, "limit": limit}

        def look(connection: sqlite3.Connection) -> Sequence[LetterEntry]:
            return merged_page(*_rows(connection, wanted, values, _PAGE, _UNANSWERED_PAGE), limit)

        return await self._reading.read(look)

    async def tallies(
        self, *, now: datetime, first_seen_before: datetime, wanted: LetterFilter
    ) -> Sequence[LetterTally]:
        values = _values(wanted, now, first_seen_before)

        def look(connection: sqlite3.Connection) -> Sequence[LetterTally]:
            rows = _rows(connection, wanted, values, _TALLIES, _UNANSWERED_TALLIES)
            return [read_letter_tally(row) for group in rows for row in group]

        return await self._reading.read(look)

    async def unanswered(self, operation_id: UUID) -> UnansweredLetter | None:
        def look(connection: sqlite3.Connection) -> UnansweredLetter | None:
            row = connection.execute(_FIND, (operation_id.bytes,)).fetchone()
            return None if row is None else read_unanswered(row)

        return await self._reading.read(look)

    async def keep_unanswered(self, found: Sequence[UnansweredLetter]) -> None:
        def work(connection: sqlite3.Connection) -> None:
            connection.executemany(_KEEP, unanswered_rows(found))

        await self._writer.submit(work)

    async def forget_unanswered(self, operation_id: UUID) -> None:
        def work(connection: sqlite3.Connection) -> None:
            connection.execute(_FORGET, (operation_id.bytes,))

        await self._writer.submit(work)

    async def forget_unfound(self, *, found_before: datetime) -> int:
        def work(connection: sqlite3.Connection) -> int:
            return connection.execute(_FORGET_UNFOUND, (to_micros(found_before),)).rowcount

        return await self._writer.submit(work)


def _values(wanted: LetterFilter, now: datetime, first_seen_before: datetime) -> dict[str, Scalar]:
    values: dict[str, Scalar] = filter_values(wanted)._asdict()
    return values | {"now": to_micros(now), "first_seen_before": to_micros(first_seen_before)}


def _rows(
    connection: sqlite3.Connection,
    wanted: LetterFilter,
    values: dict[str, Scalar],
    decided: str,
    unanswered: str,
) -> tuple[Sequence[Row], Sequence[Row]]:
    """What both statements find, each asked only where it may find something."""
    asked = ((decided, wanted.has_decided), (unanswered, wanted.has_unanswered))
    first, second = (
        connection.execute(statement, values).fetchall() if is_asked else []
        for statement, is_asked in asked
    )
    return first, second
