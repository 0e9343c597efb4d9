"""The chain of the audit: each act carries a hash over itself and over the act before it.

Whoever changes, inserts or removes an act breaks every place behind it, unless he reckons all of
them anew; and a tail that was cut off leaves a chain that is whole. Both are found by comparing
with a head that was kept elsewhere (operations 1.8): the chain proves order, not honesty.

An act has no place until the next one is written where a version wrote it that knew of no chain;
that next act takes all such acts in before itself.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from worker.records import AuditEntry

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Place:
    """Where an act stands in the chain, counted from 1, and the hash up to and with it."""

    position: int
    digest: bytes


BEGINNING = Place(0, bytes(32))
"""What the first act of a ledger follows on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAct:
    """An act as it is kept: ``row`` orders all acts, ``place`` is missing where it has none yet."""

    row: int
    entry: AuditEntry
    place: Place | None


@dataclass(frozen=True, slots=True)
class Break:
    """The first act that does not fit: its place, or its row where it has none, and why."""

    where: str
    reason: str


def next_place(before: Place, entry: AuditEntry) -> Place:
    """The place of an act right behind another; the hash is over a canonical form of both."""
    position = before.position + 1
    facts = entry.facts
    form = _encode(
        {
            "position": position,
            "before": before.digest.hex(),
            "at": (entry.at - _EPOCH) // timedelta(microseconds=1),
            "actor": entry.actor,
            "action": entry.action,
            "operation_id": None if entry.operation_id is None else entry.operation_id.hex,
            "detail": entry.detail,
            "denied": entry.is_denied,
            "facts": facts.known,
        }
    )
    return Place(position, sha256(form.encode("ascii")).digest())


class ChainCheck:
    """Follows a chain from act to act and keeps the first break; holds no act.

    ``start`` is what the first act must follow on; ``kept`` is a hash that must be met on the way.
    """

    def __init__(self, start: Place = BEGINNING, *, kept: bytes | None = None) -> None:
        self.head = start
        self.count = 0
        self.without_place = 0
        self.broken: Break | None = None
        self._kept = kept
        self._is_kept_met = kept is None or kept == start.digest

    @property
    def is_kept_missing(self) -> bool:
        """Whether the kept head was met nowhere: acts were removed or written anew."""
        return not self._is_kept_met

    def follow(self, act: KeptAct) -> Break | None:
        """Take one act; the break where it does not fit. After a break nothing counts."""
        if self.broken is not None:
            return self.broken
        place = act.place
        if place is None:
            self.without_place += 1
            return None
        self.broken = self._judge(act.entry, place, act.row)
        if self.broken is None:
            self.head = place
            self.count += 1
            self._is_kept_met = self._is_kept_met or place.digest == self._kept
        return self.broken

    def _judge(self, entry: AuditEntry, place: Place, row: int) -> Break | None:
        if self.without_place:
            return Break(f"row {row}", "an act before it has no place in the chain")
        wanted = self.head.position + 1
        if place.position != wanted:
            what = "acts are missing" if place.position > wanted else "it stands there twice"
            return Break(f"act {place.position}", f"act {wanted} should stand here: {what}")
        if place != next_place(self.head, entry):
            return Break(
                f"act {place.position}", "it was changed, or does not follow on the act before it"
            )
        return None
