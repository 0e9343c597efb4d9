"""The dead-letter index: a page of it, and all of it counted by case.

Both follow the small index of the letters and look each one's operation up by its id; a whole
index is counted within SQLite, so its size costs time and no memory of ours.
"""

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

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
# Who owns the content now, where that is another one: contract section 2, Replay.
_OWNED = (
    " LEFT JOIN fingerprints ON fingerprints.fingerprint = operations.fingerprint"
    " LEFT JOIN operations AS owners ON owners.operation_id = fingerprints.operation_id"
    " AND owners.operation_id <> operations.operation_id"
)
_WANTED = (
    " WHERE answers.letter_failed_at IS NOT NULL AND operations.state IN ('failed', 'in_doubt')"
    " AND answers.letter_failed_at < :until"
    " AND (:codes IS NULL OR answers.letter_code IN (SELECT value FROM json_each(:codes)))"
    " AND (:origin IS NULL OR operations.origin = :origin)"
    " AND (:company IS NULL OR operations.id_societe = :company)"
    " AND (:target IS NULL OR operations.payment_target = :target)"
    " AND (:payment_id IS NULL OR operations.payment_id = :payment_id)"
    " AND (:operation_id IS NULL OR operations.operation_id = :operation_id)"
)
# What decides whether a replay can help: the fields of ``LetterCase`` in their order.
_CASE = (
    "answers.letter_code, operations.kind, operations.state, operations.operation_class,"
    " operations.link_published, operations.unknown_attempts > operations.cleared_attempts,"
    " operations.first_seen < :first_seen_before OR coalesce(operations.not_after < :now, 0),"
    " coalesce(operations.id_commande, '0') <> '0',"
    " coalesce(owners.state IN ('calling', 'retry_wait', 'in_doubt', 'succeeded'), 0)"
)
_PAGE = (
    f"SELECT {_CASE}, operations.operation_id, operations.payment_id, answers.sequence,"
    " answers.letter_failed_at, operations.origin,"
    f" answers.letter_confirmed, {', '.join(f'operations.{name}' for name in FACT_COLUMNS)}"
    f"{_JOINED}{_OWNED}{_WANTED}"
    " AND (answers.letter_failed_at, answers.operation_id) > (:failed_at, :after)"
    " ORDER BY answers.letter_failed_at, answers.operation_id LIMIT :limit"
)
_TALLIES = (
    f"SELECT {_CASE}, count(*), sum(answers.letter_confirmed),"
    " min(answers.letter_failed_at), max(answers.letter_failed_at)"
    f"{_JOINED}{_OWNED}{_WANTED}"
    " AND answers.letter_failed_at >= :since GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9"
)


def letters(
    connection: sqlite3.Connection,
    *,
    after: tuple[datetime, UUID] | None,
    limit: int,
    now: datetime,
    first_seen_before: datetime,
    wanted: LetterFilter,
) -> Sequence[LetterEntry]:
    """See ``ports.Store.letters``."""
    failed_at, place = page_start(wanted, after)
    values = filter_values(wanted)._asdict()
    values |= {"failed_at": failed_at, "after": place, "limit": limit}
    values |= {"now": to_micros(now), "first_seen_before": to_micros(first_seen_before)}
    return [read_letter_entry(row) for row in connection.execute(_PAGE, values).fetchall()]


def letter_tallies(
    connection: sqlite3.Connection,
    *,
    now: datetime,
    first_seen_before: datetime,
    wanted: LetterFilter,
) -> Sequence[LetterTally]:
    """See ``ports.Store.letter_tallies``."""
    values = filter_values(wanted)._asdict()
    values |= {"now": to_micros(now), "first_seen_before": to_micros(first_seen_before)}
    return [read_letter_tally(row) for row in connection.execute(_TALLIES, values).fetchall()]
