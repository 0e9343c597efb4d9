"""One measurement of throughput: preload, start, watch, stop, prove that the counts are right."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from tests.bench.throughput.cases import MOST_LEFT_ALONE, Case, Subject
from tests.bench.throughput.figures import (
    NotMeasuredError,
    Point,
    first_seen,
    rate_between,
    steady_window,
)
from tests.bench.throughput.processes import (
    OTHER,
    SUBJECT,
    Reading,
    cores,
    cores_of_each,
    read_costs,
    read_peaks,
)
from tests.bench.throughput.provider import Provider, provider_stub
from tests.bench.throughput.quiet import until_quiet
from tests.bench.throughput.requests import Batch, load
from tests.bench.throughput.site import Queues, Results, Site
from tests.bench.throughput.subjects import Running, started
from worker.adapters.clock import SystemClock

_LOOK_SECONDS = 0.02
_PEAK_SECONDS = 0.5
_HEAD = 0.1
_STILL_SECONDS = 20.0

_clock = SystemClock()


@dataclass(slots=True, kw_only=True)
class Row:
    """What one measurement came to; ``faults`` say what must not be, and are empty.

    ``cores`` are processors kept busy while the rate was measured, ``cores_of_each`` those of each
    process, the busiest first, ``peaks`` MiB of each process by role, ``first_seconds`` from
    starting the subject to its first result, ``waited`` seconds for a quiet machine, ``repeated``
    how often it was measured again because it was not.
    """

    case: str
    round: int
    messages: int
    rate: float = 0.0
    seconds: float = 0.0
    first_seconds: float | None = None
    cores: Mapping[str, float] = field(default_factory=dict)
    cores_of_each: Mapping[str, Sequence[float]] = field(default_factory=dict)
    peaks: Mapping[str, Sequence[float]] = field(default_factory=dict)
    waited: float = 0.0
    repeated: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def microseconds(self) -> float:
        """Processor time of the subject for one payment: what a busy machine disturbs least."""
        return self.cores.get(SUBJECT, 0.0) / self.rate * 1e6 if self.rate else 0.0

    @property
    def is_disturbed(self) -> bool:
        """Whether something else kept the machine busy meanwhile."""
        return self.cores.get(OTHER, 0.0) > MOST_LEFT_ALONE


@dataclass(slots=True)
class _Watch:
    points: list[Point] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    peaks: dict[str, dict[int, float]] = field(default_factory=dict)


async def measure(
    site: Site, case: Case, *, number: int, messages: int, patience: float, repeats: int
) -> Row:
    """Measure one case; a disturbed measurement is done again, so often at most."""
    row = await _measure(site, case, number=number, messages=messages, patience=patience)
    for repeated in range(1, repeats + 1):
        if not row.is_disturbed or row.faults:
            break
        again = await _measure(site, case, number=number, messages=messages, patience=patience)
        row.repeated = repeated
        if not again.faults:  # a disturbed measurement is better than a void one
            again.repeated = repeated
            row = again
    return row


async def _measure(site: Site, case: Case, *, number: int, messages: int, patience: float) -> Row:
    row = Row(case=case.name, round=number, messages=messages)
    with tempfile.TemporaryDirectory(dir=site.directory) as directory:
        async with site.queues() as queues, provider_stub(case.delay_ms) as provider:
            batch = Batch(queues.topology.prefix, messages, case.subject is Subject.TASKIQ)
            await load(queues.channel, queues.topology.named("requests"), batch)
            row.waited = await until_quiet(roles_of(site, provider, None), patience)
            begun = perf_counter()
            async with started(
                case, site, queues, Path(directory), provider_url=provider.url
            ) as running:
                watch = await _watch(site, queues, provider, running, messages, begun)
                codes = await running.stop()
                if any(codes):
                    row.faults.append(f"exit codes {codes}: {running.last_words}")
            await provider.stop()
            await judge_counts(row, case, queues, provider, batch, Results())
    _evaluate(row, watch)
    return row


def roles_of(
    site: Site, provider: Provider | None, running: Running | None
) -> dict[str, Sequence[int]]:
    """First processes of everything that takes part."""
    roles: dict[str, Sequence[int]] = {"broker": [site.broker_process]}
    if provider is not None:
        roles["provider"] = [provider.process.pid]
    if (postgres := site.postgres_process) is not None:
        roles["postgres"] = [postgres]
    if running is not None:
        roles[SUBJECT] = running.ids
    return roles


async def _watch(
    site: Site, queues: Queues, provider: Provider, running: Running, messages: int, begun: float
) -> _Watch:
    """Look at the result queue until everything is there, or nothing moves any more."""
    roles = roles_of(site, provider, running)
    watch = _Watch()
    moved, known, peaked = begun, 0, 0.0
    while (now := perf_counter()) < moved + _STILL_SECONDS:
        count = await queues.depth(queues.results)
        if count > known:
            moved, known = now, count
        watch.points.append(Point(perf_counter() - begun, count))
        is_head = not watch.readings and count >= _HEAD * messages
        is_all = count >= messages
        if is_head or is_all:
            watch.readings.append(read_costs(roles))
        if is_all or now - peaked > _PEAK_SECONDS:
            peaked = now
            for role, peaks in read_peaks(roles).items():
                watch.peaks.setdefault(role, {}).update(peaks)
        if is_all or running.has_ended:
            break
        await _clock.sleep(_LOOK_SECONDS)
    return watch


async def judge_counts(
    row: Row, case: Case, queues: Queues, provider: Provider, batch: Batch, results: Results
) -> None:
    """N messages, N calls, N answers; nothing twice, nothing astray."""
    await queues.collect(results)
    row.faults += faults_of(
        batch.keys,
        results,
        calls=(provider.posts, provider.references) if case.subject.calls_provider else None,
        astray=await queues.astray(),
    )


def faults_of(
    keys: set[str],
    results: Results,
    *,
    calls: tuple[int, int] | None,
    astray: Mapping[str, int],
) -> list[str]:
    """Compare what was asked for with POSTs, distinct references, answers and what was left."""
    count = len(keys)
    missing = len(keys - results.answers.keys())
    repeated = sum(each > 1 for each in results.answers.values())
    faults = []
    if missing:
        faults.append(f"{missing} of {count} requests have no good answer")
    if repeated:
        faults.append(f"{repeated} requests were answered more than once")
    if results.others or results.answers.keys() - keys:
        faults.append(f"{results.others.total()} other answers, or answers to nobody's request")
    if calls is not None and calls != (count, count):
        faults.append(f"{count} requests led to {calls[0]} calls with {calls[1]} references")
    faults += [f"{depth} messages left in {name}" for name, depth in astray.items()]
    return faults


def _evaluate(row: Row, watch: _Watch) -> None:
    row.first_seconds = first_seen(watch.points)
    row.peaks = {role: sorted(peaks.values()) for role, peaks in watch.peaks.items()}
    try:
        first, last = steady_window(watch.points, row.messages, head=_HEAD)
    except NotMeasuredError:
        row.faults.append("the results were not seen to come in")
        return
    row.rate, row.seconds = rate_between(first, last), last.at - first.at
    between = watch.readings[0], watch.readings[-1]
    row.cores, row.cores_of_each = cores(*between), cores_of_each(*between)
