"""An operator's replay that is killed at any step and run again, as `dead-letters replay` is."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from tests.core import UNAUTHORISED, Behaviour
from tests.crash.fuse import Fuse, FusedLetterQueue, FusedPublisher, KilledError
from tests.crash.fused_store import FusedStore
from tests.crash.ledgers import CrashLedger, MemoryLedger
from tests.crash.runs import CrashWorld, Intent, Run, drain, finished, sweep_late
from tests.fakes_clock import START
from tests.fakes_letters import PaperQueue
from worker.codes import Code
from worker.contract.copies import REPLAY_KEY
from worker.identity import identity_of, operation_id_of
from worker.journal import ReplayRun, ReplayStep, RunOptions, RunState
from worker.ledger import Ledger
from worker.letters import Verdict
from worker.messages import Exchange
from worker.model import Delivery, Source
from worker.operators.replays.runner import Runner
from worker.operators.walks import LEASE

WANTED = operation_id_of(identity_of("dcp", "key-1"))
NEIGHBOUR = operation_id_of(identity_of("dcp", "key-0"))
RUN = ReplayRun(
    run="R-1",
    actor="anna",
    reason="the password was mended",
    plan_sha256=None,
    options=RunOptions(rate=1000.0, wait_seconds=1.0),
    state=RunState.RUNNING,
    started_at=START,
    wanted=0,
)
"""It waits a second for outcomes: nobody works meanwhile."""

RIVAL = replace(RUN, run="R-2", actor="bert")
"""Another operator's, who plans anew what the first one has not finished."""


@dataclass(slots=True)
class Desk:
    """An operator's place at a world: its letters, and the tool on top of them."""

    world: CrashWorld
    queue: PaperQueue = field(default_factory=PaperQueue)
    letters_seen: int = 0
    replays_seen: int = 0

    @property
    def owners(self) -> list[UUID]:
        """Whose letters are in the queue."""
        return [UUID(str(letter.headers["payment-id"])) for letter in self.queue.letters]

    async def replay(self, wanted: Sequence[UUID], fuse: Fuse, *, run: ReplayRun = RUN) -> None:
        """Begin the run as one process, or resume it; killed, what it held comes back."""
        self.collect()
        store = await self.world.ledger.open(self.world.clock, fuse)
        fused = FusedStore(store, fuse)
        runner = Runner(
            ledger=Ledger(store=fused, rules=self.world.rules, clock=self.world.clock),
            journal=fused.journal,
            queue=FusedLetterQueue(self.queue, fuse),
            publisher=FusedPublisher(self.world.broker, fuse),
            stop=asyncio.Event(),
            tell=lambda _news: None,
        )
        try:
            if await store.journal.find_run(run.run) is None:
                await runner.begin(run, self._steps(wanted))
            else:
                await runner.resume(run)
        except KilledError:
            self.queue.lose_connection()
        finally:
            await self.world.ledger.leave(store, fuse)
        if fuse.is_dead:
            self.world.clock.advance(2 * LEASE.total_seconds())  # its lock dies after it
        self.collect()

    async def _steps(self, wanted: Sequence[UUID]) -> AsyncIterator[ReplayStep]:
        """The plan: what was last decided of each; the first was a wrong password."""
        records = (await self.world.ledger.rows()).records
        for position, operation_id in enumerate(wanted, 1):
            yield ReplayStep(
                operation_id=operation_id,
                position=position,
                sequence=records[operation_id].sequence,
                code=Code.PROVIDER_CREDENTIALS,
                verdict=Verdict.SAFE,
                at=START,
            )

    def collect(self) -> None:
        """Move what was published since the last time to where the broker routes it."""
        letters = self.world.broker.letters[self.letters_seen :]
        replays = self.world.broker.sent_to(Exchange.REPLAY)[self.replays_seen :]
        self.letters_seen += len(letters)
        self.replays_seen += len(replays)
        copy = self.world.broker.copy
        self.queue.letters.extend(copy(letter, Source.ELSEWHERE) for letter in letters)
        self.world.broker.ready.extend(
            copy(replay, Source.REPLAY) for replay in replays if replay.routing_key == REPLAY_KEY
        )


async def replay_run(
    intent: Intent,
    behaviours: Sequence[Behaviour],
    *kills: int,
    works_between: bool,
    has_rival: bool = False,
    wanted: Sequence[UUID] = (WANTED,),
    ledger: CrashLedger | None = None,
) -> tuple[Run, Desk]:
    """Kill the tool at these steps, run it again to its end, and let a worker do the rest.

    The wanted letter is the second of two, so that the walk also puts a letter back. With
    ``works_between`` a worker has handled what a killed tool had published before the operator
    runs it again; with a rival another run comes in between.
    """
    if ledger is not None:
        await ledger.clear()
    world = intent.world((UNAUTHORISED, UNAUTHORISED), ledger or MemoryLedger())
    for request in (_of_neighbour(intent.request), intent.request):
        world.broker.ready.append(request)
        await drain(world)
    world.providers.behaviours = list(behaviours)
    desk = Desk(world)
    boundaries: list[str] = []
    for at in kills:
        fuse = Fuse(at)
        await desk.replay(wanted, fuse)
        boundaries += fuse.passed
        if works_between:
            await drain(world)
    if has_rival:
        await desk.replay(wanted, Fuse(), run=RIVAL)
        await drain(world)
    await desk.replay(wanted, Fuse())
    await drain(world)
    await sweep_late(world)
    desk.collect()
    run = await finished(intent, world, boundaries)
    return replace(run, operations=2), desk


def _of_neighbour(request: Delivery) -> Delivery:
    """Another payment of the same kind: another key, another order."""
    body = request.body.replace(b"key-1@", b"key-0@").replace(b'"40017"', b'"40018"')
    return replace(request, message_id="key-0", body=body)
