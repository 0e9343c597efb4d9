"""The SQL of the batches: every statement takes all rows of a batch as one array per column."""

from collections.abc import Collection

from worker.adapters.store_rows.answers import ANSWER_COLUMNS
from worker.adapters.store_rows.history import ATTEMPT_COLUMNS, RESTORATION_COLUMNS
from worker.adapters.store_rows.letters import UNANSWERED_COLUMNS
from worker.adapters.store_rows.look_ups import CONCLUSION_COLUMNS, LOOK_UP_COLUMNS
from worker.adapters.store_rows.records import RECORD_COLUMNS, TOMBSTONE_COLUMNS

OWNER_COLUMNS = ("fingerprint", "operation_id")
KEY_COLUMNS = ("key_id", "first_used_at")

_BYTES = frozenset(
    {
        "operation_id",
        "payment_id",
        "event_id",
        "duplicate_of",
        "email_mark",
        "hash",
        "token",
        "wish",
        "worker",
    }
)
_NUMBERS = frozenset(
    {
        "amount",
        "at",
        "attempts",
        "base",
        "cleared_attempts",
        "created_at",
        "decided_at",
        "denied",
        "due_at",
        "ended_at",
        "event_confirmed",
        "failed_at",
        "first_seen",
        "first_used_at",
        "found_at",
        "http_status",
        "kept",
        "known_until",
        "lease_until",
        "letter_confirmed",
        "letter_failed_at",
        "letter_resolved",
        "link_published",
        "live",
        "next_attempt_at",
        "next_try",
        "not_after",
        "number",
        "occurred_at",
        "opened_attempts",
        "paused",
        "paused_at",
        "peak_attempts",
        "position",
        "removed",
        "resends",
        "restored_at",
        "seen_at",
        "sent_sequence",
        "sequence",
        "started_at",
        "step",
        "steps",
        "stop_asked_at",
        "unknown_attempts",
        "until",
        "updated_at",
        "version",
        "waits",
        "wanted",
        "wished_at",
    }
)


def columns(names: tuple[str, ...], table: str = "") -> str:
    """A list of columns for a statement."""
    prefix = f"{table}." if table else ""
    return ", ".join(f"{prefix}{name}" for name in names)


def _arrays(names: tuple[str, ...]) -> str:
    """The arrays of a batch as rows; a column's type follows from its name in every table."""
    return ", ".join(f"${place}::{_type(name)}[]" for place, name in enumerate(names, start=1))


def _type(name: str) -> str:
    if name in _BYTES:
        return "bytea"
    return "bigint" if name in _NUMBERS else "text"


def insertion(table: str, names: tuple[str, ...]) -> str:
    """In the order given: history is numbered by it."""
    return (
        f"INSERT INTO {table} ({columns(names)}) SELECT {columns(names)}"  # noqa: S608 (own names)
        f" FROM unnest({_arrays(names)}) WITH ORDINALITY AS given ({columns(names)}, place)"
        " ORDER BY place"
    )


# The statements are put together from our own column names only; values are always bound.
LOCK_IF_FREE = "SELECT bool_and(pg_try_advisory_xact_lock(key)) FROM unnest($1::bigint[]) AS key"
OWNERS = "SELECT fingerprint, operation_id FROM fingerprints WHERE fingerprint = ANY($1::text[])"
OPERATIONS = (
    f"SELECT {columns(RECORD_COLUMNS, 'operations')}, {columns(ANSWER_COLUMNS, 'answers')}"  # noqa: S608
    " FROM operations LEFT JOIN answers ON answers.event_id = operations.event_id"
    " WHERE operations.operation_id = ANY($1::bytea[])"
)
# Whatever there is under an id, a tombstone too: one look instead of one for each table.
UNDER_IDS = (
    f"SELECT {columns(RECORD_COLUMNS, 'operations')}, {columns(ANSWER_COLUMNS, 'answers')},"  # noqa: S608
    f" {columns(TOMBSTONE_COLUMNS, 'tombstones')} FROM unnest($1::bytea[]) AS wanted (operation_id)"
    " LEFT JOIN operations ON operations.operation_id = wanted.operation_id"
    " LEFT JOIN answers ON answers.event_id = operations.event_id"
    " LEFT JOIN tombstones ON tombstones.payment_id = wanted.operation_id"
)
ANSWERS = f"SELECT {columns(ANSWER_COLUMNS)} FROM answers WHERE event_id = ANY($1::bytea[])"  # noqa: S608

