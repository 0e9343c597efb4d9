"""What one transaction sees and writes: for brief works in the event loop, else in a thread."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from operator import itemgetter
from typing import NamedTuple, TypeVar
from uuid import UUID

from worker.adapters.encryption import Seals, Vault
from worker.adapters.store_errors import (
    ConcurrentUpdateError,
    MissingOperationError,
    UndeclaredReadError,
)
from worker.adapters.store_rows.answers import ANSWER_COLUMNS, answer_row, read_answer
from worker.adapters.store_rows.history import (
    ATTEMPT_COLUMNS,
    RESTORATION_COLUMNS,
    attempt_row,
    restoration_row,
)
from worker.adapters.store_rows.known import KnownRecords
from worker.adapters.store_rows.look_ups import (
    LOOK_UP_COLUMNS,
    conclusion_row,
    look_up_row,
)
from worker.adapters.store_rows.records import (
    RECORD_COLUMNS,
    TOMBSTONE_COLUMNS,
    read_record,
    read_tombstone,
    record_row,
    tombstone_row,
)
from worker.adapters.store_rows.switches import approval_row, switch_row
from worker.adapters.store_rows.values import FACT_COLUMNS, Row, Scalar, to_micros
from worker.adapters.store_sqlite.audit import INSERT_APPROVAL, linked
from worker.adapters.store_sqlite.switches import UPSERT_SWITCH, find_switch
from worker.model import Fingerprint
from worker.ports import View
from worker.records import Answer, AttemptEntry, Change, Needs, Record, Tombstone
from worker.switches import Switch

Result = TypeVar("Result")


def _columns(names: tuple[str, ...], table: str = "") -> str:
    prefix = f"{table}." if table else ""
    return ", ".join(f"{prefix}{name}" for name in names)


def _insert(table: str, names: tuple[str, ...]) -> str:
    places = ", ".join("?" * len(names))
    return f"INSERT INTO {table} ({_columns(names)}) VALUES ({places})"  # noqa: S608 (own names)


# The statements are put together from our own column names only; values are always bound.
SELECT_RECORD = f"SELECT {_columns(RECORD_COLUMNS)} FROM operations WHERE operation_id = ?"  # noqa: S608
SELECT_ANSWER = (
    f"SELECT {_columns(ANSWER_COLUMNS, 'answers')} FROM operations"  # noqa: S608
    " JOIN answers ON answers.event_id = operations.event_id WHERE operations.operation_id = ?"
)
SELECT_OWNER = (
    f"SELECT {_columns(RECORD_COLUMNS, 'operations')} FROM fingerprints"  # noqa: S608
    " JOIN operations ON operations.operation_id = fingerprints.operation_id"
    " WHERE fingerprints.fingerprint = ?"
)
SELECT_TOMBSTONE = (
    f"SELECT {_columns(TOMBSTONE_COLUMNS)} FROM tombstones"  # noqa: S608
    " WHERE payment_id = ? AND until > ?"
)


def _update(names: tuple[str, ...]) -> str:
    return (
        f"UPDATE operations SET {', '.join(f'{name} = ?' for name in names)}"  # noqa: S608
        " WHERE operation_id = ? AND version = ?"
    )


UPDATE_RECORD = _update(RECORD_COLUMNS[1:])  # the key itself stays: its index is not touched
# What is nearly always written as it was. An index is written anew wherever the statement names
# one of its columns, whatever its value: naming those that people look payments up by made a
# payment's two writes a fifth dearer (measured: 167 us of a processor instead of 137).
_STEADY = (
    *("kind", "payment_id", "identity", "fingerprint", "origin", *FACT_COLUMNS),
    *("first_seen", "created_at", "not_after", "message_id", "correlation_id", "traceparent"),
    *("duplicate_of", "email_mark"),
)
_MOVED = tuple(name for name in RECORD_COLUMNS[1:] if name not in _STEADY)
UPDATE_MOVED = _update(_MOVED)
_steady_of = itemgetter(*(RECORD_COLUMNS.index(name) for name in _STEADY))
_moved_of = itemgetter(*(RECORD_COLUMNS.index(name) for name in _MOVED))
INSERT_RECORD = _insert("operations", RECORD_COLUMNS)
_MARKS = ("event_confirmed", "letter_confirmed", "resends")
_REWRITTEN = tuple(name for name in ANSWER_COLUMNS[1:] if name not in _MARKS)
UPSERT_ANSWER = (
    _insert("answers", ANSWER_COLUMNS)
    + " ON CONFLICT (event_id) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _REWRITTEN)
    # An event to be sent again is unconfirmed again; otherwise a mark never goes back.
    + ", event_confirmed = CASE WHEN excluded.resends > resends THEN excluded.event_confirmed"
    " ELSE max(event_confirmed, excluded.event_confirmed) END"
    ", letter_confirmed = max(letter_confirmed, excluded.letter_confirmed)"
    ", resends = max(resends, excluded.resends)"
)
INSERT_ATTEMPT = (
    f"INSERT INTO attempts ({_columns(ATTEMPT_COLUMNS)}, entry, position)"  # noqa: S608
    f" SELECT {', '.join(f'?{place}' for place in range(1, len(ATTEMPT_COLUMNS) + 1))},"
    " own.entry, (SELECT coalesce(max(position), 0) + 1 FROM attempts WHERE entry = own.entry)"
    " FROM operations AS own WHERE own.operation_id = ?1"
)
UPSERT_OWNER = (
    _insert("fingerprints", ("fingerprint", "operation_id"))
    + " ON CONFLICT (fingerprint) DO UPDATE SET operation_id = excluded.operation_id"
)
DELETE_OWNER = "DELETE FROM fingerprints WHERE fingerprint = ? AND operation_id = ?"
UPSERT_TOMBSTONE = (
    _insert("tombstones", TOMBSTONE_COLUMNS)
    + " ON CONFLICT (payment_id) DO UPDATE SET origin = excluded.origin, until = excluded.until"
)
PURGE_TOMBSTONES = "DELETE FROM tombstones WHERE until <= ?"
INSERT_RESTORATION = _insert("restorations", RESTORATION_COLUMNS)
INSERT_LOOK_UP = (
    f"INSERT INTO look_ups ({_columns(LOOK_UP_COLUMNS)}, position)"  # noqa: S608
    f" VALUES ({', '.join('?' * len(LOOK_UP_COLUMNS))},"
    " (SELECT coalesce(max(position), 0) + 1 FROM look_ups WHERE operation_id = ?))"
)
CONCLUDE_LOOK_UP = (
    "UPDATE look_up_plans SET sequence = ?3, steps = ?4, state = ?5, due_at = ?6,"
    " token = NULL, lease_until = NULL WHERE operation_id = ?1 AND token = ?2"
)
NOTE_KEY = (
    _insert("encryption_keys", ("key_id", "first_used_at")) + " ON CONFLICT (key_id) DO NOTHING"
)


class SqliteView:
    """Implements ``ports.View`` on the writer's connection."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        vault: Vault,
        known: KnownRecords,
        *,
        needs: Needs,
        now: datetime,
    ) -> None:
        self._connection = connection
        self._vault = vault
        self._known = known
        self._needs = needs
        self._now = now
        self._owner_id: UUID | None = None
        self.rows: dict[bytes, Row] = {}

    def record(self, operation_id: UUID) -> Record | None:
        self._check(operation_id)
        row = self._connection.execute(SELECT_RECORD, (operation_id.bytes,)).fetchone()
        return None if row is None else self._read(row)

    def answer(self, operation_id: UUID) -> Answer | None:
        self._check(operation_id)
        return find_answer(self._connection, self._vault, operation_id)

    def owner(self, fingerprint: Fingerprint) -> Record | None:
        if fingerprint != self._needs.fingerprint:
            raise UndeclaredReadError(None)
        row = self._connection.execute(SELECT_OWNER, (fingerprint,)).fetchone()
        if row is None:
            return None
        record = self._read(row)
        self._owner_id = record.operation_id
        return record

    def _read(self, row: Row) -> Record:
        self.rows[row[0]] = row
        return self._known.read(row)

    def tombstone(self, payment_id: UUID) -> Tombstone | None:
        self._check(payment_id)
        key = (payment_id.bytes, to_micros(self._now))
        row = self._connection.execute(SELECT_TOMBSTONE, key).fetchone()
        return None if row is None else read_tombstone(row)

    def switch(self, account: str) -> Switch | None:
        if account not in self._needs.accounts:
            raise UndeclaredReadError(None)
        return find_switch(self._connection, account)

    def _check(self, operation_id: UUID) -> None:
        """The owner of a declared fingerprint counts as declared: nobody knows its id before."""
        if operation_id not in self._needs.operations and operation_id != self._owner_id:
            raise UndeclaredReadError(operation_id)


