"""What one payment costs in the steady state, counted and not timed: a change may only lower it.

Statements and commits of the ledger, AMQP frames of the worker, tasks of its event loop, one
payment after another. Where a change lowers a count, lower its bound here with it.
"""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import aio_pika
import pytest
import structlog
from asyncpg.connection import LoggedQuery
from prometheus_client import CollectorRegistry
from structlog.typing import EventDict

from tests.acceptance.installation import LINK_HOST, Installation, installed
from tests.bench.throughput.provider import provider_stub
from tests.bench.throughput.requests import ROUTING_KEY, Batch
from tests.broker import Broker
from tests.core import CountingProviders, PaperBroker, initiation, make_core
from tests.crash.ledgers import NO_HURRY, VAULT
from tests.fakes_clock import FakeClock
from tests.frame_count import counted_frames
from tests.postgres import PostgresServer
from worker.adapters.clock import SystemClock
from worker.adapters.connection import connected
from worker.adapters.ledgers import initialise_ledger
from worker.adapters.store_postgres import PostgresStore
from worker.adapters.store_postgres.committer import Committer
from worker.adapters.store_postgres.reader import Reader
from worker.adapters.store_postgres.sessions import Connection, Session, connect
from worker.adapters.store_postgres.writer import Writer as BatchWriter
from worker.adapters.store_sqlite import SqliteStore, initialise
from worker.adapters.store_sqlite.store import connect_writer
from worker.adapters.topology import declare
from worker.app import Worker
from worker.provisioning import topology_of
from worker.settings import Loaded, load
from worker.telemetry import Telemetry

FIRST, COUNTED, LAST = 10, 50, 5
"""Payments that open connections and fill caches; those that count; those that stay behind."""

COMMITS = 2
STATEMENTS = 15
ROUND_TRIPS = 13
FRAMES = {"Basic.Publish": 1, "header": 1, "body": 1, "Basic.Ack": 1}
TASKS = 3
"""The present figures, each an upper bound."""


async def test_a_payment_takes_no_more_of_the_ledger_than_it_did(tmp_path: Path) -> None:
    """Alone; payments at the same time share their commits."""
    path = tmp_path / "ledger.sqlite3"
    initialise(path)
    executed: list[str] = []

    def traced(place: Path, busy_seconds: float) -> sqlite3.Connection:
        connection = connect_writer(place, busy_seconds)
        connection.set_trace_callback(executed.append)
        return connection

    clock = FakeClock()
    store = await SqliteStore.open(
        path, vault=VAULT, clock=clock, least_free=0, flush_seconds=NO_HURRY, connect=traced
    )
    core = make_core(
        store=store, publisher=PaperBroker(clock), transport=CountingProviders(), clock=clock
    )
    try:
        await core.processor.handle(initiation("first"))
        executed.clear()
        before = store.commits
        for number in range(COUNTED):
            await core.processor.handle(initiation(f"key-{number}"))
        commits, statements = store.commits - before, Counter(_verb(each) for each in executed)
    finally:
        await store.close()
    assert commits <= COMMITS * COUNTED
    assert statements.total() <= STATEMENTS * COUNTED, statements


async def test_a_payment_takes_no_more_of_a_database_server_than_it_did(
    postgres: PostgresServer,
) -> None:
    """Alone, as above; every statement is a round trip."""
    executed: list[str] = []

    def note(asked: LoggedQuery) -> None:
        executed.append(asked.query)

    clock = FakeClock()
    with postgres.database() as address:
        await initialise_ledger(address)

        async def logged() -> Connection:
            connection = await connect(address)
            connection.add_query_logger(note)
            return connection

        reading = Session(lambda: connect(address))
        committer = Committer(Session(logged), VAULT, clock)
        await committer.register()
        writer = BatchWriter(committer, flush_seconds=NO_HURRY)
        store = PostgresStore(
            writer=writer,
            reader=Reader(reading, VAULT, check=writer.check),
            vault=VAULT,
            clock=clock,
        )
        core = make_core(
            store=store, publisher=PaperBroker(clock), transport=CountingProviders(), clock=clock
        )
        try:
            await core.processor.handle(initiation("first"))
            executed.clear()
            before = store.commits
            for number in range(COUNTED):
                await core.processor.handle(initiation(f"key-{number}"))
            commits, statements = store.commits - before, Counter(_verb(each) for each in executed)
        finally:
            await writer.close()
            await reading.close()
    assert commits <= COMMITS * COUNTED
    assert statements.total() <= ROUND_TRIPS * COUNTED, statements


