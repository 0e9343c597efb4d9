"""The dead-letter index: a page of it, and all of it counted by case within the server."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from worker.adapters.store_postgres import statements as sql
from worker.adapters.store_postgres.reader import Reader
from worker.adapters.store_rows.letters import (
    filter_values,
    page_start,
    read_letter_entry,
    read_letter_tally,
)
from worker.adapters.store_rows.values import FACT_COLUMNS, to_micros
from worker.letters import LetterEntry, LetterFilter, LetterTally

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
    " LEFT JOIN fingerprints ON fingerprints.fingerprint = operations.fingerprint"
    " LEFT JOIN operations AS owners ON owners.operation_id = fingerprints.operation_id"
    " AND owners.operation_id <> operations.operation_id"
)
_WANTED = (
    " WHERE answers.letter_failed_at IS NOT NULL AND operations.state IN ('failed', 'in_doubt')"
    " AND ($1::text IS NULL OR answers.letter_code IN"
    " (SELECT jsonb_array_elements_text($1::text::jsonb)))"
    " AND ($2::text IS NULL OR operations.origin = $2)"
    " AND ($3::text IS NULL OR operations.id_societe = $3)"
    " AND ($4::text IS NULL OR operations.payment_target = $4)"
    " AND ($5::bytea IS NULL OR operations.payment_id = $5)"
    " AND ($6::bytea IS NULL OR operations.operation_id = $6)"
    " AND answers.letter_failed_at < $7"
)
# What decides whether a replay can help: the fields of ``LetterCase`` in their order.
_CASE = (
    "answers.letter_code, operations.kind, operations.state, operations.operation_class,"
    " operations.link_published, operations.unknown_attempts > operations.cleared_attempts,"
    " operations.first_seen < $9 OR coalesce(operations.not_after < $8, false),"
    " coalesce(operations.id_commande, '0') <> '0',"
    " coalesce(owners.state IN ('calling', 'retry_wait', 'in_doubt', 'succeeded'), false)"
)
_PAGE = (
    f"SELECT {_CASE}, operations.operation_id, operations.payment_id, answers.sequence,"
    " answers.letter_failed_at, operations.origin,"
    f" answers.letter_confirmed, {sql.columns(FACT_COLUMNS, 'operations')}"
    f"{_JOINED_IN_ORDER}{_OWNED}{_WANTED}"
    " AND (answers.letter_failed_at, answers.operation_id) > ($10, $11)"
    " ORDER BY answers.letter_failed_at, answers.operation_id LIMIT $12"
)
_TALLIES = (
    f"SELECT {_CASE}, count(*), sum(answers.letter_confirmed),"
    " min(answers.letter_failed_at), max(answers.letter_failed_at)"
    f"{_JOINED}{_OWNED}{_WANTED}"
    " AND answers.letter_failed_at >= $10 GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9"
)


async def letters(
    reader: Reader,
    *,
    after: tuple[datetime, UUID] | None,
    limit: int,
    now: datetime,
    first_seen_before: datetime,
    wanted: LetterFilter,
) -> Sequence[LetterEntry]:
    """See ``ports.Store.letters``."""
    _since, *values = filter_values(wanted)
    times = to_micros(now), to_micros(first_seen_before)
    rows = await reader.rows(_PAGE, *values, *times, *page_start(wanted, after), limit)
    return [read_letter_entry(row) for row in rows]


async def letter_tallies(
    reader: Reader, *, now: datetime, first_seen_before: datetime, wanted: LetterFilter
) -> Sequence[LetterTally]:
    """See ``ports.Store.letter_tallies``."""
    since, *values = filter_values(wanted)
    times = to_micros(now), to_micros(first_seen_before), since
    rows = await reader.rows(_TALLIES, *values, *times)
    return [read_letter_tally(row) for row in rows]
