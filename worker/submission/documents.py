"""JSON as files hold it: one object in each line, one object alone, or an array of objects.

An element's own text is handed on as it stands, so that the contract's reader sees what the
standard parser would have smoothed over: duplicate keys, NaN, numbers beyond a float.
"""

import json
from collections.abc import Iterator

from worker.contract.faults import SENTENCES, FaultCode
from worker.submission.rows import Row, Shape, UnreadableFileError, json_row, without_mark

_WHITE = " \t\r\n"
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str)
"""Finds where a value ends; as text, no number is too long for it."""

_SUFFIXES = {
    ".jsonl": Shape.JSON_LINES,
    ".ndjson": Shape.JSON_LINES,
    ".csv": Shape.CSV,
    ".json": Shape.JSON,
}


def shape_of(suffix: str, data: bytes) -> Shape:
    """Tell the shape of a file by its suffix, else by how it begins."""
    known = _SUFFIXES.get(suffix.lower())
    if known is not None:
        return known
    begin = without_mark(data).lstrip()
    if begin.startswith(b"{"):
        first = begin.partition(b"\n")[0]
        return Shape.JSON_LINES if _is_whole(first) else Shape.JSON
    return Shape.JSON if begin.startswith(b"[") else Shape.CSV


def line_rows(data: bytes, *, key_column: str | None) -> Iterator[Row]:
    """Yield one row for each line that is not blank."""
    number = 0
    for line, text in enumerate(without_mark(data).split(b"\n"), start=1):
        body = text.strip()
        if body:
            number += 1
            yield json_row(body, number=number, line=line, key_column=key_column)


def document_rows(data: bytes, *, key_column: str | None) -> Iterator[Row]:
    """Yield the one request of a JSON document, or each element of an array.

    Raises ``UnreadableFileError`` where an array cannot be taken apart.
    """
    body = without_mark(data).strip()
    if not body:
        return
    if not body.startswith(b"["):
        yield json_row(body, number=1, line=_first_line(data), key_column=key_column)
        return
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        line = _first_line(data) + body.count(b"\n", 0, error.start)
        raise _unreadable(FaultCode.NOT_UTF8, line) from None  # it quotes the bytes
    for number, (line, element) in enumerate(_elements(text, _first_line(data)), start=1):
        yield json_row(element.encode(), number=number, line=line, key_column=key_column)


def _elements(text: str, line: int) -> Iterator[tuple[int, str]]:
    """Yield each element's text with the line it begins on."""
    seen = 0
    place = _skip(text, 1)
    if text[place : place + 1] == "]":
        _end(text, place, line)
        return
    while True:
        line += text.count("\n", seen, place)
        seen = place
        end = _end_of_value(text, place, line)
        yield line, text[place:end]
        place = _skip(text, end)
        following = text[place : place + 1]
        if following == "]":
            _end(text, place, line)
            return
        if following != ",":
            raise _unreadable(FaultCode.NOT_JSON, line)
        place = _skip(text, place + 1)


def _end_of_value(text: str, place: int, line: int) -> int:
    try:
        _, end = _DECODER.raw_decode(text, place)
    except ValueError:
        raise _unreadable(FaultCode.NOT_JSON, line) from None  # it quotes the text
    except RecursionError:
        raise _unreadable(FaultCode.TOO_DEEP, line) from None
    return end


def _end(text: str, place: int, line: int) -> None:
    if text[place + 1 :].strip(_WHITE):
        raise _unreadable(FaultCode.NOT_JSON, line)


def _skip(text: str, place: int) -> int:
    while text[place : place + 1] and text[place] in _WHITE:
        place += 1
    return place


def _is_whole(line: bytes) -> bool:
    try:
        _DECODER.decode(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return False
    return True


def _first_line(data: bytes) -> int:
    return len(data[: len(data) - len(without_mark(data).lstrip())].split(b"\n"))


def _unreadable(code: FaultCode, line: int) -> UnreadableFileError:
    return UnreadableFileError(code.value, SENTENCES[code], line)
