"""A worker as an operator installs it: a settings file, a ledger, a prefix on the broker."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import aio_pika

from tests.broker import Broker
from worker.adapters.encryption import generate_key
from worker.adapters.ledgers import LedgerPlace, initialise_ledger
from worker.model import Environment, Origin
from worker.rules import PostgresAddress, Subscriber
from worker.settings.sections import Postgres
from worker.topology import Topology

CHECKOUT = Path(__file__).parents[2]

SUBSCRIBER = "erp"
ORIGINS = ("dcp", "web", "televente", "string", "unknown")
LINK_HOST = "pay.simulator.example"

TIMING: Mapping[str, float] = {
    "call_seconds": 8,  # a busy machine adds to the five seconds of a slow provider
    "tries_seconds": 4,
    "lease_seconds": 13,
    "permit_seconds": 1,
    "publish_seconds": 5,
    "delivery_seconds": 24,
    "drain_seconds": 26,
    "stop_grace_seconds": 28,
}
"""The product's time limits, shortened, and nested as it demands."""

Table: TypeAlias = "dict[str, object]"


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that has ended."""

    code: int
    output: str
    complaint: str

    @property
    def data(self) -> dict[str, Any]:
        """The record that was printed, read as JSON."""
        record: dict[str, Any] = json.loads(self.output)
        return record

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Every line that was printed, each read as JSON."""
        return [json.loads(line) for line in self.output.splitlines()]

    @property
    def outcome(self) -> dict[str, Any]:
        """What a replay of one letter has come to."""
        (outcome,) = [line for line in self.lines if line["event"] == "outcome"]
        return outcome

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The table that was printed, read as JSON."""
        rows: list[dict[str, Any]] = json.loads(self.output)
        return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """One directory with settings and ledger; ``settings`` may be changed before ``write``."""

    directory: Path
    broker: Broker
    prefix: str
    settings: Table = field(default_factory=dict)

    @property
    def config(self) -> Path:
        return self.directory / "settings.toml"

    @property
    def ledger(self) -> Path:
        return self.directory / "ledger.sqlite3"

    def named(self, suffix: str) -> str:
        """Full name of a broker object of contract section 1."""
        return f"{self.prefix}{suffix}"

    def table(self, *path: str) -> Table:
        """A table of the settings, made when it is not there."""
        table = self.settings
        for name in path:
            inner = table.setdefault(name, {})
            assert isinstance(inner, dict)
            table = inner
        return table

    def write(self) -> None:
        """Write the settings file, for its owner alone."""
        self.config.touch(mode=0o600)
        self.config.write_text(toml_text(self.settings), encoding="utf-8")

    def command(self, *arguments: str) -> list[str]:
        """Words of a command line of the product, under these settings."""
        return [sys.executable, "-m", "worker", "--config", str(self.config), *arguments]

    async def run(
        self, *arguments: str, prelude: Sequence[str] = (), seconds: float = 40.0
    ) -> Finished:
        """Run one command of the product to its end; ``prelude`` runs the command."""
        process = await asyncio.create_subprocess_exec(
            *prelude,
            *self.command(*arguments),
            cwd=CHECKOUT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(seconds):
                output, complaint = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return Finished(process.returncode or 0, output.decode(), complaint.decode())

    def use_postgres(self, address: PostgresAddress) -> None:
        """Have the ledger in this database instead of the file; to be called before ``write``."""
        table = {
            "host": address.host,
            "port": address.port,
            "database": address.database,
            "user": address.user,
        }
        if address.password is not None:
            table["password"] = address.password.reveal()
        ledger = self.table("ledger")
        ledger.pop("path", None)
        ledger["postgres"] = table
        self.table("probes")["heartbeat_file"] = str(self.directory / "heartbeat")

    @property
    def ledger_place(self) -> LedgerPlace:
        """Where the settings say that the ledger is."""
        if "postgres" not in self.table("ledger"):
            return self.ledger
        table = Postgres.model_validate(self.table("ledger", "postgres"))
        return table.address("acceptance")

    def create_ledger(self) -> None:
        """Create the ledger as ``ledger init`` does, without a process of its own."""
        # In a loop of its own: the caller's is running.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, initialise_ledger(self.ledger_place)).result()


@asynccontextmanager
async def installed(
    broker: Broker, directory: Path, *, link_url: str, basket_url: str
) -> AsyncIterator[Installation]:
    """Sound settings, not written yet; the broker's objects are removed at the end."""
    prefix = broker.topology().prefix
    installation = Installation(
        directory=directory,
        broker=broker,
        prefix=prefix,
        settings=sound_settings(
            broker, prefix, directory / "ledger.sqlite3", link_url=link_url, basket_url=basket_url
        ),
    )
    try:
        yield installation
    finally:
        await remove_objects(broker, prefix)


