"""The requests in a file, whatever its shape: JSON Lines, CSV or one JSON document.

Every row keeps its place, so that a refusal can be found, and its number, from which its
identity is made. Nothing is judged here but the file itself; the contract's reader does that,
row by row.
"""

import codecs
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum, unique

from typing_extensions import override

from worker.contract.bodies import REQUEST_FIELDS
from worker.contract.faults import FaultCode, fault
from worker.contract.fields import present_key
from worker.contract.json_text import JsonValue, WholeNumber, parse_body
from worker.contract.names import fold_name, name_values
from worker.model import Fault


@unique
class Shape(StrEnum):
    """How a file holds its requests."""

    JSON_LINES = "jsonl"
    CSV = "csv"
    JSON = "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One request of a file, not yet judged.

    ``number`` counts requests from 1, ``line`` is where it begins; ``body`` is ``None`` where the
    row could not even be taken apart. ``key`` is its value in the key column. ``ignored`` names
    what no request has.
    """

    number: int
    line: int | None = None
    body: bytes | None = field(repr=False)
    key: str | None = field(default=None, repr=False)
    ignored: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()


class UnreadableFileError(Exception):
    """A file that holds no rows one could trust: none of it may be sent.

    ``code`` is a stable word, ``line`` where it was noticed.
    """

    def __init__(self, code: str, sentence: str, line: int | None = None) -> None:
        super().__init__(code, sentence, line)
        self.code = code
        self.sentence = sentence
        self.line = line

    @override
    def __str__(self) -> str:
        return self.sentence if self.line is None else f"{self.sentence} (line {self.line})"


def without_mark(data: bytes) -> bytes:
    """Return a file's bytes without the byte order mark that spreadsheets write."""
    return data.removeprefix(codecs.BOM_UTF8)


def json_row(body: bytes, *, number: int, line: int | None, key_column: str | None) -> Row:
    """Build the row of one JSON text, with its key if a property is to hold it."""
    root = parse_body(body).root
    if root is None:
        return Row(number=number, line=line, body=body)
    named = name_values(root, REQUEST_FIELDS)
    key: str | None = None
    faults: tuple[Fault, ...] = ()
    if key_column is not None:
        folded = fold_name(key_column)
        given = [value for name, value in root.pairs if fold_name(name) == folded]
        key, faults = key_from(given, key_column)
    return Row(
        number=number,
        line=line,
        body=body,
        key=key,
        ignored=without_key(named.unknown, key_column),
        faults=faults,
    )


def key_from(given: Sequence[JsonValue], key_column: str) -> tuple[str | None, tuple[Fault, ...]]:
    """Take the key out of a row's values of the key column; every row needs exactly one."""
    if len(given) > 1:
        return None, (fault(key_column, FaultCode.REPEATED),)
    value = given[0] if given else None
    if isinstance(value, WholeNumber):
        value = value.text
    if value is not None and not isinstance(value, str):
        return None, (fault(key_column, FaultCode.NOT_TEXT),)
    key = present_key(value)
    return key, () if key is not None else (fault(key_column, FaultCode.MISSING),)


def without_key(names: Sequence[str], key_column: str | None) -> tuple[str, ...]:
    """Return names without the key column's, which is used and not ignored."""
    folded = None if key_column is None else fold_name(key_column)
    return tuple(name for name in names if fold_name(name) != folded)
