"""Failure cases 12 to 15 and 40: answers whose subscriber is absent, full, or cannot read them.

The worker is a process on a real broker, except where days must pass.
"""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from tests.acceptance.erp import EVERY_TAP, Sent, basket_order, checked, connected_erp, order
from tests.acceptance.fault_site import (
    RESULTS,
    SHORT,
    answers_of,
    fault_site,
    hand_back,
    is_calm,
    nothing_is_left,
    one_event_each,
    remaining_answers,
    running,
    settled,
)
from tests.acceptance.installation import Installation
from tests.acceptance.shared_site import site_of
from tests.acceptance.worker_process import WorkerProcess, started
from tests.broker import Broker
from tests.core import REFUSED, World, initiation
from tests.waiting import until
from worker.messages import Exchange

pytestmark = pytest.mark.broker


async def test_case_12_an_answer_nobody_subscribed_to_is_kept_and_counted(
    broker: Broker, tmp_path: Path
) -> None:
    """The tap leaves the results alone: bound there, it would be a subscriber."""
    taps = {name: keys for name, keys in EVERY_TAP.items() if name != "results"}
    async with site_of(broker, tmp_path, taps=taps) as site:
        asked = order(id_origin="Nobody")
        sent = await site.erp.send(asked, routing_key="payment.initiate.nobody")
        event = checked(await site.erp.take("unclaimed"))
        assert event.message.correlation_id == sent.correlation_id
        assert (event["id_origin"], event["result"]) == ("Nobody", True)
        line = await site.worker.tells("delivery.answered", message_id=sent.message_id)
        assert (line["labels.unclaimed"], line["log.level"]) == (True, "warning")
        _, metrics = await site.worker.asks("/metrics")
        assert "payment_worker_results_unclaimed_total 1.0" in metrics
        await site.erp.has_depth("work", 0)
        await site.erp.send(order())
        assert checked(await site.erp.take("results.erp")).status == "succeeded"
        await site.erp.send(
            asked, routing_key="payment.initiate.nobody", message_id=sent.message_id
        )
        repeated = checked(await site.erp.take("unclaimed"))
        assert repeated["event_id"] == event["event_id"]
        assert site.simulator.applied.total == 2


async def test_case_13_a_full_result_queue_holds_back_its_own_requests_only(
    broker: Broker, tmp_path: Path
) -> None:
    """They go round the ladder, uncounted, and the same event arrives once there is room."""

    def change(installation: Installation) -> None:
        installation.table("results")["subscribers"] = {"erp": ["web"], "full": ["dcp"]}

    async with (
        fault_site(broker, tmp_path, change=change) as site,
        started(site.installation) as worker,
        connected_erp(broker, site.installation.prefix) as erp,
    ):
        await site.hurry_ladder()
        limits = {"max-length": 1, "overflow": "reject-publish"}
        await site.set_policy("full", r"results\.full$", limits)
        sent: list[Sent] = []
        while not worker.told("delivery.waiting", reason="result queue full"):
            sent.append(await erp.send(order()))
            await spoke_of(worker, sent[-1])
        *_, held_back = sent
        assert len(sent) < 6
        web = await erp.send(order(id_origin="web"), routing_key="payment.initiate.web")
        assert (await erp.answer(web)).status == "succeeded"
        await until(lambda: len(erp.rungs(held_back)) >= 3)
        assert set(erp.rungs(held_back)) == {"30s"}
        retry = site.installation.named("retry")
        copies = [each for each in erp.heard if each.exchange == retry]
        assert {each.headers["attempts"] for each in copies} == {1}
        taken: set[str | None] = set()
        while held_back.correlation_id not in taken:
            taken.add((await erp.take("results.full")).correlation_id)
        assert len({each["event_id"] for each in erp.answers(held_back)}) == 1
        assert site.simulator.applied.total == len(sent) + 1
        await until(lambda: settled(worker, "delivery.repeated") == {held_back.message_id})
        assert await worker.stop() == 0
        await nothing_is_left(erp)
        await erp.channel.queue_delete(site.installation.named("results.full"))
        is_calm(worker)


async def spoke_of(worker: WorkerProcess, sent: Sent) -> None:
    """Wait for the first summary line about a message."""
    await until(
        lambda: any(line.get("labels.message_id") == sent.message_id for line in worker.lines)
    )


async def test_case_14_results_wait_for_a_subscriber_until_its_queue_is_as_large_as_it_may_be(
    broker: Broker, tmp_path: Path
) -> None:
    """Past that the answers wait in the ledger, and all of them arrive once it is back."""
    async with (
        fault_site(broker, tmp_path) as site,
        started(site.installation) as worker,
        connected_erp(broker, site.installation.prefix) as erp,
    ):
        await site.hurry_ladder()
        limits = {"max-length-bytes": 4000, "overflow": "reject-publish"}
        await site.set_policy("cap", r"results\.erp$", limits)
        sent: list[Sent] = []
        while not worker.told("delivery.waiting", reason="result queue full"):
            sent.append(await erp.send(order()))
            await spoke_of(worker, sent[-1])
        sent += [await erp.send(order()) for _ in range(4)]
        await until(lambda: site.simulator.applied.total == len(sent))
        waiting = await erp.depth(RESULTS)
        assert 1 < waiting < len(sent)
        answers = await answers_of(erp, sent)
        assert len(answers) >= len(sent)
        one_event_each(answers)
        assert {each.status for each in answers} == {"succeeded"}
        assert {each["attempts"] for each in answers} == {1}
        assert site.simulator.applied.total == len(sent)
        is_calm(worker)


