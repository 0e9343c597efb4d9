"""A worker before a long queue: its pace and its memory, from the first payments to the last."""

import asyncio
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from statistics import linear_regression
from time import perf_counter

from tests.bench.backlog.flood import flood
from tests.bench.throughput.cases import WIDE, Case, Subject
from tests.bench.throughput.processes import SUBJECT, read_costs, read_resident
from tests.bench.throughput.provider import provider_stub
from tests.bench.throughput.requests import ROUTING_KEY, Batch
from tests.bench.throughput.site import Queues, Site
from tests.bench.throughput.subjects import Running, started
from worker.adapters.clock import SystemClock

WARM = 10_000
"""Payments after which the caches are full; memory before does not count."""

_LOOK_SECONDS = 1.0
_SLICES = 10
_PROVIDER = "http://127.0.0.1:9"

_clock = SystemClock()


class TooFewError(Exception):
    """Nothing was left to watch the worker with: ask for more messages, or earlier windows."""


@dataclass(frozen=True, slots=True)
class Look:
    """A moment: payments in the ledger, requests waiting, MiB held, processor seconds spent."""

    at: float
    payments: int
    waiting: int
    worker: float
    broker: float
    spent: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """A part of the drain: payments per second, and the worker's microseconds for each."""

    waiting: int
    rate: float
    processor: float
    worker: float
    broker: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """What a drain came to: ``growth`` in bytes of the worker's memory for each payment."""

    messages: int
    payments: int
    seconds: float
    paces: Sequence[Pace]
    most: float
    growth: float | None

    def told(self) -> str:
        """A few lines for people."""
        lines = [
            f"{self.payments:,} payments of {self.messages:,} in {self.seconds:,.0f} s;"
            f" the worker's memory at most {self.most:.0f} MiB,"
            + (" too few for a slope" if self.growth is None else f" {self.growth:+.1f} bytes each")
        ]
        lines += [
            f"  {each.waiting:9,} waiting: {each.rate:6,.0f} per second,"
            f" {each.processor:5,.0f} µs each; worker {each.worker:.0f} MiB,"
            f" broker {each.broker:.0f} MiB"
            for each in self.paces
        ]
        return "\n".join(lines)


async def drain(
    site: Site, *, messages: int, windows: Sequence[float] = (), seconds: float = 60.0
) -> Drained:
    """Let one worker drain so many requests.

    ``windows`` are parts of the queue, such as 1.0, 0.5, 0.1: with so much of it left the worker
    is watched for ``seconds``, and what lies between is moved out of its way by the broker's limit.
    Without any, everything is drained and nothing is moved.
    """
    async with site.queues() as queues, provider_stub(0.0) as provider:
        with tempfile.TemporaryDirectory(dir=site.directory) as directory:
            batch = Batch(queues.topology.prefix, messages)
            requests = queues.topology.named("requests")
            await flood(site.amqp_url, requests, ROUTING_KEY, batch)
            case = Case(Subject.SQLITE, WIDE, 0)
            async with started(
                case, site, queues, Path(directory), provider_url=provider.url
            ) as running:
                ledger = Path(directory) / "worker-0" / "ledger.sqlite3"
                watch = _Watch(site, queues, running, ledger)
                begun = await watch.until(lambda look: look.payments > 0, every=0.1)
                if windows:
                    parts = [
                        await _watched(watch, site, queues, part * messages, seconds)
                        for part in windows
                    ]
                else:
                    drained = await watch.until(lambda look: look.payments >= messages)
                    parts = _tenths([*begun[-2:], *drained])
                if any(await running.stop()):
                    raise RuntimeError(running.last_words)
    return _judged(messages, parts)


async def _watched(
    watch: "_Watch", site: Site, queues: Queues, left: float, seconds: float
) -> list[Look]:
    """Move requests out of the way until so many are left, then look for a while."""
    if (await watch.look()).waiting > left * 1.02:
        async with _forwarding(site, queues) as forwarding:
            await watch.until(lambda look: look.waiting <= left or forwarding.has_ended, every=0.1)
            if forwarding.has_ended:
                raise RuntimeError(forwarding.last_words)
    ends = perf_counter() + seconds
    looks = await watch.until(lambda look: look.at >= ends or look.waiting == 0, every=0.2)
    if len(looks) == 1:
        raise TooFewError(left)
    return looks


@asynccontextmanager
async def _forwarding(site: Site, queues: Queues) -> AsyncIterator[Running]:
    case = Case(Subject.FORWARDER, 500, 0)
    async with started(case, site, queues, site.directory, provider_url=_PROVIDER) as running:
        yield running
        await running.stop()


class _Watch:
    """Looks at the worker, its ledger, its queue and the broker."""

    def __init__(self, site: Site, queues: Queues, running: Running, ledger: Path) -> None:
        self._queues = queues
        self._worker = running
        self._broker = [site.broker_process]
        self._ledger = ledger

    async def until(
        self, is_enough: Callable[[Look], bool], *, every: float = _LOOK_SECONDS
    ) -> list[Look]:
        """Look again and again; raises ``RuntimeError`` where the worker has ended."""
        looks = [await self.look()]
        while not is_enough(looks[-1]):
            if self._worker.has_ended:
                raise RuntimeError(self._worker.last_words)
            await _clock.sleep(every)
            looks.append(await self.look())
        return looks

    async def look(self) -> Look:
        """How it stands now."""
        roles = {SUBJECT: self._worker.ids, "broker": self._broker}
        memory = read_resident(roles)
        return Look(
            at=perf_counter(),
            payments=await asyncio.to_thread(self._payments),
            waiting=await self._queues.depth(self._queues.work),
            worker=memory[SUBJECT],
            broker=memory["broker"],
            spent=read_costs(roles).of(SUBJECT),
        )

    def _payments(self) -> int:
        """Rows are only ever added here, so the last one's number is their count."""
        name = f"{self._ledger.as_uri()}?mode=ro"
        with closing(sqlite3.connect(name, uri=True, timeout=30)) as connection:
            (last,) = connection.execute("SELECT max(entry) FROM operations").fetchone()
        return last or 0


def _tenths(looks: Sequence[Look]) -> list[list[Look]]:
    size = max(2, -(-len(looks) // _SLICES))
    return [list(looks[at : at + size + 1]) for at in range(0, len(looks) - 1, size)]


def _judged(messages: int, parts: Sequence[Sequence[Look]]) -> Drained:
    looks = [look for part in parts for look in part]
    warm = [look for look in looks if look.payments >= WARM]
    growth = None
    if len({look.payments for look in warm}) > 2:
        fitted = linear_regression(
            [look.payments for look in warm], [look.worker * 2**20 for look in warm]
        )
        growth = fitted.slope
    return Drained(
        messages=messages,
        payments=looks[-1].payments,
        seconds=looks[-1].at - looks[0].at,
        paces=[_pace(part) for part in parts],
        most=max(look.worker for look in looks),
        growth=growth,
    )


def _pace(looks: Sequence[Look]) -> Pace:
    first, last = looks[0], looks[-1]
    payments = last.payments - first.payments
    return Pace(
        waiting=first.waiting,
        rate=payments / (last.at - first.at),
        processor=(last.spent - first.spent) / max(1, payments) * 1e6,
        worker=last.worker,
        broker=last.broker,
    )
