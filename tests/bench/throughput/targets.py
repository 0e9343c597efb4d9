"""The targets, as ratios within one run, and whether they are met."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from tests.bench.throughput.cases import ORDINARY, PEERS, WIDE, Case, PacedCase, Subject
from tests.bench.throughput.figures import NotMeasuredError, Spread, ratio_by_round, spread
from tests.bench.throughput.latency import PacedRow
from tests.bench.throughput.processes import SUBJECT
from tests.bench.throughput.trial import Row

HALF_LOAD = 0.5

_A = Case(Subject.SQLITE, WIDE, 0)
_B = Case(Subject.POSTGRES, WIDE, 0)
_PACED = PacedCase(Subject.SQLITE, WIDE, HALF_LOAD)


@dataclass(frozen=True, slots=True)
class Measured:
    """All good rows of a run by case, in the order of the rounds."""

    rows: Mapping[str, Sequence[Row]]
    paced: Mapping[str, Sequence[PacedRow]]

    def rates(self, case: Case) -> dict[int, float]:
        """Of each round."""
        return {row.round: row.rate for row in self.rows.get(case.name, ())}


@dataclass(frozen=True, slots=True)
class Target:
    """One sentence of the targets; ``is_most`` where less is better."""

    name: str
    bound: float
    measure: Callable[[Measured], Spread]
    is_most: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """``measured`` and ``met`` are ``None`` where its cases were not measured."""

    name: str
    bound: float
    is_most: bool
    measured: Spread | None
    met: bool | None

    @property
    def distance(self) -> float | None:
        """By which part of the bound it is missed; negative where there is room."""
        if self.measured is None:
            return None
        part = self.measured.middle / self.bound - 1
        return part if self.is_most else -part


def judge(measured: Measured) -> list[Verdict]:
    """Hold the medians against every target."""
    return [_verdict(target, measured) for target in TARGETS]


def _verdict(target: Target, measured: Measured) -> Verdict:
    try:
        found = target.measure(measured)
    except NotMeasuredError:  # a case of it was left out
        return Verdict(target.name, target.bound, target.is_most, None, None)
    met = found.middle <= target.bound if target.is_most else found.middle >= target.bound
    return Verdict(target.name, target.bound, target.is_most, found, met)


def _ratio(above: Case, below: Case) -> Callable[[Measured], Spread]:
    return lambda measured: ratio_by_round(measured.rates(above), measured.rates(below))


def _best_peer(measured: Measured) -> Spread:
    first, *others = [measured.rates(Case(peer, WIDE, 0)) for peer in PEERS]
    rounds = [number for number in first if all(number in other for other in others)]
    best = {number: max(peer[number] for peer in (first, *others)) for number in rounds}
    return ratio_by_round(measured.rates(_A), best)


def _share_of_ceiling(measured: Measured) -> Spread:
    ceiling = ORDINARY / 0.050
    rates = measured.rates(Case(Subject.SQLITE, ORDINARY, 50))
    return spread([rate / ceiling for rate in rates.values()])


def _latency(read: Callable[[PacedRow], float]) -> Callable[[Measured], Spread]:
    return lambda measured: spread([read(row) for row in measured.paced.get(_PACED.name, ())])


def _memory(measured: Measured) -> Spread:
    """Of the largest worker process of each measurement; the largest of all is what counts."""
    found = spread(
        [
            max(row.peaks[SUBJECT])
            for name, rows in measured.rows.items()
            if name.startswith((Subject.SQLITE, Subject.POSTGRES, Subject.TWO_ON_POSTGRES))
            for row in rows
        ]
    )
    return replace(found, middle=found.most)


def _start(measured: Measured) -> Spread:
    rows = measured.rows.get(_A.name, ())
    return spread([row.first_seconds for row in rows if row.first_seconds is not None])


TARGETS = (
    Target("a / best of d, 0 ms", 2.0, _best_peer),
    Target("a / c, 0 ms", 1.3, _ratio(_A, Case(Subject.BARE, WIDE, 0))),
    Target("a at 50 ms, prefetch 50: share of prefetch / delay", 0.85, _share_of_ceiling),
    Target("a at 50 ms / a at 0 ms, prefetch 200", 0.9, _ratio(Case(Subject.SQLITE, WIDE, 50), _A)),
    Target("b / a, 0 ms", 0.9, _ratio(_B, _A)),
    Target("b2 / b, 0 ms", 1.25, _ratio(Case(Subject.TWO_ON_POSTGRES, WIDE, 0), _B)),
    Target(
        "b2 / b at 50 ms, prefetch 50 each",
        1.9,
        _ratio(Case(Subject.TWO_ON_POSTGRES, ORDINARY, 50), Case(Subject.POSTGRES, ORDINARY, 50)),
    ),
    Target("a: p50 at half load, ms", 10.0, _latency(lambda row: row.p50), is_most=True),
    Target("a: p99 at half load, ms", 40.0, _latency(lambda row: row.p99), is_most=True),
    Target("a and b: resident memory of the largest worker, MiB", 90.0, _memory, is_most=True),
    Target("a: start to first payment, s", 1.5, _start, is_most=True),
)
