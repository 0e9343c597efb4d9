"""The worker on a ledger in PostgreSQL: shared by two, taken away, refused, and given back."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from tests.acceptance.erp import Answer, Erp, Sent, basket_order, connected_erp, order
from tests.acceptance.fault_site import (
    PATIENT,
    SHORT,
    FaultSite,
    fault_site,
    is_calm,
    nothing_is_left,
    one_event_each,
    running,
)
from tests.acceptance.installation import Installation
from tests.acceptance.worker_process import WorkerProcess, started
from tests.broker import Broker
from tests.postgres import PostgresServer, private_server
from tests.waiting import until
from worker.adapters.encryption import generate_key
from worker.rules import PostgresAddress

pytestmark = pytest.mark.broker

CONFIGURATION = 78
UNREACHABLE = 69
PLANTED = "planted-database-password"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server that these tests may stop and crash."""
    with private_server() as running_server:
        yield running_server


@pytest.fixture
def address(server: PostgresServer) -> Iterator[PostgresAddress]:
    with server.database() as fresh:
        yield fresh


@pytest_asyncio.fixture
async def site(
    broker: Broker, address: PostgresAddress, tmp_path: Path
) -> AsyncIterator[FaultSite]:
    """Settings for a fresh ledger in PostgreSQL, and providers; no worker runs."""
    async with fault_site(
        broker, tmp_path, timing=PATIENT, change=lambda each: each.use_postgres(address)
    ) as fresh:
        yield fresh


@asynccontextmanager
async def away(server: PostgresServer) -> AsyncIterator[None]:
    """A server that is stopped for as long as the block lasts."""
    await asyncio.to_thread(server.stop)
    try:
        yield
    finally:
        await asyncio.to_thread(server.start)


async def refused(installation: Installation) -> str:
    """Start a worker that must end by itself; returns what it complained about."""
    done = await installation.run("run")
    assert done.code == CONFIGURATION, (done.output, done.complaint)
    assert done.complaint.startswith("error: ledger.postgres: ")
    for text in (done.complaint, done.output):
        assert "Traceback" not in text
        assert PLANTED not in text
    return done.complaint


# --- two workers, and everything around them breaking -----------------------------------------


async def test_two_workers_on_one_database_lose_nothing_and_pay_nothing_twice(
    broker: Broker, server: PostgresServer, address: PostgresAddress, tmp_path: Path
) -> None:
    """One worker is killed, then the server crashes, both under load."""
    async with fault_site(
        broker, tmp_path, timing=SHORT, change=lambda each: each.use_postgres(address)
    ) as site:
        await site.hurry_ladder()
        site.release()
        async with running(site.installation) as first, running(site.installation) as second:
            await first.is_ready()
            await second.is_ready()
            async with connected_erp(broker, site.installation.prefix) as erp:
                load = Load(erp)
                publishing = asyncio.create_task(load.publish())
                await load.answers(30)
                await first.kill()
                await load.answers(30)
                await asyncio.to_thread(server.kill)
                await second.tells("ledger.away")
                await asyncio.to_thread(server.start)
                await second.tells("ledger.back")
                await load.answers(30)
                load.is_enough.set()
                await publishing
                answers = [await erp.answer(each) for each in load.sent]
                doubts = [each for each in answers if each.status == "in_doubt"]
                await erp.has_depth("dlq", len(doubts))
                for suffix in ("work", "unclaimed", "retry.v1.5s", "retry.v1.30s"):
                    await erp.has_depth(suffix, 0)
                every_answer = [each for sent in load.sent for each in erp.answers(sent)]
            assert await second.stop() == 0
        one_event_each(every_answer)
        assert {each.status for each in every_answer} <= {"succeeded", "in_doubt"}
        paid_once(site, answers)
        is_calm(second)


class Load:
    """An ERP that keeps a number of payments under way until there were enough."""

    def __init__(self, erp: Erp) -> None:
        self.sent: list[Sent] = []
        self.is_enough = asyncio.Event()
        self._erp = erp

    async def publish(self) -> None:
        """Publish links and basket items in turn; the ERP waits while forty are unanswered."""
        while not self.is_enough.is_set():
            make = (order, basket_order)[len(self.sent) % 2]
            self.sent.append(await self._erp.send(make()))
            await until(lambda: len(self.sent) - self._heard < 40, 40)

    async def answers(self, further: int) -> None:
        """Wait for that many more answers: the workers are in the middle of others then."""
        wanted = self._heard + further
        await until(lambda: self._heard >= wanted, 40)

    @property
    def _heard(self) -> int:
        return sum(each.exchange == self._erp.prefix + "results" for each in self._erp.heard)


def paid_once(site: FaultSite, answers: list[Answer]) -> None:
    """Nothing twice, by the providers' own count.

    One operation stands behind each success and at most one behind a doubt. A link whose worker
    was killed is asked for once more, under another reference (class D): the provider may have
    made one that nobody was given, but none under one reference twice.
    """
    applied = site.simulator.applied
    assert set(applied.links.values()) | set(applied.items.values()) == {1}
    items = {url.rstrip("/").rpartition("/")[2] for url in applied.items}
    baskets = [each for each in answers if each["payment_target"] == "MILLIET"]
    assert items <= {each["provider_reference"] for each in baskets}
    for each in answers:
        if each.status == "succeeded":
            assert each["provider_reference"] in (items if each in baskets else applied.links)
    handed_out = [each["link"] for each in answers if each["link"]]
    assert len(handed_out) == len(set(handed_out))


