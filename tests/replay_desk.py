"""An operator's replay runs on a paper queue, with a worker that works while a run waits."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from typing_extensions import override

from tests.core import UNAUTHORISED, World, initiation
from tests.fakes_clock import START, FakeClock
from tests.fakes_letters import PaperQueue
from worker.codes import Code
from worker.identity import identity_of, operation_id_of
from worker.journal import ReplayResult, ReplayRun, ReplayStep, RunOptions, RunState, StepState
from worker.ledger import Ledger
from worker.letters import Verdict
from worker.messages import Exchange, OutgoingMessage
from worker.model import Delivery, Source
from worker.operators.replays.runner import Runner
from worker.operators.replays.walked import News
from worker.ports import Publisher

OPTIONS = RunOptions(rate=1000.0, wait_seconds=60.0)


class WorkingClock(FakeClock):
    """A clock whose sleeper lets others work: what happens while a run waits, happens now."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Callable[[], Awaitable[None]] | None = None

    @override
    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        work, self.meanwhile = self.meanwhile, None
        if work is not None:
            await work()
            self.meanwhile = work


@dataclass(slots=True)
class ReplayDesk:
    """An operator's place at a world: the letters so far, the runs, and who works meanwhile.

    ``news`` is what the last run told. ``is_worked`` lets a worker handle every replayed copy
    while the run waits; ladder copies stay where they are.
    """

    world: World
    queue: PaperQueue = field(default_factory=PaperQueue)
    collected: int = 0
    handed: int = 0
    is_worked: bool = True
    news: list[News] = field(default_factory=list)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    on_news: Callable[[News], None] = field(default=lambda _news: None)

    @property
    def ledger(self) -> Ledger:
        return self.world.worker().ledger

    @property
    def replayed(self) -> list[Delivery]:
        """The copies put back to work, as the worker gets them."""
        return [
            self.delivered(message, Source.REPLAY, "payments.replay")
            for message in self.world.broker.sent_to(Exchange.REPLAY)
        ]

    def delivered(self, message: OutgoingMessage, source: Source, exchange: str) -> Delivery:
        return replace(self.world.broker.copy(message, source), exchange=exchange)

    def collect(self) -> None:
        """Move the letters the broker got since the last time into the queue."""
        for message in self.world.broker.letters[self.collected :]:
            self.queue.letters.append(self.delivered(message, Source.ELSEWHERE, "payments.dlx"))
        self.collected = len(self.world.broker.letters)

    async def work(self) -> None:
        """Let a worker handle every copy that it has not seen yet."""
        copies = self.replayed[self.handed :]
        self.handed += len(copies)
        for copy in copies:
            worker = self.world.worker()  # one each: an open breaker is not the subject
            await worker.processor.handle(replace(copy, received_at=self.world.clock.now()))

    async def replay(
        self,
        *wanted: UUID | ReplayStep,
        run: str = "R-1",
        options: RunOptions = OPTIONS,
        ledger: Ledger | None = None,
    ) -> ReplayRun:
        """Begin a run for these letters, each by its first decision unless it says more."""
        begun = ReplayRun(
            run=run,
            actor="anna",
            reason="the password was mended",
            plan_sha256=None,
            options=options,
            state=RunState.RUNNING,
            started_at=self.world.clock.now(),
            wanted=0,
        )
        steps = [
            each if isinstance(each, ReplayStep) else step_of(each, position=place)
            for place, each in enumerate(wanted, 1)
        ]
        return await self._walk(lambda runner: runner.begin(begun, _each(steps)), ledger)

    async def resume(self, run: str = "R-1") -> ReplayRun:
        """Go on with a run."""
        found = await self.world.store.journal.find_run(run)
        assert found is not None
        known = found
        return await self._walk(lambda runner: runner.resume(known))

    async def _walk(
        self, walk: Callable[[Runner], Awaitable[ReplayRun]], ledger: Ledger | None = None
    ) -> ReplayRun:
        self.collect()
        self.news.clear()
        publisher: Publisher = self.world.broker
        runner = Runner(
            ledger=ledger or self.ledger,
            journal=self.world.store.journal,
            queue=self.queue,
            publisher=publisher,
            stop=self.stop,
            tell=self._tell,
        )
        clock = self.world.clock
        assert isinstance(clock, WorkingClock)
        clock.meanwhile = self.work if self.is_worked else None
        try:
            return await walk(runner)
        finally:
            clock.meanwhile = None
            self.collect()
            assert self.queue.in_hand == 0

    def _tell(self, news: News) -> None:
        self.news.append(news)
        self.on_news(news)

    async def steps(self, run: str = "R-1") -> list[ReplayStep]:
        """The journal's lines, in the order of the plan."""
        journal = self.world.store.journal
        return list(await journal.steps(run, states=frozenset(StepState), after=-1, limit=1000))

    async def results(self, run: str = "R-1") -> list[ReplayResult | None]:
        """What became of each letter of the plan."""
        return [each.result for each in await self.steps(run)]

    async def step(self, run: str = "R-1") -> ReplayStep:
        """The only line of a run."""
        (step,) = await self.steps(run)
        return step


async def _each(steps: Sequence[ReplayStep]) -> AsyncIterator[ReplayStep]:
    for step in steps:
        yield step


def step_of(
    operation_id: UUID,
    *,
    position: int = 1,
    sequence: int = 1,
    code: Code | None = Code.PROVIDER_CREDENTIALS,
    verdict: Verdict = Verdict.SAFE,
) -> ReplayStep:
    return ReplayStep(
        operation_id=operation_id,
        position=position,
        sequence=sequence,
        code=code,
        verdict=verdict,
        at=START,
    )


def key_of(number: int) -> UUID:
    """The id of the payment under ``key-<number>``."""
    return operation_id_of(identity_of("dcp", f"key-{number}"))


async def failed(*deliveries: Delivery) -> ReplayDesk:
    """A desk with one letter per delivery, each of which met a wrong password."""
    world = World(clock=WorkingClock())
    for delivery in deliveries or (initiation(),):
        # A worker each: the breaker that a wrong password opens is not the subject.
        world.providers.behaviours = [UNAUTHORISED]
        await world.worker().processor.handle(delivery)
    return ReplayDesk(world)


async def many_failed(count: int) -> ReplayDesk:
    """A desk with that many letters, of ``key-1`` and so on, each for an order of its own."""
    return await failed(
        *(initiation(f"key-{number}", id_commande=str(number)) for number in range(1, count + 1))
    )
