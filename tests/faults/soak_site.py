"""Everything a soak runs on: a private node, both providers, a ledger, settings; no worker yet."""

import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import assert_never

from tests.acceptance.installation import (
    LINK_HOST,
    Installation,
    basket_account,
    link_account,
    sound_settings,
)
from tests.broker import Broker, free_port
from tests.faults.soak_client import Place
from tests.faults.soak_load import CHANCE_FAULTS
from tests.faults.soak_options import LedgerKind, Options
from tests.faults.soak_trouble import in_thread
from tests.postgres import PostgresServer, private_server
from worker.adapters.clock import SystemClock
from worker.simulator.server import Knobs, Simulator

TIMING: Mapping[str, object] = {
    "call_seconds": 3,
    "tries_seconds": 2,
    "lease_seconds": 6,
    "permit_seconds": 1,
    "publish_seconds": 3,
    "delivery_seconds": 13,
    "drain_seconds": 15,
    "stop_grace_seconds": 60,
}
"""The product's time limits, shortened so that a killed worker's payments are open for seconds and
not minutes, and nested as the product demands."""

RUNGS: Mapping[str, int] = {"5s": 1000, "30s": 2000, "2m": 5000, "10m": 10000, "1h": 20000}
"""How long the ladder's rungs really last, in milliseconds, by policy: a copy that comes back
before its payment is due waits again. The ledger still counts the steps at their full length."""

LADDER = tuple(f"retry.v1.{rung}" for rung in RUNGS)

LATENCY = 0.1
"""Seconds every provider takes at least, so that kills meet calls under way."""

PREFIX = "payments."


@dataclass(frozen=True, slots=True, kw_only=True)
class SoakSite:
    """The running surroundings of the workers."""

    installation: Installation
    broker: Broker
    simulator: Simulator

    @property
    def place(self) -> Place:
        """Where clients find the broker."""
        return Place(self.broker.port, self.installation.prefix)


@asynccontextmanager
async def soak_site(options: Options, directory: Path) -> AsyncIterator[SoakSite]:
    """Set everything up in ``directory``, and leave nothing running."""
    knobs = Knobs(
        fault_rate=options.provider_faults / 2,
        faults=CHANCE_FAULTS,
        seed=options.seed,
        latency=LATENCY,
    )
    async with (
        _private_node(directory) as broker,
        _database_server(options.ledger, directory) as server,
        Simulator(clock=SystemClock(), link_host=LINK_HOST, knobs=knobs) as simulator,
    ):
        installation = Installation(
            directory=directory,
            broker=broker,
            prefix=PREFIX,
            settings=sound_settings(
                broker,
                PREFIX,
                directory / "ledger.sqlite3",
                link_url=simulator.link_base_url,
                basket_url=simulator.base_url,
            ),
        )
        _bend(installation, simulator, options)
        if server is not None:
            installation.use_postgres(server.new_database())
        installation.write()
        installation.create_ledger()
        await provision(installation)
        yield SoakSite(installation=installation, broker=broker, simulator=simulator)


def _bend(installation: Installation, simulator: Simulator, options: Options) -> None:
    installation.settings["timing"] = {**TIMING, "max_age": f"{options.max_age}s"}
    open_accounts(installation, simulator)


def open_accounts(installation: Installation, simulator: Simulator) -> None:
    """Four accounts, so that every operation class has its payments."""
    url = simulator.link_base_url
    installation.settings["accounts"] = {
        "safedebit": link_account(url),
        "mailing": {**link_account(url), "fields": {"email_option": "1"}},
        "careful": {
            **link_account(url),
            "classes": {
                "get_link_payment": {
                    "operation_class": "E",
                    "reason": "A soak runs every class, whatever the provider allows.",
                }
            },
        },
        "combo": basket_account(simulator.base_url),
    }
    installation.settings["routes"] = [
        {"target": "LABANQUEPOSTALE", "type": "CB", "account": "careful"},
        {"target": "LABANQUEPOSTALE", "account": "safedebit"},
        {"target": "PAYBOX", "account": "mailing"},
        {"target": "MILLIET", "account": "combo"},
    ]


async def provision(installation: Installation) -> None:
    """Declare the topology, hurry the ladder, and let the node settle.

    A quorum queue that was declared seconds before a crash comes back without a leader and
    confirms nothing, until these tables are on disk (measured, RabbitMQ 3.10.8).
    """
    applied = await installation.run("topology", "apply")
    if applied.code:
        raise RuntimeError(applied.complaint)
    policies = ", ".join(
        f'rabbit_policy:parse_set(<<"payments">>, <<"soak-{rung}">>, <<"{_pattern(rung)}">>, '
        f'<<"{{\\"message-ttl\\": {milliseconds}}}">>, 0, <<"queues">>, <<"soak">>)'
        for rung, milliseconds in RUNGS.items()
    )
    told = await installation.broker.evaluate(f"[{policies}].")
    if told.count("ok") != len(RUNGS):
        raise RuntimeError(told)
    await installation.broker.evaluate("[dets:sync(Table) || Table <- dets:all()].")


def _pattern(rung: str) -> str:
    return f"^{PREFIX.replace('.', '[.]')}retry[.]v1[.]{rung}$"


@asynccontextmanager
async def _private_node(directory: Path) -> AsyncIterator[Broker]:
    """A node of its own; its log is kept beside the workers' logs, its data are not."""
    broker = Broker(Path(tempfile.mkdtemp(prefix="payment-worker-soak-broker-")), free_port())
    try:
        await in_thread(broker.start)
        yield broker
    finally:
        with suppress(OSError, ValueError):  # it may be down, or not yet up
            broker.signal(signal.SIGKILL)
        await in_thread(broker.stop)
        shutil.copytree(broker.directory / "log", directory / "broker-log", dirs_exist_ok=True)
        shutil.rmtree(broker.directory, ignore_errors=True)


@asynccontextmanager
async def _database_server(
    ledger: LedgerKind, directory: Path
) -> AsyncIterator[PostgresServer | None]:
    """A private PostgreSQL server where the ledger wants one; its log is kept as well."""
    match ledger:
        case LedgerKind.SQLITE:
            yield None
        case LedgerKind.POSTGRES:
            with ExitStack() as stack:
                server = await in_thread(partial(stack.enter_context, private_server()))
                try:
                    yield server
                finally:
                    with suppress(OSError):
                        shutil.copy(server.directory / "server.log", directory / "postgres.log")
                    await in_thread(stack.close)
        case other:
            assert_never(other)
