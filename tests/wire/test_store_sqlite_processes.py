"""Several processes of one user on one ledger file."""

import asyncio
import json
import sqlite3
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from tests.store_child import KEY, LATER
from tests.store_samples import (
    followed,
    number,
    sample_act,
    sample_answer,
    sample_record,
    write,
)
from worker.adapters.clock import SystemClock
from worker.adapters.encryption import Vault
from worker.adapters.store_sqlite import SqliteStore, initialise
from worker.ports import View
from worker.records import Change, Needs

PATIENCE = 30
"""Seconds for a process to answer, on a busy machine too."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    ledger = tmp_path / "ledger.sqlite"
    initialise(ledger)
    return ledger


@pytest_asyncio.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    opened = await open_store(path)
    yield opened
    await opened.close()


async def open_store(path: Path) -> SqliteStore:
    return await SqliteStore.open(path, vault=Vault([KEY]), clock=SystemClock(), least_free=0)


@asynccontextmanager
async def child(task: str, path: Path, argument: str = "") -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.store_child", task, path, argument, stdin=PIPE, stdout=PIPE
    )
    try:
        async with asyncio.timeout(PATIENCE):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def heard(process: Process) -> object:
    """The next line the child said."""
    assert process.stdout is not None
    line = await process.stdout.readline()
    assert line, "the child ended before it spoke"
    return json.loads(line)


async def start(process: Process) -> None:
    """Let a child that said it is ready begin."""
    assert await heard(process) == "ready"
    assert process.stdin is not None
    process.stdin.write(b"go\n")
    await process.stdin.drain()


async def test_two_processes_never_take_the_same_answer(path: Path, store: SqliteStore) -> None:
    answers = tuple(sample_answer(n) for n in range(60))
    await write(store, answers=answers)
    ours: list[str] = []
    async with child("take", path, "3") as process:
        await start(process)
        while page := await store.take_unpublished(untouched_since=LATER, now=LATER, limit=3):
            ours += [str(answer.operation_id) for answer in page]
        theirs = await heard(process)
    assert isinstance(theirs, list)
    assert sorted(ours + theirs) == sorted(str(number(n)) for n in range(60))


async def test_two_processes_write_one_after_the_other(path: Path, store: SqliteStore) -> None:
    """Each raises one record's version from what it sees; a lost update would show in the sum."""
    await write(store, sample_record(1))

    def next_version(view: View) -> Change[None]:
        record = view.record(number(1))
        assert record is not None
        return Change(result=None, records=(replace(record, version=record.version + 1),))

    async with child("count_up", path, "150") as process:
        await start(process)
        for _ in range(150):
            await store.transact(Needs((number(1),)), next_version)
        assert await heard(process) == "done"
    found = await store.find(number(1))
    assert found is not None
    assert found[0].version == 301


async def test_the_acts_of_two_processes_are_one_chain(path: Path, store: SqliteStore) -> None:
    async with child("act", path, "100") as process:
        await start(process)
        for _ in range(100):
            await write(store, audit=(sample_act(2),))
        assert await heard(process) == "done"
    check = await followed(store)
    assert (check.broken, check.count) == (None, 200)


async def test_acts_of_an_older_version_get_their_place_with_the_next_one(
    path: Path, store: SqliteStore
) -> None:
    """Before the first placed one and behind it; meanwhile they are counted, not condemned."""
    insert = "INSERT INTO audit (at, actor, action, detail) VALUES (1, 'root', 'replay_end', ?)"
    with closing(sqlite3.connect(path)) as older:
        for rounds, waiting in ((1, 3), (2, 3)):
            with older:
                older.executemany(insert, [("one",), ("two",), ("three",)])
            assert (await followed(store)).without_place == waiting
            await write(store, audit=(sample_act(1), sample_act(None)))
            check = await followed(store)
            assert (check.broken, check.without_place, check.count) == (None, 0, 5 * rounds)
    details = [kept.entry.detail for kept in await store.acts.page(after=0, limit=5)]
    assert details == ["one", "two", "three", "run 7", "run 7"]
