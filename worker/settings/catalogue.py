"""Every setting there is, found by walking the models: names, meanings, defaults, secrets."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

Path = tuple[str, ...]
"""Where a setting stands, level by level: ``("broker", "host")``."""

ANY_NAME = "<name>"
"""Stands in a catalogue path for a name the operator chooses."""

ANY_PLACE = "[]"
"""Stands in a catalogue path for the place in a list of tables."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One setting as the models describe it."""

    path: Path
    field: FieldInfo
    is_secret: bool

    @property
    def meaning(self) -> str:
        """One line for people."""
        return self.field.description or ""

    @property
    def is_required(self) -> bool:
        """Whether its table cannot do without it."""
        return self.field.is_required()

    @property
    def default(self) -> str:
        """The default as an operator would write it; empty where there is none."""
        if self.field.is_required():
            return ""
        return written(self.field.get_default(call_default_factory=True))

    def covers(self, path: Path) -> bool:
        """Whether a real path is this setting or a part of its value."""
        return len(path) >= len(self.path) and self._agrees(path)

    def lies_below(self, path: Path) -> bool:
        """Whether this setting is inside the table at a real path."""
        return len(self.path) > len(path) and self._agrees(path)

    def _agrees(self, path: Path) -> bool:
        return all(
            known in {part, ANY_NAME} or (known == ANY_PLACE and part.isdecimal())
            for known, part in zip(self.path, path, strict=False)
        )


class Catalogue:
    """The entries of one settings model, in the order of its definition."""

    def __init__(self, root: type[BaseModel]) -> None:
        self.entries = tuple(_walk(root, ()))

    def entry(self, path: Path) -> Entry | None:
        """Find the setting a real path belongs to."""
        return next((entry for entry in self.entries if entry.covers(path)), None)

    def is_table(self, path: Path) -> bool:
        """Whether a path names a table, whose parts are settings of their own."""
        return any(entry.lies_below(path) for entry in self.entries)

    def nearest(self, path: Path) -> str | None:
        """Dotted name of the known setting or table nearest to an unknown path."""
        known = {
            "_".join(named): named
            for entry in self.entries
            for depth in range(1, len(entry.path) + 1)
            if (named := _named_like(entry.path[:depth], path)) is not None
        }
        for near in get_close_matches("_".join(path).lower(), list(known), n=3):
            found = known[near]
            if found[:-1] != path[:-1] or get_close_matches(path[-1], [found[-1]], cutoff=0.5):
                return dotted(found)
        return None


def _named_like(known: Path, path: Path) -> Path | None:
    """A catalogue path with the operator's own names filled in; ``None`` where there are none."""
    if ANY_PLACE in known or (ANY_NAME in known and len(path) < len(known)):
        return None
    return tuple(
        own if part == ANY_NAME else part
        for part, own in zip(known, (*path, *known[len(path) :]), strict=False)
    )


def dotted(path: Sequence[str]) -> str:
    """Name of a setting as a TOML file would write it: ``accounts.bank.test.companies.1``."""
    return ".".join(path).replace(f".{ANY_PLACE}", ANY_PLACE)


def written(value: object) -> str:
    """A value as an operator would write it; a secret only as what it is."""
    match value:
        case None:
            return ""
        case SecretStr():
            return "***"
        case bool():
            return "true" if value else "false"
        case timedelta():
            return _written_duration(value)
        case float() if value.is_integer():
            return str(int(value))
        case tuple() | list():
            return ", ".join(written(part) for part in value)
        case dict():
            return ""
        case _:
            return str(value)


def _written_duration(value: timedelta) -> str:
    seconds = int(value.total_seconds())
    if value > timedelta(days=1) and value % timedelta(days=1) == timedelta(0):
        return f"{value.days}d"
    for unit, length in (("h", 3600), ("m", 60)):
        if seconds and seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def _walk(model: type[BaseModel], prefix: Path) -> Iterator[Entry]:
    for name, field in model.model_fields.items():
        path = (*prefix, name)
        table, marks = _table_in(field.annotation)
        if table is not None:
            yield from _walk(table, path + marks)
        else:
            yield Entry(path + marks, field, is_secret=_holds_secret(field.annotation))


def _table_in(annotation: object) -> tuple[type[BaseModel] | None, Path]:
    """The table an annotation holds, and the marks of the levels between."""
    bare = _bare(annotation)
    if isinstance(bare, type) and issubclass(bare, BaseModel):
        return bare, ()
    origin, inner = get_origin(bare), get_args(bare)
    if origin is dict:
        table, marks = _table_in(inner[1])
        return table, (ANY_NAME, *marks)
    if origin is tuple:
        table, marks = _table_in(inner[0])
        return (table, (ANY_PLACE, *marks)) if table is not None else (None, ())
    return None, ()


def _bare(annotation: object) -> object:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _bare(inner[0])
    if origin in {Union, UnionType}:
        return _bare(next(part for part in inner if part is not type(None)))
    return annotation


def _holds_secret(annotation: object) -> bool:
    bare = _bare(annotation)
    return bare is SecretStr or any(_holds_secret(part) for part in get_args(bare))
