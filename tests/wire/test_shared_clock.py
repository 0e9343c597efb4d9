"""Leases and waits are told by the ledger's clock, whatever the time on the worker's host."""

from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry
from structlog.testing import LogCapture

from tests.fakes_clock import FakeClock
from tests.postgres import PostgresServer
from tests.settings_sample import load_sample
from tests.store_child import KEY
from tests.store_samples import DCP, number, write
from worker.adapters.clock import SharedClock
from worker.adapters.encryption import Vault
from worker.adapters.store_postgres import PostgresStore, initialise
from worker.app.ledger_start import LedgerStart
from worker.ports import Clock
from worker.records import Change, Needs, Tombstone
from worker.telemetry import Telemetry


async def server_time(server: PostgresServer) -> datetime:
    ((now,),) = await server.ask("postgres", "SELECT clock_timestamp()")
    assert isinstance(now, datetime)
    return now


def test_a_shared_clock_is_ahead_as_measured_half_way() -> None:
    own = FakeClock()
    shared = SharedClock(own)
    assert shared.now() == own.now()
    asked = own.now()
    own.advance(2.0)
    there = asked + timedelta(seconds=61)
    shared.measured(there, asked=asked, answered=own.now())
    assert shared.now() - own.now() == timedelta(seconds=60)
    own.advance(5.0)
    assert shared.now() - own.now() == timedelta(seconds=60)
    assert shared.monotonic() == own.monotonic()


async def test_a_store_tells_the_servers_time(postgres: PostgresServer) -> None:
    """Two hosts whose clocks disagree by days agree on when a lease ends."""
    with postgres.database() as database:
        await initialise(database)
        before = await server_time(postgres)
        hosts: list[Clock] = [FakeClock(), FakeClock()]
        told = []
        for days, host in enumerate(hosts):
            assert isinstance(host, FakeClock)
            host.advance(days * 86_400.0)
            store = await PostgresStore.open(database, vault=Vault([KEY]), clock=host)
            told.append(store.clock.now())
            await store.close()
        after = await server_time(postgres)
    assert before <= told[0] <= told[1] <= after


async def test_a_host_ahead_of_all_others_sees_a_tombstone_and_purges_none(
    postgres: PostgresServer,
) -> None:
    """Missed, the payment of a cancelled order would be called."""
    needs = Needs((number(1),))
    async with AsyncExitStack() as stack:
        database = stack.enter_context(postgres.database())
        await initialise(database)
        stores = []
        for days in (0, 2):
            host = FakeClock()
            host.advance(days * 86_400.0)
            store = await PostgresStore.open(database, vault=Vault([KEY]), clock=host)
            stack.push_async_callback(store.close)
            stores.append(store)
        one, ahead = stores
        until = one.clock.now() + timedelta(days=1)
        tombstone = Tombstone(payment_id=number(1), origin=DCP, until=until)
        await write(one, tombstones=(tombstone,))
        await write(ahead, tombstones=(replace(tombstone, payment_id=number(2)),))
        for store in stores:
            seen = await store.transact(
                needs, lambda view: Change(result=view.tombstone(number(1)))
            )
            assert seen == tombstone


async def test_a_worker_whose_clock_differs_says_so(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    capture = LogCapture()
    with postgres.database() as database:
        await initialise(database)
        variables = {
            "LEDGER__POSTGRES__HOST": database.host,
            "LEDGER__POSTGRES__PORT": str(database.port),
            "LEDGER__POSTGRES__DATABASE": database.database,
            "LEDGER__POSTGRES__USER": database.user,
        }
        if database.password is not None:
            variables["LEDGER__POSTGRES__PASSWORD"] = database.password.reveal()
        clock = FakeClock()
        telemetry = Telemetry(
            logger=structlog.wrap_logger(None, processors=[capture]),
            registry=CollectorRegistry(),
            clock=clock,
            version="1",
        )
        start = LedgerStart(
            load_sample(tmp_path, variables=variables).settings, telemetry=telemetry, clock=clock
        )
        async with AsyncExitStack() as stack:
            opened = await start.open(stack)
            ahead = opened.store.clock.now() - clock.now()
    (line,) = capture.entries
    assert line["event.action"] == "clock.differs"
    assert line["labels.seconds"] == round(ahead.total_seconds(), 1)
