"""Numbered SQL files that make or renew a ledger's schema, whatever the database."""

from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema: the version it leads to, and its SQL."""

    version: int
    script: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Initialisation:
    """What ``initialise`` did; ``before`` is ``None`` where it created the ledger."""

    before: int | None
    after: int


def migrations_of(package: str) -> tuple[Migration, ...]:
    """All steps in order; file ``migrations/0007_....sql`` of the package leads to version 7."""
    folder = resources.files(package) / "migrations"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=_name)
    return tuple(Migration(int(file.name[:4]), file.read_text(encoding="utf-8")) for file in files)


def _name(file: resources.abc.Traversable) -> str:
    return file.name
