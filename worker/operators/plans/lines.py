"""The lines of a plan file, as bytes: a header, a row for each letter, the sums, the seal.

JSON Lines, so that a file of any length is written and read row by row. The seal is the SHA-256
over all bytes before it, and is compared byte for byte: no change goes unnoticed, not even of a
space. It tells of accidents and of edits by hand; whoever can write the file can also seal it.
"""

import json
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from worker.operators.plans.rows import PlanHeader, PlanRow, PlanTotal

VERSION: Final = 1
"""The format that is written; one that is newer is refused."""

LONGEST_LINE: Final = 64 * 1024
"""No line of ours is nearly as long: a file with a longer one is none of ours."""

Line = TypeVar("Line")

_NAME: Final = "payment-worker plan"
_SEAL_BEGINS: Final = b'{"sha256": "'
_DIGEST_LENGTH = 64


class LineError(ValueError):
    """A line that is not what should stand at its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _First:
    format: Literal["payment-worker plan"]
    version: Literal[1]
    plan: PlanHeader


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSums:
    """The line before the seal: how many rows there are, and what they add up to."""

    rows: int
    totals: tuple[PlanTotal, ...]


_FIRST = TypeAdapter(_First)
_ROW = TypeAdapter(PlanRow)
_SUMS = TypeAdapter(PlanSums)


def header_line(header: PlanHeader) -> bytes:
    return _FIRST.dump_json(_First(format=_NAME, version=VERSION, plan=header)) + b"\n"


def row_line(row: PlanRow) -> bytes:
    return _ROW.dump_json(row) + b"\n"


def sums_line(sums: PlanSums) -> bytes:
    return _SUMS.dump_json(sums) + b"\n"


def seal_line(digest: str) -> bytes:
    return _SEAL_BEGINS + digest.encode("ascii") + b'"}\n'


def is_seal(line: bytes) -> bool:
    """Whether a line is a seal, of whatever: a file without one was cut off."""
    return (
        line.startswith(_SEAL_BEGINS)
        and len(line.rstrip()) == len(_SEAL_BEGINS) + _DIGEST_LENGTH + 2
    )


def version_in(line: bytes) -> int | None:
    """The format's version by a file's first line; ``None`` where that is no plan's."""
    try:
        first = json.loads(line)
    except ValueError:
        return None
    if not isinstance(first, dict) or first.get("format") != _NAME:
        return None
    version = first.get("version")
    return version if type(version) is int else None


def read_header(line: bytes) -> PlanHeader:
    """Raises ``LineError``."""
    header = _read(_FIRST, line).plan
    if header.created_at.tzinfo is None or header.expires_at.tzinfo is None:
        raise LineError  # a time without its zone
    return header


def read_row(line: bytes) -> PlanRow:
    """Raises ``LineError``."""
    return _read(_ROW, line)


def read_sums(line: bytes) -> PlanSums:
    """Raises ``LineError``."""
    return _read(_SUMS, line)


def _read(shape: TypeAdapter[Line], line: bytes) -> Line:
    try:
        return shape.validate_json(line)
    except ValidationError as error:
        raise LineError from error
