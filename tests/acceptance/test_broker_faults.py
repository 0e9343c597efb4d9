"""The running worker against a broker that refuses, restarts, loses objects, is full or in alarm.

The broker is a node of this module's own, because its neighbours would not survive these tests.
Providers hold their answers until a test lets them go, so that payments are under way when the
broker is broken.
"""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.erp import Sent, basket_order, connected_erp, order
from tests.acceptance.fault_site import (
    RESULTS,
    SHORT,
    SLOW,
    answers_of,
    fault_site,
    is_calm,
    is_connected,
    nothing_is_left,
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


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    """A node that may be stopped, filled and cut off."""
    with private_broker() as node:
        yield node


async def test_a_wrong_password_is_said_and_tried_until_the_broker_takes_it(
    broker: Broker, tmp_path: Path
) -> None:
    """An administrator may set it on the broker; no line holds it meanwhile."""
    user, wrong = "late", "wr0ng-pa55word"
    await broker.evaluate(
        f'rabbit_auth_backend_internal:add_user(<<"{user}">>, <<"another">>, <<"test">>), '
        f'rabbit_auth_backend_internal:set_permissions(<<"{user}">>, <<"payments">>, '
        '<<".*">>, <<".*">>, <<".*">>, <<"test">>).'
    )

    def change(installation: Installation) -> None:
        installation.table("broker").update(user=user, password=wrong)

    async with (
        fault_site(broker, tmp_path, change=change) as site,
        running(site.installation) as worker,
    ):
        await until(lambda: len(worker.told("broker.disconnected")) >= 2)
        await broker.evaluate(
            "rabbit_auth_backend_internal:change_password("
            f'<<"{user}">>, <<"{wrong}">>, <<"test">>).'
        )
        await worker.is_ready()
        async with connected_erp(broker, site.installation.prefix) as erp:
            await erp.is_answered()
        assert await worker.stop() == 0
        tries = worker.told("broker.disconnected")
        assert {line["labels.reason"] for line in tries} == {
            f"127.0.0.1:{broker.port} refuses this user or its password (ACCESS_REFUSED)"
        }
        assert len(tries) < 10
        assert wrong not in worker.log.read_text("utf-8")
        is_calm(worker, pages=1)


# --- while requests are under way --------------------------------------------------------------


async def break_off(broker: Broker, way: str) -> None:
    """End every connection in one of three ways."""
    match way:
        case "stop":
            await asyncio.to_thread(broker.stop)
        case "crash":
            # A queue that was declared seconds before a crash comes back without a leader and
            # confirms nothing, until these tables are on disk (measured, RabbitMQ 3.10.8).
            await broker.evaluate("[dets:sync(Table) || Table <- dets:all()].")
            broker.signal(signal.SIGKILL)
        case _:
            await broker.control("close_all_connections", "--vhost", "payments", "maintenance")


@pytest.mark.parametrize(
    ("way", "is_answered_while_away"),
    [
        pytest.param("stop", True, id="restarted"),
        pytest.param("crash", False, id="crashed"),
        pytest.param("close", False, id="connections-closed"),
    ],
)
async def test_no_payment_is_lost_or_made_twice(
    broker: Broker, tmp_path: Path, way: str, *, is_answered_while_away: bool
) -> None:
    """Every request ends in one event, and the providers did each exactly once.

    The providers answer while the broker is away, or when it has delivered everything again.
    """
    async with fault_site(broker, tmp_path) as site, started(site.installation) as worker:
        prefix = site.installation.prefix
        await site.hurry_ladder()
        async with connected_erp(broker, prefix) as erp:
            # Four at each account: five calls that hang open its breaker.
            sent = [
                await erp.send(make(email=SLOW)) for make in (order, basket_order) for _ in range(4)
            ]
            await site.holds(len(sent))
            await break_off(broker, way)
            await worker.tells("broker.disconnected", role="consume")
        if is_answered_while_away:
            site.release()
        if way != "close":
            await asyncio.to_thread(broker.start)
        await until(lambda: is_connected(worker), 40)
        async with connected_erp(broker, prefix) as erp:
            if not is_answered_while_away:
                await worker.tells("delivery.waiting", reason="being called")
                site.release()
            answers = await answers_of(erp, sent)
            # Each was delivered twice: the first handling answers, the second repeats it.
            messages = {each.message_id for each in sent}
            await until(lambda: settled(worker, "delivery.repeated") >= messages)
            assert await worker.stop() == 0
            answers += await remaining_answers(erp)
            one_event_each(answers)
            assert {each.status for each in answers} == {"succeeded"}
            assert {each["attempts"] for each in answers} == {1}
            assert site.simulator.applied.total == len(sent)
            await nothing_is_left(erp)
        is_calm(worker)


async def test_a_work_queue_that_was_deleted_is_consumed_again_once_it_is_back(
    broker: Broker, tmp_path: Path
) -> None:
    """What is published meanwhile is kept where operators look, not dropped."""
    async with (
        fault_site(broker, tmp_path) as site,
        started(site.installation) as worker,
        connected_erp(broker, site.installation.prefix) as erp,
    ):
        await erp.channel.queue_delete(site.installation.named("work"))
        lost = await worker.tells("broker.disconnected", role="consume")
        assert "was the queue deleted?" in lost["labels.reason"]
        status, text = await worker.asks("/readyz")
        assert (status, "no consumer registered" in text) == (503, True)
        await erp.send(order())
        await erp.has_depth("unrouted", 1)
        applied = await site.installation.run("topology", "apply")
        assert applied.code == 0, applied.complaint
        await worker.is_ready()
        await erp.is_answered()
        assert await worker.stop() == 0
        assert len(worker.told("broker.disconnected")) < 10
        assert worker.told("broker.disconnected", trouble="missing")[0]["log.level"] == "error"
        is_calm(worker, pages=1)


# --- answers that find no place ----------------------------------------------------------------


async def test_a_full_result_queue_holds_back_its_own_requests_only(
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


async def test_a_memory_alarm_delays_answers_and_costs_nothing_else(
    broker: Broker, tmp_path: Path
) -> None:
    """Nothing is confirmed during it, so nothing is acknowledged, and nothing spins."""
    async with fault_site(broker, tmp_path, timing=SHORT) as site:
        applied = await site.installation.run("topology", "apply")
        assert applied.code == 0, applied.complaint
        async with connected_erp(broker, site.installation.prefix) as erp:
            sent = [await erp.send(make()) for make in (order, basket_order) for _ in range(5)]
            messages = {each.message_id for each in sent}
            await broker.control("set_vm_memory_high_watermark", "0.00001")
            try:
                async with running(site.installation) as worker:
                    await until(lambda: settled(worker, "delivery.returned") == messages)
                    assert worker.told("delivery.answered") == []
                    assert erp.heard == []
                    assert await erp.depth(RESULTS) == 0
                    assert site.simulator.applied.total == len(sent)
                    assert (await worker.asks("/healthz"))[0] == 200
                    await broker.control("set_vm_memory_high_watermark", "0.4")
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
                await broker.control("set_vm_memory_high_watermark", "0.4")
