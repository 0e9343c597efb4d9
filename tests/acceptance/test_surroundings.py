"""A worker among others: no broker yet, no subscriber, a second worker on the same ledger."""

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.erp import basket_order, connected_erp
from tests.acceptance.installation import LINK_HOST, installed
from tests.acceptance.shared_site import site_of
from tests.acceptance.worker_process import WorkerProcess, started
from tests.broker import Broker, free_port
from tests.waiting import until
from worker.adapters.clock import SystemClock
from worker.simulator.server import Simulator

pytestmark = pytest.mark.broker

REQUESTS = 40


@pytest.fixture
def absent_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A node that nobody has started yet."""
    node = Broker(tmp_path_factory.mktemp("node"), free_port())
    yield node
    node.stop()


async def test_a_broker_that_is_not_there_at_start_is_waited_for(
    absent_broker: Broker, tmp_path: Path
) -> None:
    """One warning for each try, no traceback; alive, not ready, and stopped when it is told to."""
    async with (
        Simulator(clock=SystemClock(), link_host=LINK_HOST) as simulator,
        installed(
            absent_broker,
            tmp_path,
            link_url=simulator.link_base_url,
            basket_url=simulator.base_url,
        ) as installation,
    ):
        installation.write()
        installation.create_ledger()
        patient = await WorkerProcess.start(installation)
        stopped = await WorkerProcess.start(installation)
        try:
            for worker in (patient, stopped):
                line = await worker.tells("broker.disconnected", role="setup")
                assert line["log.level"] == "warning"
                assert f"127.0.0.1:{absent_broker.port} cannot be" in line["labels.reason"]
                assert line["labels.seconds"] > 0
            assert (await patient.asks("/healthz"))[0] == 200
            status, body = await patient.asks("/readyz")
            checks = json.loads(body)["checks"]
            assert (status, checks) == (503, {"started": "waiting for the broker"})
            stopped.signal(signal.SIGTERM)
            assert await stopped.ends(seconds=10) == 0
            await asyncio.to_thread(absent_broker.start)
            await patient.is_ready()
            async with connected_erp(absent_broker, installation.prefix) as erp:
                await erp.is_answered()
            assert await patient.stop() == 0
        finally:
            await patient.kill()
            await stopped.kill()
        for worker in (patient, stopped):
            assert worker.complaint.read_text("utf-8") == ""
            assert "Traceback" not in worker.log.read_text("utf-8")
            assert "error" not in {each["log.level"] for each in worker.lines}


async def test_two_workers_on_one_ledger_pay_everything_once(
    broker: Broker, tmp_path: Path
) -> None:
    """Each request is sent twice, and the broker gives the two to whichever worker is free."""
    async with site_of(broker, tmp_path) as site, started(site.installation) as second:
        erp = site.erp
        requests = [basket_order() for _ in range(REQUESTS)]
        first = [await erp.send(asked) for asked in requests]
        again = [
            await erp.send(asked, message_id=sent.message_id)
            for asked, sent in zip(requests, first, strict=True)
        ]
        both = list(zip(first, again, strict=True))
        # One of the two may meet the other under way, and waits half a minute for its answer.
        await until(lambda: all(erp.answers(one) + erp.answers(two) for one, two in both))
        await until(lambda: all(erp.answers(each) or erp.rungs(each) for each in (*first, *again)))
        for pair in both:
            events = [event for sent in pair for event in erp.answers(sent)]
            assert len({event["event_id"] for event in events}) == 1
            assert {event.status for event in events} == {"succeeded"}
        assert list(site.simulator.applied.items.values()) == [1] * REQUESTS
        assert site.worker.told("delivery.answered")
        assert second.told("delivery.answered")