def find_record(connection: sqlite3.Connection, vault: Vault, operation_id: UUID) -> Record | None:
    """Read one record by its id."""
    row = connection.execute(SELECT_RECORD, (operation_id.bytes,)).fetchone()
    return None if row is None else read_record(row, vault)


def find_answer(connection: sqlite3.Connection, vault: Vault, operation_id: UUID) -> Answer | None:
    """Read the answer that an operation's record names."""
    row = connection.execute(SELECT_ANSWER, (operation_id.bytes,)).fetchone()
    return None if row is None else read_answer(row, vault)


def run_change(
    connection: sqlite3.Connection,
    vault: Vault,
    known: KnownRecords,
    *,
    needs: Needs,
    apply: Callable[[View], Change[Result]],
    now: datetime,
) -> Result:
    """Let ``apply`` decide on what the transaction sees, then write its change.

    One that fails half-way is undone by whoever runs it: see ``jobs.Job``.
    """
    view = SqliteView(connection, vault, known, needs=needs, now=now)
    change = apply(view)
    acts = [_Write(*each) for each in linked(connection, change.audit)]
    for write in (*_writes(change, vault, known, view.rows, now), *_operator_writes(change), *acts):
        write.run(connection)
    return change.result


class _Write(NamedTuple):
    statement: str
    values: tuple[Scalar, ...]
    of: Record | AttemptEntry | None = None

    def run(self, connection: sqlite3.Connection) -> None:
        if self.of is None:
            connection.execute(self.statement, self.values)
            return
        try:
            hit = connection.execute(self.statement, self.values).rowcount
        except sqlite3.IntegrityError as error:
            if isinstance(self.of, AttemptEntry):
                raise
            raise ConcurrentUpdateError(self.of.operation_id, self.of.version) from error
        if hit == 1:
            return
        if isinstance(self.of, AttemptEntry):
            raise MissingOperationError(self.of.operation_id)
        raise ConcurrentUpdateError(self.of.operation_id, self.of.version)


