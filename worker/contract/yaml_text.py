"""JSON-like data as YAML text, the same bytes every time and without a library.

Only what the AsyncAPI document needs: mappings, lists and scalars. A scalar that is not plainly
a word is written as a JSON string, which YAML 1.2 reads as it stands.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

YamlValue: TypeAlias = "str | int | bool | Sequence[YamlValue] | Mapping[str, YamlValue] | None"

_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_ /-]*[A-Za-z0-9]|[A-Za-z]")
_READ_AS_SOMETHING_ELSE = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


def write_yaml(value: Mapping[str, YamlValue]) -> str:
    """Write a document in block style, two spaces a level, keys in the order given."""
    return "".join(f"{line}\n" for line in _mapping(value))


def _mapping(value: Mapping[str, YamlValue]) -> list[str]:
    lines: list[str] = []
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            lines.append(f"{_scalar(key)}:")
            lines.extend(f"  {line}" for line in _mapping(item))
        elif isinstance(item, Sequence) and not isinstance(item, str) and item:
            lines.append(f"{_scalar(key)}:")
            lines.extend(f"  {line}" for line in _sequence(item))
        else:
            lines.append(f"{_scalar(key)}: {_inline(item)}")
    return lines


def _sequence(value: Sequence[YamlValue]) -> list[str]:
    lines: list[str] = []
    for item in value:
        if isinstance(item, Mapping) and item:
            first, *rest = _mapping(item)
            lines.append(f"- {first}")
            lines.extend(f"  {line}" for line in rest)
        else:
            lines.append(f"- {_inline(item)}")
    return lines


def _inline(value: YamlValue) -> str:
    if isinstance(value, str):
        return _scalar(value)
    return json.dumps(value)


def _scalar(text: str) -> str:
    if _WORD.fullmatch(text) and text.lower() not in _READ_AS_SOMETHING_ELSE:
        return text
    return json.dumps(text, ensure_ascii=False)
