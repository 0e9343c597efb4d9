"""A run as a picture: throughput by subject with its spread, latency by load."""

from pathlib import Path

from tests.bench.throughput.figures import Spread
from tests.bench.throughput.report import Report

_WORKER, _OTHER = "#1f6f8b", "#b0b7bf"
_STYLES = {"p50": "-", "p90": "--", "p99": ":"}


def draw(report: Report, path: Path) -> None:
    """Write it in the format that the name's ending says: svg, png or pdf."""
    # Here, because only who wants a picture needs the library.
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(10, 9), layout="constrained")
    rates, latencies = figure.subplots(2, 1, height_ratios=(3, 2))
    summaries = list(reversed(report.summaries()))
    rates.barh(
        [each.case.name for each in summaries],
        [each.rate.middle for each in summaries],
        xerr=[_below([s.rate for s in summaries]), _above([s.rate for s in summaries])],
        color=[_WORKER if each.case.subject.is_worker else _OTHER for each in summaries],
        capsize=3,
    )
    rates.set_xscale("log")
    rates.set_xlabel("payments per second (logarithmic), median and spread of the rounds")
    rates.grid(axis="x", which="both", alpha=0.3)
    rates.set_title("Throughput: subject / prefetch / provider delay")
    paced = report.paced_summaries()
    for subject in dict.fromkeys(each.case.subject for each in paced):
        mine = [each for each in paced if each.case.subject is subject]
        for name, style in _STYLES.items():
            spreads: list[Spread] = [getattr(each, name) for each in mine]
            latencies.errorbar(
                [each.rate.middle for each in mine],
                [each.middle for each in spreads],
                yerr=[_below(spreads), _above(spreads)],
                label=f"{subject} {name}",
                linestyle=style,
                marker="o",
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
