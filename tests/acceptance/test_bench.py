"""The bench measures what it says: a few messages through the product, the bare loop, the limit."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench.guard import guard
from tests.bench.throughput.cases import QUICK, Case, PacedCase, Subject
from tests.bench.throughput.run import run
from tests.bench.throughput.site import Site
from tests.broker import Broker

pytestmark = pytest.mark.broker

PRODUCT, BARE = Case(Subject.SQLITE, 5, 50), Case(Subject.BARE, 5, 50)
LIMIT = Case(Subject.FORWARDER, 50, 0)
PACED = PacedCase(Subject.BARE, 5, 0.5)

FEW = replace(QUICK, messages=50, rounds=1, patience=0.0, paced_seconds=0.5)


async def test_fifty_messages_are_fifty_calls_and_fifty_results(
    broker: Broker, tmp_path: Path
) -> None:
    """Nothing asserted here is a time: the machine may be busy."""
    told: list[str] = []
    site = Site(broker=broker, directory=tmp_path)
    report = await run(site, replace(FEW, cases=(PRODUCT, BARE), paced=()), told.append)
    assert report.faults == []
    assert [row.case for row in report.rows] == [PRODUCT.name, BARE.name]
    for row in report.rows:
        assert row.rate > 0
        assert row.cores["subject"] > 0
        assert sum(row.cores_of_each["subject"]) == pytest.approx(row.cores["subject"])
        assert row.cores["broker"] > 0
        assert max(row.peaks["subject"]) > 20
    assert report.provider_limit[0] > 0
    assert len(told) == 2
    report.write(tmp_path / "run.json")
    assert len(json.loads((tmp_path / "run.json").read_text("utf-8"))["rows"]) == 2


async def test_latencies_are_measured_at_a_part_of_the_products_own_rate(
    broker: Broker, tmp_path: Path
) -> None:
    site = Site(broker=broker, directory=tmp_path)
    plan = replace(FEW, messages=300, cases=(), paced=(PACED,))
    report = await run(site, plan, lambda _line: None)
    assert report.faults == []
    (row,) = report.paced
    assert 0 < row.p50 <= row.p90 <= row.p99 <= row.worst
    assert len(row.milliseconds) == row.messages - round(row.messages * 0.1)


async def test_the_brokers_limit_forwards_each_message_once(broker: Broker, tmp_path: Path) -> None:
    site = Site(broker=broker, directory=tmp_path)
    report = await run(site, replace(FEW, messages=1000, cases=(LIMIT,), paced=()), lambda _: None)
    assert report.faults == []
    assert report.rows[0].messages == 5000


@pytest.mark.time_limit(300)
async def test_the_worker_is_not_much_dearer_than_it_was(broker: Broker, tmp_path: Path) -> None:
    """Processor time beside a bare loop's, measured up to three times before it fails."""
    verdict = await guard(Site(broker=broker, directory=tmp_path))
    assert verdict.is_kept, str(verdict)
