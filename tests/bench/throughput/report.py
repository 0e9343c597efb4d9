"""A run as data: everything that was read, and what it comes to."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import zip_longest
from pathlib import Path
from statistics import median

from tests.bench.throughput.cases import Case, PacedCase, Plan
from tests.bench.throughput.figures import Spread, spread
from tests.bench.throughput.latency import PacedRow
from tests.bench.throughput.processes import SUBJECT
from tests.bench.throughput.targets import Measured, Verdict, judge
from tests.bench.throughput.trial import Row

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Summary:
    """The rounds of one case: rate, processors by role, the subject's processes.

    ``each`` are the processors of each of the subject's processes, ``memory`` their MiB in the
    largest round, ``microseconds`` are the subject's processor time for one payment.
    """

    case: Case
    rate: Spread
    cores: Mapping[str, float]
    each: Sequence[float]
    microseconds: float
    memory: Sequence[float]
    first_seconds: float | None
    disturbed: int
    waited: float


@dataclass(frozen=True, slots=True)
class PacedSummary:
    """The rounds of one latency case: the spread of each percentile, milliseconds."""

    case: PacedCase
    rate: Spread
    p50: Spread
    p90: Spread
    p99: Spread


@dataclass(slots=True)
class Report:
    """Everything about a run."""

    plan: Plan
    machine: Mapping[str, object]
    provider_limit: list[float] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    paced: list[PacedRow] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """What makes the run void: a count that is wrong, a subject that ended."""
        return [
            f"{row.case}, round {row.round}: {fault}"
            for row in (*self.rows, *self.paced)
            for fault in row.faults
        ]

    @property
    def measured(self) -> Measured:
        """What may be compared."""
        names = self.plan.names
        return Measured(
            {name: [r for r in self.rows if r.case == name and not r.faults] for name in names},
            {name: [r for r in self.paced if r.case == name and not r.faults] for name in names},
        )

    @property
    def verdicts(self) -> list[Verdict]:
        """Every target, with how far it is."""
        return judge(self.measured)

    def summaries(self) -> list[Summary]:
        """One for each case that was measured, in the order of the plan."""
        rows = self.measured.rows
        return [_summary(case, rows[case.name]) for case in self.plan.cases if rows[case.name]]

    def paced_summaries(self) -> list[PacedSummary]:
        """The same for latencies."""
        rows = self.measured.paced
        return [
            PacedSummary(
                case,
                *(
                    spread([getattr(row, name) for row in rows[case.name]])
                    for name in ("rate", "p50", "p90", "p99")
                ),
            )
            for case in self.plan.paced
            if rows[case.name]
        ]

    def write(self, path: Path) -> None:
        """All raw figures as JSON."""
        record = {
            "format": FORMAT,
            "machine": self.machine,
            "plan": asdict(self.plan),
            "provider_limit_per_second": self.provider_limit,
            "rows": [_plain(row) for row in self.rows],
            "latencies": [_plain(row) for row in self.paced],
            "targets": [asdict(each) | {"distance": each.distance} for each in self.verdicts],
            "faults": self.faults,
        }
        path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _plain(row: Row) -> dict[str, object]:
    facts = asdict(row) | {"microseconds": row.microseconds}
    return {name: _rounded(value) for name, value in facts.items()}


def _rounded(value: object) -> object:
    match value:
        case float():
            return round(value, 4)
        case dict():
            return {name: _rounded(each) for name, each in value.items()}
        case list() | tuple():
            return [_rounded(each) for each in value]
        case _:
            return value


def _summary(case: Case, rows: Sequence[Row]) -> Summary:
    seconds = [row.first_seconds for row in rows if row.first_seconds is not None]
    return Summary(
        case=case,
        rate=spread([row.rate for row in rows]),
        cores={role: median(row.cores[role] for row in rows) for role in rows[0].cores},
        each=[
            median(ranked)
            for ranked in zip_longest(*(row.cores_of_each[SUBJECT] for row in rows), fillvalue=0.0)
        ],
        microseconds=median(row.microseconds for row in rows),
        memory=max((row.peaks[SUBJECT] for row in rows), key=sum),
        first_seconds=median(seconds) if seconds else None,
        disturbed=sum(row.is_disturbed for row in rows),
        waited=max(row.waited for row in rows),
    )