INSERT_RECORDS = insertion("operations", RECORD_COLUMNS)
_REPLACED = RECORD_COLUMNS[1:]  # the key itself stays
_WITH_BASE = (*RECORD_COLUMNS, "base")
UPDATE_RECORDS = (
    f"UPDATE operations SET {', '.join(f'{name} = given.{name}' for name in _REPLACED)}"  # noqa: S608
    f" FROM unnest({_arrays(_WITH_BASE)}) AS given ({columns(_WITH_BASE)})"
    " WHERE operations.operation_id = given.operation_id AND operations.version = given.base"
    " RETURNING operations.operation_id"
)
_MARKS = ("event_confirmed", "letter_confirmed", "resends")
_REWRITTEN = tuple(name for name in ANSWER_COLUMNS[1:] if name not in _MARKS)
UPSERT_ANSWERS = (
    insertion("answers", ANSWER_COLUMNS)
    + " ON CONFLICT (event_id) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _REWRITTEN)
    # An event to be sent again is unconfirmed again; otherwise a mark never goes back.
    + ", event_confirmed = CASE WHEN excluded.resends > answers.resends"
    " THEN excluded.event_confirmed"
    " ELSE greatest(answers.event_confirmed, excluded.event_confirmed) END"
    ", letter_confirmed = greatest(answers.letter_confirmed, excluded.letter_confirmed)"
    ", resends = greatest(answers.resends, excluded.resends)"
)
# What comes too late for an operation that retention removes meanwhile is not written; held, its
# row is passed over by retention until the attempt is there.
INSERT_ATTEMPTS = (
    f"INSERT INTO attempts ({columns(ATTEMPT_COLUMNS)}, entry)"  # noqa: S608 (own names)
    f" SELECT {columns(ATTEMPT_COLUMNS, 'given')}, operations.entry"
    f" FROM unnest({_arrays(ATTEMPT_COLUMNS)}) WITH ORDINALITY"
    f" AS given ({columns(ATTEMPT_COLUMNS)}, place)"
    " JOIN operations ON operations.operation_id = given.operation_id ORDER BY place"
    " FOR KEY SHARE OF operations"
)
INSERT_RESTORATIONS = insertion("restorations", RESTORATION_COLUMNS)
UPSERT_OWNERS = (
    insertion("fingerprints", OWNER_COLUMNS)
    + " ON CONFLICT (fingerprint) DO UPDATE SET operation_id = excluded.operation_id"
)
DELETE_OWNERS = (
    f"DELETE FROM fingerprints USING unnest({_arrays(OWNER_COLUMNS)})"  # noqa: S608 (own names)
    f" AS given ({columns(OWNER_COLUMNS)}) WHERE fingerprints.fingerprint = given.fingerprint"
    " AND fingerprints.operation_id = given.operation_id"
)
# What another worker is just purging needs no second broom.
PURGE_TOMBSTONES = (
    "DELETE FROM tombstones WHERE payment_id IN ("
    "SELECT payment_id FROM tombstones WHERE until <= $1 FOR UPDATE SKIP LOCKED)"
)
UPSERT_TOMBSTONES = (
    insertion("tombstones", TOMBSTONE_COLUMNS)
    + " ON CONFLICT (payment_id) DO UPDATE SET origin = excluded.origin, until = excluded.until"
)
UPSERT_UNANSWERED = (
    insertion("unanswered_letters", UNANSWERED_COLUMNS)
    # What was noted first stays: its time is its place in the list.
    + " ON CONFLICT (operation_id) DO UPDATE SET found_at = excluded.found_at,"
    " cause = coalesce(unanswered_letters.cause, excluded.cause)"
)
INSERT_LOOK_UPS = insertion("look_ups", LOOK_UP_COLUMNS)
CONCLUDE_LOOK_UPS = (
    "UPDATE look_up_plans SET sequence = given.sequence, steps = given.steps,"  # noqa: S608
    " state = given.state, due_at = given.due_at, token = NULL, lease_until = NULL"
    f" FROM unnest({_arrays(CONCLUSION_COLUMNS)}) AS given ({columns(CONCLUSION_COLUMNS)})"
    " WHERE look_up_plans.operation_id = given.operation_id"
    " AND look_up_plans.token = given.token"
)
NOTE_KEY = insertion("encryption_keys", KEY_COLUMNS) + " ON CONFLICT (key_id) DO NOTHING"
# One row at a time, pipelined: two sendings of one event may be marked in the same batch.
MARK = (
    "UPDATE answers SET letter_confirmed = greatest(letter_confirmed, $3), event_confirmed ="
    " CASE WHEN resends = $4 THEN greatest(event_confirmed, $2) ELSE event_confirmed END"
    " WHERE event_id = $1"
)
TAKE = (
    "UPDATE answers SET taken_at = $1 WHERE event_id IN ("  # noqa: S608
    "SELECT event_id FROM answers WHERE event_confirmed = 0 AND occurred_at < $2"
    " AND (taken_at IS NULL OR taken_at < $2)"
    " ORDER BY coalesce(taken_at, occurred_at), occurred_at, event_id LIMIT $3"
    f" FOR UPDATE SKIP LOCKED) RETURNING {columns(ANSWER_COLUMNS)}"
)

# By the server's clock alone: one worker's wrong clock must not make another one forgotten.
REGISTER = "INSERT INTO writers (batch) VALUES (0) RETURNING writer"
DEREGISTER = "DELETE FROM writers WHERE writer = $1"
FORGET_WRITERS = (
    "DELETE FROM writers WHERE writer IN ("
    "SELECT writer FROM writers WHERE seen_at < now() - interval '30 days' FOR UPDATE SKIP LOCKED)"
)
LAST_BATCH = "SELECT batch FROM writers WHERE writer = $1"


def beginning(locks: Collection[int], *, writer: int, batch: int) -> str:
    """How every batch begins, in one trip: its transaction, its locks, its number.

    The locks are taken in ascending order, and each statement sees what was committed before it
    began, so what is read after the locks is what they protect. ``UPDATE 1`` says that the batch
    was not committed yet. Nothing but numbers of our own is put in.
    """
    keys = ",".join(str(key) for key in sorted(locks))
    return (
        "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;"  # noqa: S608 (numbers)
        f" SELECT pg_advisory_xact_lock(key) FROM unnest('{{{keys}}}'::bigint[]) AS key;"
        f" UPDATE writers SET batch = {batch:d}, seen_at = now()"
        f" WHERE writer = {writer:d} AND batch < {batch:d}"
    )
