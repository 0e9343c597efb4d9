"""Operators stop one account, or everything, under load: nothing fails, is lost or paid twice."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.acceptance.erp import Erp, Sent, basket_order, connected_erp, order, payment_id_of
from tests.acceptance.fault_site import (
    PATIENT,
    SLOW,
    FaultSite,
    answers_of,
    fault_site,
    is_calm,
    nothing_is_left,
    one_event_each,
    remaining_answers,
)
from tests.acceptance.shared_site import Change, as_it_is
from tests.acceptance.worker_process import WorkerProcess, started
from tests.broker import Broker
from tests.postgres import PostgresServer
from tests.waiting import until
from worker.adapters.clock import SystemClock

pytestmark = [pytest.mark.broker, pytest.mark.time_limit(180)]

BANK, SHOP = "safedebit", "combo"
_clock = SystemClock()


@pytest.fixture
def change(request: pytest.FixtureRequest) -> Iterator[Change]:
    """The ledger is the file, or a fresh database."""
    if request.param == "sqlite":
        yield as_it_is
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    with server.database() as address:
        yield lambda installation: installation.use_postgres(address)


@pytest_asyncio.fixture
async def site(broker: Broker, tmp_path: Path, change: Change) -> AsyncIterator[FaultSite]:
    async with fault_site(broker, tmp_path, timing=PATIENT, change=change) as fresh:
        yield fresh


async def switched(site: FaultSite, *words: str) -> dict[str, Any]:
    """Pause, resume or probe; every worker must say that it obeys."""
    done = await site.installation.run("accounts", *words, "--reason", "ticket 4711", "--json")
    assert done.code == 0, (done.output, done.complaint)
    assert done.data["workers"] == done.data["obeying"], done.data
    return done.data


async def is_audited(site: FaultSite, *actions: str) -> None:
    """The chain is whole, and these acts are in it in this order."""
    verified = await site.installation.run("audit", "verify", "--json")
    assert (verified.code, verified.data["whole"]) == (0, True), verified.output
    exported = await site.installation.run("audit", "export")
    lines = [json.loads(line) for line in exported.output.splitlines()]
    assert [line["event.action"] for line in lines] == list(actions)
    assert {line["event.type"] for line in lines} == {"allowed"}


@asynccontextmanager
async def load(erp: Erp) -> AsyncIterator[list[Sent]]:
    """Ask for payments at both providers for as long as the block lasts; what was asked for."""
    asked: list[Sent] = []
    enough = asyncio.Event()

    async def ask() -> None:
        while not enough.is_set():
            asked.append(await erp.send(order()))
            asked.append(await erp.send(basket_order()))
            await _clock.sleep(0.05)

    asking = asyncio.create_task(ask())
    try:
        yield asked
    finally:
        enough.set()  # cancelled in the middle of a publish it would not know what it has asked
        await asking


@asynccontextmanager
async def connected_site(
    site: FaultSite, broker: Broker
) -> AsyncIterator[tuple[WorkerProcess, Erp]]:
    async with (
        started(site.installation) as worker,
        connected_erp(broker, site.installation.prefix) as erp,
    ):
        yield worker, erp


async def checks_of(worker: WorkerProcess) -> tuple[int, dict[str, Any]]:
    status, body = await worker.asks("/readyz")
    return status, json.loads(body)["checks"]


@pytest.mark.parametrize("change", ["sqlite", "postgres"], indirect=True)
async def test_one_account_stands_still_under_load_and_the_other_goes_on(
    site: FaultSite, broker: Broker
) -> None:
    """A call that is under way when the pause begins ends; what waits is counted by nobody."""
    simulator = site.simulator
    async with connected_site(site, broker) as (worker, erp):
        await site.hurry_ladder()
        under_way = await erp.send(order(email=SLOW))
        await site.holds(1)
        async with load(erp) as asked:
            await until(lambda: len(simulator.applied.links) > 5)
            data = await switched(site, "pause", BANK)
            assert (data["changed"], data["workers"]) == (True, 1)
            links, items = len(simulator.applied.links), len(simulator.applied.items)
            await until(lambda: len(simulator.applied.items) > items + 20)
            assert len(simulator.applied.links) == links
            held = await erp.send(order())
            copy = await erp.rung(held, "30s")
            assert (copy.headers["attempts"], copy.headers["retry-reason"]) == (0, "no permit")
            site.release()
            assert (await erp.answer(under_way)).status == "succeeded"
            status, checks = await checks_of(worker)
            assert (status, checks["accounts"]) == (200, f"paused by operators: {BANK}")
            assert (await worker.asks("/healthz"))[0] == 200
            assert await worker.counted("account_paused", provider=BANK) == 1
            assert await worker.counted("account_paused", provider=SHOP) == 0
            shown = (await site.installation.run("accounts", "--json")).rows
            assert [(row["account"], row["state"]) for row in shown] == [
                (SHOP, "called"),
                (BANK, "paused"),
            ]
            assert shown[1]["why"] == "ticket 4711"
            assert (await switched(site, "pause", BANK))["changed"] is False
        await switched(site, "resume", BANK)
        events = await answers_of(erp, [*asked, held, under_way])
        events += await remaining_answers(erp)
        assert {event.status for event in events} == {"succeeded"}
        one_event_each(events)
        assert Counter(simulator.applied.links.values()) == {1: len(asked) // 2 + 2}
        assert set(simulator.applied.items.values()) == {1}
        await nothing_is_left(erp)
        assert (await checks_of(worker))[1]["accounts"] is True
        assert (await switched(site, "resume", BANK))["changed"] is False
        is_calm(worker)
        await is_audited(site, "account_pause", "account_resume")


@pytest.mark.parametrize("change", ["sqlite", "postgres"], indirect=True)
async def test_everything_stops_stays_in_the_queue_through_a_restart_and_goes_on_by_itself(
    site: FaultSite, broker: Broker
) -> None:
    site.release()
    async with connected_site(site, broker) as (worker, erp):
        first = await erp.send(basket_order())
        await erp.answer(first)
        await switched(site, "pause", "--all")
        asked = [await erp.send(each()) for each in (order, basket_order) * 5]
        cancelling = await erp.cancel(payment_id=payment_id_of("dcp", first.message_id))
        await erp.has_depth("work", 11)
        status, checks = await checks_of(worker)
        assert (status, checks["consuming"]) == (200, "paused by operators")
        assert await worker.stop() == 0
        async with started(site.installation) as again:
            status, checks = await checks_of(again)
            assert (status, checks["consuming"]) == (200, "paused by operators")
            assert await erp.depth("work") == 11
            assert erp.copies(asked[0]) == [], "nothing churns"
            await switched(site, "resume", "--all")
            for each in asked:
                assert (await erp.answer(each)).status == "succeeded"
            assert (await erp.answer(cancelling)).status == "cancelled"
            assert site.simulator.applied.total == 12
            is_calm(again)
            await is_audited(site, "account_pause", "account_resume")


@pytest.mark.parametrize("change", ["sqlite", "postgres"], indirect=True)
async def test_an_open_breaker_lets_one_payment_try_when_it_is_asked_to(
    site: FaultSite, broker: Broker
) -> None:
    """By itself it would wait half a minute and longer after a wrong password."""
    site.release()
    async with connected_site(site, broker) as (worker, erp):
        await site.hurry_ladder()
        refused = await erp.send(basket_order(email="sim+http-401@example.org"))
        assert (await erp.answer(refused))["code"] == "provider_credentials"
        waits = await erp.send(basket_order())
        assert (await erp.rung(waits, "30s")).headers["attempts"] == 0
        asked = await site.installation.run(
            "accounts", "probe", SHOP, "--reason", "password mended", "--json"
        )
        assert asked.code == 0, (asked.output, asked.complaint)
        assert (await erp.answer(waits)).status == "succeeded"
        assert site.simulator.applied.total == 1
        await is_audited(site, "account_probe")
        assert await worker.stop() == 0


@pytest.mark.parametrize("change", ["sqlite"], indirect=True)
async def test_a_cancellation_that_waits_for_its_account_says_so_and_is_carried_out_later(
    site: FaultSite, broker: Broker
) -> None:
    """It waits on the ladder, uncounted, as a payment would: half a minute at least."""
    site.release()
    async with connected_site(site, broker) as (worker, erp):
        await site.hurry_ladder()
        paid = await erp.answer(await erp.send(basket_order()))
        refused = await erp.send(basket_order(email="sim+http-401@example.org"))
        assert (await erp.answer(refused))["code"] == "provider_credentials"
        cancel = ("payments", "cancel", paid["payment_id"], "--reason", "x", "--yes", "--json")
        done = await site.installation.run(*cancel, "--wait", "5")
        assert (done.code, done.data["result"]) == (0, "asked"), done.complaint
        assert f"{SHOP}: breaker open: provider_credentials" in done.complaint
        asked = await site.installation.run("accounts", "probe", SHOP, "--reason", "x", "--json")
        assert asked.code == 0, (asked.output, asked.complaint)
        await until(lambda: len(erp.heard_of(paid["payment_id"])) == 2, 40.0)
        assert erp.heard_of(paid["payment_id"])[-1].status == "cancelled"
        assert site.simulator.applied.removals == {paid["basket_item_id"]: 1}
        assert await worker.stop() == 0
