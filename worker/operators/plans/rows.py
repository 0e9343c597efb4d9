"""The words of a plan: one row for each letter, what they add up to, and when they hold."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

from worker.codes import Code
from worker.letters import Verdict
from worker.model import Environment, RunMode
from worker.records import Kind

LIFETIME: Final = timedelta(hours=4)
"""How long a plan holds unless it says otherwise: operations 1.4."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRow:
    """One letter as it stood when the plan was made.

    ``code`` is ``None`` where nothing was decided, ``amount`` counts euro cents and is ``None``
    where it could not be read, ``reason`` is a stable sentence that says why the verdict.
    """

    operation_id: UUID
    kind: Kind
    payment_id: UUID
    sequence: int
    code: Code | None
    verdict: Verdict
    reason: str
    amount: int | None
    mode: RunMode | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanTotal:
    """Rows of one code, verdict, reason and mode: how many, and their amounts in euro cents."""

    code: Code | None
    verdict: Verdict
    reason: str
    mode: RunMode | None
    count: int
    cents: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanHeader:
    """Who planned what, where and when; ``wanted`` says in words which letters were meant."""

    environment: Environment
    created_at: datetime
    expires_at: datetime
    actor: str
    wanted: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A plan that was written, or read and found whole; its rows stay in the file at ``path``.

    ``sha256`` is over every byte before the file's last line, ``totals`` are by code, verdict,
    reason and mode, and every amount is in euro cents.
    """

    path: Path
    sha256: str
    environment: Environment
    created_at: datetime
    expires_at: datetime
    actor: str
    wanted: Mapping[str, str]
    totals: tuple[PlanTotal, ...]

    @property
    def size(self) -> int:
        """How many rows it has."""
        return sum(total.count for total in self.totals)

    @property
    def counts(self) -> Mapping[Verdict, int]:
        """How many rows of each verdict, those without any included."""
        counts = Counter(dict.fromkeys(Verdict, 0))
        for total in self.totals:
            counts[total.verdict] += total.count
        return dict(counts)

    def cents(self, verdict: Verdict) -> Mapping[RunMode | None, int]:
        """What the rows of one verdict amount to, by mode, in euro cents."""
        sums: Counter[RunMode | None] = Counter()
        for total in self.totals:
            if total.verdict is verdict:
                sums[total.mode] += total.cents
        return dict(sums)


class Tally:
    """Adds rows up as they pass, in memory that does not grow with them."""

    def __init__(self) -> None:
        self._totals: dict[tuple[str, ...], PlanTotal] = {}

    def add(self, row: PlanRow) -> None:
        """Count one row."""
        group = (row.code or "", row.verdict, row.reason, row.mode or "")
        total = self._totals.get(group) or PlanTotal(
            code=row.code, verdict=row.verdict, reason=row.reason, mode=row.mode, count=0, cents=0
        )
        cents = total.cents + (row.amount or 0)
        self._totals[group] = replace(total, count=total.count + 1, cents=cents)

    def totals(self) -> tuple[PlanTotal, ...]:
        """The sums so far, in an order that depends on the rows alone."""
        return tuple(self._totals[group] for group in sorted(self._totals))
