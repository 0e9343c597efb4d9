"""A second process on a ledger: ``python -m tests.store_child TASK PATH [ARGUMENT]``.

Prints JSON lines. The key is fixed, since both processes must open what the other sealed.
"""

import asyncio
import itertools
import json
import os
import resource
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from tests.fakes_clock import START, FakeClock
from tests.store_samples import (
    decided_record,
    number,
    sample_act,
    sample_answer,
    sample_letter,
    sample_record,
    write,
)
from worker.adapters.encryption import Vault
from worker.adapters.store_errors import LedgerError
from worker.adapters.store_postgres import PostgresStore
from worker.adapters.store_sqlite import SqliteStore
from worker.adapters.store_sqlite.checkpoints import ROWS_BETWEEN
from worker.model import Secret
from worker.ports import Store, StoreUnavailableError, View
from worker.records import Change, Needs
from worker.rules import PostgresAddress

KEY = Secret("c2l4dGVlbi1ieXRlcy1vci10d2ljZS10aGF0LTEyMy4=")
LATER = START + timedelta(hours=1)


async def open_store(path: Path, *, rows_between: int = ROWS_BETWEEN) -> SqliteStore:
    """Open the ledger as the parent process does."""
    return await SqliteStore.open(
        path, vault=Vault([KEY]), clock=FakeClock(), least_free=0, rows_between=rows_between
    )


def say(content: object) -> None:
    """One line for the parent, at once."""
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


async def commit_for_ever(path: Path, argument: str) -> None:
    """Claim and settle payments of those numbers upwards, each reported once it is durable."""
    await _commit_for_ever(await open_store(path), int(argument))


async def commit_and_copy_for_ever(path: Path, argument: str) -> None:
    """Do it with a checkpoint under way nearly all the time."""
    await _commit_for_ever(await open_store(path, rows_between=1), int(argument))


async def commit_on_postgres_for_ever(folder: Path, argument: str) -> None:
    """Do it on PostgreSQL: the folder of its socket, then "PORT DATABASE NUMBER"."""
    port, database, first = argument.split()
    address = PostgresAddress(host=str(folder), port=int(port), database=database, user="postgres")
    store = await PostgresStore.open(address, vault=Vault([KEY]), clock=FakeClock())
    await _commit_for_ever(store, int(first))


async def _commit_for_ever(store: Store, first: int) -> None:
    turns = itertools.count(first)

    async def payments(place: int) -> None:
        if place % 2:
            await store.ping()  # half of them a step behind: one half claims what the other settles
        for n in turns:
            await write(store, sample_record(n))
            answer = sample_answer(n, letter=sample_letter())
            await write(store, decided_record(n), answers=(answer,), audit=(sample_act(n),))
            say(n)

    await asyncio.gather(*(payments(place) for place in range(8)))


async def take(path: Path, argument: str) -> None:
    """Take unpublished answers, a few at a time, until none is left."""
    store = await open_store(path)
    say("ready")
    sys.stdin.readline()
    taken: list[str] = []
    while page := await store.take_unpublished(
        untouched_since=LATER, now=LATER, limit=int(argument)
    ):
        taken += [str(answer.operation_id) for answer in page]
    await store.close()
    say(taken)


async def count_up(path: Path, argument: str) -> None:
    """Raise the version of one record, each time from what the transaction sees."""
    store = await open_store(path)
    say("ready")
    sys.stdin.readline()

    def next_version(view: View) -> Change[None]:
        record = view.record(number(1))
        assert record is not None
        return Change(result=None, records=(replace(record, version=record.version + 1),))

    needs = Needs((number(1),))
    await asyncio.gather(*(store.transact(needs, next_version) for _ in range(int(argument))))
    await store.close()
    say("done")


async def act(path: Path, argument: str) -> None:
    """Write so many acts about one operation, several at a time."""
    store = await open_store(path)
    say("ready")
    sys.stdin.readline()
    await asyncio.gather(*(write(store, audit=(sample_act(1),)) for _ in range(int(argument))))
    await store.close()
    say("done")


async def fail_at_commit(path: Path, _argument: str) -> None:
    """Let the kernel refuse the next write of the log (EFBIG), which SQLite calls an I/O error."""
    store = await open_store(path)
    await write(store, sample_record(1))
    size = path.with_name(path.name + "-wal").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    refused = await asyncio.gather(
        *(write(store, sample_record(n)) for n in (2, 3, 4)), return_exceptions=True
    )
    ends = [type(end).__name__ for end in refused]
    async with asyncio.timeout(10):
        await store.failed.wait()
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    try:  # the disk is well again, but this handle is not to be trusted any more
        await write(store, sample_record(5))
    except StoreUnavailableError as error:
        ends.append(type(error).__name__)
    try:
        await store.find(number(1))
    except StoreUnavailableError as error:
        ends.append(type(error).__name__)
    await store.close()
    say(ends)


async def open_as_other_rights(path: Path, argument: str) -> None:
    """Open as an OS user without root's rights, who owns the file."""
    if os.geteuid() == 0:
        os.seteuid(int(argument))
    try:
        await open_store(path)
    except LedgerError as error:
        say([type(error).__name__, str(error), error.fix])
    else:
        say("opened")


TASKS: dict[str, Callable[[Path, str], Awaitable[None]]] = {
    task.__name__: task
    for task in (
        commit_for_ever,
        commit_and_copy_for_ever,
        commit_on_postgres_for_ever,
        take,
        count_up,
        act,
        fail_at_commit,
        open_as_other_rights,
    )
}


async def main() -> None:
    name, path, *arguments = sys.argv[1:]
    await TASKS[name](Path(path), *(arguments or [""]))


if __name__ == "__main__":
    asyncio.run(main())
