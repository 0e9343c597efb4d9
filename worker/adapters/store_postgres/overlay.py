"""The rows of one batch: what was loaded, with what its works have written on top.

Later works see what earlier ones wrote. A change is taken over completely or, where one of its
rows cannot be, not at all; the database is written to only when every work has been heard.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from worker.adapters.encryption import Seals, Vault
from worker.adapters.store_errors import ConcurrentUpdateError, MissingOperationError
from worker.adapters.store_rows.answers import ANSWER_COLUMNS, answer_row, read_answer
from worker.adapters.store_rows.history import attempt_row, audit_row, restoration_row
from worker.adapters.store_rows.known import KnownRecords
from worker.adapters.store_rows.look_ups import conclusion_row, look_up_row
from worker.adapters.store_rows.records import (
    RECORD_COLUMNS,
    read_tombstone,
    record_row,
    tombstone_row,
)
from worker.adapters.store_rows.switches import approval_row, read_switch, switch_row
from worker.adapters.store_rows.values import Row, Scalar, to_micros
from worker.model import Fingerprint
from worker.records import Answer, AuditEntry, Change, Record, Tombstone
from worker.switches import Switch

Result = TypeVar("Result")
Values = tuple[Scalar, ...]

_RECORD_END = len(RECORD_COLUMNS)
_ANSWER_END = _RECORD_END + len(ANSWER_COLUMNS)
_VERSION = RECORD_COLUMNS.index("version")
_EVENT_OF_RECORD = RECORD_COLUMNS.index("event_id")
_MARKS = tuple(
    ANSWER_COLUMNS.index(name) for name in ("event_confirmed", "letter_confirmed", "resends")
)


@dataclass(slots=True)
class Writes:
    """What the batch will write, one row per key; history in the order it happened.

    ``records`` holds the version found in the database beside each row, 0 for a new one.
    """

    records: dict[UUID, tuple[Values, int]] = field(default_factory=dict)
    answers: dict[UUID, Values] = field(default_factory=dict)
    attempts: list[Values] = field(default_factory=list)
    owners: dict[Fingerprint, UUID] = field(default_factory=dict)
    disowned: list[tuple[Fingerprint, UUID]] = field(default_factory=list)
    tombstones: dict[UUID, Values] = field(default_factory=dict)
    purge_until: int | None = None
    audit: list[AuditEntry] = field(default_factory=list)
    restorations: list[Values] = field(default_factory=list)
    look_ups: list[Values] = field(default_factory=list)
    look_up_plans: list[Values] = field(default_factory=list)
    switches: dict[str, Values] = field(default_factory=dict)
    approvals: dict[tuple[Scalar, ...], Values] = field(default_factory=dict)
    sealed: bool = False


class Overlay:
    """All reads and writes of one batch, by id."""

    def __init__(self, vault: Vault, known: KnownRecords) -> None:
        self.writes = Writes()
        self._vault = vault
        self._known = known
        self._versions: dict[UUID, int] = {}
        self._record_rows: dict[UUID, Row] = {}
        self._records: dict[UUID, Record] = {}
        self._answer_rows: dict[UUID, Row] = {}
        self._answers: dict[UUID, Answer] = {}
        self._events: set[UUID] = set()
        self._owners: dict[Fingerprint, UUID] = {}
        self._tombstones: dict[UUID, Tombstone] = {}
        self._switches: dict[str, Switch] = {}

    # --- what was loaded -----------------------------------------------------------------------

    def unloaded(self, ids: Iterable[UUID]) -> set[UUID]:
        """Those of the ids that nobody has looked up yet."""
        return {each for each in ids if each not in self._versions}

    def load_operations(self, ids: Iterable[UUID], rows: Iterable[Row]) -> None:
        """Take rows of ``statements.UNDER_IDS``; an id without a record is an absent operation.

        Its tombstone may be there all the same, an expired one included.
        """
        self._versions.update(dict.fromkeys(ids, 0))
        for row in rows:
            record_part, answer_part = row[:_RECORD_END], row[_RECORD_END:_ANSWER_END]
            if record_part[0] is not None:
                operation_id = UUID(bytes=record_part[0])
                self._versions[operation_id] = record_part[_VERSION]
                self._record_rows[operation_id] = record_part
                if (event_id := record_part[_EVENT_OF_RECORD]) is not None:
                    self._load_answer(UUID(bytes=event_id), answer_part)
            if row[_ANSWER_END] is not None:
                tombstone = read_tombstone(row[_ANSWER_END:])
                self._tombstones[tombstone.payment_id] = tombstone

    def load_answers(self, events: Iterable[UUID], rows: Iterable[Row]) -> None:
        """Take rows of ``statements.ANSWERS``."""
        self._events.update(events)
        for row in rows:
            self._load_answer(UUID(bytes=row[0]), row)

    def load_owners(self, rows: Iterable[Row]) -> None:
        """Take rows of ``statements.OWNERS``; their operations are loaded like all others."""
        for fingerprint, operation_id in rows:
            self._owners[Fingerprint(fingerprint)] = UUID(bytes=operation_id)

    def load_switches(self, rows: Iterable[Row]) -> None:
        """Take rows of ``switches.SWITCHES_OF``."""
        for row in rows:
            self._switches[row[0]] = read_switch(row)

    def _load_answer(self, event_id: UUID, row: Row) -> None:
        self._events.add(event_id)
        if row[0] is not None:  # a record may name an event that is not there
            self._answer_rows[event_id] = row

    # --- what a work sees ----------------------------------------------------------------------

    def record(self, operation_id: UUID) -> Record | None:
        """The record as it stands; opened only when somebody asks for it."""
        if operation_id not in self._records and operation_id in self._record_rows:
            row = self._record_rows[operation_id]
            self._records[operation_id] = self._known.read(row)
        return self._records.get(operation_id)

    def answer(self, operation_id: UUID) -> Answer | None:
        """The answer that the record names as it stands."""
        record = self.record(operation_id)
        if record is None or record.event_id is None:
            return None
        if record.event_id not in self._answers and record.event_id in self._answer_rows:
            row = self._answer_rows[record.event_id]
            self._answers[record.event_id] = read_answer(row, self._vault)
        return self._answers.get(record.event_id)

    def owner(self, fingerprint: Fingerprint) -> Record | None:
        """The operation that owns a fingerprint."""
        operation_id = self._owners.get(fingerprint)
        return None if operation_id is None else self.record(operation_id)

    def tombstone(self, payment_id: UUID, now: datetime) -> Tombstone | None:
        """The tombstone of a payment that never came, until it expires."""
        found = self._tombstones.get(payment_id)
        return found if found is not None and found.until > now else None

    def switch(self, account: str) -> Switch | None:
        """How an account is switched."""
        return self._switches.get(account)

    # --- what a work writes --------------------------------------------------------------------

    def missing(self, change: Change[Result]) -> tuple[set[UUID], set[UUID]]:
        """Operations and events that must be loaded before the change can be taken over."""
        touched = {record.operation_id for record in change.records}
        touched |= {attempt.operation_id for attempt in change.attempts}
        if change.owner is not None:
            touched.add(change.owner[1])
        written = {answer.event.event_id for answer in change.answers}
        named = {record.event_id for record in change.records if record.event_id is not None}
        return self.unloaded(touched), named - written - self._events

    def take(self, change: Change[Result], now: datetime) -> None:
        """Take a change over, all or nothing.

        Raises ``ConcurrentUpdateError`` where a record is not at the version before,
        ``MissingOperationError`` for an attempt without a record, and whatever a value raises that
        cannot be stored.
        """
        self._check(change)
        answers = [self._merged(answer) for answer in change.answers]
        seals = Seals(self._vault)
        record_rows = [record_row(record, seals) for record in change.records]
        answer_rows = [answer_row(answer, seals) for answer in answers]
        attempt_rows = [attempt_row(attempt, seals) for attempt in change.attempts]
        tombstone_rows = [tombstone_row(tombstone) for tombstone in change.tombstones]
        for entry in change.audit:
            audit_row(entry)
        restoration = change.restoration
        restoration_rows = [] if restoration is None else [restoration_row(restoration)]
        look_up_rows = [look_up_row(look_up) for look_up in change.look_ups]
        plan = change.look_up_plan
        plan_rows = [] if plan is None else [conclusion_row(plan)]
        switch_rows = [switch_row(switch) for switch in change.switches]
        approval_rows = [approval_row(approval) for approval in change.approvals]
        purge_until = to_micros(now)
        # Nothing below raises.
        for record, row in zip(change.records, record_rows, strict=True):
            self._write_record(record, row)
        for answer, row in zip(answers, answer_rows, strict=True):
            self._events.add(answer.event.event_id)
            self._answers[answer.event.event_id] = answer
            self.writes.answers[answer.event.event_id] = row
        self.writes.attempts += attempt_rows
        if change.disowned is not None:
            self._disown(*change.disowned)
        if change.owner is not None:
            fingerprint, operation_id = change.owner
            self._owners[fingerprint] = operation_id
            self.writes.owners[fingerprint] = operation_id
        for tombstone, row in zip(change.tombstones, tombstone_rows, strict=True):
            self._tombstones[tombstone.payment_id] = tombstone
            self.writes.tombstones[tombstone.payment_id] = row
            self.writes.purge_until = max(self.writes.purge_until or purge_until, purge_until)
        self.writes.audit += change.audit
        self.writes.restorations += restoration_rows
        for switch, row in zip(change.switches, switch_rows, strict=True):
            self._switches[switch.account] = switch
            self.writes.switches[switch.account] = row
        for row in approval_rows:
            self.writes.approvals.setdefault(row[:2], row)
        self.writes.look_ups += look_up_rows
        self.writes.look_up_plans += plan_rows
        self.writes.sealed = self.writes.sealed or bool(seals)

    def _check(self, change: Change[Result]) -> None:
        versions: dict[UUID, int] = {}
        for record in change.records:
            before = versions.get(record.operation_id, self._versions[record.operation_id])
            if before != record.version - 1:
                raise ConcurrentUpdateError(record.operation_id, record.version)
            versions[record.operation_id] = record.version
        for attempt in change.attempts:
            operation_id = attempt.operation_id
            if not versions.get(operation_id, self._versions[operation_id]):
                raise MissingOperationError(operation_id)

    def _write_record(self, record: Record, row: Values) -> None:
        key = record.operation_id
        _, base = self.writes.records.get(key, (row, self._versions[key]))
        self.writes.records[key] = (row, base)
        self._versions[key] = record.version
        self._records[key] = record
        self._known.wrote(row, record)

    def _disown(self, fingerprint: Fingerprint, operation_id: UUID) -> None:
        for owners in (self._owners, self.writes.owners):
            if owners.get(fingerprint) == operation_id:
                del owners[fingerprint]
        self.writes.disowned.append((fingerprint, operation_id))

    def _merged(self, answer: Answer) -> Answer:
        """What the broker confirmed once stays confirmed, until it is to be sent again."""
        event_id = answer.event.event_id
        if (before := self._answers.get(event_id)) is not None:
            event, letter, resends = (
                before.event_confirmed,
                before.letter_confirmed,
                before.resends,
            )
        elif (row := self._answer_rows.get(event_id)) is not None:
            event, letter, resends = (row[place] for place in _MARKS)
        else:
            return answer
        is_resent = answer.resends > resends
        return replace(
            answer,
            event_confirmed=answer.event_confirmed or (bool(event) and not is_resent),
            letter_confirmed=answer.letter_confirmed or bool(letter),
            resends=max(answer.resends, resends),
        )
