"""One measurement of latency: requests at a steady pace, each timed from sending to its event."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from tests.bench.throughput.cases import Case, PacedCase, Subject
from tests.bench.throughput.figures import percentile
from tests.bench.throughput.processes import cores, cores_of_each, read_costs
from tests.bench.throughput.provider import provider_stub
from tests.bench.throughput.quiet import until_quiet
from tests.bench.throughput.requests import Batch, load, load_paced
from tests.bench.throughput.site import Results, Site
from tests.bench.throughput.subjects import Running, started
from tests.bench.throughput.trial import Row, judge_counts, roles_of
from worker.adapters.clock import SystemClock

_WARMING = 200
_ANSWER_SECONDS = 60.0
_HEAD = 0.1

_clock = SystemClock()


@dataclass(slots=True, kw_only=True)
class PacedRow(Row):
    """``rate`` is what was sent per second; milliseconds from sending to receiving the event.

    The publisher and the receiver share the machine, and their share is in the figures.
    """

    p50: float = 0.0
    p90: float = 0.0
    p99: float = 0.0
    worst: float = 0.0
    milliseconds: Sequence[float] = field(default_factory=list, repr=False)


async def measure_paced(
    site: Site, case: PacedCase, *, number: int, rate: float, seconds: float, patience: float
) -> PacedRow:
    """Send at this rate for so long; the first tenth is warming and does not count."""
    messages = max(20, round(rate * seconds))
    row = PacedRow(case=case.name, round=number, messages=messages)
    subject = Case(case.subject, case.prefetch, 0)
    in_task = case.subject is Subject.TASKIQ
    with tempfile.TemporaryDirectory(dir=site.directory) as directory:
        async with site.queues() as queues, provider_stub(0.0) as provider:
            batch = Batch(queues.topology.prefix, messages, in_task)
            warming = Batch(queues.topology.prefix, _WARMING, in_task, first=messages)
            exchange = queues.topology.named("requests")
            await load(queues.channel, exchange, warming)
            async with started(
                subject, site, queues, Path(directory), provider_url=provider.url
            ) as running:
                results = Results()
                async with queues.listening(results):
                    await _until(results, running, _WARMING)
                    roles = roles_of(site, provider, running)
                    row.waited = await until_quiet(roles, patience)
                    before, begun = read_costs(roles), perf_counter()
                    sent = await load_paced(queues.channel, exchange, batch, rate)
                    row.seconds = perf_counter() - begun
                    after = read_costs(roles)
                    row.cores = cores(before, after)
                    row.cores_of_each = cores_of_each(before, after)
                    await _until(results, running, _WARMING + messages)
                codes = await running.stop()
                if any(codes):
                    row.faults.append(f"exit codes {codes}: {running.last_words}")
            await provider.stop()
            both = Results(results.answers, results.others, results.seen_at)
            for key in warming.keys:
                del both.answers[key]
            provider.posts -= _WARMING
            provider.references -= _WARMING
            await judge_counts(row, subject, queues, provider, batch, both)
    _evaluate(row, sent, results)
    return row


async def _until(results: Results, running: Running, count: int) -> None:
    deadline = perf_counter() + _ANSWER_SECONDS
    while results.count < count and perf_counter() < deadline and not running.has_ended:
        await _clock.sleep(0.02)


def _evaluate(row: PacedRow, sent: dict[str, float], results: Results) -> None:
    """Leave out the head: connections are still being opened, caches filled."""
    counted = list(sent.items())[round(len(sent) * _HEAD) :]
    row.milliseconds = [
        (results.seen_at[key] - at) * 1000 for key, at in counted if key in results.seen_at
    ]
    row.rate = len(sent) / row.seconds
    if row.milliseconds:
        row.p50, row.p90, row.p99 = (percentile(row.milliseconds, p) for p in (0.5, 0.9, 0.99))
        row.worst = max(row.milliseconds)
