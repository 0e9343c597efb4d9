"""Whether the worker has become dearer beside the bare loop: ``python -m tests.bench.guard``.

Both run at the same time on queues of their own, and in turns each gets so many requests while the
other has nothing to do. What is compared is the processor time that the kernel charged to each
process for a payment, not how long it took: a busy machine makes everything late, and both about
equally dear. Time to start and a first turn each do not count. The median of a few pairs is the
ratio; one that is too low is measured again before it is believed.
"""

import argparse
import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import clock_gettime

from typing_extensions import override

from tests.bench.throughput.cases import WIDE, Case, Subject
from tests.bench.throughput.provider import Provider, provider_stub
from tests.bench.throughput.requests import Batch, load
from tests.bench.throughput.site import Queues, Results, Site
from tests.bench.throughput.subjects import Running, started
from tests.bench.throughput.trial import faults_of
from tests.broker import private_broker
from tests.waiting import until_true

REFERENCE = 0.55
"""Processor time of the bare loop for a payment, by the worker's: what was reached so far.

A little below what this module came to on two processors that did nothing else (0.51, 0.60, 0.60);
three times as much to do as they could took an eighth off it. Who makes the worker cheaper raises
it; who must make it dearer lowers it, with the reason.
"""

MOST_LOST = 0.25
"""The part of it that may be lost before the check fails."""

LEAST = REFERENCE * (1 - MOST_LOST)

MESSAGES = 500
PAIRS = 5
CHANCES = 3
"""Requests of one turn; pairs of one measurement; measurements before a low ratio is believed."""

_TURN_SECONDS = 60.0


class NotAnsweredError(Exception):
    """Not every request was answered once and well, so there is nothing to compare."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Processor time for a payment, in microseconds, of two neighbouring turns."""

    bare: float
    worker: float

    @property
    def ratio(self) -> float:
        """Higher is better for the worker."""
        return self.bare / self.worker


@dataclass(frozen=True, slots=True)
class Verdict:
    """The pairs of every measurement that was made; the best of their medians counts."""

    measured: Sequence[Sequence[Pair]]
    least: float

    @property
    def ratios(self) -> list[float]:
        """The median of each measurement."""
        return [median(pair.ratio for pair in pairs) for pairs in self.measured]

    @property
    def is_kept(self) -> bool:
        """Whether the worker is still as cheap as it was, but for what may be lost."""
        return max(self.ratios, default=0.0) >= self.least

    @override
    def __str__(self) -> str:
        """What a person needs to know of a failed check."""
        pairs = [pair for each in self.measured for pair in each]
        return (
            f"bare / worker {', '.join(f'{each:.3f}' for each in self.ratios)}; at least"
            f" {self.least:.3f}. Microseconds of a payment:"
            f" bare {median(each.bare for each in pairs):,.0f},"
            f" worker {median(each.worker for each in pairs):,.0f}"
        )


@dataclass(slots=True, kw_only=True)
class Contender:
    """One of the two: a process, its own queues, and what it was given so far."""

    queues: Queues
    provider: Provider
    running: Running
    batches: list[Batch] = field(default_factory=list)

    async def turn(self, messages: int) -> float:
        """Give it so many requests; microseconds of processor time for each."""
        given = sum(batch.count for batch in self.batches)
        batch = Batch(self.queues.topology.prefix, messages, first=given)
        self.batches.append(batch)
        before = self._spent()
        await load(self.queues.channel, self.queues.topology.named("requests"), batch)

        async def is_done() -> bool:
            if self.running.has_ended:
                raise NotAnsweredError(self.running.last_words)
            return await self.queues.depth(self.queues.results) >= given + messages

        await until_true(is_done, seconds=_TURN_SECONDS)
        return (self._spent() - before) / messages * 1e6

    async def finish(self) -> None:
        """Stop it; raises ``NotAnsweredError`` where the counts are not right."""
        codes = await self.running.stop()
        await self.provider.stop()
        results = Results()
        await self.queues.collect(results)
        faults = faults_of(
            {key for batch in self.batches for key in batch.keys},
            results,
            calls=(self.provider.posts, self.provider.references),
            astray=await self.queues.astray(),
        )
        if any(codes) or faults:
            raise NotAnsweredError(codes, faults)

    def _spent(self) -> float:
        """All threads of the process, to the nanosecond: a turn is too short for /proc's ticks."""
        return sum(clock_gettime(_processor_clock(process)) for process in self.running.ids)


def _processor_clock(process: int) -> int:
    """As clock_getcpuclockid(3) makes it on Linux; Python has it for threads only."""
    return ~process << 3 | 2


@asynccontextmanager
async def contender(site: Site, subject: Subject) -> AsyncIterator[Contender]:
    """A subject that is ready for its first turn."""
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(dir=site.directory))
        queues = await stack.enter_async_context(site.queues())
        provider = await stack.enter_async_context(provider_stub(0.0))
        running = await stack.enter_async_context(
            started(
                Case(subject, WIDE, 0), site, queues, Path(directory), provider_url=provider.url
            )
        )
        yield Contender(queues=queues, provider=provider, running=running)


async def guard(
    site: Site,
    *,
    messages: int = MESSAGES,
    pairs: int = PAIRS,
    chances: int = CHANCES,
    least: float = LEAST,
    tell: Callable[[Pair], None] = lambda _pair: None,
) -> Verdict:
    """Measure until the ratio is good enough, so often at most."""
    async with (
        contender(site, Subject.BARE) as bare,
        contender(site, Subject.SQLITE) as worker,
    ):
        for each in (bare, worker):
            await each.turn(messages)
        measured: list[list[Pair]] = []
        verdict = Verdict(measured, least)
        while len(measured) < chances and not verdict.is_kept:
            measured.append([])
            for _ in range(pairs):
                pair = Pair(bare=await bare.turn(messages), worker=await worker.turn(messages))
                measured[-1].append(pair)
                tell(pair)
        for each in (bare, worker):
            await each.finish()
    return verdict


def main(arguments: Sequence[str] | None = None) -> int:
    """Print every pair and the verdict; 1 where the ratio is too low."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=MESSAGES, help="of each turn")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="of one measurement")
    parser.add_argument("--chances", type=int, default=CHANCES, help="measurements at most")
    options = parser.parse_args(arguments)

    def tell(pair: Pair) -> None:
        print(f"bare {pair.bare:6,.0f}  worker {pair.worker:6,.0f}  {pair.ratio:.3f}", flush=True)

    with private_broker() as broker, tempfile.TemporaryDirectory() as directory:
        site = Site(broker=broker, directory=Path(directory))
        verdict = asyncio.run(
            guard(
                site,
                messages=options.messages,
                pairs=options.pairs,
                chances=options.chances,
                tell=tell,
            )
        )
    print(verdict)
    return 0 if verdict.is_kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
