"""Texts with placeholders such as ``{reference}``, checked at start and filled per payment."""

import re
from collections.abc import Collection, Mapping

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


def check_template(
    template: str, *, allowed: Collection[str], required: Collection[str] = ()
) -> list[str]:
    """Return what is wrong with a template, as sentences; an empty list when nothing is."""
    names = _PLACEHOLDER.findall(template)
    complaints = [
        f"the placeholder {{{name}}} is unknown; known are {_listed(allowed)}"
        for name in dict.fromkeys(names)
        if name not in allowed
    ]
    complaints += [
        f"the placeholder {{{name}}} is missing" for name in required if name not in names
    ]
    if re.search(r"[{}]", _PLACEHOLDER.sub("", template)):
        complaints.append("a brace is left over")
    if not template.strip() or not template.isprintable():
        complaints.append("it is empty or holds control characters")
    return complaints


def fill_template(template: str, values: Mapping[str, str]) -> str:
    """Put the values in place of their placeholders, in one pass: values are never read again."""
    return _PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), template)


def _listed(names: Collection[str]) -> str:
    return ", ".join(f"{{{name}}}" for name in sorted(names))
