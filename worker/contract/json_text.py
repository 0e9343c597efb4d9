"""Bytes to JSON, stricter than the standard library and without ever raising.

The standard parser takes duplicate keys (the last wins), NaN and Infinity, recurses as deep as
the text says and turns numbers into floats and huge integers. Here a number stays the text it
was, so that an absurd one in a property nobody reads refuses no payment: ``Decimal`` raises on
``1e999999999999999999999`` and ``int`` on more than 4,300 digits (measured; payment rules A7).
"""

import codecs
import json
import re
from collections.abc import Iterable, Iterator
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
    """A JSON number with fraction or exponent; no field of ours takes one.

    Nor NaN and the infinities, which are no JSON at all.
    """

    is_finite: bool = True


@dataclass(frozen=True, slots=True)
class JsonObject:
    """A JSON object with every pair it was written with, duplicates included."""

    pairs: tuple[tuple[str, "JsonValue"], ...]

    @property
    def values(self) -> list["JsonValue"]:
        """Its values alone, in order."""
        return [value for _, value in self.pairs]

    @property
    def repeats_a_name(self) -> bool:
        """Whether a name stands twice in it."""
        return len({name for name, _ in self.pairs}) < len(self.pairs)


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


_DECODER = json.JSONDecoder(
    object_pairs_hook=lambda pairs: JsonObject(tuple(pairs)),
    parse_int=WholeNumber,
    parse_float=lambda _: OtherNumber(),
    parse_constant=lambda _: OtherNumber(is_finite=False),
)
_OF_A_TEXT = (FaultCode.NOT_AN_OBJECT, FaultCode.NOT_FINITE, FaultCode.DUPLICATE_KEY)
"""What may be wrong with a text that is JSON, in the order it is told."""


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
    try:
        value: JsonValue = _DECODER.decode(text)
    except ValueError:
        return ParsedBody(None, (FaultCode.NOT_JSON,))
    root = value if isinstance(value, JsonObject) else None
    within = set(_faults_among([value] if root is None else root.values))
    if root is None:
        within.add(FaultCode.NOT_AN_OBJECT)
    return ParsedBody(root, tuple(code for code in _OF_A_TEXT if code in within))


def _faults_among(values: Iterable[JsonValue]) -> Iterator[FaultCode]:
    """Look through values and what they hold, as deep as ``MAX_DEPTH`` at most."""
    for value in values:
        if isinstance(value, JsonObject):
            if value.repeats_a_name:
                yield FaultCode.DUPLICATE_KEY
            yield from _faults_among(value.values)
        elif isinstance(value, list):
            yield from _faults_among(value)
        elif isinstance(value, OtherNumber) and not value.is_finite:
            yield FaultCode.NOT_FINITE


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
