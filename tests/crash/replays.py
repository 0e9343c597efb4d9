"""An operator's replay that is killed at any step and run again, as `dead-letters replay` is."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from tests.core import UNAUTHORISED, Behaviour
from tests.crash.fuse import Fuse, FusedLetterQueue, FusedPublisher, KilledError
from tests.crash.ledgers import CrashLedger, MemoryLedger
from tests.crash.runs import CrashWorld, Intent, Run, drain, finished, sweep_late, working
from tests.fakes_letters import PaperQueue
from worker.contract.copies import REPLAY_KEY
from worker.deadletters import Act, DeadLetters
from worker.identity import identity_of, operation_id_of
from worker.messages import Exchange
from worker.model import Delivery, Source

WANTED = operation_id_of(identity_of("dcp", "key-1"))
NEIGHBOUR = operation_id_of(identity_of("dcp", "key-0"))
ACT = Act(actor="anna", run="R-1", reason="the password was mended")


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

    async def replay(self, wanted: UUID, fuse: Fuse) -> None:
        """Walk the queue once as one process; killed, what it held comes back to the queue."""
        self.collect()
        async with working(self.world, fuse) as tool:
            letters = DeadLetters(
                ledger=tool.ledger,
                queue=FusedLetterQueue(self.queue, fuse),
                publisher=FusedPublisher(self.world.broker, fuse),
                actor=ACT.actor,
            )
            try:
                await letters.replay(wanted, ACT)
            except KilledError:
                self.queue.lose_connection()
        self.collect()

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
    ledger: CrashLedger | None = None,
) -> tuple[Run, Desk]:
    """Kill the tool at these steps, run it again to its end, and let a worker do the rest.

    The wanted letter is the second of two, so that the walk also puts a letter back. With
    ``works_between`` a worker has handled what a killed tool had published before the operator
    runs it again.
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
        await desk.replay(WANTED, fuse)
        boundaries += fuse.passed
        if works_between:
            await drain(world)
    await desk.replay(WANTED, Fuse())
    await drain(world)
    await sweep_late(world)
    desk.collect()
    run = await finished(intent, world, boundaries)
    return replace(run, operations=2), desk


def _of_neighbour(request: Delivery) -> Delivery:
    """Another payment of the same kind: another key, another order."""
    body = request.body.replace(b"key-1@", b"key-0@").replace(b'"40017"', b'"40018"')
    return replace(request, message_id="key-0", body=body)
