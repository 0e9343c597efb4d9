"""What breaks during a soak: workers that are killed, a broker that stops or crashes."""

import asyncio
import itertools
import random
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from tests.acceptance.installation import Installation
from tests.acceptance.worker_process import WorkerProcess
from tests.broker import Broker
from worker.adapters.clock import SystemClock

_START_AGAIN_SECONDS = 1.0
_STOP_SECONDS = 60.0
_UNATTENDED = ("setpriv", "--pdeathsig", "KILL")

_clock = SystemClock()
Result = TypeVar("Result")


@dataclass(slots=True)
class Trouble:
    """One thing that was broken, and when the next event shows that it is over."""

    name: str
    struck_at: float
    counts_from: float | None = None


@dataclass(slots=True)
class Fleet:
    """Workers in numbered slots, each started again at once whenever it ends.

    They are no members of our process group, because an interrupt typed at the soak is for the
    soak; the kernel kills them when the soak itself is killed.
    """

    installation: Installation
    size: int
    ended_alone: list[str] = field(default_factory=list)
    exit_codes: list[int] = field(default_factory=list)
    started: int = 0
    _running: dict[int, WorkerProcess] = field(default_factory=dict)
    _killed: set[int] = field(default_factory=set)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def keep(self) -> None:
        """Run every slot; whatever still runs when this is cancelled is killed."""
        try:
            async with asyncio.TaskGroup() as slots:
                for slot in range(self.size):
                    slots.create_task(self._keep(slot))
        finally:
            for worker in list(self._running.values()):
                await worker.kill()

    def kill(self, slot: int) -> bool:
        """SIGKILL whatever runs there now; false when nothing does."""
        worker = self._running.get(slot)
        if worker is None or worker.process.returncode is not None or slot in self._killed:
            return False
        self._killed.add(slot)
        worker.process.kill()
        return True

    async def are_ready(self) -> None:
        """Wait until every worker says that it takes payments."""
        while len(self._running) < self.size:
            await _clock.sleep(0.05)
        for worker in list(self._running.values()):
            await worker.is_ready()

    async def stop(self) -> None:
        """Ask every worker to end in order, and wait until all have."""
        self._stopping.set()
        for worker in self._running.values():
            if worker.process.returncode is None:
                worker.signal(signal.SIGTERM)
        async with asyncio.timeout(_STOP_SECONDS):
            while self._running:
                await _clock.sleep(0.05)

    async def _keep(self, slot: int) -> None:
        while not self._stopping.is_set():
            worker = await WorkerProcess.start(self.installation, prelude=self._prelude(slot))
            self._running[slot] = worker
            self.started += 1
            if self._stopping.is_set():  # asked while it started
                worker.signal(signal.SIGTERM)
            code = await worker.process.wait()
            del self._running[slot]
            if slot in self._killed:
                self._killed.discard(slot)
            elif self._stopping.is_set():
                self.exit_codes.append(code)
            else:
                self.ended_alone.append(f"{worker.log.stem} with {code}")
                await _clock.sleep(_START_AGAIN_SECONDS)

    def _prelude(self, slot: int) -> tuple[str, ...]:
        heartbeat = self.installation.directory / f"worker-slot-{slot}.alive"
        return (
            "setsid",
            *_UNATTENDED,
            "env",
            f"PAYMENT_WORKER_PROBES__HEARTBEAT_FILE={heartbeat}",
        )


async def kill_at_random(
    fleet: Fleet, every: float, chance: random.Random, troubles: list[Trouble]
) -> None:
    """SIGKILL a random worker at random moments, ``every`` seconds on average."""
    while True:
        await _clock.sleep(chance.expovariate(1 / every))
        if fleet.kill(chance.randrange(fleet.size)):
            now = _clock.monotonic()
            troubles.append(Trouble("worker killed", now, now))


async def restart_at_intervals(broker: Broker, every: float, troubles: list[Trouble]) -> None:
    """Stop or crash the node in turn and start it again, from one to the next ``every`` seconds.

    Between two it is up for a third of that at least.
    """
    struck_at = _clock.monotonic()
    for way in itertools.cycle((stop_in_order, crash)):
        due = struck_at + every - _clock.monotonic()
        await _clock.sleep(max(due, every / 3))
        struck_at = _clock.monotonic()
        name = "broker crashed" if way is crash else "broker stopped"
        trouble = Trouble(name, struck_at)
        troubles.append(trouble)
        await in_thread(partial(_restart, broker, way))
        trouble.counts_from = _clock.monotonic()


def stop_in_order(broker: Broker) -> None:
    broker.stop()


def crash(broker: Broker) -> None:
    broker.signal(signal.SIGKILL)


def _restart(broker: Broker, way: Callable[[Broker], None]) -> None:
    """One piece of work: whoever is cancelled meanwhile leaves a node that runs."""
    way(broker)
    broker.start()


async def in_thread(work: Callable[[], Result]) -> Result:
    """Run blocking work to its end even when cancelled: a node half started must not stay."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