def _operator_writes(change: Change[Result]) -> Iterator[_Write]:
    """What operators switch and approve: no row of a payment."""
    for switch in change.switches:
        yield _Write(UPSERT_SWITCH, switch_row(switch))
    for approval in change.approvals:
        yield _Write(INSERT_APPROVAL, approval_row(approval))


def _writes(
    change: Change[Result],
    vault: Vault,
    known: KnownRecords,
    before: Mapping[bytes, Row],
    now: datetime,
) -> Iterator[_Write]:
    """Every statement of a change, its values ready, before the first of them runs.

    ``before`` are the rows that it was decided by, by their keys.
    """
    seals = Seals(vault)
    for record in change.records:
        row = record_row(record, seals)
        known.wrote(row, record)
        if record.version == 1:
            yield _Write(INSERT_RECORD, row, record)
            continue
        replaced, place = before.get(record.operation_id.bytes), (row[0], record.version - 1)
        if replaced is not None and _steady_of(replaced) == _steady_of(row):
            yield _Write(UPDATE_MOVED, (*_moved_of(row), *place), record)
        else:
            yield _Write(UPDATE_RECORD, (*row[1:], *place), record)
    for answer in change.answers:
        row = answer_row(answer, seals)
        yield _Write(UPSERT_ANSWER, row)
    for attempt in change.attempts:
        yield _Write(INSERT_ATTEMPT, attempt_row(attempt, seals), attempt)
    yield from _owner_writes(change)
    for tombstone in change.tombstones:
        yield _Write(PURGE_TOMBSTONES, (to_micros(now),))
        yield _Write(UPSERT_TOMBSTONE, tombstone_row(tombstone))
    if change.restoration is not None:
        yield _Write(INSERT_RESTORATION, restoration_row(change.restoration))
    for look_up in change.look_ups:
        row = look_up_row(look_up)
        yield _Write(INSERT_LOOK_UP, (*row, row[0]))
    if change.look_up_plan is not None:
        yield _Write(CONCLUDE_LOOK_UP, conclusion_row(change.look_up_plan))
    if seals:
        yield _Write(NOTE_KEY, (vault.key_ids[0], to_micros(now)))


def _owner_writes(change: Change[Result]) -> Iterator[_Write]:
    """What is taken from an owner goes first: the same change may give it another."""
    for statement, owned in ((DELETE_OWNER, change.disowned), (UPSERT_OWNER, change.owner)):
        if owned is not None:
            fingerprint, operation_id = owned
            yield _Write(statement, (fingerprint, operation_id.bytes))
