"""What the bench makes of what it reads: medians, ratios, windows, /proc, counts."""

import json
import os
from collections import Counter

import pytest

from tests.bench.peers.line import Confirmed
from tests.bench.throughput.figures import (
    NotMeasuredError,
    Point,
    Spread,
    first_seen,
    percentile,
    rate_between,
    ratio_by_round,
    spread,
    steady_window,
)
from tests.bench.throughput.processes import (
    Reading,
    Stat,
    cores,
    cores_of_each,
    family,
    parse_busy,
    parse_peak,
    parse_stat,
    read_costs,
    read_peaks,
)
from tests.bench.throughput.requests import Batch
from tests.bench.throughput.site import Results
from tests.bench.throughput.trial import faults_of
from tests.fakes_clock import START
from worker.contract.reading import read
from worker.model import Delivery, Initiation, Source

# --- figures -----------------------------------------------------------------------------------


def test_the_middle_stands_between_the_least_and_the_most() -> None:
    assert spread([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0)
    assert spread([1.0, 2.0]).middle == 1.5
    assert spread([1.0, 2.0, 3.0]).width == 1.0
    with pytest.raises(NotMeasuredError):
        spread([])


def test_a_machine_that_slows_down_between_rounds_changes_no_ratio() -> None:
    assert ratio_by_round({1: 200.0, 2: 100.0}, {1: 100.0, 2: 50.0}) == Spread(2.0, 2.0, 2.0)
    with pytest.raises(NotMeasuredError):
        ratio_by_round({1: 200.0}, {2: 100.0})


@pytest.mark.parametrize(
    ("part", "value"), [(0.0, 1), (0.5, 50), (0.9, 90), (0.99, 99), (1.0, 100)]
)
def test_a_percentile_is_one_of_the_values(part: float, value: float) -> None:
    assert percentile([float(n) for n in range(100, 0, -1)], part) == value


def test_the_rate_counts_neither_start_nor_warming() -> None:
    points = [Point(0.0, 0), Point(1.0, 5), Point(1.5, 20), Point(2.5, 60), Point(3.5, 100)]
    first, last = steady_window(points, 100)
    assert (first, last) == (points[2], points[4])
    assert rate_between(first, last) == 40.0
    assert first_seen(points) == 0.5


@pytest.mark.parametrize(
    "points", [[Point(0.0, 0), Point(1.0, 99)], [Point(0.0, 0), Point(1.0, 100)], []]
)
def test_results_that_were_not_seen_to_come_in_give_no_rate(points: list[Point]) -> None:
    with pytest.raises(NotMeasuredError):
        steady_window(points, 100)


# --- /proc -------------------------------------------------------------------------------------


def test_a_process_is_read_whatever_its_name_is() -> None:
    line = "42 (a (b) c) S 7 42 42 0 -1 0 9 9 9 9 150 50 30 20 20 0 1 0 99 0 0"
    assert parse_stat(line, ticks=100) == Stat(42, 7, 2.0, 0.5)


def test_a_machine_is_busy_with_everything_but_idling() -> None:
    assert parse_busy("cpu  100 10 50 9999 9999 5 5 30 77 77\ncpu0 1 1 1", ticks=100) == 2.0


def test_peak_memory_is_read_in_mebibytes() -> None:
    assert parse_peak("Name:\tx\nVmHWM:\t   2048 kB\nVmRSS:\t 1024 kB\n") == 2.0
    assert parse_peak("Name:\tkernel thread\n") == 0.0


def test_a_family_is_a_root_with_all_its_descendants() -> None:
    stats = [Stat(n, parent, 1.0, 0.0) for n, parent in ((1, 0), (2, 1), (3, 2), (4, 1), (9, 8))]
    assert {each.process for each in family(stats, [2, 4])} == {2, 3, 4}
    assert family(stats, [77]) == []


def test_what_nobody_of_us_spent_is_other() -> None:
    before = Reading(10.0, 100.0, {"subject": {7: 1.0}, "bench": {1: 0.0}})
    after = Reading(12.0, 103.0, {"subject": {7: 2.0}, "bench": {1: 0.5}})
    assert cores(before, after) == {"subject": 0.5, "bench": 0.25, "other": 0.75}
    early = Reading(12.0, 100.0, {"subject": {7: 2.0}, "bench": {1: 0.5}})
    assert cores(before, early)["other"] == 0.0, "the kernel counts in ticks"


def test_each_process_is_told_by_itself_the_busiest_first() -> None:
    before = Reading(10.0, 100.0, {"subject": {7: 1.0, 8: 4.0}})
    after = Reading(12.0, 110.0, {"subject": {7: 1.5, 8: 6.0, 9: 0.2}})
    assert cores_of_each(before, after)["subject"] == pytest.approx([1.0, 0.25, 0.1])
    assert cores(before, after)["subject"] == pytest.approx(1.35)


def test_our_own_process_is_found_in_proc() -> None:
    found = read_peaks({"subject": [os.getpid()]})
    assert found["subject"][os.getpid()] > 1.0
    assert read_costs({"subject": [os.getpid()]}).spent["subject"][os.getpid()] > 0.0


# --- what is asked for -------------------------------------------------------------------------


def test_every_request_of_a_batch_is_valid_and_unlike_the_others() -> None:
    batch = Batch("one", 300)
    readings = [
        read(
            Delivery(
                body=batch.body(n),
                source=Source.REQUESTS,
                routing_key="payment.initiate.dcp",
                received_at=START,
                exchange="payments.requests",
                message_id=batch.key(n),
                correlation_id=batch.key(n),
                headers={},
                delivery_count=0,
            )
        )
        for n in batch.numbers
    ]
    assert all(isinstance(each, Initiation) for each in readings)
    contents = {each.request.fingerprint for each in readings if isinstance(each, Initiation)}
    assert len(contents) == len(batch.keys) == 300


def test_a_task_of_taskiq_holds_the_same_request() -> None:
    plain, task = Batch("one", 1), Batch("one", 1, in_task=True)
    assert json.loads(task.body(0))["args"] == [json.loads(plain.body(0))]
    assert json.loads(task.body(0))["task_id"] == plain.key(0)


def test_batches_that_begin_elsewhere_share_nothing() -> None:
    early, late = Batch("one", 5), Batch("one", 5, first=5)
    assert not early.keys & late.keys
    assert {early.body(n) for n in early.numbers}.isdisjoint(late.body(n) for n in late.numbers)


# --- counts ------------------------------------------------------------------------------------


def test_a_run_whose_counts_are_right_has_no_fault() -> None:
    results = Results(Counter({"k1": 1, "k2": 1}))
    assert faults_of({"k1", "k2"}, results, calls=(2, 2), astray={}) == []
    assert faults_of({"k1", "k2"}, results, calls=None, astray={}) == []


@pytest.mark.parametrize(
    ("results", "calls", "astray", "words"),
    [
        (Results(Counter({"k1": 1})), (2, 2), {}, "1 of 2 requests have no good answer"),
        (Results(Counter({"k1": 2, "k2": 1})), (2, 2), {}, "answered more than once"),
        (Results(Counter({"k1": 1, "k2": 1, "k3": 1})), (2, 2), {}, "nobody's request"),
        (Results(Counter({"k1": 1, "k2": 1}), Counter({"k2": 1})), (2, 2), {}, "1 other answers"),
        (Results(Counter({"k1": 1, "k2": 1})), (3, 2), {}, "led to 3 calls with 2 references"),
        (Results(Counter({"k1": 1, "k2": 1})), (2, 2), {"work": 1}, "1 messages left in work"),
    ],
)
def test_a_wrong_count_is_a_fault(
    results: Results, calls: tuple[int, int], astray: dict[str, int], words: str
) -> None:
    (fault,) = faults_of({"k1", "k2"}, results, calls=calls, astray=astray)
    assert words in fault


def test_nothing_is_acknowledged_before_everything_up_to_it_is_confirmed() -> None:
    confirmed = Confirmed()
    seen = []
    for number, multiple in ((2, False), (3, False), (1, False), (6, False), (5, True), (7, False)):
        confirmed.note(number, multiple=multiple)
        seen.append(confirmed.up_to)
    assert seen == [0, 0, 3, 3, 6, 7]
