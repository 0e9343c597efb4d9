"""A site for tests that break things: the worker is not started, and slow providers wait for us."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

from aio_pika.abc import AbstractQueue

from tests.acceptance.erp import Answer, Erp, Sent, checked
from tests.acceptance.installation import LINK_HOST, SUBSCRIBER, Installation, installed
from tests.acceptance.shared_site import Change, as_it_is
from tests.acceptance.worker_process import WorkerProcess
from tests.broker import Broker
from tests.waiting import until
from worker.adapters.clock import SystemClock
from worker.simulator.server import Simulator

SLOW = "sim+slow-5s@example.org"
"""E-mail of a payment that is applied at once and answered when the test opens the gate."""

RESULTS = f"results.{SUBSCRIBER}"

PATIENT: Mapping[str, float] = {
    "call_seconds": 30,
    "tries_seconds": 4,
    "lease_seconds": 40,
    "permit_seconds": 1,
    "publish_seconds": 5,
    "delivery_seconds": 50,
    "drain_seconds": 55,
    "stop_grace_seconds": 60,
}
"""Time limits under which a provider may be slow for as long as a test needs."""

SHORT: Mapping[str, float] = {
    "call_seconds": 2,
    "tries_seconds": 1,
    "lease_seconds": 4,
    "permit_seconds": 0.5,
    "publish_seconds": 0.5,
    "delivery_seconds": 5,
    "drain_seconds": 6,
    "stop_grace_seconds": 7,
}
"""About the shortest time limits that nest as the product demands."""


_clock = SystemClock()


class GatedClock:
    """The system's clock for the simulator, but its sleeps last until the gate is open."""

    def __init__(self) -> None:
        self.waiting = 0
        self.gate = asyncio.Event()
        self._clock = SystemClock()

    def now(self) -> datetime:
        return self._clock.now()

    def monotonic(self) -> float:
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:  # noqa: ARG002 - the gate decides, not time
        self.waiting += 1
        try:
            await self.gate.wait()
        finally:
            self.waiting -= 1

    def fraction(self) -> float:
        return self._clock.fraction()

    def new_id(self) -> UUID:
        return self._clock.new_id()

    def nonce(self) -> str:
        return self._clock.nonce()


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultSite:
    """Settings that are written, a fresh ledger, and providers that can be held."""

    installation: Installation
    simulator: Simulator
    clock: GatedClock

    async def holds(self, calls: int) -> None:
        """Wait until the providers have applied this many slow payments and owe the answers."""
        await until(lambda: self.clock.waiting == calls)

    def release(self) -> None:
        """Let the providers answer, now and from now on."""
        self.clock.gate.set()

    async def hurry_ladder(self) -> None:
        """Let every rung of the ladder last a moment only.

        The shorter of a queue's argument and its policy counts.
        """
        await self.set_policy("ladder", r"retry\.v1\.", {"message-ttl": 300})

    async def set_policy(self, name: str, pattern: str, definition: Mapping[str, object]) -> None:
        """Set a policy for queues of this installation."""
        prefix = self.installation.prefix.replace(".", r"\.")
        await self.installation.broker.control(
            "set_policy",
            *("-p", "payments", "--apply-to", "queues"),
            f"{self.installation.prefix}{name}",
            f"^{prefix}{pattern}",
            json.dumps(definition),
        )


@asynccontextmanager
async def fault_site(
    broker: Broker,
    directory: Path,
    *,
    timing: Mapping[str, float] = PATIENT,
    change: Change = as_it_is,
) -> AsyncIterator[FaultSite]:
    """Everything but a worker; its objects are removed from the broker at the end."""
    clock = GatedClock()
    async with (
        Simulator(clock=clock, link_host=LINK_HOST) as simulator,
        installed(
            broker, directory, link_url=simulator.link_base_url, basket_url=simulator.base_url
        ) as installation,
    ):
        installation.settings["timing"] = dict(timing)
        change(installation)
        installation.write()
        installation.create_ledger()
        yield FaultSite(installation=installation, simulator=simulator, clock=clock)


@asynccontextmanager
async def running(
    installation: Installation, *, prelude: Sequence[str] = ()
) -> AsyncIterator[WorkerProcess]:
    """A worker that is started and not waited for; it is gone at the end."""
    worker = await WorkerProcess.start(installation, prelude=prelude)
    try:
        yield worker
    finally:
        await worker.kill()


async def answers_of(erp: Erp, wanted: Sequence[Sent]) -> list[Answer]:
    """Take answers off the subscriber's own queue until each of these messages has one.

    That queue outlives the broker, which a tap does not.
    """
    missing = {each.correlation_id for each in wanted}
    found: list[Answer] = []
    queue = await erp.channel.get_queue(erp.prefix + RESULTS, ensure=False)
    async with asyncio.timeout(40), queue.iterator() as messages:
        async for message in messages:
            await message.ack()
            found.append(checked(message))
            missing.discard(message.correlation_id or "")
            if not missing:
                break
    return found


async def remaining_answers(erp: Erp) -> list[Answer]:
    """Whatever else is in that queue now."""
    return [checked(await erp.take(RESULTS)) for _ in range(await erp.depth(RESULTS))]


def settled(worker: WorkerProcess, action: str) -> set[str]:
    """Ids of the messages whose deliveries ended so."""
    return {line["labels.message_id"] for line in worker.told(action)}


def one_event_each(answers: Iterable[Answer]) -> None:
    """A payment has one event for each sequence, however often it was sent."""
    events: dict[tuple[str, int], set[str]] = {}
    for each in answers:
        events.setdefault((each["payment_id"], each["sequence"]), set()).add(each["event_id"])
    assert {key: ids for key, ids in events.items() if len(ids) != 1} == {}


async def nothing_is_left(erp: Erp) -> None:
    """No request is in the work queue, on the ladder, or among the dead letters."""
    rungs = ("5s", "30s", "2m", "10m", "1h")
    for suffix in ("work", "dlq", "unclaimed", *(f"retry.v1.{rung}" for rung in rungs)):
        assert await erp.depth(suffix) == 0, suffix


def is_connected(worker: WorkerProcess, role: str = "consume") -> bool:
    """Whether the last thing it said of this connection is that it is open."""
    said = [line for line in worker.lines if line.get("labels.role") == role]
    return bool(said) and said[-1]["event.action"] == "broker.connected"


def is_calm(worker: WorkerProcess, *, pages: int = 0) -> None:
    """No traceback anywhere, nothing on standard error, no line at level error but the pages.

    A page is the one line that says what about the connection a person must mend.
    """
    assert worker.complaint.read_text("utf-8") == ""
    assert "Traceback" not in worker.log.read_text("utf-8")
    errors = [line["event.action"] for line in worker.lines if line["log.level"] == "error"]
    assert errors == ["broker.disconnected"] * pages


async def hand_back(queue: AbstractQueue, times: int) -> None:
    """Fetch a queue's one message so often and return it each time, as a dying consumer does."""
    for number in range(times):
        while (message := await queue.get(fail=False)) is None:
            await _clock.sleep(0.01)  # it is back as soon as the queue's log has it
        assert message.headers.get("x-delivery-count", 0) == number
        await message.reject(requeue=True)
