"""The lines of an export as bytes: a header, one line for each letter, the seal.

A letter's line is the copy that puts it back at the end of its queue, so what is imported is what
a walk would have left there. JSON Lines, so that a file of any length is written and read letter
by letter; the seal is the SHA-256 over all bytes before it. It tells of accidents, not of forgery:
whoever can write the file can seal it, as whoever may publish to the dead letters can put anything
there. So a letter may name no payment but its own, and what it asks for is judged by the ledger
when it is replayed.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final
from uuid import UUID

from worker.contract import headers
from worker.contract.copies import DEAD_KEY, rotated_copy
from worker.contract.envelope import envelope_on
from worker.contract.times import exact_time_text, read_time
from worker.identity import operation_id_of
from worker.messages import Exchange, OutgoingMessage
from worker.model import Delivery, Environment, Source

VERSION: Final = 1
"""The format that is written; one that is newer is refused."""

LONGEST_LINE: Final = 256 * 2**20
"""Bytes: more than the largest message a broker takes (128 MiB) as base64."""

_NAME: Final = "payment-worker dead letters"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class LineError(ValueError):
    """A line that is not what should stand at its place; says nothing of what it holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportHeader:
    """Where and when the letters were copied."""

    environment: Environment
    exported_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedLetter:
    """A letter whose headers say truthfully whose it is; use ``exported``."""

    operation_id: UUID
    sequence: int
    message: OutgoingMessage

    @property
    def is_unanswered(self) -> bool:
        """Whether the broker had given it up: nobody has decided anything about it."""
        return headers.ERROR_CODE not in self.message.headers

    def with_attempts(self, known: int) -> "ExportedLetter":
        """The same letter, telling of no fewer attempts than are ``known``."""
        told = int(self.message.headers[headers.ATTEMPTS])
        own = {**self.message.headers, headers.ATTEMPTS: max(told, known)}
        return replace(self, message=replace(self.message, headers=MappingProxyType(own)))

    @property
    def name(self) -> tuple[UUID, int, bool]:
        """What two copies of one letter have in common."""
        return self.operation_id, self.sequence, self.is_unanswered


@dataclass(frozen=True, slots=True)
class Seal:
    """What the last line promises of those before it, the header not counted."""

    letters: int
    sha256: str


def exported(message: OutgoingMessage) -> ExportedLetter | None:
    """The letter that a copy is; ``None`` where its headers are missing, garbled or a lie.

    They are those that this version would write itself, and the id follows from the identity
    (contract section 2): a letter may name no payment but its own.
    """
    letter = _delivered(message)
    envelope = envelope_on(letter)
    if envelope is None or envelope.operation_id != operation_id_of(envelope.identity):
        return None
    if rotated_copy(letter) != message:
        return None
    return ExportedLetter(
        operation_id=envelope.operation_id, sequence=envelope.sequence, message=message
    )


def header_line(header: ExportHeader) -> bytes:
    return _line(
        {
            "format": _NAME,
            "version": VERSION,
            "environment": header.environment.value,
            "exported_at": exact_time_text(header.exported_at),
        }
    )


def letter_line(letter: ExportedLetter) -> bytes:
    message = letter.message
    moment = message.timestamp
    return _line(
        {
            "payment_id": str(letter.operation_id),
            "sequence": letter.sequence,
            "message_id": message.message_id,
            "correlation_id": message.correlation_id,
            "type": message.type,
            "timestamp": None if moment is None else exact_time_text(moment),
            "headers": dict(message.headers),
            "body": b64encode(message.body).decode("ascii"),
        }
    )


def seal_line(seal: Seal) -> bytes:
    return _line({"letters": seal.letters, "sha256": seal.sha256})


def version_in(line: bytes) -> int | None:
    """The format's version by a file's first line; ``None`` where that is no export's."""
    first = _fields(line)
    version = first.get("version")
    return version if first.get("format") == _NAME and type(version) is int else None


def read_header(line: bytes) -> ExportHeader:
    """Raises ``LineError``."""
    first = _fields(line)
    try:
        environment = Environment(str(first.get("environment")))
    except ValueError as error:
        raise LineError from error
    exported_at = read_time(str(first.get("exported_at")))
    if exported_at is None:
        raise LineError
    return _exactly(ExportHeader(environment=environment, exported_at=exported_at), line)


def read_letter(line: bytes) -> ExportedLetter:
    """Raises ``LineError``, also where the letter lies about whose it is."""
    fields = _fields(line)
    try:
        message = OutgoingMessage(
            exchange=Exchange.DEAD_LETTER,
            routing_key=DEAD_KEY,
            body=b64decode(str(fields["body"]), validate=True),
            message_id=str(fields["message_id"]),
            correlation_id=_text(fields["correlation_id"]),
            type=_text(fields["type"]),
            timestamp=_time(fields["timestamp"]),
            headers=_headers(fields["headers"]),
        )
    except (LookupError, ValueError) as error:
        raise LineError from error
    letter = exported(message)
    if letter is None or letter_line(letter) != line:
        raise LineError
    return letter


def read_seal(line: bytes) -> Seal | None:
    """The seal that a last line is; ``None`` where it is none: the file was cut off."""
    fields = _fields(line)
    letters, digest = fields.get("letters"), fields.get("sha256")
    if type(letters) is not int or not isinstance(digest, str):
        return None
    seal = Seal(letters, digest)
    return seal if seal_line(seal) == line else None


def _exactly(header: ExportHeader, line: bytes) -> ExportHeader:
    if header_line(header) != line:
        raise LineError
    return header


def _delivered(message: OutgoingMessage) -> Delivery:
    """A copy as the queue would hand it out."""
    return Delivery(
        body=message.body,
        source=Source.ELSEWHERE,
        routing_key=message.routing_key,
        received_at=_EPOCH,
        message_id=message.message_id,
        correlation_id=message.correlation_id,
        type=message.type,
        timestamp=message.timestamp,
        headers=message.headers,
    )


def _line(fields: Mapping[str, object]) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode("ascii") + b"\n"


def _fields(line: bytes) -> Mapping[str, object]:
    """The members of a line; none where it is no JSON object."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _time(value: object) -> datetime | None:
    return None if value is None else read_time(str(value))


def _headers(value: object) -> Mapping[str, str | int]:
    """Headers of the only two types a delivery of ours has."""
    if not isinstance(value, dict):
        raise LineError
    if not all(type(each) in {str, int} for each in value.values()):
        raise LineError
    return MappingProxyType(value)