def sound_settings(
    broker: Broker, prefix: str, ledger: Path, *, link_url: str, basket_url: str
) -> Table:
    """Settings of a staging worker with one link and one basket account for company 1."""
    return {
        "environment": "staging",
        "deployment": "acceptance",
        "broker": {
            "host": "127.0.0.1",
            "port": broker.port,
            "user": "guest",
            "password": "guest",
            "prefix": prefix,
            "heartbeat": 10,
        },
        "topology": {"declare": True},
        "results": {"subscribers": {SUBSCRIBER: list(ORIGINS)}},
        "ledger": {"path": str(ledger), "keys": [generate_key().reveal()]},
        "timing": dict(TIMING),
        "probes": {"port": 0},
        "accounts": {
            "safedebit": link_account(link_url),
            "combo": basket_account(basket_url),
        },
    }


def link_account(url: str, *, hosts: Sequence[str] = (LINK_HOST,)) -> Table:
    """An account at the link provider, with the login the simulator takes."""
    return {
        "provider": "link",
        "test": {
            "base_url": url,
            "login": "demo",
            "password": "demo",
            "link_hosts": list(hosts),
            "companies": {
                "1": {
                    "beneficiary_reference": "395000000000001",
                    "phone_number": "0600000000",
                    "url_callback": "https://back.example.org/cb/{reference}",
                }
            },
        },
    }


def basket_account(url: str, *, hosts: Sequence[str] = (LINK_HOST,)) -> Table:
    """An account at the basket provider, with the key the simulator takes."""
    return {
        "provider": "basket",
        "test": {
            "base_url": url,
            "login": "demo.example",
            "password": "demo",
            "link_hosts": list(hosts),
            "companies": {
                "1": {
                    "regie_id": "cantine",
                    "item_url": "https://back.example.org/i/{reference}/",
                    "display_name": "Commande {id_commande}",
                }
            },
        },
    }


def toml_text(table: Mapping[str, object]) -> str:
    """Write nested tables as TOML; a JSON string, number, truth value or list is one there too."""
    lines: list[str] = []
    _write_table(lines, (), table)
    return "\n".join(lines) + "\n"


def _write_table(lines: list[str], path: tuple[str, ...], table: Mapping[str, object]) -> None:
    inner = {name: value for name, value in table.items() if isinstance(value, dict)}
    if path:
        lines.append(f"[{'.'.join(json.dumps(name) for name in path)}]")
    lines.extend(
        f"{json.dumps(name)} = {_value(value)}"
        for name, value in table.items()
        if name not in inner
    )
    for name, value in inner.items():
        _write_table(lines, (*path, name), value)


def _value(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_value(each) for each in value)}]"
    if isinstance(value, dict):
        pairs = (f"{json.dumps(name)} = {_value(each)}" for name, each in value.items())
        return f"{{{', '.join(pairs)}}}"
    return json.dumps(value, ensure_ascii=False)


async def remove_objects(broker: Broker, prefix: str) -> None:
    """Delete every queue and exchange of a prefix: hundreds of idle ones slow a node down."""
    subscribers = tuple(
        Subscriber(name=name, origins=(Origin("unknown"),)) for name in (SUBSCRIBER, "web")
    )
    connection = await aio_pika.connect(
        host="127.0.0.1", port=broker.port, virtualhost="payments", login="guest"
    )
    async with connection:
        channel = await connection.channel()
        for environment in Environment:
            topology = Topology(environment=environment, prefix=prefix, subscribers=subscribers)
            for queue in topology.queues:
                await channel.queue_delete(queue.name)
            for exchange in topology.exchanges:
                await channel.exchange_delete(exchange.name)
