"""A dead letter's body as an operator may see it: what it asks for, and nobody's address.

Fields of ours are shown as they were written, the e-mail by its first letter, the comment not at
all. What other properties hold nobody knows, so only their names are shown. Below these rules lies
a net: a value that looks like an address is masked wherever it stands.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from worker.contract.bodies import CANCEL_FIELDS, REQUEST_FIELDS
from worker.contract.json_text import JsonObject, JsonValue, OtherNumber, WholeNumber, parse_body
from worker.contract.names import fold_name

MASKED = "***"

_LONGEST = 200
_FIELDS = {fold_name(name): name for name in (*REQUEST_FIELDS, *CANCEL_FIELDS)}


@dataclass(frozen=True, slots=True)
class MaskedBody:
    """Properties in the order of the body, by the names it gives them; ``size`` in bytes.

    ``properties`` is ``None`` where the body is no JSON object: nothing of it can be shown.
    """

    size: int
    properties: Mapping[str, str | bool | None] | None


def masked_body(body: bytes) -> MaskedBody:
    """Mask what a body holds of people; of a property that stands twice the last is shown."""
    root = parse_body(body).root
    if root is None:
        return MaskedBody(len(body), None)
    return MaskedBody(
        len(body), {_visible(name): _shown(name, value) for name, value in root.pairs}
    )


def masked_email(text: str) -> str:
    """An e-mail by its first letter."""
    return f"{text[:1]}{MASKED}@…" if "@" in text[1:] else MASKED


def _shown(name: str, value: JsonValue) -> str | bool | None:
    field = _FIELDS.get(fold_name(name))
    if value is None:
        return None
    if field is None or field == "commentaire":
        return MASKED
    match value:
        case str():
            return masked_email(value) if field == "email" else _visible(value)
        case bool():
            return value
        case WholeNumber():
            return _visible(value.text)
        case OtherNumber() | list() | JsonObject():
            return MASKED
        case other:
            assert_never(other)


def _visible(text: str) -> str:
    """On one line, and no longer than a field may be in the worst case."""
    if "@" in text or "://" in text:
        return MASKED
    return "".join(letter if letter.isprintable() else "?" for letter in text[:_LONGEST])
