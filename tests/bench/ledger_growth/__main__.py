"""How the ledger scales: ``python -m tests.bench.ledger_growth --rows 1000000 --postgres``.

A ledger is filled step by step with payments as the product leaves them. At each step new payments
go through the real store, many at a time, and what is read beside them is read. A ledger scales if
the last step costs what the first one does.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

from typing_extensions import override

from tests.bench.ledger_growth.filling import fill
from tests.bench.ledger_growth.measuring import ASKED, Pay, Reads, pay, read
from tests.bench.ledger_growth.places import Database, File, Size, Store
from tests.bench.ledger_growth.stories import Library, write_library
from tests.postgres import private_server
from worker.adapters.clock import SystemClock
from worker.adapters.encryption import Vault, generate_key
from worker.adapters.ledgers import LedgerStore, initialise_ledger, open_ledger
from worker.ledger import Ledger
from worker.operators.retention import Keeper, Kept
from worker.rules import Periods, Rules

STEPS = (0, 10_000, 100_000, 1_000_000, 10_000_000)
ROWS = 1_000_000
PAYMENTS = 5_000
_RUNS = 3

_clock = SystemClock()


class _Unresting(SystemClock):
    """For retention while nobody pays: it need not leave the ledger to anybody."""

    @override
    async def sleep(self, seconds: float) -> None:
        await super().sleep(0)


class TooLittleError(Exception):
    """Retention was over before the payments beside it were: fill more, or pay less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """What was measured with so many payments in the ledger.

    ``pay`` is the run with the middle rate of ``rates``; ``server`` the microseconds that a
    database server worked for a payment, and ``written`` the bytes that a payment cost: written to
    the disk by SQLite, into the log of a server. ``fill_seconds`` is how long filling took.
    """

    ledger: str
    rows: int
    fill_seconds: float
    pay: Pay
    rates: Sequence[float]
    server: float
    written: float
    reads: Reads
    size: Size

    def told(self) -> str:
        """A few lines for people."""
        rates = ", ".join(f"{each:,.0f}" for each in self.rates)
        reads = ", ".join(f"{name} {each:.2f}" for name, (each, _) in self.reads.by_name.items())
        return (
            f"{self.ledger}, {self.rows:,} payments, {self.size.stored / 2**20:,.0f} MiB"
            f" (log {self.size.log / 2**20:,.0f} MiB; filled in {self.fill_seconds:,.0f} s)\n"
            f"  {self.pay.rate:,.0f} payments per second of {rates};"
            f" {self.pay.processor:,.0f} µs of the process, {self.server:,.0f} µs of the server,"
            f" {self.written / 1024:,.1f} KiB written for each\n"
            f"  claim {self.pay.claim[0]:.1f} ms, p99 {self.pay.claim[1]:.1f};"
            f" settle {self.pay.settle[0]:.1f} ms, p99 {self.pay.settle[1]:.1f}\n"
            f"  ms: {reads} ({self.reads.letters:,} letters)"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """One ledger that grows; ``payments`` in each run of the measurement.

    ``is_maintained``: at the end retention runs beside the payments, then to its end.
    """

    store: Store
    library: Library
    vault: Vault
    steps: Sequence[int]
    payments: int = PAYMENTS
    is_maintained: bool = False

    async def stops(self) -> AsyncIterator[Stop]:
        """Fill up to each step and measure there; a server also after a vacuum.

        Of the last two ``fill_seconds`` is how long retention took, without its rests.
        """
        await initialise_ledger(self.store.place)
        filled, paid = 0, 0
        for step in self.steps:
            began = perf_counter()
            with self.store.filling():
                numbers = range(filled, step)
                await fill(self.store.place, self.library, numbers, until=_clock.now())
            seconds, filled = perf_counter() - began, step
            yield await self._stop(self.store.name, filled, paid, seconds)
            paid += _RUNS * self.payments
            if self.store.vacuum():
                yield await self._stop(f"{self.store.name} after VACUUM", filled, paid, seconds)
                paid += _RUNS * self.payments
        if self.is_maintained:
            yield await self._stop("while retention runs", filled, paid, 0, is_maintained=True)
            paid += _RUNS * self.payments
            begun = perf_counter()
            await self._maintain()
            seconds = perf_counter() - begun
            self.store.vacuum()
            yield await self._stop("after retention", filled, paid, seconds)

    async def _maintain(self) -> None:
        store = await open_ledger(self.store.place, vault=self.vault, clock=_clock)
        try:
            await _keeper(store, clock=_Unresting()).maintain()
        finally:
            await store.close()

    async def _stop(
        self,
        name: str,
        filled: int,
        paid: int,
        fill_seconds: float,
        *,
        is_maintained: bool = False,
    ) -> Stop:
        store = await open_ledger(self.store.place, vault=self.vault, clock=_clock)
        try:
            async with _beside(_keeper(store).maintain() if is_maintained else None):
                return await self._measured(store, name, filled, paid, fill_seconds)
        finally:
            await store.close()

    async def _measured(
        self, store: LedgerStore, name: str, filled: int, paid: int, fill_seconds: float
    ) -> Stop:
        spent, written = self.store.spent(), self.store.written()
        runs = [
            await pay(store, numbers=range(first, first + self.payments))
            for first in range(paid, paid + _RUNS * self.payments, self.payments)
        ]
        count = _RUNS * self.payments
        spent, written = self.store.spent() - spent, self.store.written() - written
        reads = await read(store, filled=filled, asked=min(ASKED, self.payments))
        runs.sort(key=lambda run: run.rate)
        return Stop(
            ledger=name,
            rows=filled,
            fill_seconds=fill_seconds,
            pay=runs[_RUNS // 2],
            rates=[run.rate for run in runs],
            server=spent / count * 1e6,
            written=written / count,
            reads=reads,
            size=self.store.size(),
        )


def _keeper(store: LedgerStore, *, clock: SystemClock = _clock) -> Keeper:
    ledger = Ledger(store=store, rules=Rules(), clock=clock)
    return Keeper(ledger=ledger, retention=store.retention, periods=Periods(), actor="bench")


@asynccontextmanager
async def _beside(work: Coroutine[object, object, Kept] | None) -> AsyncIterator[None]:
    """Do something else meanwhile, which must not be done before the block is."""
    if work is None:
        yield
        return
    task = asyncio.create_task(work)
    yield
    if task.done():
        raise TooLittleError
    task.cancel()
    await asyncio.wait({task})


async def grow(
    store: Store, *, steps: Sequence[int], payments: int = PAYMENTS, is_maintained: bool = False
) -> AsyncIterator[Stop]:
    """Measure one ledger from empty to the last step."""
    vault = Vault([generate_key()])
    library = await write_library(vault)
    growth = Growth(
        store=store,
        library=library,
        vault=vault,
        steps=steps,
        payments=payments,
        is_maintained=is_maintained,
    )
    async for stop in growth.stops():
        yield stop


async def _measure(store: Store, steps: Sequence[int], options: argparse.Namespace) -> None:
    async for stop in grow(
        store, steps=steps, payments=options.payments, is_maintained=options.retention
    ):
        print(stop.told(), file=sys.stderr, flush=True)
        print(json.dumps(asdict(stop)), flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Tell each stop to people on stderr and as a line of JSON on stdout."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.ledger_growth")
    parser.add_argument("--rows", type=int, default=ROWS, help="of the last step")
    parser.add_argument("--payments", type=int, default=PAYMENTS, help="of each run at a step")
    parser.add_argument("--retention", action="store_true", help="at the last step, as well")
    parser.add_argument("--postgres", action="store_true", help="a private server instead")
    options = parser.parse_args(arguments)
    steps = [*(step for step in STEPS if step < options.rows), options.rows]
    if options.postgres:
        with private_server() as server:
            store = Database(server, server.new_database())
            asyncio.run(_measure(store, steps, options))
    else:
        with tempfile.TemporaryDirectory() as directory:
            store_file = File(Path(directory) / "ledger.sqlite3")
            asyncio.run(_measure(store_file, steps, options))


if __name__ == "__main__":
    main()
