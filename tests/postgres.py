"""A private PostgreSQL server for the tests, and plain means to look at it and to break it."""

import itertools
import os
import select
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from tests.broker import free_port
from worker.model import Secret
from worker.rules import PostgresAddress

_SCRIPT = Path(__file__).parents[1] / "deploy" / "postgresql" / "private-server"
_END_SECONDS = 30.0
_ROLE = "payment_worker"
_PASSWORD = Secret("planted-database-password")


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """One running server; each test takes a database of its own from it."""

    directory: Path
    port: int
    _names: Iterator[int] = field(default_factory=lambda: itertools.count(1), repr=False)
    _idle: list[PostgresAddress] = field(default_factory=list, repr=False)

    @property
    def administrator(self) -> PostgresAddress:
        """The server's administrator over its socket."""
        return PostgresAddress(
            host=str(self.directory / "socket"),
            port=self.port,
            database="postgres",
            user="postgres",
        )

    def address(self, database: str) -> PostgresAddress:
        """A database as a worker addresses it: TCP, a role without privileges, a password."""
        return PostgresAddress(
            host="127.0.0.1",
            port=self.port,
            database=database,
            user=_ROLE,
            password=_PASSWORD,
        )

    def new_database(self) -> PostgresAddress:
        """An empty database that belongs to the worker's role."""
        name = f"ledger_{next(self._names)}"
        self.psql(f"CREATE DATABASE {name} OWNER {_ROLE}")
        return self.address(name)

    @contextmanager
    def database(self) -> Iterator[PostgresAddress]:
        """An empty database for as long as the block lasts.

        Emptied, it serves again: to make one costs more than most tests do with it.
        """
        address = self._idle.pop() if self._idle else self.new_database()
        yield address
        name = address.database
        self.psql(
            "SET TRANSACTION READ WRITE;"  # noqa: S608 (names made here)
            f" SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
            f" AND pid <> pg_backend_pid(); ALTER DATABASE {name} RESET ALL;"
            f" GRANT ALL ON DATABASE {name} TO {_ROLE};"
            " DROP SCHEMA IF EXISTS payment_worker CASCADE",
            database=name,
        )
        self._idle.append(address)

    def psql(self, statement: str, *, database: str = "postgres") -> str:
        """What psql prints for a statement of the administrator, one line per row."""
        return _run("psql", str(self.directory), "-qAt", "-d", database, "-c", statement)

    async def ask(self, database: str, statement: str, *values: object) -> list[asyncpg.Record]:
        """Rows as the administrator sees them."""
        connection = await asyncpg.connect(
            host=str(self.directory / "socket"), port=self.port, user="postgres", database=database
        )
        try:
            return await connection.fetch(statement, *values)
        finally:
            await connection.close()

    async def terminate_backends(self, database: str) -> int:
        """Close every connection to a database from the server's side; returns how many."""
        rows = await self.ask(
            "postgres",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1",
            database,
        )
        return len(rows)

    def start(self, **settings: str) -> None:
        """Start the server, with its data if it ran before."""
        chosen = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
        _run("start", *chosen, str(self.directory), str(self.port))

    def stop(self) -> None:
        """Stop the server and keep its data; its clients are sent away (57P01)."""
        _run("stop", str(self.directory))

    def kill(self) -> None:
        """Crash the server: SIGKILL to all of its processes; returns when they are gone."""
        ends = [os.pidfd_open(process) for process in self._processes]
        self.signal_all(signal.SIGKILL)
        for end in ends:
            select.select([end], [], [], _END_SECONDS)
            os.close(end)

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to each of the server's processes: SIGSTOP freezes it."""
        for process in self._processes:
            with suppress(ProcessLookupError):  # a backend may end by itself
                os.kill(process, number)

    @property
    def _processes(self) -> list[int]:
        """Ids, the first process before those that it would start anew."""
        first = (self.directory / "data" / "postmaster.pid").read_text().split()[0]
        children = Path(f"/proc/{first}/task/{first}/children").read_text()
        return [int(process) for process in (first, *children.split())]


@contextmanager
def private_server(*, parent: Path | None = None, **settings: str) -> Iterator[PostgresServer]:
    """A server of its own for as long as the block lasts, with the worker's role.

    ``parent`` is where its directory is made; one in memory spares the waits for a disk.
    """
    directory = Path(tempfile.mkdtemp(prefix="payment-worker-postgres-", dir=parent))
    server = PostgresServer(directory, free_port())
    try:
        server.start(**settings)
        server.psql(f"CREATE ROLE {_ROLE} LOGIN PASSWORD '{_PASSWORD.reveal()}'")
        yield server
    finally:
        _run("stop", "--immediate", str(directory))  # nobody needs its data any more
        shutil.rmtree(directory, ignore_errors=True)


def _run(*arguments: str) -> str:
    """Output goes to a file: a pipe would stay open as long as the server that inherited it."""
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(  # noqa: S603 (our own script, arguments made here)
            [_SCRIPT, *arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=150,
        )
        output.seek(0)
        said = output.read().decode(errors="replace")
        if done.returncode:
            raise RuntimeError(said)
        return said
