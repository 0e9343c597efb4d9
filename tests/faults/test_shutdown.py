"""Told to stop while something is wrong: nothing counts as an attempt, nothing is paid twice.

Failure case 31 beyond its plain rows: a second signal while calls connect, while the ledger is
locked, and while the broker is away. What the next worker finds decides.
"""

import asyncio
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.erp import basket_order, connected_erp, order
from tests.acceptance.fault_site import (
    SHORT,
    SLOW,
    answers_of,
    fault_site,
    is_calm,
    nothing_is_left,
    one_event_each,
    remaining_answers,
    running,
)
from tests.acceptance.installation import Installation
from tests.acceptance.worker_process import WorkerProcess, started
from tests.broker import Broker, private_broker
from tests.servers import silent_port
from worker.rules import ENDING_SECONDS

pytestmark = pytest.mark.broker

SLACK = 15.0
"""Seconds a busy machine may add."""


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    """A node that may be stopped."""
    with private_broker() as node:
        yield node


async def hurried(worker: WorkerProcess) -> int:
    """Signal twice, and wait for the end within the time limits of a stop."""
    worker.signal(signal.SIGTERM)
    await worker.tells("worker.stopping")
    worker.signal(signal.SIGTERM)
    return await worker.ends(seconds=ENDING_SECONDS + SLACK)


def point_at(installation: Installation, port: int) -> None:
    """Let both accounts call a port of this machine."""
    for account, path in (("safedebit", "/ssp"), ("combo", "")):
        installation.table("accounts", account, "test")["base_url"] = (
            f"http://127.0.0.1:{port}{path}"
        )


async def test_calls_that_were_still_connecting_were_no_attempts(
    broker: Broker, tmp_path: Path
) -> None:
    """Nothing had been sent, so even a basket item is simply paid by the next worker."""
    async with fault_site(broker, tmp_path) as site:
        await site.hurry_ladder()
        right = {
            name: site.installation.table("accounts", name, "test")["base_url"]
            for name in ("safedebit", "combo")
        }
        with silent_port() as port:
            point_at(site.installation, port)
            site.installation.write()
            async with running(site.installation) as first:
                await first.is_ready()
                async with connected_erp(broker, site.installation.prefix) as erp:
                    sent = [
                        await erp.send(make()) for make in (order, basket_order) for _ in range(3)
                    ]
                    await in_flight(first, len(sent))
                    assert await hurried(first) == 0
                    await erp.has_depth("work", len(sent))
                is_calm(first)
        for name, url in right.items():
            site.installation.table("accounts", name, "test")["base_url"] = url
        site.installation.write()
        async with (
            connected_erp(broker, site.installation.prefix) as erp,
            started(site.installation) as second,
        ):
            for each in sent:
                event = await erp.answer(each)
                assert (event.status, event["attempts"]) == ("succeeded", 1)
            assert site.simulator.applied.total == len(sent)
            assert second.told("delivery.returned") == []
            await nothing_is_left(erp)


async def in_flight(worker: WorkerProcess, calls: int) -> None:
    """Wait until that many calls are under way, as its metrics tell."""
    async with asyncio.timeout(20):
        while True:
            _, metrics = await worker.asks("/metrics")
            lines = metrics.splitlines()
            name = "payment_worker_provider_calls_in_flight{"
            if sum(float(line.split()[-1]) for line in lines if line.startswith(name)) == calls:
                return


async def test_a_locked_ledger_does_not_keep_a_hurried_worker(
    broker: Broker, tmp_path: Path
) -> None:
    """What it could not record ends with its lease: asked for again, or in doubt, once."""
    async with fault_site(broker, tmp_path, timing=SHORT) as site:
        await site.hurry_ladder()
        async with running(site.installation) as first:
            await first.is_ready()
            async with connected_erp(broker, site.installation.prefix) as erp:
                sent = [await erp.send(make(email=SLOW)) for make in (order, basket_order)]
                await site.holds(2)
                ledger = sqlite3.connect(site.installation.ledger, isolation_level=None)
                with closing(ledger) as other:
                    other.execute("BEGIN IMMEDIATE")
                    late = [await erp.send(order()) for _ in range(5)]
                    assert await hurried(first) == 0
                    other.execute("ROLLBACK")
                await erp.has_depth("work", len(sent) + len(late))
                site.release()
                async with started(site.installation):
                    link, item = [await erp.answer(each) for each in sent]
                    assert (link.status, link["attempts"]) == ("succeeded", 2)
                    assert (item.status, item["attempts"]) == ("in_doubt", 1)
                    for each in late:
                        event = await erp.answer(each)
                        assert (event.status, event["attempts"]) == ("succeeded", 1)
            assert list(site.simulator.applied.items.values()) == [1]
            assert site.simulator.applied.total == 3 + len(late)
        is_calm(first)


async def test_a_broker_that_is_away_does_not_keep_a_hurried_worker(
    broker: Broker, tmp_path: Path
) -> None:
    """The answers are stored; the next worker sends them once the requests are back."""
    async with fault_site(broker, tmp_path) as site:
        async with running(site.installation) as first:
            await first.is_ready()
            async with connected_erp(broker, site.installation.prefix) as erp:
                sent = [
                    await erp.send(make(email=SLOW))
                    for make in (order, basket_order)
                    for _ in range(4)
                ]
                await site.holds(len(sent))
            await asyncio.to_thread(broker.stop)
            try:
                site.release()
                await first.tells("broker.disconnected", role="publish")
                assert await hurried(first) == 0
            finally:
                await asyncio.to_thread(broker.start)
            is_calm(first)
        async with (
            started(site.installation) as second,
            connected_erp(broker, site.installation.prefix) as erp,
        ):
            answers = await answers_of(erp, sent)
            assert await second.stop() == 0
            answers += await remaining_answers(erp)
            one_event_each(answers)
            assert {each["attempts"] for each in answers} == {1}
            assert site.simulator.applied.total == len(sent)
            await nothing_is_left(erp)
