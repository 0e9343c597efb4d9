"""What looking through many dead letters costs: ``python -m tests.bench.letter_index``.

A ledger is filled with so many letters, as many payments that went well, and letters that the
broker made among them; then a process of its own groups them, looks for a text, lists them all,
page by page, plans their replay, and reads the plan back. It tells how long each took and how far
its memory grew meanwhile.
"""

import argparse
import asyncio
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from tests.fakes_clock import START
from tests.postgres import private_server
from tests.store_samples import (
    decided_record,
    sample_answer,
    sample_letter,
    sample_record,
    sample_unanswered,
)
from worker.adapters.clock import SystemClock
from worker.adapters.encryption import Vault, generate_key
from worker.adapters.ledgers import initialise_ledger, open_ledger
from worker.codes import Code
from worker.ledger import Ledger
from worker.letters import EVERY_LETTER, UnansweredLetter
from worker.model import Environment, Secret
from worker.operators.plans.files import plan_rows, read_plan, writing_plan
from worker.operators.plans.making import rows_wanted
from worker.operators.plans.rows import LIFETIME, Plan, PlanHeader
from worker.ports import View
from worker.records import Answer, Change, Needs, Record, State
from worker.rules import PostgresAddress, Rules

_BATCH = 500
_UNANSWERED = 10**9
_CODES = (Code.PROVIDER_UNAVAILABLE, Code.PROVIDER_CREDENTIALS, Code.OUTCOME_UNKNOWN)

Place = Path | PostgresAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Seconds, and by how many MiB the process grew at most, from ``mebibytes``."""

    letters: int
    mebibytes: float
    grouping_seconds: tuple[float, ...]
    grouping_mebibytes: float
    searching_seconds: float
    listing_seconds: float
    listing_mebibytes: float
    planning_seconds: float
    planning_mebibytes: float
    reading_seconds: float
    reading_mebibytes: float


async def _fill(place: Place, key: Secret, letters: int, unanswered: int) -> None:
    await initialise_ledger(place)
    store = await open_ledger(place, vault=Vault([key]), clock=SystemClock())
    for start in range(1, 2 * letters, _BATCH):
        rows = [_row(n) for n in range(start, min(start + _BATCH, 2 * letters + 1))]
        # Inserted as decided already: a version counts the writes, and this is the first.
        change = Change(
            result=None,
            records=tuple(record for record, _ in rows),
            answers=tuple(answer for _, answer in rows),
        )
        await store.transact(Needs(()), partial(_written, change))
    for start in range(0, unanswered, _BATCH):
        await store.letters.keep_unanswered(
            [_unanswered(n) for n in range(start, min(start + _BATCH, unanswered))]
        )
    await store.close()


def _written(change: Change[None], _view: View) -> Change[None]:
    return change


def _row(n: int) -> tuple[Record, Answer]:
    is_letter = bool(n % 2)
    failed_at = START + timedelta(milliseconds=n)
    code = _CODES[n % len(_CODES)]
    state = State.IN_DOUBT if code is Code.OUTCOME_UNKNOWN else State.FAILED
    record = replace(
        decided_record(n, state=state if is_letter else State.SUCCEEDED),
        version=1,
        lease_until=sample_record(n).lease_until,
        first_seen=failed_at,
    )
    letter = replace(sample_letter(failed_at), code=code) if is_letter else None
    return record, sample_answer(n, letter=letter)


def _unanswered(n: int) -> UnansweredLetter:
    """Beyond the ids of the payments, and spread over the time of the decided letters."""
    return sample_unanswered(_UNANSWERED + n, failed_at=START + timedelta(milliseconds=2 * n))


async def _measure(place: Place, key: Secret) -> Cost:
    store = await open_ledger(place, vault=Vault([key]), clock=SystemClock())
    ledger = Ledger(store=store, rules=Rules(), clock=store.clock)
    await ledger.letters.page(limit=1)
    size, seconds, grouped_letters = _peak(), [], 0
    for _ in range(3):
        began = perf_counter()
        grouped_letters = sum(group.count for group in await ledger.letters.groups())
        seconds.append(round(perf_counter() - began, 3))
    grouped, began = _peak(), perf_counter()
    assert await ledger.letters.groups(replace(EVERY_LETTER, text="No Such Text")) == ()
    searching_seconds, began = perf_counter() - began, perf_counter()
    count = 0
    async for _ in ledger.letters.listed():
        count += 1
    listed = _peak()
    listing_seconds, began = perf_counter() - began, perf_counter()
    with TemporaryDirectory() as directory:
        plan = await _planned(ledger, Path(directory) / "plan.json")
        planning_seconds, planned, began = perf_counter() - began, _peak(), perf_counter()
        read_plan(plan.path, now=plan.created_at, environment=plan.environment)
        assert sum(1 for _ in plan_rows(plan.path)) == plan.size == count
        reading_seconds = perf_counter() - began
    cost = Cost(
        letters=count,
        mebibytes=size,
        grouping_seconds=tuple(seconds),
        grouping_mebibytes=round(grouped - size, 1),
        searching_seconds=round(searching_seconds, 3),
        listing_seconds=round(listing_seconds, 3),
        listing_mebibytes=round(listed - grouped, 1),
        planning_seconds=round(planning_seconds, 3),
        planning_mebibytes=round(planned - listed, 1),
        reading_seconds=round(reading_seconds, 3),
        reading_mebibytes=round(_peak() - planned, 1),
    )
    assert grouped_letters == count
    await store.close()
    return cost


async def _planned(ledger: Ledger, path: Path) -> Plan:
    now = ledger.clock.now()
    header = PlanHeader(
        environment=Environment.STAGING,
        created_at=now,
        expires_at=now + LIFETIME,
        actor="bench",
        wanted={},
    )
    with writing_plan(path, header) as writer:
        async for row in rows_wanted(ledger, EVERY_LETTER, until=now):
            writer.add(row)
        return writer.seal()


def _peak() -> float:
    """The most this process ever held, in MiB.

    Asked of the process's own memory: the figure of ``getrusage`` begins with its parent's.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = [each for each in status.splitlines() if each.startswith("VmHWM:")]
    return round(int(line.split()[1]) / 1024, 1)


def _measured(place: Place, key: Secret) -> Cost:
    return asyncio.run(_measure(place, key))


def _cost(place: Place, letters: int, unanswered: int) -> Cost:
    key = generate_key()
    asyncio.run(_fill(place, key, letters, unanswered))
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
        return alone.submit(_measured, place, key).result()


def _print(name: str, cost: Cost) -> None:
    facts = {field: getattr(cost, field) for field in Cost.__slots__}
    print(json.dumps({"ledger": name} | facts))


def main(arguments: Sequence[str] | None = None) -> None:
    """Fill, measure, print one JSON line for each kind of ledger."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--letters", type=int, default=100_000)
    parser.add_argument("--unanswered", type=int, default=10_000)
    parser.add_argument("--postgres", action="store_true", help="on a private server too")
    options = parser.parse_args(arguments)
    wanted = options.letters, options.unanswered
    with TemporaryDirectory() as directory:
        _print("sqlite", _cost(Path(directory) / "ledger.sqlite3", *wanted))
    if options.postgres:
        with private_server() as server, server.database() as address:
            _print("postgres", _cost(address, *wanted))


if __name__ == "__main__":
    main()
