"""A run as a picture: throughput by subject with its spread, latency by load."""

from pathlib import Path

from tests.bench.throughput.cases import Subject
from tests.bench.throughput.figures import Spread
from tests.bench.throughput.report import Report

_WORKER, _OTHER = "#1f6f8b", "#b0b7bf"
_STYLES = {"p50": ("-", "o"), "p90": ("--", "s"), "p99": (":", "^")}


def draw(report: Report, path: Path) -> None:
    """Write it in the format that the name's ending says: svg, png or pdf."""
    # Here, because only who wants a picture needs the library.
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(10, 9), layout="constrained")
    rates, latencies = figure.subplots(2, 1, height_ratios=(3, 2))
    summaries = report.summaries()
    limits = [each for each in summaries if each.case.subject is Subject.FORWARDER]
    bars = [each for each in reversed(summaries) if each not in limits]
    drawn = rates.barh(
        [each.case.name for each in bars],
        [each.rate.middle for each in bars],
        xerr=[_below([s.rate for s in bars]), _above([s.rate for s in bars])],
        color=[_WORKER if each.case.subject.is_worker else _OTHER for each in bars],
        capsize=3,
    )
    rates.bar_label(drawn, [f"{each.rate.middle:,.0f}" for each in bars], padding=6)
    rates.margins(x=0.1)
    rates.grid(axis="x", alpha=0.3)
    rates.set_xlabel("payments per second, median and spread of the rounds")
    # Beside the limit, several times as long, nobody could tell the others apart.
    limit = "".join(f"; the broker's limit is {each.rate.middle:,.0f}" for each in limits)
    rates.set_title(f"Throughput: subject / prefetch / provider delay{limit}")
    paced = report.paced_summaries()
    for subject in dict.fromkeys(each.case.subject for each in paced):
        mine = [each for each in paced if each.case.subject is subject]
        for name, (line, marker) in _STYLES.items():
            spreads: list[Spread] = [getattr(each, name) for each in mine]
            latencies.errorbar(
                [each.rate.middle for each in mine],
                [each.middle for each in spreads],
                yerr=[_below(spreads), _above(spreads)],
                label=f"{subject} {name}",
                linestyle=line,
                marker=marker,
                capsize=3,
                color=_WORKER if subject.is_worker else _OTHER,
            )
    latencies.set_xlabel("requests sent per second")
    latencies.set_ylabel("milliseconds to the event")
    latencies.set_ylim(bottom=0)
    latencies.grid(alpha=0.3)
    if paced:
        latencies.legend()
    figure.savefig(path)


def _below(spreads: list[Spread]) -> list[float]:
    return [each.middle - each.least for each in spreads]


def _above(spreads: list[Spread]) -> list[float]:
    return [each.most - each.middle for each in spreads]
