"""Which columns hold what is sealed, and how a row looks once all of it is under the first key."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from worker.adapters.encryption import Sealed, Vault, VaultError
from worker.adapters.store_rows.values import Row, Scalar
from worker.inventory import SealedPage, SealPlace

_MARK_KEY = 4
"""Bytes of a mark that name its key."""


class SealedTable(NamedTuple):
    """A table with sealed columns; the e-mail among them stands before its mark."""

    name: str
    key: tuple[str, ...]
    columns: tuple[str, ...]


EMAIL, MARK = "email", "email_mark"


@dataclass(slots=True)
class Walked:
    """The rows of one page: what they are sealed under, and which of them change."""

    vault: Vault
    columns: tuple[str, ...]
    values: Counter[str] = field(default_factory=Counter)
    marks: Counter[str] = field(default_factory=Counter)
    changes: list[tuple[Row, tuple[Scalar, ...], Row]] = field(default_factory=list)

    def look(self, rows: Iterable[tuple[Row, Row]], *, is_dry: bool) -> None:
        """Take rows, each as its key and its columns; note what is to be written, if anything."""
        for key, old in rows:
            renewed = old if is_dry else self._renewed(old)
            self._count(renewed)
            if renewed != old:
                self.changes.append((key, renewed, old))

    def page(self, after: SealPlace | None) -> SealedPage:
        """What the page came to."""
        return SealedPage(
            values=self.values, marks=self.marks, renewed=len(self.changes), after=after
        )

    def _renewed(self, old: Row) -> tuple[Scalar, ...]:
        """A value that cannot be opened stays as it is, and is counted under its own key."""
        row = dict(zip(self.columns, old, strict=True))
        for name, value in row.items():
            if name == MARK or value is None:
                continue
            try:
                row[name] = " ".join(self._sealed(each) for each in value.split())
                if name == EMAIL and MARK in row:
                    email = self.vault.open(Sealed.parse(value))
                    row[MARK] = self.vault.email_marks(email)[0]
            except VaultError:
                continue
        return tuple(row.values())

    def _sealed(self, text: str) -> str:
        sealed = Sealed.parse(text)
        if sealed.key_id == self.vault.key_ids[0]:
            return text
        return self.vault.seal(self.vault.open(sealed)).text

    def _count(self, row: Sequence[Scalar]) -> None:
        for name, value in zip(self.columns, row, strict=True):
            if isinstance(value, bytes):
                self.marks[value[:_MARK_KEY].hex()] += 1
            elif isinstance(value, str) and name != MARK:
                self.values.update(each.partition(":")[0] for each in value.split())


def place_after(
    place: SealPlace,
    rows: Sequence[Row],
    beginnings: Sequence[tuple[int | bytes, ...]],
    *,
    limit: int,
) -> SealPlace | None:
    """Behind the last row of a full page, else where the next table begins; ``None`` at the end."""
    if len(rows) == limit:
        return SealPlace(place.table, rows[-1][: len(place.row)])
    following = place.table + 1
    return SealPlace(following, beginnings[following]) if following < len(beginnings) else None
