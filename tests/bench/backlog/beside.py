"""What lies beside the work queue and must cost nothing: the delay ladder, dead letters."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter

from tests.bench.backlog.flood import flood
from tests.bench.guard import Contender, contender
from tests.bench.throughput.cases import Subject
from tests.bench.throughput.processes import SUBJECT, cores, read_costs
from tests.bench.throughput.quiet import until_quiet
from tests.bench.throughput.requests import Batch
from tests.bench.throughput.site import Site
from worker.adapters.clock import SystemClock
from worker.messages import Exchange
from worker.model import Step
from worker.topology.objects import DEAD_KEY

PATIENCE = 20.0
"""Seconds at most until nothing but what is measured is busy."""

_FAR = 10_000_000
"""Numbers of messages that nobody handles, beyond those of the turns."""

_clock = SystemClock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """Processors kept busy while nothing was to be done: of the worker, of the broker."""

    waiting: int
    worker: float
    broker: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    """The same work again and again, with so many dead letters in their queue."""

    letters: int
    rates: Sequence[float]
    processor: Sequence[float]


async def measure_ladder(
    site: Site, *, waiting: int, seconds: float, patience: float = PATIENCE
) -> list[Idle]:
    """An idle worker without, with, and again without so many copies on the ladder."""
    async with contender(site, Subject.SQLITE) as idle:
        await idle.turn(100)
        topology = idle.queues.topology
        found = [await _idle(site, idle, 0, seconds, patience)]
        batch = Batch(topology.prefix, waiting, first=_FAR)
        await flood(site.amqp_url, topology.exchange(Exchange.RETRY), Step.HOUR_1, batch)
        found.append(await _idle(site, idle, waiting, seconds, patience))
        await idle.queues.channel.queue_purge(topology.retry_queue(Step.HOUR_1))
        found.append(await _idle(site, idle, 0, seconds, patience))
        await idle.finish()
    return found


async def _idle(site: Site, idle: Contender, waiting: int, seconds: float, patience: float) -> Idle:
    roles = {SUBJECT: idle.running.ids, "broker": [site.broker_process]}
    await until_quiet(roles, patience)
    before = read_costs(roles)
    await _clock.sleep(seconds)
    used = cores(before, read_costs(roles))
    queue = idle.queues.topology.retry_queue(Step.HOUR_1)
    if await idle.queues.depth(queue) != waiting:
        raise RuntimeError(queue)
    return Idle(waiting=waiting, worker=used[SUBJECT], broker=used["broker"])


async def measure_letters(
    site: Site, *, letters: int, messages: int, rounds: int, patience: float = PATIENCE
) -> tuple[Turns, Turns]:
    """The work queue in turns without and with so many dead letters beside it."""
    async with contender(site, Subject.SQLITE) as worker:
        topology = worker.queues.topology
        batch = Batch(topology.prefix, letters, first=_FAR)
        await worker.turn(messages)
        without: list[tuple[float, float]] = []
        beside: list[tuple[float, float]] = []
        for _ in range(rounds):
            without.append(await _turn(site, worker, messages, patience))
            await flood(site.amqp_url, topology.exchange(Exchange.DEAD_LETTER), DEAD_KEY, batch)
            beside.append(await _turn(site, worker, messages, patience))
            await worker.queues.channel.queue_purge(topology.dead_letter_queue)
        await worker.finish()
    return _turns(0, without), _turns(letters, beside)


async def _turn(
    site: Site, worker: Contender, messages: int, patience: float
) -> tuple[float, float]:
    roles = {SUBJECT: worker.running.ids, "broker": [site.broker_process]}
    await until_quiet(roles, patience)
    began = perf_counter()
    processor = await worker.turn(messages)
    return messages / (perf_counter() - began), processor


def _turns(letters: int, found: Sequence[tuple[float, float]]) -> Turns:
    return Turns(
        letters=letters,
        rates=[rate for rate, _ in found],
        processor=[processor for _, processor in found],
    )


def told_letters(without: Turns, beside: Turns) -> str:
    """A few lines for people."""
    lines = [
        f"{each.letters:9,} dead letters: {median(each.rates):6,.0f} per second"
        f" ({', '.join(f'{rate:,.0f}' for rate in each.rates)}),"
        f" {median(each.processor):5,.0f} µs of the worker for each"
        for each in (without, beside)
    ]
    return "\n".join(lines)