async def test_case_14_an_answer_refused_for_days_ages_in_sight_and_arrives_under_its_id() -> None:
    """In the core: it goes round the ladder uncounted; its age is what alerts long before."""
    world = World()
    worker = world.worker()
    decided_at = world.clock.now()
    world.broker.scripts = {Exchange.RESULTS: [REFUSED] * 10_000}
    world.broker.ready.append(initiation())
    while world.clock.now() < decided_at + timedelta(days=3):
        delivery = world.broker.take()
        assert delivery is not None
        await worker.processor.handle(delivery)
        standing = await worker.ledger.standing()
        assert standing.oldest_unpublished == decided_at
    copies = world.broker.sent_to(Exchange.RETRY)
    assert {copy.headers["attempts"] for copy in copies} == {1}
    assert set(world.broker.steps[:4]) == {"30s"}
    assert set(world.broker.steps[-100:]) == {"10m"}
    assert len(copies) < 3 * 24 * 6 + 20
    world.broker.scripts = {}
    while (delivery := world.broker.take()) is not None:
        await worker.processor.handle(delivery)
    (event,) = world.broker.events
    assert (event["result"], event["attempts"], event["sequence"]) == (True, 1, 1)
    assert (await worker.ledger.standing()).oldest_unpublished is None
    assert len(world.providers.requests) == 1


@pytest.mark.parametrize(
    ("alarm", "calm"),
    [
        pytest.param(
            ("set_vm_memory_high_watermark", "0.00001"),
            ("set_vm_memory_high_watermark", "0.4"),
            id="memory",
        ),
        pytest.param(
            ("set_disk_free_limit", "100000GB"), ("set_disk_free_limit", "50MB"), id="disk"
        ),
    ],
)
async def test_case_15_an_alarm_delays_answers_and_costs_nothing_else(
    broker: Broker, tmp_path: Path, alarm: tuple[str, str], calm: tuple[str, str]
) -> None:
    """Nothing is confirmed during it, so nothing is acknowledged, and nothing spins."""
    async with fault_site(broker, tmp_path, timing=SHORT) as site:
        applied = await site.installation.run("topology", "apply")
        assert applied.code == 0, applied.complaint
        async with connected_erp(broker, site.installation.prefix) as erp:
            sent = [await erp.send(make()) for make in (order, basket_order) for _ in range(5)]
            messages = {each.message_id for each in sent}
            await broker.control(*alarm)
            try:
                async with running(site.installation) as worker:
                    await until(lambda: settled(worker, "delivery.returned") == messages)
                    assert worker.told("delivery.answered") == []
                    assert erp.heard == []
                    assert await erp.depth(RESULTS) == 0
                    assert site.simulator.applied.total == len(sent)
                    assert (await worker.asks("/healthz"))[0] == 200
                    await broker.control(*calm)
                    answers = await answers_of(erp, sent)
                    await until(lambda: settled(worker, "delivery.repeated") == messages)
                    assert await worker.stop() == 0
                    answers += await remaining_answers(erp)
                    one_event_each(answers)
                    assert {each.status for each in answers} == {"succeeded"}
                    assert site.simulator.applied.total == len(sent)
                    assert len(worker.told("delivery.returned")) <= 2 * len(sent)
                    await nothing_is_left(erp)
                    is_calm(worker)
            finally:
                await broker.control(*calm)


async def test_case_40_a_result_its_subscriber_cannot_read_is_kept(
    broker: Broker, tmp_path: Path
) -> None:
    """Brokers from 4.0 on drop a message at the twentieth return, unless the queue says more."""
    async with site_of(broker, tmp_path) as site:
        event = await site.erp.answer(await site.erp.send(order()))
        queue = await site.erp.channel.get_queue(site.installation.named(RESULTS), ensure=False)
        await hand_back(queue, 30)
        kept = checked(await site.erp.take(RESULTS))
        assert kept["event_id"] == event["event_id"]
        listed = await broker.control(
            "list_queues", "-p", "payments", "name", "arguments", "--formatter=json", "--silent"
        )
        arguments = {
            each["name"]: dict(map(tuple_of, each["arguments"])) for each in json.loads(listed)
        }
        assert arguments[queue.name]["x-delivery-limit"] == 1_000_000


def tuple_of(argument: list[object]) -> tuple[str, object]:
    """Name and value of a queue's argument, which is listed with its type between them."""
    name, _type, value = argument
    return str(name), value
