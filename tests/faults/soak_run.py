"""One soak from the first payment to the verdict: load and trouble, then peace, then judgement."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

from tests.acceptance.installation import SUBSCRIBER
from tests.faults.soak_client import (
    TROUBLES,
    Desk,
    Producer,
    Subscriber,
    is_about_success,
    is_cancellable,
)
from tests.faults.soak_judge import Books, Evidence, Heard, judge, worst_recovery
from tests.faults.soak_load import Load, Request
from tests.faults.soak_options import Options
from tests.faults.soak_report import Conduct, Report, log_figures
from tests.faults.soak_site import LADDER, SoakSite, soak_site
from tests.faults.soak_trouble import Fleet, Trouble, kill_at_random, restart_at_intervals
from worker.adapters.clock import SystemClock

RESULTS = f"results.{SUBSCRIBER}"

_PROGRESS_SECONDS = 10.0
_LOOK_SECONDS = 1.0
_EMPTYING_SECONDS = 60.0

_clock = SystemClock()

Say = Callable[[str], None]


async def soak(options: Options, directory: Path, *, stop: asyncio.Event, say: Say) -> Report:
    """Run one soak in ``directory``, which keeps the logs; ``stop`` ends the load early.

    ``say`` is given one line of progress at a time.
    """
    say("setting up: a private broker, a ledger, both providers")
    async with soak_site(options, directory) as site:
        return await _Run(options, site, say).run(stop)


class _Run:
    """The moving parts of one soak, on a site that stands."""

    def __init__(self, options: Options, site: SoakSite, say: Say) -> None:
        self._options = options
        self._site = site
        self._say = say
        self._load = Load(options.seed, options.provider_faults)
        self._fleet = Fleet(site.installation, options.workers)
        self._producer = Producer(site.place)
        self._subscriber = Subscriber(site.place, RESULTS, self._hear)
        self._desk = Desk(site.place)
        self._troubles: list[Trouble] = []
        self._to_cancel: dict[str, Request] = {}
        self._tasks = asyncio.TaskGroup()
        self._sends: set[asyncio.Task[None]] = set()
        self._began = _clock.monotonic()
        self._phase = "load"

    async def run(self, stop: asyncio.Event) -> Report:
        """Everything but the site."""
        self._say(f"starting {self._options.workers} workers")
        async with self._tasks as tasks:
            standing = [
                tasks.create_task(each)
                for each in (self._producer.keep(), self._subscriber.keep(), self._fleet.keep())
            ]
            try:
                await self._fleet.are_ready()
                standing.append(tasks.create_task(self._tell()))
                load_seconds = await self._under_load(stop)
                drain_seconds, is_drained = await self._drain()
                await self._fleet.stop()
                await self._empty_results()
            finally:
                for each in (*standing, *self._sends):
                    each.cancel()
        return await self._report(load_seconds, drain_seconds, is_drained=is_drained)

    async def _under_load(self, stop: asyncio.Event) -> float:
        """Send payments and break things until the time is over, or ``stop`` is set."""
        self._began = _clock.monotonic()
        breakers = [self._tasks.create_task(each) for each in self._breakers()]
        ends = self._began + self._options.minutes * 60
        while not stop.is_set() and (left := ends - _clock.monotonic()) > 0:
            for request in self._load.batch():
                self._send(request)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(self._load.pause(self._options.rate), left)):
                    await stop.wait()
        for each in breakers:
            each.cancel()
        await asyncio.wait(breakers)  # a restart under way is finished first
        return _clock.monotonic() - self._began

    def _breakers(self) -> Iterator[Coroutine[Any, Any, None]]:
        options = self._options
        if options.kill_every:
            chance = random.Random(f"{options.seed}:kills")
            yield kill_at_random(self._fleet, options.kill_every, chance, self._troubles)
        if options.broker_restart_every:
            yield restart_at_intervals(
                self._site.broker, options.broker_restart_every, self._troubles
            )

    async def _drain(self) -> tuple[float, bool]:
        """Wait until everything is decided and no message is under way, or time is up."""
        self._phase = "drain"
        self._site.simulator.stop_faults()
        began = _clock.monotonic()
        while (took := _clock.monotonic() - began) < self._options.drain_minutes * 60:
            if not self._sends and not self._waiting and await self._is_quiet():
                return took, True
            await _clock.sleep(_LOOK_SECONDS)
        return took, False

    async def _is_quiet(self) -> bool:
        try:
            return not any((await self._desk.depths("work", *LADDER)).values())
        except TROUBLES:
            return False

    async def _empty_results(self) -> None:
        """Hear what is still in the result queue: nobody publishes any more."""
        async with asyncio.timeout(_EMPTYING_SECONDS):
            while (await self._desk.depths(RESULTS))[RESULTS]:
                await _clock.sleep(_LOOK_SECONDS)

    @property
    def _waiting(self) -> int:
        """Confirmed requests that were not answered yet."""
        return sum(
            sending.confirmed_at is not None and key not in self._subscriber.answered
            for key, sending in self._producer.sendings.items()
        )

    def _send(self, request: Request) -> None:
        if is_cancellable(request):
            self._to_cancel[request.payment_id] = request
        task = self._tasks.create_task(self._deliver(request))
        self._sends.add(task)
        task.add_done_callback(self._sends.discard)

    async def _deliver(self, request: Request) -> None:
        await _clock.sleep(request.delay)
        await self._producer.send(request)
        if request.again_after is not None:
            await _clock.sleep(request.again_after)
            await self._producer.send(request)

    def _hear(self, event: Heard) -> None:
        if is_about_success(event):
            request = self._to_cancel.pop(event.payment_id, None)
            if request is not None:
                self._send(self._load.cancellation(request))

    async def _tell(self) -> None:
        while True:
            await _clock.sleep(_PROGRESS_SECONDS)
            sendings = self._producer.sendings.values()
            troubles = Counter(each.name for each in self._troubles)
            self._say(
                f"{_clock.monotonic() - self._began:5.0f} s  {self._phase:<5}"
                f"  sent {len(sendings)}"
                f"  confirmed {sum(each.confirmed_at is not None for each in sendings)}"
                f"  answered {len(self._subscriber.answered)}"
                f"  waiting {self._waiting}"
                f"  applied {self._site.simulator.applied.total}"
                + "".join(f"  {name} {count}" for name, count in troubles.items())
            )

    async def _report(
        self, load_seconds: float, drain_seconds: float, *, is_drained: bool
    ) -> Report:
        heard = self._subscriber.heard
        book = self._site.simulator.book
        letters = await self._desk.letters()
        left = await self._desk.left("work", *LADDER, "unclaimed", "unrouted", "parking")
        told, error_lines = log_figures(self._site.installation.directory)
        verdict = judge(
            Evidence(
                asked=[each.asked for each in self._producer.sendings.values()],
                heard=heard,
                letters=letters,
                left=left,
                books=Books(
                    links=book.links, item_urls=book.item_urls, removals=book.applied.removals
                ),
            )
        )
        return Report(
            verdict=verdict,
            conduct=Conduct(
                load_seconds=load_seconds,
                drain_seconds=drain_seconds,
                troubles=Counter(each.name for each in self._troubles),
                worst_recoveries=self._recoveries([each.at for each in heard]),
                workers_started=self._fleet.started,
                ended_alone=self._fleet.ended_alone,
                exit_codes=self._fleet.exit_codes,
                sendings=sum(each.sendings for each in self._producer.sendings.values()),
                deliveries=told,
                error_lines=error_lines,
            ),
            is_drained=is_drained,
        )

    def _recoveries(self, times: list[float]) -> dict[str, float]:
        """Worst recovery after each kind of trouble."""
        names = dict.fromkeys(each.name for each in self._troubles)
        return {
            name: worst_recovery(
                [
                    (each.struck_at, each.counts_from)
                    for each in self._troubles
                    if each.name == name and each.counts_from is not None
                ],
                times,
            )
            for name in names
        }
