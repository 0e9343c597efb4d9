"""Reading one field: what is accepted, what it becomes, and the fault when it is not.

Every limit and pattern stands here once; the published schemas are built from the same
constants. Source: the table and the reading rules of contract section 2.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar
from uuid import UUID

from worker.contract.faults import FaultCode, fault
from worker.contract.json_text import JsonValue, WholeNumber
from worker.contract.names import NamedValues
from worker.model import Cents, Fault, PaymentTarget, PaymentType, RunMode

ID_LENGTH = 32
EMAIL_LENGTHS = (3, 70)
COMMENT_LENGTH = 500
KEY_LENGTH = 255
"""Longest key: what a ``message_id`` can hold on the wire, so that both kinds of key match."""

AMOUNT_PATTERN = "[1-9][0-9]{0,11}"

TARGETS: Mapping[str, PaymentTarget] = {
    **{target.value: target for target in PaymentTarget},
    "LA BANQUE POSTALE": PaymentTarget.LABANQUEPOSTALE,
}
"""Names a target is read by; the alias is how the DTO's own description spells it."""

RUN_MODES: Mapping[str, RunMode] = {mode.value: mode for mode in RunMode}

PAYMENT_TYPES: Mapping[str, PaymentType] = {
    **{kind.value: kind for kind in PaymentType},
    "SEPA_DIRECT": PaymentType.DIRECT_SEPA,
}
"""Names a type is read by; the alias is how the DTO's own description spells it."""

NO_GUID = UUID(int=0)
"""What an unset GUID looks like when a .NET client sends it; it identifies nothing."""

NO_GUID_PATTERN = r"\{?(0{32}|0{8}-0{4}-0{4}-0{4}-0{12})\}?"
"""The same in any of the forms such a client may write it in."""

_AMOUNT = re.compile(AMOUNT_PATTERN, re.ASCII)
_EMAIL = re.compile(r"[^\s@,<>]+@[^\s@,<>]+")
_GUID = re.compile(
    r"[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    re.IGNORECASE | re.ASCII,
)
_NO_GUID = re.compile(NO_GUID_PATTERN, re.ASCII)
_WHITE_CONTROLS = "\t\n\r"
_DIGITS_OF_A_LONG_ID = 64

Choice = TypeVar("Choice", bound=StrEnum)
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Wrong:
    """Why a value is refused."""

    code: FaultCode


class FieldReader:
    """Takes fields out of one body and collects the faults in the order they were asked for."""

    def __init__(self, named: NamedValues) -> None:
        self._named = named
        self.faults: list[Fault] = []

    def required(self, field: str, rule: Callable[[JsonValue], Value | Wrong]) -> Value | None:
        """Read a field that must be there; null is missing."""
        value = self._named.values.get(field)
        if value is None and field not in self._named.faults:
            self.faults.append(fault(field, FaultCode.MISSING))
            return None
        return self._read(field, value, rule)

    def optional(self, field: str, rule: Callable[[JsonValue], Value | Wrong]) -> Value | None:
        """Read a field that may be absent or null."""
        return self._read(field, self._named.values.get(field), rule)

    def _read(
        self, field: str, value: JsonValue, rule: Callable[[JsonValue], Value | Wrong]
    ) -> Value | None:
        if value is None:
            # A field given twice has no value, but a fault.
            if field in self._named.faults:
                self.faults.append(self._named.faults[field])
            return None
        result = rule(value)
        if isinstance(result, Wrong):
            self.faults.append(fault(field, result.code))
            return None
        return result


def text_of(value: JsonValue, *, shortest: int = 1, longest: int = ID_LENGTH) -> str | Wrong:
    """Read a text, trimmed; a whole number is read as its decimal text."""
    text = _decimal_text(value) if isinstance(value, WholeNumber) else value
    if not isinstance(text, str):
        return Wrong(FaultCode.NOT_TEXT)
    return _checked(trim(text), shortest=shortest, longest=longest)


def email_of(value: JsonValue) -> str | Wrong:
    """Read an e-mail: exactly one ``@``, text on both sides, nothing that would end it."""
    if not isinstance(value, str):
        return Wrong(FaultCode.NOT_TEXT)
    shortest, longest = EMAIL_LENGTHS
    text = _checked(trim(value), shortest=shortest, longest=longest)
    if isinstance(text, str) and not _EMAIL.fullmatch(text):
        return Wrong(FaultCode.NOT_AN_EMAIL)
    return text


