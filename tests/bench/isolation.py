"""What one dead account costs the others: ``python -m tests.bench.isolation``.

The core as the product puts it together, with the product's places and limits, in virtual time:
requests arrive at a steady rate, a worker handles at most so many at a time, in order, and copies
on the ladder come back when their step has passed. The same arrivals run once with every account
well and once for each way one of them can be ill; what is compared is how many payments of the
other account were answered while the illness lasted. Then the account is well again, and the run
goes on until nothing is left.
"""

import argparse
import asyncio
import json
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum, unique
from types import MappingProxyType

from tests.bench.virtual_time import VirtualClock, run_virtually
from tests.core import basket, initiation, make_core
from tests.fakes_clock import START
from tests.fakes_store import MemoryStore
from tests.provider_examples import STAGING
from worker.calls import Departure, HttpReply, HttpRequest, NoReply, Silence
from worker.gate import Hindrance
from worker.messages import Action, Exchange, Handled, OutgoingMessage, Publication
from worker.model import Delivery, Limits, Source, Step
from worker.permits import AccountPermits
from worker.rules import Rules, fair_share

ILL_ACCOUNT, WELL_ACCOUNT = "safedebit", "combo"
PLACES = 50
CALL_SECONDS = 0.5
SLOW_SECONDS = 8.0
LEDGER_SECONDS = 0.003
PUBLISH_SECONDS = 0.004
"""About a group commit and a confirm on one machine."""


@unique
class Illness(StrEnum):
    """What is wrong with the account."""

    NONE = "none"
    REFUSING = "refusing"
    HANGING = "hanging"
    SLOW = "slow"
    MISCONFIGURED = "misconfigured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Arrivals per second, the ill account's share of them, and how long the illness lasts.

    ``limits`` replaces the accounts' even share of the places.
    """

    rate: float = 60.0
    share: float = 0.5
    seconds: float = 120.0
    places: int = PLACES
    limits: Limits | None = None


@dataclass(slots=True)
class Report:
    """What one run came to; the first counts are of the time the illness lasted."""

    illness: Illness
    others_answered: int = 0
    ill_answered: int = 0
    waits: Counter[str] = field(default_factory=Counter)
    breaker: list[str] = field(default_factory=list)
    hindered: Counter[str] = field(default_factory=Counter)
    seconds_to_drain: float = 0.0
    left: int = 0
    attempts: Counter[int] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)


class Providers:
    """Implements ``ports.Transport``: one account may be ill until ``cure`` is called."""

    def __init__(self, clock: VirtualClock, illness: Illness) -> None:
        self._clock = clock
        self._illness = illness
        self._count = 0

    def cure(self) -> None:
        self._illness = Illness.NONE

    async def send(
        self,
        request: HttpRequest,
        *,
        fresh_connection: bool,  # noqa: ARG002 - the port's
        seconds: float,
        departure: Departure | None = None,
    ) -> HttpReply | NoReply:
        is_link = "get_link_payment" in request.url
        illness = self._illness if is_link else Illness.NONE
        if illness is Illness.REFUSING:
            return NoReply(may_have_arrived=False, silence=Silence.CONNECT)
        if departure is not None:
            departure.has_left = True
        match illness:
            case Illness.HANGING:
                await self._clock.sleep(seconds)
                return NoReply(may_have_arrived=True, silence=Silence.TIMEOUT)
            case Illness.MISCONFIGURED:
                return await self._reply(401, {})
            case Illness.SLOW:
                await self._clock.sleep(SLOW_SECONDS)
            case _:
                await self._clock.sleep(CALL_SECONDS)
        self._count += 1
        if is_link:
            link = f"https://pay.example.org/paypage?n={self._count}"
            return await self._reply(200, {"result": True, "link": link})
        return await self._reply(200, {"result": "success", "id": str(self._count)})

    async def _reply(self, status: int, answer: Mapping[str, object]) -> HttpReply:
        body = json.dumps(answer).encode()
        return HttpReply(status=status, headers={}, body=body, received_at=START)


class Queue:
    """Implements ``ports.Publisher`` and is the work queue: first in, first out."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._ready: deque[Delivery] = deque()
        self._waiting = 0
        self._arrived = asyncio.Event()

    def add(self, delivery: Delivery) -> None:
        self._ready.append(replace(delivery, received_at=self._clock.now()))
        self._arrived.set()

    async def take(self) -> Delivery:
        while not self._ready:
            self._arrived.clear()
            await self._arrived.wait()
        return self._ready.popleft()

    @property
    def depth(self) -> int:
        """Requests in it and on the ladder."""
        return len(self._ready) + self._waiting

    async def publish(self, message: OutgoingMessage) -> Publication:
        await self._clock.sleep(PUBLISH_SECONDS)
        if message.exchange is Exchange.RETRY:
            self._waiting += 1
            seconds = Step(message.routing_key).seconds
            asyncio.get_running_loop().call_later(seconds, self._come_back, message)
        return Publication.CONFIRMED

    def _come_back(self, message: OutgoingMessage) -> None:
        self._waiting -= 1
        self.add(
            Delivery(
                body=message.body,
                source=Source.LADDER,
                routing_key=message.routing_key,
                received_at=START,
                exchange="payments.requeue",
                message_id=message.message_id,
                headers=message.headers,
            )
        )


