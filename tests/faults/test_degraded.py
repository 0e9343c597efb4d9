"""What the worker cannot work without: away, it consumes nothing, says so once, and recovers.

Failure cases 15, 33 and 34 beyond their plain rows: with many deliveries in hand, counting what
the broker delivered again and what the log said. The broker is a node of this module's own.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.erp import Erp, basket_order, connected_erp, order
from tests.acceptance.fault_site import (
    PATIENT,
    RESULTS,
    SHORT,
    answers_of,
    fault_site,
    is_calm,
    one_event_each,
    remaining_answers,
    running,
    settled,
)
from tests.acceptance.installation import Installation
from tests.acceptance.worker_process import WorkerProcess, started
from tests.broker import Broker, private_broker
from tests.waiting import until

pytestmark = pytest.mark.broker

RUNGS = tuple(f"retry.v1.{rung}" for rung in ("5s", "30s", "2m", "10m", "1h"))
MOST_WARNINGS = 8
"""A handful of sentences about one cause: its going, and the first message that met it."""

UNHURRIED = {
    **PATIENT,
    "permit_seconds": 20,
    "delivery_seconds": 70,
    "drain_seconds": 75,
    "stop_grace_seconds": 80,
}
"""Time limits under which a request waits long for its turn at an account."""


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    """A node that may be put into an alarm."""
    with private_broker() as node:
        yield node


async def waiting(erp: Erp) -> int:
    """Requests on the ladder."""
    return sum([await erp.depth(rung) for rung in RUNGS])


def warnings(worker: WorkerProcess) -> list[str]:
    """What it warned of, in order; these settings' short time limits are no news."""
    said = [line["event.action"] for line in worker.lines if line["log.level"] == "warning"]
    return [action for action in said if action != "settings.warning"]


async def test_fifty_deliveries_that_meet_one_alarm_are_one_piece_of_news(
    broker: Broker, tmp_path: Path
) -> None:
    """Each is delivered again once, not in a circle, and nothing new is taken meanwhile."""
    async with fault_site(broker, tmp_path, timing=SHORT) as site:
        applied = await site.installation.run("topology", "apply")
        assert applied.code == 0, applied.complaint
        await site.hurry_ladder()
        async with connected_erp(broker, site.installation.prefix) as erp:
            sent = [await erp.send(order()) for _ in range(60)]
            await broker.control("set_vm_memory_high_watermark", "0.00001")
            try:
                async with running(site.installation) as worker:
                    silence = await worker.tells("confirms.away")
                    assert "results" in silence["labels.reason"]
                    await until(lambda: len(settled(worker, "delivery.returned")) == 50)
                    await erp.has_depth("work", len(sent))
                    status, text = await worker.asks("/readyz")
                    assert (status, "paused: no confirms" in text) == (503, True)
                    assert "the broker confirms nothing sent to: results" in text
                    assert (await worker.asks("/healthz"))[0] == 200
                    assert site.simulator.applied.total <= 50
                    await broker.control("set_vm_memory_high_watermark", "0.4")
                    answers = await answers_of(erp, sent)
                    await until(lambda: bool(worker.told("confirms.back")))
                    assert await worker.stop() == 0
                    answers += await remaining_answers(erp)
                    one_event_each(answers)
                    assert site.simulator.applied.total == len(sent)
                    returned = Counter(
                        line["labels.message_id"] for line in worker.told("delivery.returned")
                    )
                    assert max(returned.values()) <= 2
                    assert len(warnings(worker)) <= MOST_WARNINGS, warnings(worker)
                    assert await waiting(erp) == 0
                    is_calm(worker)
            finally:
                await broker.control("set_vm_memory_high_watermark", "0.4")


