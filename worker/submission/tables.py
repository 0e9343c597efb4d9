"""CSV as spreadsheets write it: a header row, comma or semicolon, UTF-8 with or without a mark.

Every cell is text, so an id keeps its leading zeros; an empty cell is an absent field. A file
whose quotes do not add up is refused as a whole: from there on, which cell belongs to which
column would be a guess.
"""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from worker.contract.bodies import REQUEST_FIELDS
from worker.contract.json_text import MAX_BODY_BYTES, JsonObject
from worker.contract.names import fold_name, name_values
from worker.model import Fault
from worker.submission.rows import Row, UnreadableFileError, key_from, without_key, without_mark

_FIELDS = {fold_name(field): field for field in REQUEST_FIELDS}
_COLUMNS = Fault(
    "row", "column_count", "The row has more or fewer cells than the header has names."
)
_NOT_UTF8 = "The file is not UTF-8; a spreadsheet saves it so as 'CSV UTF-8'."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    width: int
    fields: tuple[str | None, ...]
    key_place: int | None
    ignored: tuple[str, ...]


def table_rows(data: bytes, *, key_column: str | None) -> Iterator[Row]:
    """Yield the rows of a CSV file; empty ones are passed over and not counted.

    Raises ``UnreadableFileError``.
    """
    header: _Header | None = None
    number = 0
    for line, cells in _numbered(_text(without_mark(data))):
        if not any(cell.strip() for cell in cells):
            continue
        if header is None:
            header = _header(cells, key_column, line)
            continue
        number += 1
        yield _row(header, cells, number=number, line=line, key_column=key_column)


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UnreadableFileError("not_utf8", _NOT_UTF8, line) from None  # it quotes the bytes


def _separator(text: str) -> str:
    first = text.lstrip().partition("\n")[0]
    return ";" if first.count(";") > first.count(",") else ","


def _numbered(text: str) -> Iterator[tuple[int, list[str]]]:
    """Pair each row with the line it begins on: a quoted cell may hold line breaks."""
    # A cell longer than a whole message is refused with its row; without a limit of ours the
    # parser would refuse the file at 128 KiB.
    csv.field_size_limit(max(len(text), MAX_BODY_BYTES))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            sentence = "A quoted cell does not end where it should."
            raise UnreadableFileError("not_csv", sentence, line) from None
        yield line, cells


def _header(cells: Sequence[str], key_column: str | None, line: int) -> _Header:
    names = tuple(cell.strip() for cell in cells)
    while names and not names[-1]:
        names = names[:-1]
    named = name_values(JsonObject(tuple((name, None) for name in names if name)), REQUEST_FIELDS)
    if not named.values and not named.faults:
        sentence = "The first row names no field of a payment request."
        raise UnreadableFileError("header_missing", sentence, line)
    if named.faults:
        sentence = f"Two columns are the same field: {', '.join(named.faults)}."
        raise UnreadableFileError("column_repeated", sentence, line)
    folded = [fold_name(name) for name in names]
    key_place: int | None = None
    if key_column is not None:
        if folded.count(fold_name(key_column)) != 1:
            sentence = "The header does not name the key column, or names it twice."
            raise UnreadableFileError("key_column_missing", sentence, line)
        key_place = folded.index(fold_name(key_column))
    return _Header(
        width=len(names),
        fields=tuple(_FIELDS.get(name) for name in folded),
        key_place=key_place,
        ignored=without_key(named.unknown, key_column),
    )


def _row(
    header: _Header, cells: Sequence[str], *, number: int, line: int, key_column: str | None
) -> Row:
    # Spreadsheets pad rows with empty cells; a missing or surplus value shifts all the others.
    if len(cells) < header.width or any(cell.strip() for cell in cells[header.width :]):
        return Row(number=number, line=line, body=None, faults=(_COLUMNS,))
    content = {
        field: cell
        for field, cell in zip(header.fields, cells, strict=False)
        if field is not None and cell.strip()
    }
    key: str | None = None
    faults: tuple[Fault, ...] = ()
    if key_column is not None and header.key_place is not None:
        key, faults = key_from([cells[header.key_place]], key_column)
    return Row(
        number=number,
        line=line,
        body=json.dumps(content, ensure_ascii=False).encode(),
        key=key,
        ignored=header.ignored,
        faults=faults,
    )
