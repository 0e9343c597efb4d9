"""Bytes to JSON, stricter than the standard library and without ever raising.

The standard parser takes duplicate keys (the last wins), NaN and Infinity, recurses as deep as
the text says and turns numbers into floats and huge integers. Here a number stays the text it
was, so that an absurd one in a property nobody reads refuses no payment: ``Decimal`` raises on
``1e999999999999999999999`` and ``int`` on more than 4,300 digits (measured; payment rules A7).
"""

import codecs
import json
import re
from dataclasses import dataclass
from typing import TypeAlias

from worker.contract.faults import FaultCode

MAX_BODY_BYTES = 64 * 1024
"""Largest body that is read: contract section 2."""

MAX_DEPTH = 16
"""Deepest nesting that is read, the outermost object counted as 1: contract section 2."""

# Possessive, with the closing quote optional: an unclosed string is skipped in one pass instead
# of being searched again from each of its characters.
_STRINGS = re.compile(r'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)


@dataclass(frozen=True, slots=True)
class WholeNumber:
    """A JSON number without fraction or exponent, as text."""

    text: str


@dataclass(frozen=True, slots=True)
class OtherNumber:
    """A JSON number with fraction or exponent; no field of ours takes one."""


@dataclass(frozen=True, slots=True)
class JsonObject:
    """A JSON object with every pair it was written with, duplicates included."""

    pairs: tuple[tuple[str, "JsonValue"], ...]


JsonValue: TypeAlias = (
    "bool | str | WholeNumber | OtherNumber | list[JsonValue] | JsonObject | None"
)


@dataclass(frozen=True, slots=True)
class ParsedBody:
    """The outermost object, if there is one, and what is wrong with the body as a whole.

    Duplicate names in the outermost object are left to whoever knows which of them are fields.
    """

    root: JsonObject | None
    faults: tuple[FaultCode, ...] = ()


def parse_body(body: bytes) -> ParsedBody:
    """Parse a message body; every fault is reported, none is raised."""
    if len(body) > MAX_BODY_BYTES:
        return ParsedBody(None, (FaultCode.BODY_TOO_LARGE,))
    if body.startswith(codecs.BOM_UTF8):
        return ParsedBody(None, (FaultCode.BYTE_ORDER_MARK,))
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return ParsedBody(None, (FaultCode.NOT_UTF8,))
    if _depth_of(text) > MAX_DEPTH:
        return ParsedBody(None, (FaultCode.TOO_DEEP,))
    return _parse_text(text)


def _parse_text(text: str) -> ParsedBody:
    has_duplicates: list[bool] = []
    is_finite = True

    def keep_pairs(pairs: list[tuple[str, JsonValue]]) -> JsonObject:
        has_duplicates.append(len({name for name, _ in pairs}) < len(pairs))
        return JsonObject(tuple(pairs))

    def note_not_finite(_: str) -> OtherNumber:
        nonlocal is_finite
        is_finite = False
        return OtherNumber()

    decoder = json.JSONDecoder(
        object_pairs_hook=keep_pairs,
        parse_int=WholeNumber,
        parse_float=lambda _: OtherNumber(),
        parse_constant=note_not_finite,
    )
    try:
        value: JsonValue = decoder.decode(text)
    except ValueError:
        return ParsedBody(None, (FaultCode.NOT_JSON,))
    root = value if isinstance(value, JsonObject) else None
    # Objects are completed from the inside out, so the outermost one comes last.
    nested = has_duplicates if root is None else has_duplicates[:-1]
    found = {
        FaultCode.NOT_AN_OBJECT: root is None,
        FaultCode.NOT_FINITE: not is_finite,
        FaultCode.DUPLICATE_KEY: any(nested),
    }
    return ParsedBody(root, tuple(code for code, is_found in found.items() if is_found))


def _depth_of(text: str) -> int:
    """Count the deepest nesting of a text that need not be JSON, without recursion."""
    if text.count("{") + text.count("[") <= MAX_DEPTH:
        return 0
    depth = deepest = 0
    for character in _STRINGS.sub("", text):
        if character in "{[":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "}]":
            depth -= 1
    return deepest
