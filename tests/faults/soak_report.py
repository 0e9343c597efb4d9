"""The closing report of a soak: one aligned table, in the words of the promises."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.soak_judge import Verdict

_MOST_OFFENDERS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Conduct:
    """What was done to the workers and the broker, and how they took it; times in seconds."""

    load_seconds: float
    drain_seconds: float
    troubles: Mapping[str, int]
    worst_recoveries: Mapping[str, float]
    workers_started: int
    ended_alone: Sequence[str]
    exit_codes: Sequence[int]
    sendings: int
    deliveries: Mapping[str, int]
    error_lines: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A verdict with its circumstances."""

    verdict: Verdict
    conduct: Conduct
    is_drained: bool

    @property
    def is_good(self) -> bool:
        """Whether the run passes: every promise kept, everything decided, workers in order."""
        return self.verdict.is_good and not any(self.conduct.exit_codes)

    @property
    def is_remarkable(self) -> bool:
        """Whether the logs are worth a look although the run passes."""
        return bool(self.conduct.ended_alone) or self.conduct.error_lines > 0

    def lines(self) -> list[str]:
        """The table."""
        rows = [*self._verdict_rows(), *self._conduct_rows()]
        width = max(len(name) for name, _, _ in rows)
        figures = max(len(figure) for _, figure, _ in rows)
        return [
            f"{name:<{width}}  {figure:>{figures}}  {note}".rstrip() for name, figure, note in rows
        ]

    def offenders(self) -> list[str]:
        """Ids behind every figure that should be 0, at most twenty of each."""
        found = dict(self.verdict.breaches)
        found["dead letters without an event"] = self.verdict.undecided_letters
        lines: list[str] = []
        for name, ids in found.items():
            lines += [f"{name}: {each}" for each in ids[:_MOST_OFFENDERS]]
            if len(ids) > _MOST_OFFENDERS:
                lines.append(f"{name}: and {len(ids) - _MOST_OFFENDERS} more")
        return lines

    def _verdict_rows(self) -> Iterator[tuple[str, str, str]]:
        verdict = self.verdict
        breaches = dict(verdict.breaches)
        yield "requests", _count(verdict.requests), "confirmed by the broker"
        yield "decided", _count(verdict.decided), _outcomes(verdict.outcomes)
        yield "open", _count(len(breaches.pop("open"))), "must be 0"
        yield "in doubt", _count(verdict.in_doubt), ""
        yield "dead letters", _count(verdict.letters), "in the queue at the end"
        for name, ids in breaches.items():
            yield name, _count(len(ids)), "must be 0"
        undecided = len(verdict.undecided_letters)
        yield "dead letters without an event", _count(undecided), "must be 0"
        yield "operations applied", _count(verdict.applied), "by the providers' own books"

    def _conduct_rows(self) -> Iterator[tuple[str, str, str]]:
        verdict, conduct = self.verdict, self.conduct
        worst = max(conduct.worst_recoveries.values(), default=0.0)
        yield "worst recovery time", f"{worst:.1f} s", _recoveries(conduct.worst_recoveries)
        yield (
            "worst request latency",
            f"{verdict.worst_latency:.1f} s",
            f"median {verdict.median_latency:.2f} s, first sending to first event",
        )
        yield "events received again", _count(verdict.repeated_events), "same event id"
        yield "events redelivered", _count(verdict.redelivered_events), "by the broker"
        repeated = conduct.deliveries.get("delivery.repeated", 0)
        yield "requests handled again", _count(repeated), "answered with what is stored"
        waited = conduct.deliveries.get("delivery.waiting", 0)
        yield "waits on the ladder", _count(waited), "copies, counted or not"
        returned = conduct.deliveries.get("delivery.returned", 0)
        yield "deliveries handed back", _count(returned), ""
        yield "publishes by producers", _count(conduct.sendings), "re-sends and duplicates included"
        troubles = ", ".join(f"{name} {count}" for name, count in conduct.troubles.items())
        yield "troubles", _count(sum(conduct.troubles.values())), troubles
        yield "workers started", _count(conduct.workers_started), ""
        alone = ", ".join(conduct.ended_alone)
        yield "workers that ended by themselves", _count(len(conduct.ended_alone)), alone
        bad = [code for code in conduct.exit_codes if code]
        yield "workers that did not stop in order", _count(len(bad)), "must be 0"
        yield "error lines in the workers' logs", _count(conduct.error_lines), ""
        yield "load", f"{conduct.load_seconds:.0f} s", ""
        yield "drain", f"{conduct.drain_seconds:.0f} s", "" if self.is_drained else "not finished"


def log_figures(directory: Path) -> tuple[Counter[str], int]:
    """Lines of all workers' logs by what they tell, and how many are errors.

    A line that SIGKILL cut short is left out.
    """
    told: Counter[str] = Counter()
    errors = 0
    for log in directory.glob("worker-*.log"):
        for line in log.read_text("utf-8", errors="replace").splitlines():
            try:
                fact = json.loads(line)
            except ValueError:
                continue
            told[fact.get("event.action", "")] += 1
            errors += fact.get("log.level") in {"error", "critical"}
    return told, errors


def _count(number: int) -> str:
    return f"{number:,}"


def _outcomes(outcomes: Mapping[str, int]) -> str:
    return ", ".join(
        f"{_words(name)} {count:,}" for name, count in sorted(outcomes.items(), key=_by_count)
    )


def _by_count(item: tuple[str, int]) -> int:
    return -item[1]


def _words(event_type: str) -> str:
    _, family, end = event_type.split(".")
    word = end.replace("_", " ")
    return word if family == "initiation" else f"cancellation {word}"


def _recoveries(worst: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {seconds:.1f} s" for name, seconds in worst.items())
