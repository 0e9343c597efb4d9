"""Leases and waits are told by the ledger's clock, whatever the time on the worker's host."""

import asyncio
import json
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import structlog
from prometheus_client import CollectorRegistry
from structlog.testing import LogCapture

from tests.fakes_clock import FakeClock
from tests.postgres import PostgresServer
from tests.settings_sample import SECRETS, load_sample, write_settings
from tests.store_child import KEY
from tests.store_samples import DCP, number, sample_record, write
from worker import __main__ as program
from worker.adapters.clock import SharedClock, SystemClock
from worker.adapters.encryption import Vault
from worker.adapters.store_postgres import PostgresStore, initialise
from worker.app.ledger_start import LedgerStart
from worker.checks import Verdict
from worker.checks.clocks import clock_remark
from worker.checks.ledger_view import LedgerView
from worker.cli import context
from worker.ports import Clock
from worker.records import Change, Needs, Tombstone
from worker.rules import PostgresAddress
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


def test_a_restoration_told_on_a_host_that_is_behind_forgets_no_open_payment(
    postgres: PostgresServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By its own clock the payment would be younger than the restoration, and called again."""
    with postgres.database() as database:
        asyncio.run(_with_an_open_payment(database))
        behind = SharedClock(SystemClock())
        behind.ahead = -timedelta(hours=1)
        monkeypatch.setattr(context, "SystemClock", lambda: behind)
        for name, value in (SECRETS | _variables(database, "PAYMENT_WORKER_")).items():
            monkeypatch.setenv(name, value)
        arguments = ["--config", str(write_settings(tmp_path)), "ledger", "restored"]
        assert program.run([*arguments, "--at", "2026-01-01T00:00:00Z", "--yes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["in_doubt"] == 1


async def _with_an_open_payment(database: PostgresAddress) -> None:
    await initialise(database)
    store = await PostgresStore.open(database, vault=Vault([KEY]), clock=SystemClock())
    now = store.clock.now()
    await write(store, replace(sample_record(), created_at=now, updated_at=now))
    await store.close()


def _variables(database: PostgresAddress, prefix: str = "") -> dict[str, str]:
    secret = database.password
    values = {
        "HOST": database.host,
        "PORT": str(database.port),
        "DATABASE": database.database,
        "USER": database.user,
        **({} if secret is None else {"PASSWORD": secret.reveal()}),
    }
    return {f"{prefix}LEDGER__POSTGRES__{name}": value for name, value in values.items()}


async def test_a_worker_whose_clock_differs_says_so(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    capture = LogCapture()
    with postgres.database() as database:
        await initialise(database)
        variables = _variables(database)
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


async def test_the_doctor_compares_this_machine_with_the_ledgers_server(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    with postgres.database() as database:
        await initialise(database)
        settings = load_sample(tmp_path, variables=_variables(database)).settings
        agreeing = await LedgerView(settings, clock=SystemClock()).ahead()
        differing = await LedgerView(settings, clock=FakeClock()).ahead()
    gone = LedgerView(settings, clock=SystemClock())
    assert agreeing is not None
    assert clock_remark(agreeing, "there").verdict is Verdict.OK
    assert differing is not None
    assert clock_remark(differing, "there").verdict is Verdict.FAIL
    assert await gone.ahead() is None
    assert await gone.waiting() is None
