"""What is only ever added: ended attempts, audited acts in their chain, returns from a backup."""

import json
from uuid import UUID

from worker.acts import KeptAct, Place
from worker.adapters.encryption import Sealed, Sealer, Vault
from worker.adapters.store_rows.tries import read_tries, write_tries
from worker.adapters.store_rows.values import (
    Row,
    Scalar,
    bytes_or_none,
    from_micros,
    id_or_none,
    to_micros,
)
from worker.records import NO_FACTS, ActFacts, AttemptEntry, AuditEntry, Restoration

ATTEMPT_COLUMNS = (
    "operation_id",
    "token",
    "number",
    "reference",
    "tries",
    "links",
    "ended_at",
    "note",
)

ENTRY_OF = "(SELECT entry FROM operations WHERE operation_id = {0})"
"""What the attempts of an operation are found by: the number of its row, so asked for before that
row goes."""

AUDIT_COLUMNS = ("at", "actor", "action", "operation_id", "detail", "denied", "facts")

PLACE_COLUMNS = ("position", "hash")

KEPT_COLUMNS = ("entry", *AUDIT_COLUMNS, *PLACE_COLUMNS)

RESTORATION_COLUMNS = ("known_until", "restored_at", "actor")

_UNREADABLE = AuditEntry(
    at=from_micros(0), actor="", action="unreadable", operation_id=None, detail=""
)
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def attempt_row(attempt: AttemptEntry, sealer: Sealer) -> tuple[Scalar, ...]:
    """Values in the order of ``ATTEMPT_COLUMNS``; links leave the text of the tries."""
    tries, links = write_tries(attempt.tries)
    return (
        attempt.operation_id.bytes,
        attempt.token.bytes,
        attempt.number,
        attempt.reference,
        _encode(tries),
        " ".join(sealer.seal(link).text for link in links) or None,
        to_micros(attempt.ended_at),
        attempt.note,
    )


def read_attempt(row: Row, vault: Vault) -> AttemptEntry:
    """The attempt of a row in the order of ``ATTEMPT_COLUMNS``."""
    operation_id, token, number, reference, tries, links, ended_at, note = row
    opened = [vault.open(Sealed.parse(text)) for text in (links or "").split()]
    return AttemptEntry(
        operation_id=UUID(bytes=operation_id),
        token=UUID(bytes=token),
        number=number,
        reference=reference,
        tries=read_tries(json.loads(tries), opened),
        ended_at=from_micros(ended_at),
        note=note,
    )


def audit_row(entry: AuditEntry) -> tuple[Scalar, ...]:
    """Values in the order of ``AUDIT_COLUMNS``."""
    return (
        to_micros(entry.at),
        entry.actor,
        entry.action,
        bytes_or_none(entry.operation_id),
        entry.detail,
        int(entry.is_denied),
        _encode(facts) if (facts := entry.facts.known) else None,
    )


def read_audit(row: Row) -> AuditEntry:
    """The audit entry of a row in the order of ``AUDIT_COLUMNS``."""
    at, actor, action, operation_id, detail, denied, facts = row
    return AuditEntry(
        at=from_micros(at),
        actor=actor,
        action=action,
        operation_id=id_or_none(operation_id),
        detail=detail,
        is_denied=bool(denied),
        facts=NO_FACTS if facts is None else ActFacts(**json.loads(facts)),
    )


def place_row(place: Place) -> tuple[Scalar, ...]:
    """Values in the order of ``PLACE_COLUMNS``."""
    return place.position, place.digest


def read_place(row: Row) -> Place | None:
    """The place of a row in the order of ``PLACE_COLUMNS``; half of one is none."""
    position, digest = row
    return None if position is None or digest is None else Place(position, bytes(digest))


def read_kept_act(row: Row) -> KeptAct:
    """The act of a row in the order of ``KEPT_COLUMNS``.

    One that cannot be read any more was tampered with, and is an empty one: its hash tells so.
    """
    size = len(PLACE_COLUMNS)
    try:
        entry = read_audit(row[1:-size])
    except (ValueError, TypeError, AttributeError, OverflowError):
        entry = _UNREADABLE
    return KeptAct(row=row[0], entry=entry, place=read_place(row[-size:]))


def restoration_row(restoration: Restoration) -> tuple[Scalar, ...]:
    """Values in the order of ``RESTORATION_COLUMNS``."""
    return (
        to_micros(restoration.known_until),
        to_micros(restoration.restored_at),
        restoration.actor,
    )


def read_restoration(row: Row) -> Restoration:
    """The restoration of a row in the order of ``RESTORATION_COLUMNS``."""
    known_until, restored_at, actor = row
    return Restoration(
        known_until=from_micros(known_until), restored_at=from_micros(restored_at), actor=actor
    )
