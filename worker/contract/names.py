"""Which property of a body is which field: names fold, fields do not repeat.

The DTO's Python client writes camelCase, the HTTP sample snake_case, .NET PascalCase; all of
them mean one field (contract section 2).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from worker.contract.faults import FaultCode, fault
from worker.contract.json_text import JsonObject, JsonValue
from worker.model import Fault

_MOST_UNKNOWN_NAMES = 20
_LONGEST_UNKNOWN_NAME = 64


@dataclass(frozen=True, slots=True)
class NamedValues:
    """Values by canonical field name; a field given twice has no value and a fault instead."""

    values: Mapping[str, JsonValue]
    faults: Mapping[str, Fault]
    unknown: tuple[str, ...]
    repeats_unknown: bool


def fold_name(name: str) -> str:
    """Reduce a property name to what must match: no underscores, no case."""
    return name.replace("_", "").casefold()


@cache
def _canonical(fields: tuple[str, ...]) -> Mapping[str, str]:
    """Fields by what is accepted as it stands: the folded name, and the canonical spelling."""
    return {fold_name(field): field for field in fields} | {field: field for field in fields}


def name_values(body: JsonObject, fields: Sequence[str]) -> NamedValues:
    """Sort the properties of a body into the fields it may have and the rest."""
    canonical = _canonical(tuple(fields))
    spellings: dict[str, str] = {}
    values: dict[str, JsonValue] = {}
    repeated: dict[str, FaultCode] = {}
    unknown: list[str] = []
    for name, value in body.pairs:
        field = canonical.get(name) or canonical.get(fold_name(name))
        if field is None:
            unknown.append(name)
        elif field not in spellings:
            spellings[field] = name
            values[field] = value
        elif name != spellings[field]:
            repeated[field] = FaultCode.REPEATED
        else:
            repeated.setdefault(field, FaultCode.DUPLICATE_KEY)
    for field in repeated:
        del values[field]
    distinct = dict.fromkeys(unknown)
    return NamedValues(
        values=values,
        faults={field: fault(field, code) for field, code in repeated.items()},
        unknown=tuple(_shown(name) for name in list(distinct)[:_MOST_UNKNOWN_NAMES]),
        repeats_unknown=len(distinct) < len(unknown),
    )


def _shown(name: str) -> str:
    """Make a name from outside fit for a log line."""
    cut = name[:_LONGEST_UNKNOWN_NAME]
    return "".join(letter if letter.isprintable() else "?" for letter in cut)
