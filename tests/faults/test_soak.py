"""The soak's machinery in short: real processes, kills, a broker restart, and its own verdict."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.soak_options import LedgerKind, Options
from tests.faults.soak_report import Report
from tests.faults.soak_run import soak

SHORT = Options(
    minutes=1 / 3,
    seed=7,
    rate=6.0,
    kill_every=2.0,
    broker_restart_every=8.0,
    provider_faults=0.3,
    max_age=20,  # every wait is over soon after the load
    drain_minutes=1.5,
)
"""The node is up for about eight seconds and down for about as many."""


def quietly(_line: str) -> None:
    """Nobody watches the progress."""


@pytest.mark.broker
@pytest.mark.time_limit(210)
@pytest.mark.parametrize("ledger", LedgerKind)
async def test_nothing_is_lost_and_nothing_paid_twice_under_kills_and_restarts(
    ledger: LedgerKind, tmp_path: Path
) -> None:
    options = replace(SHORT, ledger=ledger)
    report = await soak(options, tmp_path, stop=asyncio.Event(), say=quietly)
    found = "\n".join([*report.lines(), *report.offenders()])
    assert report.is_good, found
    assert report.is_drained, found
    assert was_a_soak(report), found


def was_a_soak(report: Report) -> bool:
    """Whether there was anything to judge."""
    verdict, conduct = report.verdict, report.conduct
    return (
        verdict.decided == verdict.requests >= 60
        and verdict.applied >= 40
        and conduct.troubles["worker killed"] >= 3
        and conduct.troubles["broker stopped"] >= 1
        and conduct.workers_started >= 5
        and set(conduct.worst_recoveries) == set(conduct.troubles)
    )
