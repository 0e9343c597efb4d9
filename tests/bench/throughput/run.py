"""A whole run: every case once in each round, then latencies at parts of the worker's own rate."""

from collections.abc import Callable
from dataclasses import replace
from statistics import median

from tests.bench.throughput.cases import WIDE, Case, Plan, Subject
from tests.bench.throughput.latency import measure_paced
from tests.bench.throughput.machine import describe_machine
from tests.bench.throughput.provider import measure_limit
from tests.bench.throughput.report import Report
from tests.bench.throughput.site import Site
from tests.bench.throughput.trial import Row, measure

Tell = Callable[[str], None]

_FULL_LOAD = Case(Subject.SQLITE, WIDE, 0)
_MORE_FOR = {Subject.FORWARDER: 5}
"""The broker's limit would be over before it was looked at twice."""


async def run(site: Site, plan: Plan, tell: Tell) -> Report:
    """Interleaved: what drifts on the machine drifts under all of them."""
    report = Report(plan, describe_machine(site.directory))
    for number in range(1, plan.rounds + 1):
        if plan.cases:
            report.provider_limit.append(round(await measure_limit()))
        for case in plan.cases:
            row = await measure(
                site,
                case,
                number=number,
                messages=plan.messages * _MORE_FOR.get(case.subject, 1),
                patience=plan.patience,
                repeats=plan.repeats,
            )
            report.rows.append(row)
            tell(_line(row, f"{row.rate:,.0f} per second"))
    if plan.paced:
        await _latencies(site, report, tell)
    return report


async def _latencies(site: Site, report: Report, tell: Tell) -> None:
    plan = report.plan
    full = await _full_load(site, report, tell)
    if full is None:
        return
    for number in range(1, plan.rounds + 1):
        for case in plan.paced:
            row = await measure_paced(
                site,
                case,
                number=number,
                rate=case.load * full,
                seconds=plan.paced_seconds,
                patience=plan.patience,
            )
            report.paced.append(row)
            tell(_line(row, f"p50 {row.p50:.1f} p99 {row.p99:.1f} ms at {row.rate:,.0f}"))


async def _full_load(site: Site, report: Report, tell: Tell) -> float | None:
    """The worker's own rate; measured now where the plan left it out."""
    rates = report.measured.rates(_FULL_LOAD)
    if not rates:
        quick = replace(report.plan, repeats=0)
        row = await measure(
            site,
            _FULL_LOAD,
            number=0,
            messages=quick.messages,
            patience=quick.patience,
            repeats=quick.repeats,
        )
        report.rows.append(row)
        tell(_line(row, f"{row.rate:,.0f} per second"))
        rates = {} if row.faults else {row.round: row.rate}
    return median(rates.values()) if rates else None


def _line(row: Row, figure: str) -> str:
    notes = [figure, f"other {row.cores.get('other', 0):.2f}"]
    if row.repeated:
        notes.append(f"measured {row.repeated + 1} times")
    return f"round {row.round} {row.case}: {', '.join((*notes, *row.faults))}"
