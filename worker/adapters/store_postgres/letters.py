"""The dead-letter index: a page of it, and all of it counted by case within the server."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from worker.adapters.store_postgres import statements as sql
from worker.adapters.store_postgres.reader import Reader
from worker.adapters.store_postgres.sessions import Connection
from worker.adapters.store_rows.letters import (
    UNANSWERED_COLUMNS,
    FilterValues,
    filter_values,
    merged_page,
    page_start,
    read_letter_tally,
    read_unanswered,
    unanswered_rows,
)
from worker.adapters.store_rows.values import FACT_COLUMNS, Row, Scalar, to_micros
from worker.letters import EVERY_LETTER, LetterEntry, LetterFilter, LetterTally, UnansweredLetter

# Put together from our own column names only; values are always bound.
_JOINED = (
    " FROM answers JOIN operations ON operations.operation_id = answers.operation_id"
    " AND operations.event_id = answers.event_id"
)
# A page is read in the order of the index, each letter's operation by its id. Left to choose, the
# planner takes the two equal columns for independent, expects one row, and reads and sorts the
# whole ledger for each page (measured: 178 ms a page of 500 in 200,000 rows); OFFSET 0 keeps it
# from taking the two apart.
_JOINED_IN_ORDER = (
    " FROM answers CROSS JOIN LATERAL (SELECT * FROM operations AS found"
    " WHERE found.operation_id = answers.operation_id AND found.event_id = answers.event_id"
    " OFFSET 0) AS operations"
)
# Who owns the content now, where that is another one: contract section 2, Replay.
_OWNED = (
    " LEFT JOIN fingerprints ON fingerprints.fingerprint = {about}.fingerprint"
    " LEFT JOIN operations AS owners ON owners.operation_id = fingerprints.operation_id"
    " AND owners.operation_id <> {about}.operation_id"
    # Whose e-mail was edited since, owns another content.
    " AND owners.fingerprint = {about}.fingerprint"
)
_IS_OWNED = "coalesce(owners.state IN ('calling', 'retry_wait', 'in_doubt', 'succeeded'), false)"
_TIMELY = (
    "{about}.first_seen < $9 OR coalesce({about}.not_after < $8, false),"
    " coalesce({about}.id_commande, '0') <> '0'"
)
# Small letters of the bytes' own order: the same a to z in every database, and no others.
_WANTED = (
    " AND ($1::text IS NULL OR {about}.origin = $1)"
    " AND ($2::text IS NULL OR {about}.id_societe = $2)"
    " AND ($3::text IS NULL OR {about}.payment_target = $3)"
    " AND ($4::bytea IS NULL OR {about}.payment_id = $4)"
    " AND ($5::bytea IS NULL OR {about}.operation_id = $5)"
    " AND {failed_at} < $6"
    " AND ($7::text IS NULL OR strpos(lower((coalesce({detail}, '') || chr(31) || {about}.origin"
    " || chr(31) || coalesce({about}.id_origin, '')"
    " || chr(31) || coalesce({about}.id_societe, '')"
    " || chr(31) || coalesce({about}.id_client, '')"
    " || chr(31) || coalesce({about}.id_commande, '')) COLLATE \"C\"), $7) > 0)"
)
_FACTS = sql.columns(FACT_COLUMNS, "{about}")
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
    " coalesce(operations.updated_at > operations.decided_at, false)"
)
_DECIDED_ONES = (
    f"{_OWNED}"
    " WHERE answers.letter_failed_at IS NOT NULL AND operations.state IN ('failed', 'in_doubt')"
    f"{_WANTED}"
    " AND ($10::text IS NULL OR answers.letter_code IN"
    " (SELECT jsonb_array_elements_text($10::text::jsonb))) AND answers.letter_resolved = $11"
)
_PAGE = (
    f"{_DECIDED_CASE}, operations.operation_id, operations.payment_id, operations.sequence,"
    f" answers.letter_failed_at, operations.origin, answers.letter_confirmed, {_FACTS}"
    f"{_JOINED_IN_ORDER}{_DECIDED_ONES}"
    " AND (answers.letter_failed_at, answers.operation_id) > ($12, $13)"
    " ORDER BY answers.letter_failed_at, answers.operation_id LIMIT $14"
).format_map(_DECIDED)
_TALLIES = (
    f"{_DECIDED_CASE}, count(*), sum(answers.letter_confirmed),"
    f" min(answers.letter_failed_at), max(answers.letter_failed_at){_JOINED}{_DECIDED_ONES}"
    " AND answers.letter_failed_at >= $12 GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10"
).format_map(_DECIDED)
# Nothing was decided about these, so nothing can have been applied because of them.
_UNANSWERED_CASE = (
    "SELECT NULL::text, unanswered_letters.kind, operations.state, operations.operation_class,"
    f" false, false, {_TIMELY}, {_IS_OWNED}, false"
)
_UNANSWERED_ONES = (
    " FROM unanswered_letters"
    " LEFT JOIN operations ON operations.operation_id = unanswered_letters.operation_id"
    f"{_OWNED} WHERE true{_WANTED}"
)
_UNANSWERED_PAGE = (
    f"{_UNANSWERED_CASE}, unanswered_letters.operation_id, unanswered_letters.payment_id,"
    " unanswered_letters.sequence, unanswered_letters.failed_at, unanswered_letters.origin, 1,"
    f" {_FACTS}{_UNANSWERED_ONES}"
    " AND (unanswered_letters.failed_at, unanswered_letters.operation_id) > ($10, $11)"
    " ORDER BY unanswered_letters.failed_at, unanswered_letters.operation_id LIMIT $12"
).format_map(_UNANSWERED)
_UNANSWERED_TALLIES = (
    f"{_UNANSWERED_CASE}, count(*), count(*), min(unanswered_letters.failed_at),"
    f" max(unanswered_letters.failed_at){_UNANSWERED_ONES}"
    " AND unanswered_letters.failed_at >= $10 GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10"
).format_map(_UNANSWERED)

_FIND = (
    f"SELECT {sql.columns(UNANSWERED_COLUMNS)} FROM unanswered_letters"  # noqa: S608
    " WHERE operation_id = $1"
)
_FORGET = "DELETE FROM unanswered_letters WHERE operation_id = $1"
_FORGET_UNFOUND = "DELETE FROM unanswered_letters WHERE found_at < $1 RETURNING operation_id"


class PostgresLetters:
    """Implements ``operator_ports.LetterIndex`` on the store's reading session."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def page(
        self,
        *,
        after: tuple[datetime, UUID] | None,
        limit: int,
        now: datetime,
        first_seen_before: datetime,
        wanted: LetterFilter = EVERY_LETTER,
    ) -> Sequence[LetterEntry]:
        given = filter_values(wanted)
        shared = _shared(given, now, first_seen_before)
        place = (*page_start(wanted, after), limit)

        async def look(connection: Connection) -> tuple[list[Row], list[Row]]:
            decided, unanswered = [], []
            if wanted.has_decided:
                only = (given.codes, given.resolved)
                decided = await _fetched(connection, _PAGE, *shared, *only, *place)
            if wanted.has_unanswered:
                unanswered = await _fetched(connection, _UNANSWERED_PAGE, *shared, *place)
            return decided, unanswered

        return merged_page(*await self._reader.read(look), limit)

    async def tallies(
        self, *, now: datetime, first_seen_before: datetime, wanted: LetterFilter
    ) -> Sequence[LetterTally]:
        given = filter_values(wanted)
        shared = _shared(given, now, first_seen_before)

        async def look(connection: Connection) -> list[Row]:
            rows: list[Row] = []
            if wanted.has_decided:
                only = (given.codes, given.resolved, given.since)
                rows += await _fetched(connection, _TALLIES, *shared, *only)
            if wanted.has_unanswered:
                rows += await _fetched(connection, _UNANSWERED_TALLIES, *shared, given.since)
            return rows

        return [read_letter_tally(row) for row in await self._reader.read(look)]

    async def unanswered(self, operation_id: UUID) -> UnansweredLetter | None:
        rows = await self._reader.rows(_FIND, operation_id.bytes)
        return read_unanswered(rows[0]) if rows else None

    async def keep_unanswered(self, found: Sequence[UnansweredLetter]) -> None:
        await self._reader.put(sql.UPSERT_UNANSWERED, unanswered_rows(found))

    async def forget_unanswered(self, operation_id: UUID) -> None:
        await self._reader.rows(_FORGET, operation_id.bytes)

    async def forget_unfound(self, *, found_before: datetime) -> int:
        return len(await self._reader.rows(_FORGET_UNFOUND, to_micros(found_before)))


def _shared(given: FilterValues, now: datetime, first_seen_before: datetime) -> tuple[Scalar, ...]:
    """What every statement is given, as ``$1`` to ``$9``."""
    return (
        given.origin,
        given.company,
        given.target,
        given.payment_id,
        given.operation_id,
        given.until,
        given.text,
        to_micros(now),
        to_micros(first_seen_before),
    )


async def _fetched(connection: Connection, statement: str, *values: Scalar) -> list[Row]:
    return [tuple(row) for row in await connection.fetch(statement, *values)]
