"""What a run of the bench comes to: verdicts, and what a person sees of it."""

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from tests.bench.throughput.__main__ import main, parser, plan_of
from tests.bench.throughput.cases import QUICK, WHOLE, Case, PacedCase, Plan, Subject
from tests.bench.throughput.figures import (
    Spread,
)
from tests.bench.throughput.latency import PacedRow
from tests.bench.throughput.report import Report
from tests.bench.throughput.table import show
from tests.bench.throughput.targets import TARGETS, Measured, judge
from tests.bench.throughput.trial import Row

A, C = Case(Subject.SQLITE, 200, 0), Case(Subject.BARE, 200, 0)


def row(case: str, rate: float, number: int = 1, *, other: float = 0.0) -> Row:
    return Row(
        case=case,
        round=number,
        messages=10,
        rate=rate,
        first_seconds=1.0,
        cores={"subject": 0.9, "broker": 0.4, "other": other},
        cores_of_each={"subject": [0.65, 0.25]},
        peaks={"subject": [80.0]},
    )


def paced_row(case: str, p50: float, p99: float) -> PacedRow:
    return PacedRow(case=case, round=1, messages=10, rate=100.0, p50=p50, p90=p99, p99=p99)


def whole_report(rows: list[Row], paced: list[PacedRow] | None = None) -> Report:
    return Report(WHOLE, {"processors": 2}, [100_000.0], rows, paced or [])


# --- verdicts ----------------------------------------------------------------------------------


def test_a_target_is_held_against_the_rounds_of_one_run() -> None:
    rows = [row(A.name, 260.0), row(C.name, 100.0), row(A.name, 130.0, 2), row(C.name, 50.0, 2)]
    verdicts = {each.name: each for each in whole_report(rows).verdicts}
    told = verdicts["a / c, 0 ms"]
    assert told.met
    assert told.measured == Spread(2.6, 2.6, 2.6)
    assert told.distance == pytest.approx(-1.0)
    assert verdicts["b / a, 0 ms"].met is None
    assert len(verdicts) == len(TARGETS)


def test_the_best_peer_of_each_round_counts() -> None:
    rows = [
        each
        for number, (peer, other) in enumerate(((50.0, 100.0), (100.0, 50.0)), 1)
        for each in (
            row(A.name, 150.0, number),
            row(Case(Subject.FASTSTREAM, 200, 0).name, peer, number),
            row(Case(Subject.TASKIQ, 200, 0).name, other, number),
        )
    ]
    (verdict,) = [each for each in whole_report(rows).verdicts if "best of d" in each.name]
    assert verdict.measured == Spread(1.5, 1.5, 1.5)
    assert verdict.met is False
    assert verdict.distance == pytest.approx(0.25)


def test_a_round_that_is_missing_on_one_side_makes_no_ratio() -> None:
    rows = [row(A.name, 260.0), row(A.name, 100.0, 2), row(C.name, 100.0, 2), row(C.name, 1.0, 3)]
    measured = {each.name: each for each in whole_report(rows).verdicts}["a / c, 0 ms"].measured
    assert measured == Spread(1.0, 1.0, 1.0)


def test_less_is_better_for_latency_and_memory() -> None:
    name = PacedCase(Subject.SQLITE, 200, 0.5).name
    verdicts = {
        each.name: each
        for each in judge(
            Measured({A.name: [row(A.name, 1.0)]}, {name: [paced_row(name, 5.0, 60.0)]})
        )
    }
    assert verdicts["a: p50 at half load, ms"].met
    assert verdicts["a: p99 at half load, ms"].met is False
    assert verdicts["a: p99 at half load, ms"].distance == pytest.approx(0.5)
    assert verdicts["a and b: resident memory of the largest worker, MiB"].met


def test_a_measurement_with_a_wrong_count_is_never_compared(tmp_path: Path) -> None:
    bad = row(A.name, 260.0)
    bad.faults.append("1 requests were answered more than once")
    report = whole_report([bad, row(C.name, 100.0)])
    assert report.measured.rates(A) == {}
    assert report.faults == [f"{A.name}, round 1: 1 requests were answered more than once"]
    report.write(tmp_path / "run.json")
    written = json.loads((tmp_path / "run.json").read_text("utf-8"))
    assert [each["rate"] for each in written["rows"]] == [260.0, 100.0], "but it is kept"
    assert written["faults"] == report.faults
    assert len(written["targets"]) == len(TARGETS)


def test_processor_time_is_told_for_each_payment() -> None:
    assert row(A.name, 900.0).microseconds == pytest.approx(1000.0)
    assert Row(case=A.name, round=1, messages=10).microseconds == 0.0


def test_the_largest_worker_of_all_is_held_against_the_bound() -> None:
    rows = [row(A.name, 1.0), row(A.name, 1.0, 2)]
    rows[1].peaks = {"subject": [70.0, 91.0]}
    (verdict,) = [each for each in whole_report(rows).verdicts if "memory" in each.name]
    assert verdict.measured == Spread(91.0, 80.0, 91.0)
    assert verdict.met is False


# --- what a person sees ------------------------------------------------------------------------


def test_the_tables_show_rates_latencies_targets_and_faults() -> None:
    name = PacedCase(Subject.SQLITE, 200, 0.5).name
    report = whole_report(
        [row(A.name, 1234.0, other=0.5), row(C.name, 1000.0)], [paced_row(name, 5.0, 60.0)]
    )
    report.rows[1].faults.append("1 messages left in t1.work")
    out = StringIO()
    show(report, Console(file=out, width=180))
    told = out.getvalue()
    assert "1,234 (1,234, 1,234)" in told
    assert "0.65 + 0.25" in told, "of each process"
    assert "60.0 (60.0, 60.0)" in told
    assert "a: p99 at half load, ms" in told
    assert "NOT MET" in told
    assert "50%" in told
    assert f"FAULT {C.name}, round 1: 1 messages left in t1.work" in told


def test_the_command_line_chooses_cases_by_the_beginning_of_their_name() -> None:
    def chosen(*words: str) -> Plan:
        return plan_of(parser().parse_args(words))

    assert chosen() == WHOLE
    assert chosen("--quick") == QUICK
    assert chosen("--only", "worker-sqlite/200/0ms", "--messages", "7", "--rounds", "1").names == [
        A.name
    ]
    assert {each.subject for each in chosen("--only", "bare/").cases} == {Subject.BARE}
    assert len(set(WHOLE.names)) == len(WHOLE.names)
    assert set(QUICK.names) <= set(WHOLE.names)


def test_a_name_that_no_case_has_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "celery"]) == 64
    assert "worker-sqlite/200/0ms" in capsys.readouterr().err
