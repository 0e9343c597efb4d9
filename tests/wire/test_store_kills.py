"""A process that writes to a ledger is killed again and again; what it was told is kept stays kept.

On the real disk, with SIGKILL, at moments that no line of the process marks: while eight payments
are under way, each in its claim, in its settlement or between the two.
"""

import asyncio
import hashlib
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.postgres import PostgresServer
from tests.store_child import KEY
from tests.store_samples import (
    decided_record,
    followed,
    number,
    sample_answer,
    sample_letter,
    sample_record,
)
from worker.adapters.clock import SystemClock
from worker.adapters.encryption import Vault
from worker.adapters.store_postgres import PostgresStore
from worker.adapters.store_postgres import initialise as initialise_postgres
from worker.adapters.store_sqlite import SqliteStore, initialise
from worker.ports import Store

LIVES = 8
AT_ONCE = 8
"""Payments that the child has under way together."""

PER_LIFE = 10_000
"""Each life takes numbers of its own, more than it can use."""


@dataclass(frozen=True, slots=True)
class Victim:
    """How to start the process that is killed, and the ledger as it stands after that."""

    store: Store
    command: Callable[[int], tuple[str, ...]]


@pytest_asyncio.fixture(params=["sqlite", "sqlite-and-checkpoints", "postgresql"])
async def victim(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Victim]:
    match request.param:
        case "sqlite":
            opened = _sqlite(tmp_path, "commit_for_ever")
        case "sqlite-and-checkpoints":
            opened = _sqlite(tmp_path, "commit_and_copy_for_ever")
        case _:
            opened = _postgres(request)
    async with opened as ready:
        yield ready


@asynccontextmanager
async def _sqlite(folder: Path, task: str) -> AsyncIterator[Victim]:
    path = folder / "ledger.sqlite"
    initialise(path)
    store = await SqliteStore.open(path, vault=Vault([KEY]), clock=SystemClock(), least_free=0)
    yield Victim(store, lambda first: (task, str(path), str(first)))
    await store.close()


@asynccontextmanager
async def _postgres(request: pytest.FixtureRequest) -> AsyncIterator[Victim]:
    server: PostgresServer = request.getfixturevalue("postgres")
    with server.database() as address:
        await initialise_postgres(address)
        store = await PostgresStore.open(address, vault=Vault([KEY]), clock=SystemClock())
        # The child comes as the administrator, who needs no password on a command line.
        place = f"{server.port} {address.database}"
        folder = str(server.directory / "socket")
        yield Victim(
            store, lambda first: ("commit_on_postgres_for_ever", folder, f"{place} {first}")
        )
        await store.close()


async def reported(process: Process, least: int) -> list[int]:
    """Every payment the child reported as durable: kill it after that many, then hear it out."""
    assert process.stdout is not None
    heard: list[int] = []
    try:
        while len(heard) < least:
            line = await process.stdout.readline()
            assert line, "the child ended before it was killed"
            heard.append(json.loads(line))
    finally:
        process.kill()
    rest = (await process.stdout.read()).splitlines(keepends=True)
    assert await process.wait() == -9
    return heard + [json.loads(line) for line in rest if line.endswith(b"\n")]


async def test_what_was_acknowledged_survives_every_kill(victim: Victim) -> None:
    """And what was not is whole or absent: no decision without its answer, no gap in the audit."""
    unfinished = 0
    for life in range(LIVES):
        first = life * PER_LIFE
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.store_child", *victim.command(first), stdout=PIPE
        )
        # Some moment between the first report and a good many: the same ones on every run.
        least = 1 + hashlib.sha256(str(life).encode()).digest()[0] % 60
        acknowledged = await reported(process, least)
        for n in range(first, max(acknowledged) + AT_ONCE + 1):
            decided = (decided_record(n), sample_answer(n, letter=sample_letter()))
            found = await victim.store.find(number(n))
            if n in acknowledged:
                assert found == decided, (life, n)
            else:
                assert found in [None, (sample_record(n), None), decided], (life, n)
                unfinished += found is not None
        check = await followed(victim.store)
        assert check.broken is None, (life, check.broken)
        assert check.without_place == 0
    assert unfinished > 0, "no kill fell between a claim and its report"
