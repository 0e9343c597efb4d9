"""Starting and stopping who is measured: the product as a process, or a peer."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.installation import LINK_HOST, Installation, sound_settings
from tests.bench.peers.place import VARIABLE, Place
from tests.bench.throughput.cases import Case, Subject
from tests.bench.throughput.provider import CHECKOUT
from tests.bench.throughput.site import Queues, Site
from worker.rules import PostgresAddress

_STOP_SECONDS = 60.0
_LAST_LINES = 5


@dataclass(frozen=True, slots=True)
class Running:
    """Processes of one subject; each writes its log into a file."""

    processes: Sequence[asyncio.subprocess.Process]
    logs: Sequence[Path]

    @property
    def ids(self) -> list[int]:
        """Of the processes we started, not of those they start."""
        return [each.pid for each in self.processes]

    @property
    def has_ended(self) -> bool:
        """Whether one of them is gone, which none may be while it is measured."""
        return any(each.returncode is not None for each in self.processes)

    @property
    def last_words(self) -> str:
        """The end of the logs, for who looks for a fault."""
        ends = [log.read_text("utf-8", "replace").splitlines()[-_LAST_LINES:] for log in self.logs]
        return "\n".join(line[:400] for end in ends for line in end)

    async def stop(self) -> list[int]:
        """Ask them to stop, as a supervisor does, and return their exit codes."""
        for each in self.processes:
            if each.returncode is None:
                each.terminate()
        async with asyncio.timeout(_STOP_SECONDS):
            return [await each.wait() for each in self.processes]


@asynccontextmanager
async def started(
    case: Case, site: Site, queues: Queues, directory: Path, *, provider_url: str
) -> AsyncIterator[Running]:
    """Start the subject; none of its processes outlives the block."""
    if case.subject.is_worker:
        commands = _workers(case, site, queues, directory, provider_url)
        environment: Mapping[str, str] = {}
    else:
        place = Place(
            amqp_url=site.amqp_url,
            work_queue=queues.work,
            requests_exchange=queues.topology.named("requests"),
            results_exchange=queues.topology.named("results"),
            letter_queue=queues.topology.named("dlq"),
            provider_url=provider_url,
            prefetch=case.prefetch,
        )
        commands = [peer_command(case)]
        environment = {VARIABLE: place.written()}
    processes: list[asyncio.subprocess.Process] = []
    logs = [directory / f"{case.subject}-{n}.log" for n in range(len(commands))]
    try:
        for command, log in zip(commands, logs, strict=True):
            processes.append(await _start(command, log, environment))
        yield Running(processes, logs)
    finally:
        for each in processes:
            if each.returncode is None:
                each.kill()
                await each.wait()


def peer_command(case: Case) -> list[str]:
    """Words of the command line that each framework's users start it with."""
    module = f"tests.bench.peers.{_MODULES[case.subject]}"
    match case.subject:
        case Subject.FASTSTREAM:
            return [sys.executable, "-m", "faststream", "run", f"{module}:app"]
        case Subject.TASKIQ:
            return [
                *(sys.executable, "-m", "taskiq", "worker", f"{module}:broker"),
                *("--workers", "1", "--ack-type", "manual", "--log-level", "WARNING"),
                *("--max-async-tasks", str(case.prefetch), "--shutdown-timeout", "30"),
            ]
        case Subject.BARE_UVLOOP:
            return [sys.executable, "-m", module, "uvloop"]
        case _:
            return [sys.executable, "-m", module]


_MODULES = {
    Subject.BARE: "bare",
    Subject.BARE_UVLOOP: "bare",
    Subject.FASTSTREAM: "on_faststream",
    Subject.TASKIQ: "on_taskiq",
    Subject.FORWARDER: "forwarder",
}


def _workers(
    case: Case,
    site: Site,
    queues: Queues,
    directory: Path,
    provider_url: str,
) -> list[list[str]]:
    """Install the product as often as it is to run, on one ledger."""
    database = None if case.subject is Subject.SQLITE else _database(site)
    prefix = queues.topology.prefix
    settings = sound_settings(
        site.broker, prefix, directory, link_url=provider_url, basket_url=provider_url
    )
    del settings["timing"]  # the product's own time limits
    installations: list[Installation] = []
    for number in range(case.subject.processes):
        own = directory / f"worker-{number}"
        own.mkdir()
        installation = Installation(
            directory=own,
            broker=site.broker,
            prefix=prefix,
            settings=json.loads(json.dumps(settings)),
        )
        del installation.table("accounts")["combo"]  # one account has all the places to itself
        installation.table("accounts", "safedebit", "test")["link_hosts"] = [LINK_HOST]
        installation.table("broker").update(prefetch=case.prefetch, concurrency=case.prefetch)
        if database is None:
            installation.table("ledger")["path"] = str(installation.ledger)
        else:
            installation.use_postgres(database)
        installation.write()
        installations.append(installation)
    installations[0].create_ledger()
    return [each.command("run") for each in installations]


def _database(site: Site) -> PostgresAddress:
    if site.postgres is None:
        raise ValueError
    return site.postgres.new_database()


async def _start(
    command: Sequence[str], log: Path, environment: Mapping[str, str]
) -> asyncio.subprocess.Process:
    inherited = {
        name: value
        for name, value in os.environ.items()  # noqa: TID251 - handed on as it is
        if not name.startswith("COVERAGE_PROCESS")  # a tracer would be what is measured
    }
    with log.open("wb") as output:
        return await asyncio.create_subprocess_exec(
            *command,
            cwd=CHECKOUT,
            env=inherited | dict(environment),
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
        )
