"""One operation's record as a row, and the tombstone of one that never came."""

from uuid import UUID

from worker.adapters.encryption import Vault
from worker.adapters.store_rows.values import (
    FACT_COLUMNS,
    Row,
    Scalar,
    bytes_or_none,
    facts_row,
    flag_or_none,
    from_micros,
    id_or_none,
    micros_or_none,
    open_or_none,
    read_facts,
    seal_or_none,
    time_or_none,
    to_micros,
    truth_or_none,
    word_or_none,
)
from worker.codes import Code
from worker.model import Fingerprint, Identity, Operation, OperationClass, Origin
from worker.records import Kind, Record, State, Tombstone

RECORD_COLUMNS = (
    "operation_id",
    "kind",
    "payment_id",
    "identity",
    "fingerprint",
    "origin",
    *FACT_COLUMNS,
    "state",
    "sequence",
    "version",
    "first_seen",
    "created_at",
    "updated_at",
    "not_after",
    "message_id",
    "correlation_id",
    "traceparent",
    "account",
    "operation",
    "operation_class",
    "live",
    "reference",
    "attempts",
    "peak_attempts",
    "unknown_attempts",
    "cleared_attempts",
    "opened_attempts",
    "waits",
    "token",
    "lease_until",
    "next_attempt_at",
    "decided_at",
    "event_id",
    "code",
    "link",
    "link_published",
    "item_id",
    "email",
    "duplicate_of",
)

TOMBSTONE_COLUMNS = ("payment_id", "origin", "until")


def record_row(record: Record, vault: Vault) -> tuple[Scalar, ...]:
    """Values in the order of ``RECORD_COLUMNS``."""
    return (
        record.operation_id.bytes,
        record.kind.value,
        record.payment_id.bytes,
        record.identity,
        record.fingerprint,
        record.origin,
        *facts_row(record.facts),
        record.state.value,
        record.sequence,
        record.version,
        to_micros(record.first_seen),
        to_micros(record.created_at),
        to_micros(record.updated_at),
        micros_or_none(record.not_after),
        record.message_id,
        record.correlation_id,
        record.traceparent,
        record.account,
        word_or_none(record.operation),
        word_or_none(record.operation_class),
        flag_or_none(record.live),
        record.reference,
        record.attempts,
        record.peak_attempts,
        record.unknown_attempts,
        record.cleared_attempts,
        record.opened_attempts,
        record.waits,
        bytes_or_none(record.token),
        micros_or_none(record.lease_until),
        micros_or_none(record.next_attempt_at),
        micros_or_none(record.decided_at),
        bytes_or_none(record.event_id),
        word_or_none(record.code),
        seal_or_none(record.link, vault),
        int(record.link_published),
        record.item_id,
        seal_or_none(record.email, vault),
        bytes_or_none(record.duplicate_of),
    )


def read_record(row: Row, vault: Vault) -> Record:
    """The record of a row in the order of ``RECORD_COLUMNS``."""
    (
        operation_id,
        kind,
        payment_id,
        identity,
        fingerprint,
        origin,
        *facts,
        state,
        sequence,
        version,
        first_seen,
        created_at,
        updated_at,
        not_after,
        message_id,
        correlation_id,
        traceparent,
        account,
        operation,
        operation_class,
        live,
        reference,
        attempts,
        peak_attempts,
        unknown_attempts,
        cleared_attempts,
        opened_attempts,
        waits,
        token,
        lease_until,
        next_attempt_at,
        decided_at,
        event_id,
        code,
        link,
        link_published,
        item_id,
        email,
        duplicate_of,
    ) = row
    return Record(
        operation_id=UUID(bytes=operation_id),
        kind=Kind(kind),
        payment_id=UUID(bytes=payment_id),
        identity=Identity(identity),
        fingerprint=None if fingerprint is None else Fingerprint(fingerprint),
        origin=Origin(origin),
        facts=read_facts(tuple(facts)),
        state=State(state),
        sequence=sequence,
        version=version,
        first_seen=from_micros(first_seen),
        created_at=from_micros(created_at),
        updated_at=from_micros(updated_at),
        not_after=time_or_none(not_after),
        message_id=message_id,
        correlation_id=correlation_id,
        traceparent=traceparent,
        account=account,
        operation=None if operation is None else Operation(operation),
        operation_class=None if operation_class is None else OperationClass(operation_class),
        live=truth_or_none(live),
        reference=reference,
        attempts=attempts,
        peak_attempts=peak_attempts,
        unknown_attempts=unknown_attempts,
        cleared_attempts=cleared_attempts,
        opened_attempts=opened_attempts,
        waits=waits,
        token=id_or_none(token),
        lease_until=time_or_none(lease_until),
        next_attempt_at=time_or_none(next_attempt_at),
        decided_at=time_or_none(decided_at),
        event_id=id_or_none(event_id),
        code=None if code is None else Code(code),
        link=open_or_none(link, vault),
        link_published=bool(link_published),
        item_id=item_id,
        email=open_or_none(email, vault),
        duplicate_of=id_or_none(duplicate_of),
    )


def tombstone_row(tombstone: Tombstone) -> tuple[Scalar, ...]:
    """Values in the order of ``TOMBSTONE_COLUMNS``."""
    return tombstone.payment_id.bytes, tombstone.origin, to_micros(tombstone.until)


def read_tombstone(row: Row) -> Tombstone:
    """The tombstone of a row in the order of ``TOMBSTONE_COLUMNS``."""
    payment_id, origin, until = row
    return Tombstone(
        payment_id=UUID(bytes=payment_id), origin=Origin(origin), until=from_micros(until)
    )
