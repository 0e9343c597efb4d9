"""What the settings are, for people: every name with its masked value, source and meaning."""

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel

from worker.settings.catalogue import ANY_NAME, ANY_PLACE, Entry, Path, dotted, written
from worker.settings.layers import DELIMITER, PREFIX
from worker.settings.loading import CATALOGUE, Loaded

_PERSONAL = frozenset({"phone_number"})


@dataclass(frozen=True, slots=True)
class Explained:
    """One setting as it stands; ``value`` is ``***`` for a secret."""

    name: str
    value: str
    source: str
    meaning: str


def explain(loaded: Loaded, name: str | None = None) -> list[Explained]:
    """List every setting, or those at and below one name; a list of tables gives one row each.

    A known one of a table that is not there is named only when it is asked for.
    """
    rows = []
    for path, value, entry in _values(loaded.settings, ()):
        full = dotted(path)
        if name is None or full == name or full.startswith(f"{name}."):
            shown = "***" if value is not None and _is_masked(entry) else written(value)
            rows.append(Explained(full, shown, loaded.sources.source_of(path), entry.meaning))
    if name is not None and not rows:
        return [
            Explained(known, "", "not set", meaning)
            for known, meaning in known_names().items()
            if known == name or known.startswith(f"{name}.")
        ]
    return rows


def nearest_name(name: str) -> str | None:
    """The known setting or table nearest to a name that is none."""
    return CATALOGUE.nearest(tuple(name.split(".")))


def known_names() -> dict[str, str]:
    """Name and meaning of every setting that has a name of its own, as ``explain`` takes it."""
    return {
        dotted(entry.path): entry.meaning
        for entry in CATALOGUE.entries
        if not {ANY_NAME, ANY_PLACE} & {*entry.path}
    }


def reference() -> str:
    """Markdown table of every setting there is, for the README."""
    lines = ["| Setting | Environment variable | Default | Meaning |", "|---|---|---|---|"]
    for entry in CATALOGUE.entries:
        default = "**required**" if entry.is_required else _cell(entry.default)
        lines.append(
            f"| `{dotted(entry.path)}` | {_variable(entry.path)} | {default} | {entry.meaning} |"
        )
    return "\n".join(lines) + "\n"


def _values(model: BaseModel, prefix: Path) -> Iterator[tuple[Path, object, Entry]]:
    for name in type(model).model_fields:
        yield from _below(getattr(model, name), (*prefix, name))


def _below(value: object, path: Path) -> Iterator[tuple[Path, object, Entry]]:
    entry = CATALOGUE.entry(path)
    match value:
        case BaseModel():
            yield from _values(value, path)
        case dict():
            for name, each in value.items():
                yield from _below(each, (*path, str(name)))
        case tuple() if entry is None:
            for place, each in enumerate(value):
                yield from _below(each, (*path, str(place)))
        case _ if entry is not None:
            yield path, value, entry
        case _:
            # A table that is not there: force_live, or one endpoint of an account.
            return


def _is_masked(entry: Entry) -> bool:
    return entry.is_secret or entry.path[-1] in _PERSONAL


def _variable(path: Path) -> str:
    if ANY_PLACE in path:
        return ""
    upper = (part if part == ANY_NAME else part.upper() for part in path)
    return f"`{PREFIX}{DELIMITER.join(upper)}`"


def _cell(text: str) -> str:
    return f"`{text}`" if text else ""