def _verb(statement: str) -> str:
    return " ".join(statement.split()[:3])


class Counts:
    """Snapshots of two counters, before and after the payments that count."""

    def __init__(self, *counters: Counter[str]) -> None:
        self._counters = counters
        self._payments = 0
        self._before: list[Counter[str]] = []
        self.grown: list[Counter[str]] = []
        self.done = asyncio.Event()

    def __call__(self, _logger: object, _method: str, line: EventDict) -> EventDict:
        """Take a line of the log as structlog hands it over; every payment has one."""
        self._payments += "labels.payment_id" in line
        if self._payments == FIRST and not self._before:
            self._before = [Counter(each) for each in self._counters]
        if self._payments == FIRST + COUNTED and not self.grown:
            self.grown = [
                now - before for now, before in zip(self._counters, self._before, strict=True)
            ]
            self.done.set()
        raise structlog.DropEvent


@pytest.mark.broker
async def test_a_payment_takes_no_more_frames_and_tasks_than_it_did(
    broker: Broker, tmp_path: Path
) -> None:
    """One after another: with a window of one the worker has nothing to do at the same time.

    Quotients are rounded, so that a heartbeat's or a second's own work does not count.
    """
    tasks: Counter[str] = Counter()
    async with (
        counted_frames(broker.port) as relay,
        provider_stub(0.0) as provider,
        installed(broker, tmp_path, link_url=provider.url, basket_url=provider.url) as installation,
    ):
        counts = Counts(relay.frames, tasks)
        loaded = _settings(installation, relay.port)
        await _fill(broker, loaded, FIRST + COUNTED + LAST)
        worker = _worker(loaded, counts)
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.set_task_factory(_counting(tasks))
        try:
            running = asyncio.ensure_future(worker.run(stop, asyncio.Event()))
            await counts.done.wait()
            stop.set()
            await running
        finally:
            loop.set_task_factory(None)
    frames, created = counts.grown
    sent = {name: round(count / COUNTED) for name, count in frames.items()}
    assert {name: count for name, count in sent.items() if count > FRAMES.get(name, 0)} == {}
    assert sent["Basic.Publish"] == 1, "else nothing was counted"
    assert round(created.total() / COUNTED) <= TASKS, created


def _settings(installation: Installation, port: int) -> Loaded:
    installation.table("broker").update(port=port, prefetch=1, concurrency=1)
    installation.table("accounts", "safedebit", "test")["link_hosts"] = [LINK_HOST]
    installation.write()
    installation.create_ledger()
    return load(today=SystemClock().now().date(), config=installation.config, environment={})


async def _fill(broker: Broker, loaded: Loaded, count: int) -> None:
    topology = topology_of(loaded.settings)
    batch = Batch(topology.prefix, count)
    async with connected(broker.address, role="test") as connection:
        await declare(connection, topology)
        channel = await connection.channel()
        exchange = await channel.get_exchange(topology.named("requests"), ensure=False)
        for number in batch.numbers:
            key = batch.key(number)
            message = aio_pika.Message(
                batch.body(number), message_id=key, correlation_id=key, delivery_mode=2
            )
            await exchange.publish(message, ROUTING_KEY, timeout=10)


def _worker(loaded: Loaded, counts: Counts) -> Worker:
    clock, registry = SystemClock(), CollectorRegistry()
    telemetry = Telemetry(
        clock=clock,
        logger=structlog.wrap_logger(None, processors=[counts]),
        registry=registry,
        version="1",
    )
    return Worker(
        loaded.settings, broker=loaded.broker, telemetry=telemetry, registry=registry, clock=clock
    )


def _counting(tasks: Counter[str]) -> Callable[..., asyncio.Task[Any]]:
    def create(
        loop: asyncio.AbstractEventLoop,
        work: Coroutine[Any, Any, Any],
        **options: Any,  # noqa: ANN401 - the loop's
    ) -> asyncio.Task[Any]:
        tasks[getattr(work, "__qualname__", "?")] += 1
        return asyncio.Task(work, loop=loop, **options)

    return create