# --- a server that is away ---------------------------------------------------------------------


async def test_a_worker_waits_for_a_database_that_is_away_at_its_start(
    broker: Broker, site: FaultSite, server: PostgresServer
) -> None:
    """It lives, is not ready, says why once, and can be told to stop."""
    async with AsyncExitStack() as stack:
        async with away(server):
            patient = await stack.enter_async_context(running(site.installation))
            stopped = await stack.enter_async_context(running(site.installation))
            for worker in (patient, stopped):
                line = await worker.tells("ledger.away")
                assert line["log.level"] == "warning"
                assert f"127.0.0.1:{server.port}" in line["labels.reason"]
                assert (await worker.asks("/healthz"))[0] == 200
                assert await checks(worker) == {"started": "waiting for the ledger"}
            stopped.signal(signal.SIGTERM)
            assert await stopped.ends(seconds=10) == 0
        await patient.is_ready()
        assert len(patient.told("ledger.away")) == len(patient.told("ledger.back")) == 1
        async with connected_erp(broker, site.installation.prefix) as erp:
            await erp.is_answered()
        assert await patient.stop() == 0
        is_calm(patient)
        is_calm(stopped)


async def test_a_database_that_goes_away_pauses_the_worker_and_nothing_else(
    broker: Broker, site: FaultSite, server: PostgresServer
) -> None:
    async with started(site.installation) as worker:
        async with connected_erp(broker, site.installation.prefix) as erp:
            await erp.is_answered()
            async with away(server):
                line = await worker.tells("ledger.away")
                said = await checks(worker)
                assert said["ledger"] == line["labels.reason"]
                assert "ledger" in str(said["consuming"])
                assert (await worker.asks("/healthz"))[0] == 200
                sent = [await erp.send(make()) for make in (order, basket_order) * 3]
                await erp.has_depth("work", len(sent))  # nobody takes them, nobody returns them
            for each in sent:
                event = await erp.answer(each)
                assert (event.status, event["attempts"]) == ("succeeded", 1)
            await worker.is_ready()
            await nothing_is_left(erp)
        assert len(worker.told("ledger.away")) == len(worker.told("ledger.back")) == 1
        is_calm(worker)


async def test_commands_say_that_the_database_cannot_be_reached(
    site: FaultSite, server: PostgresServer
) -> None:
    run = site.installation.run
    letters, ledger = ("dead-letters", "list"), ("ledger", "init")
    check = ("check", "--only", "LED,SYS003", "--json")
    listed, checked = await asyncio.gather(run(*letters), run(*check))
    assert listed.code == 0
    assert {(row["check"], row["verdict"]) for row in checked.rows} == {
        ("LED001", "ok"),
        ("SYS003", "ok"),
    }
    async with away(server):
        listed, created, checked = await asyncio.gather(run(*letters), run(*ledger), run(*check))
    for done in (listed, created):
        assert done.code == UNREACHABLE
        assert done.complaint.startswith("error: ledger.postgres: ")
        assert f"127.0.0.1:{server.port}" in done.complaint
        assert PLANTED not in done.complaint
    assert checked.code == UNREACHABLE
    (row,) = [row for row in checked.rows if row["check"] == "LED001"]
    assert row["verdict"] == "fail"
    assert "cannot be reached" in row["cause"]


# --- a database it must not work with ----------------------------------------------------------


async def test_a_wrong_password_is_refused_at_once(site: FaultSite) -> None:
    site.installation.table("ledger", "postgres")["password"] = generate_key().reveal()
    site.installation.write()
    assert "password authentication failed" in await refused(site.installation)


async def test_a_database_without_a_ledger_is_refused_until_there_is_one(
    site: FaultSite, server: PostgresServer
) -> None:
    installation = site.installation
    with server.database() as empty:
        installation.use_postgres(empty)
        installation.write()
        complaint = await refused(installation)
        assert f"there is no ledger at postgresql://127.0.0.1:{empty.port}/{empty.database}" in (
            complaint
        )
        assert "`payment-worker ledger init`" in complaint
        created = await installation.run("ledger", "init", "--json")
        assert created.data == {
            "database": f"postgresql://127.0.0.1:{empty.port}/{empty.database}",
            "before": None,
            "after": created.data["after"],
        }
        again = await installation.run("ledger", "init")
        assert again.code == 0
        assert "is up to date" in again.complaint
        async with started(installation) as worker:
            assert (await worker.asks("/readyz"))[0] == 200


async def test_a_ledger_of_a_later_release_is_refused(
    site: FaultSite, server: PostgresServer, address: PostgresAddress
) -> None:
    server.psql("UPDATE payment_worker.ledger SET version = 999", database=address.database)
    assert "has schema version 999" in await refused(site.installation)


async def test_a_ledger_sealed_under_another_key_is_refused(
    broker: Broker, site: FaultSite
) -> None:
    async with (
        started(site.installation),
        connected_erp(broker, site.installation.prefix) as erp,
    ):
        await erp.is_answered()
    site.installation.table("ledger")["keys"] = [generate_key().reveal()]
    site.installation.write()
    complaint = await refused(site.installation)
    assert "was written with encryption keys that are not supplied" in complaint


async def checks(worker: WorkerProcess) -> dict[str, object]:
    """What a worker that is not ready says about each thing that must hold."""
    status, body = await worker.asks("/readyz")
    assert status == 503
    found: dict[str, object] = json.loads(body)["checks"]
    return found