class Site:
    """One worker, its queue, its providers, and the arrivals."""

    def __init__(self, illness: Illness, load: Load) -> None:
        self.load = load
        self.report = Report(illness)
        self.clock = VirtualClock()
        self.queue = Queue(self.clock)
        self.providers = Providers(self.clock, illness)
        self._is_ill = True
        self._in_hand = 0
        self._free = asyncio.Semaphore(load.places)
        rules = Rules()
        share = load.limits or fair_share(load.places, len(STAGING.accounts))
        self.permits = AccountPermits(
            dict.fromkeys(STAGING.accounts, share),
            clock=self.clock,
            notify=lambda change: self.report.breaker.append(
                f"{change.state} {change.reason} {change.pause:.0f}s"
            ),
            hindered=self._note_hindrance,
            patience=rules.patience_seconds,
        )
        self.core = make_core(
            store=MemoryStore(self.clock),
            publisher=self.queue,
            transport=self.providers,
            clock=self.clock,
            rules=rules,
            permits=self.permits,
        )

    async def run(self) -> Report:
        """Let them arrive while the illness lasts, cure it, and work until nothing is left."""
        working = asyncio.ensure_future(self._work())
        await self._arrive()
        self._is_ill = False
        self.providers.cure()
        cured = self.clock.monotonic()
        while (self.queue.depth or self._in_hand) and self.clock.monotonic() < cured + 7200:
            await self.clock.sleep(1.0)
        self.report.seconds_to_drain = self.clock.monotonic() - cured
        self.report.left = self.queue.depth + self._in_hand
        working.cancel()
        await asyncio.wait({working})
        return self.report

    async def _arrive(self) -> None:
        owed = 0.0
        for number in range(round(self.load.rate * self.load.seconds)):
            owed += self.load.share
            is_ill = owed >= 1.0
            owed -= is_ill
            self.queue.add((initiation if is_ill else basket)(f"key-{number}"))
            await self.clock.sleep(1.0 / self.load.rate)

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                await self._free.acquire()
                self._in_hand += 1
                group.create_task(self._handle(await self._taken()))

    async def _taken(self) -> Delivery:
        self._in_hand -= 1
        delivery = await self.queue.take()
        self._in_hand += 1
        return delivery

    async def _handle(self, delivery: Delivery) -> None:
        try:
            await self.clock.sleep(LEDGER_SECONDS)
            self._note(await self.core.processor.handle(delivery))
        finally:
            self._in_hand -= 1
            self._free.release()

    def _note(self, handled: Handled) -> None:
        story, report = handled.story, self.report
        if story.action is Action.WAITING and self._is_ill:
            report.waits[f"{story.account} {story.step}"] += 1
        if story.action is not Action.ANSWERED:
            return
        if self._is_ill:
            report.others_answered += story.account == WELL_ACCOUNT
            report.ill_answered += story.account == ILL_ACCOUNT
        if story.account == ILL_ACCOUNT:
            report.attempts[story.attempts] += 1
        report.statuses[f"{story.account} {story.status}"] += 1

    def _note_hindrance(self, hindrance: Hindrance) -> None:
        kind = "refused" if hindrance.is_refused else "delayed"
        self.report.hindered[f"{hindrance.account} {kind} {hindrance.obstacle}"] += 1


def measure(load: Load, illnesses: Sequence[Illness] = tuple(Illness)) -> Mapping[Illness, Report]:
    """Run the same arrivals under each illness; the well one is always among them."""
    wanted = dict.fromkeys((Illness.NONE, *illnesses))
    return MappingProxyType({each: run_virtually(_run(each, load)) for each in wanted})


async def _run(illness: Illness, load: Load) -> Report:
    return await Site(illness, load).run()


def ratio(reports: Mapping[Illness, Report], illness: Illness) -> float:
    """What the others got done beside an ill account, of what they get done normally."""
    return reports[illness].others_answered / reports[Illness.NONE].others_answered


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one line for each illness; fail below 90 %."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.isolation", description=__doc__)
    parser.add_argument("--rate", type=float, default=Load().rate, help="arrivals per second")
    parser.add_argument("--share", type=float, default=Load().share, help="of the ill account")
    parser.add_argument("--seconds", type=float, default=Load().seconds, help="of the illness")
    parser.add_argument("--places", type=int, default=PLACES, help="deliveries at the same time")
    asked = parser.parse_args(arguments)
    reports = measure(
        Load(rate=asked.rate, share=asked.share, seconds=asked.seconds, places=asked.places)
    )
    for illness, report in reports.items():
        print(
            f"{illness:14} others {report.others_answered:6} ({ratio(reports, illness):6.1%})"
            f"  ill {report.ill_answered:6}  drained in {report.seconds_to_drain:5.0f} s,"
            f" left {report.left}"
        )
        print(
            f"    attempts {dict(sorted(report.attempts.items()))}  ended {dict(report.statuses)}"
        )
        print(f"    waits {dict(report.waits)}  permits {dict(report.hindered)}")
        print(f"    breaker {', '.join(report.breaker) or 'quiet'}")
    return int(min(ratio(reports, each) for each in reports) < 0.9)


if __name__ == "__main__":
    raise SystemExit(main())
