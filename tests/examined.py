"""A deployment on a real broker for the doctor to look at; a test bends one thing of it."""

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path

from tests.amqp import Line, declared
from tests.broker import Broker, free_port
from tests.servers import Behaviour, Connection, RawServer
from tests.settings_sample import KEY, NOWHERE, TODAY, write_settings
from worker.adapters.clock import SystemClock
from worker.adapters.store_sqlite import initialise
from worker.checks import CHECKS, Deployment, Row, Verdict, choose, examine
from worker.provisioning import topology_of
from worker.settings import load
from worker.topology import Topology

PASSWORD = "provider-password"  # noqa: S105 - must not show up anywhere

SETTINGS = """
environment = "{environment}"

[broker]
host = "127.0.0.1"
port = {port}
user = "{user}"
password = "{password}"
prefix = "{prefix}"
heartbeat = 10
{broker}

[results.subscribers]
dcp = ["dcp"]

[ledger]
path = "{directory}/ledger.sqlite3"
keys = ["{key}"]

[probes]
port = {probes}

[accounts.safedebit]
provider = "link"

[accounts.safedebit.test]
base_url = "{base_url}"
login = "merchant"
password = "{provider_password}"
link_hosts = ["pay.test.example"]

[accounts.safedebit.test.companies.1]
beneficiary_reference = "395000000000001"
phone_number = "0600000000"
url_callback = "https://back.test.example/cb/{{reference}}"
"""

LIVE = """
[accounts.safedebit.live]
base_url = "{base_url}/live"
login = "merchant-live"
password = "live"
link_hosts = ["pay.test.example"]

[accounts.safedebit.live.companies.1]
beneficiary_reference = "395000000000001"
phone_number = "0600000000"
url_callback = "https://back.test.example/cb/{{reference}}"
"""


@dataclass(slots=True, kw_only=True)
class Place:
    """Where a deployment stands; a test bends one thing and examines it."""

    directory: Path
    topology: Topology
    port: int
    base_url: str
    probes: int
    user: str = "guest"
    password: str = "guest"  # noqa: S105 - the private node's own
    environment: str = "staging"
    broker: str = ""
    trusted: Path | None = None

    def file(self) -> Path:
        text = SETTINGS + (LIVE if self.environment == "production" else "")
        return write_settings(
            self.directory,
            text.format(
                environment=self.environment,
                port=self.port,
                user=self.user,
                password=self.password,
                prefix=self.topology.prefix,
                directory=self.directory,
                key=KEY,
                probes=self.probes,
                broker=self.broker,
                base_url=self.base_url,
                provider_password=PASSWORD,
            ),
        )

    async def rows(self, *only: str, at_start: bool = False) -> list[Row]:
        loaded = load(today=TODAY, config=self.file(), environment={}, container_secrets=NOWHERE)
        deployment = Deployment(
            clock=SystemClock(),
            loaded=loaded,
            topology=topology_of(loaded.settings),
            at_start=at_start,
            trusted_certificates=self.trusted,
        )
        chosen = choose(CHECKS, only=only, at_start=at_start)
        return [row async for row in examine(deployment, CHECKS, chosen)]


@asynccontextmanager
async def deployed(broker: Broker, directory: Path) -> AsyncIterator[tuple[Place, Line]]:
    """A deployment where everything is well, its provider on a loopback port."""
    initialise(directory / "ledger.sqlite3")
    async with (
        declared(broker, "dcp") as (topology, line),
        RawServer(tell_time) as provider,
    ):
        yield (
            Place(
                directory=directory,
                topology=topology,
                port=broker.port,
                base_url=provider.url(""),
                probes=free_port(),
            ),
            line,
        )
        for asked in provider.received:
            assert (asked.method, asked.target) == ("HEAD", "/"), "never a business call"
            assert asked.header("authorization") is None


def telling(ahead: timedelta) -> Behaviour:
    """A provider whose clock is so far before ours; it answers whatever is asked."""

    async def tell(connection: Connection) -> None:
        with contextlib.suppress(ConnectionResetError):  # who only looks asks nothing
            await connection.request()
            date = format_datetime(SystemClock().now() + ahead, usegmt=True)
            head = f"HTTP/1.1 404 Not Found\r\nDate: {date}\r\nContent-Length: 0\r\n\r\n"
            await connection.write(head.encode())
        connection.finish()

    return tell


tell_time = telling(timedelta())


def failed(rows: list[Row]) -> list[tuple[str, str]]:
    return [(row.check, row.about) for row in rows if row.verdict is Verdict.FAIL]


def verdicts(rows: list[Row], check: str) -> list[Verdict]:
    return [row.verdict for row in rows if row.check == check]