def comment_of(value: JsonValue) -> str | Wrong:
    """Check a comment; of all texts it alone may hold line breaks and tabs."""
    if not isinstance(value, str):
        return Wrong(FaultCode.NOT_TEXT)
    without_breaks = value.translate(dict.fromkeys(map(ord, _WHITE_CONTROLS), " "))
    return _checked(trim(without_breaks), shortest=0, longest=COMMENT_LENGTH)


def choice_of(value: JsonValue, names: Mapping[str, Choice]) -> Choice | Wrong:
    """Read an enum by name in any case; never by number, since a guess could be LIVE."""
    if not isinstance(value, str):
        return Wrong(FaultCode.NOT_A_NAME)
    text = trim(value)
    # Some letters beyond ASCII have a capital within it: a dotless i would turn into LIVE.
    chosen = names.get(text.upper()) if text.isascii() else None
    return chosen if chosen is not None else Wrong(FaultCode.UNKNOWN_VALUE)


def target_of(value: JsonValue) -> PaymentTarget | Wrong:
    """Read a payment target, the alias of the DTO's description included."""
    return choice_of(value, TARGETS)


def run_mode_of(value: JsonValue) -> RunMode | Wrong:
    """Read a run mode."""
    return choice_of(value, RUN_MODES)


def payment_type_of(value: JsonValue) -> PaymentType | Wrong:
    """Read a payment type, the alias of the DTO's description included."""
    return choice_of(value, PAYMENT_TYPES)


def amount_of(value: JsonValue) -> Cents | Wrong:
    """Read cents from digits in a string, not trimmed, or from a JSON integer."""
    text = value.text if isinstance(value, WholeNumber) else value
    if not isinstance(text, str) or not _AMOUNT.fullmatch(text):
        return Wrong(FaultCode.NOT_CENTS)
    return Cents(int(text))


def guid_of(value: JsonValue) -> UUID | Wrong:
    """Read a GUID, with or without dashes."""
    guid = read_guid(value) if isinstance(value, str) else None
    return guid if guid is not None else Wrong(FaultCode.NOT_A_GUID)


def flag_of(value: JsonValue) -> bool | Wrong:
    """Read true or false."""
    return value if isinstance(value, bool) else Wrong(FaultCode.NOT_A_BOOLEAN)


def trim(text: str) -> str:
    """Remove white space around a text; other control characters stay and are refused."""
    if text and not (text[0].isspace() or text[-1].isspace()):
        return text  # Python's white space holds ours, so there is none: nearly every text
    start, end = 0, len(text)
    while start < end and _is_white(text[start]):
        start += 1
    while end > start and _is_white(text[end - 1]):
        end -= 1
    return text[start:end]


def has_control_character(text: str) -> bool:
    """Whether a text holds a control character, or half of a surrogate pair.

    The latter is no character at all and cannot be written as UTF-8 (RFC 8259, 8.2).
    """
    return not text.isprintable() and any(
        unicodedata.category(character) in {"Cc", "Cs"} for character in text
    )


def read_guid(text: str) -> UUID | None:
    """Read a GUID with or without dashes, in any case."""
    trimmed = trim(text)
    return UUID(trimmed) if _GUID.fullmatch(trimmed) else None


def present_key(text: str | None) -> str | None:
    """Return a key that says something; blank values and the all-zero GUID are absent."""
    key = trim(text or "")
    return None if not key or _NO_GUID.fullmatch(key) else key


def _checked(text: str, *, shortest: int, longest: int) -> str | Wrong:
    if len(text) < shortest:
        return Wrong(FaultCode.TOO_SHORT)
    if len(text) > longest:
        return Wrong(FaultCode.TOO_LONG)
    return Wrong(FaultCode.CONTROL_CHARACTER) if has_control_character(text) else text


def _decimal_text(number: WholeNumber) -> str:
    if len(number.text) > _DIGITS_OF_A_LONG_ID:
        # Longer than any field, and ``int`` refuses more than 4,300 digits.
        return number.text
    return str(int(number.text))


def _is_white(character: str) -> bool:
    return character in _WHITE_CONTROLS or unicodedata.category(character) in {"Zs", "Zl", "Zp"}
