"""A run as a person reads it at a terminal."""

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from tests.bench.throughput.cases import Subject
from tests.bench.throughput.figures import Spread
from tests.bench.throughput.processes import BENCH, OTHER, SUBJECT
from tests.bench.throughput.report import Report
from tests.bench.throughput.targets import Verdict

_ROLES = (SUBJECT, "broker", "provider", "postgres", BENCH, OTHER)


def show(report: Report, console: Console) -> None:
    """Print the tables, then what must not be."""
    if report.rows:
        console.print(_rates(report))
    if report.provider_limit:
        told = ", ".join(f"{each:,.0f}" for each in report.provider_limit)
        console.print(f"The provider stub alone answers {told} requests per second.")
    if report.paced:
        console.print(_latencies(report))
    console.print(_targets(report.verdicts))
    for fault in report.faults:
        console.print(f"FAULT {fault}", style="bold red", markup=False)


def _rates(report: Report) -> Table:
    table = _table(
        "Payments per second, median and (least, most) of the rounds; processors kept busy",
        *("", "case", "rate", "/ c", "µs", *_ROLES, "MiB", "first", "disturbed"),
    )
    summaries = report.summaries()
    bare = {
        each.case.delay_ms: each.rate.middle
        for each in summaries
        if each.case.subject is Subject.BARE
    }
    for each in summaries:
        beside = bare.get(each.case.delay_ms)
        table.add_row(
            each.case.subject.letter,
            each.case.name,
            _spread(each.rate, "{:,.0f}"),
            f"{each.rate.middle / beside:.2f}" if beside else "",
            f"{each.microseconds:,.0f}",
            _added(each.each),
            *(f"{each.cores[role]:.2f}" if role in each.cores else "" for role in _ROLES[1:]),
            _added(each.memory, "{:.0f}"),
            f"{each.first_seconds:.2f}" if each.first_seconds is not None else "",
            str(each.disturbed or ""),
        )
    return table


def _latencies(report: Report) -> Table:
    table = _table(
        "Milliseconds from sending to the event: median and (least, most) of the rounds",
        *("", "case", "sent per second", "p50", "p90", "p99"),
    )
    for each in report.paced_summaries():
        table.add_row(
            each.case.subject.letter,
            each.case.name,
            f"{each.rate.middle:,.0f}",
            *(_spread(value, "{:.1f}") for value in (each.p50, each.p90, each.p99)),
        )
    return table


def _targets(verdicts: Iterable[Verdict]) -> Table:
    table = _table("Targets", "target", "bound", "measured", "", "missed by")
    for each in verdicts:
        distance = each.distance
        table.add_row(
            each.name,
            f"{'<=' if each.is_most else '>='} {each.bound:g}",
            _spread(each.measured, "{:.2f}") if each.measured else "",
            {True: "met", False: "NOT MET", None: "not measured"}[each.met],
            "" if distance is None or distance <= 0 else f"{distance:.0%}",
        )
    return table


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, box=SIMPLE_HEAD, title_justify="left", padding=(0, 1, 0, 0))
    for heading in headings:
        is_text = heading in {"", "case", "target"}
        table.add_column(heading, justify="left" if is_text else "right")
    return table


def _added(values: Sequence[float], form: str = "{:.2f}") -> str:
    """Of each process of the subject."""
    return " + ".join(form.format(each) for each in values)


def _spread(value: Spread, form: str) -> str:
    middle, least, most = (form.format(each) for each in (value.middle, value.least, value.most))
    return f"{middle} ({least}, {most})"