async def test_a_results_exchange_that_is_gone_stops_consuming_until_it_is_back(
    broker: Broker, tmp_path: Path
) -> None:
    async with (
        fault_site(broker, tmp_path, timing=SHORT) as site,
        started(site.installation) as worker,
        connected_erp(broker, site.installation.prefix, taps={}) as erp,
    ):
        await erp.channel.exchange_delete(site.installation.named("results"))
        first = [await erp.send(make()) for make in (order, basket_order) for _ in range(5)]
        silence = await worker.tells("confirms.away")
        assert silence["labels.reason"] == "the broker confirms nothing sent to: results"
        # How many it took before it stopped depends on how fast they came; all are waiting again.
        later = [await erp.send(order()) for _ in range(10)]
        await erp.has_depth("work", len(first) + len(later))
        taken = site.simulator.applied.total
        assert 0 < taken < len(first) + len(later), "it stopped, perhaps with one more under way"
        await until(lambda: len(settled(worker, "delivery.returned")) == taken)
        assert (await worker.asks("/readyz"))[0] == 503
        applied = await site.installation.run("topology", "apply")
        assert applied.code == 0, applied.complaint
        answers = await answers_of(erp, [*first, *later])
        await worker.is_ready()
        assert await worker.stop() == 0
        answers += await remaining_answers(erp)
        one_event_each(answers)
        assert site.simulator.applied.total == len(first) + len(later)
        assert len(worker.told("confirms.away")) == len(worker.told("confirms.back")) == 1
        assert len(warnings(worker)) <= MOST_WARNINGS, warnings(worker)
        assert await erp.depth("work") == await erp.depth("dlq") == await waiting(erp) == 0
        is_calm(worker)


async def test_case_33_without_its_ledger_nothing_is_taken_until_it_is_back(
    broker: Broker, tmp_path: Path
) -> None:
    """The file is moved away: no claim can be told from a second one."""
    async with (
        fault_site(broker, tmp_path) as site,
        started(site.installation) as worker,
        connected_erp(broker, site.installation.prefix) as erp,
    ):
        ledger = site.installation.ledger
        aside = ledger.rename(ledger.with_name("aside"))
        away = await worker.tells("ledger.away")
        assert "deleted or replaced" in away["labels.reason"]
        sent = [await erp.send(order()) for _ in range(20)]
        await erp.has_depth("work", len(sent))
        status, text = await worker.asks("/readyz")
        assert (status, "paused: ledger" in text) == (503, True)
        assert (await worker.asks("/healthz"))[0] == 200
        assert site.simulator.applied.total == 0
        aside.rename(ledger)
        for each in sent:
            assert (await erp.answer(each))["attempts"] == 1
        assert await worker.stop() == 0
        assert len(worker.told("ledger.away")) == len(worker.told("ledger.back")) == 1
        assert worker.told("delivery.returned") == []
        assert len(warnings(worker)) == 1, warnings(worker)
        assert await waiting(erp) == await erp.depth(RESULTS) - len(sent) == 0
        is_calm(worker)


async def test_case_34_with_every_account_down_requests_stay_in_the_queue(
    broker: Broker, tmp_path: Path
) -> None:
    """The only account refuses our password; the next probe finds it mended and all drains.

    Beside a probe the others wait for their turn, and after ``permit_seconds`` on the ladder: here
    that is longer than a probe takes on a busy machine.
    """

    def change(installation: Installation) -> None:
        del installation.table("accounts")["combo"]

    async with (
        fault_site(broker, tmp_path, timing=UNHURRIED, change=change) as site,
        started(site.installation) as worker,
        connected_erp(broker, site.installation.prefix) as erp,
    ):
        event = await erp.answer(await erp.send(order(email="sim+http-401@example.org")))
        assert event["code"] == "provider_credentials"
        await worker.tells("accounts.down")
        sent = [await erp.send(order()) for _ in range(60)]
        await erp.has_depth("work", len(sent))
        status, text = await worker.asks("/readyz")
        assert (status, "paused: every account is down" in text) == (503, True)
        _, metrics = await worker.asks("/metrics")
        assert 'payment_worker_breaker_state{provider="safedebit",state="open"} 1.0' in metrics
        for each in sent:
            event = await erp.answer(each)
            assert (event.status, event["attempts"]) == ("succeeded", 1)
            assert erp.rungs(each) == []
        await worker.tells("accounts.back")
        assert await worker.stop() == 0
        assert warnings(worker).count("accounts.down") == len(worker.told("accounts.back")) == 1
        states = [line["labels.breaker"] for line in worker.told("breaker.changed")]
        assert states == ["open", "half_open", "closed"]
        is_calm(worker)
