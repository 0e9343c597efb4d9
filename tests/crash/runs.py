"""Driving a world to its end: deliver, kill, deliver again, until nothing is left."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from types import MappingProxyType

from tests.core import (
    UNAUTHORISED,
    Behaviour,
    Core,
    CountingProviders,
    Said,
    Surroundings,
    basket,
    book_of,
    cancellation,
    initiation,
    make_core,
)
from tests.crash.fuse import (
    CancellingFuse,
    Fuse,
    FusedPublisher,
    FusedTransport,
    KilledError,
    PausingFuse,
)
from tests.crash.fused_store import FusedStore
from tests.crash.ledgers import CrashLedger, MemoryLedger, Rows
from worker.lifecycle.reopen import Reopened
from worker.messages import Disposition, Exchange
from worker.model import Delivery, OperationClass, Source
from worker.sweeper import UNPUBLISHED_AGE

MOST_DELIVERIES = 60
"""More than any honest end needs; a run that reaches it is going round in circles."""


class EndlessError(Exception):
    """The world never came to rest."""


@dataclass(slots=True)
class CrashWorld(Surroundings):
    """Surroundings with a ledger that every worker opens anew."""

    ledger: CrashLedger = field(default_factory=MemoryLedger)


@dataclass(frozen=True, slots=True)
class Intent:
    """What the producer wants, and the deliveries that say so, the last one under the fuse."""

    name: str
    operation_class: OperationClass
    is_basket: bool = False
    is_removed: bool = False
    is_keyed: bool = False
    is_replayed: bool = False
    is_doubled: bool = False

    @property
    def operations(self) -> int:
        """Rows that its deliveries lead to."""
        return 2 if self.is_removed or self.is_doubled else 1

    @property
    def may_leave_orphans(self) -> bool:
        """Whether a link that nobody received may stand beside a refusal."""
        return self.operation_class is OperationClass.ORPHAN_SAFE and not self.is_basket

    @property
    def request(self) -> Delivery:
        """The request for the payment."""
        return basket() if self.is_basket else initiation()

    def world(self, behaviours: Sequence[Behaviour], ledger: CrashLedger) -> CrashWorld:
        """A world that has this intent in its queue, and providers that behave so."""
        providers = CountingProviders(is_keyed=self.is_keyed, behaviours=list(behaviours))
        return CrashWorld(book=book_of(self.operation_class), providers=providers, ledger=ledger)


LINK_D = Intent("link, class D", OperationClass.ORPHAN_SAFE)
LINK_C = Intent("link, class C", OperationClass.KEYED, is_keyed=True)
LINK_E = Intent("link, class E", OperationClass.NON_IDEMPOTENT)
ADD_E = Intent("add, class E", OperationClass.NON_IDEMPOTENT, is_basket=True)
REMOVE_B = Intent("remove, class B", OperationClass.ORPHAN_SAFE, is_basket=True, is_removed=True)
REPLAY_E = replace(ADD_E, name="add, class E, replayed", is_replayed=True)
TWICE_D = replace(LINK_D, name="link, class D, under two keys", is_doubled=True)
TWICE_E = replace(ADD_E, name="add, class E, under two keys", is_doubled=True)
INTENTS = (LINK_D, LINK_C, LINK_E, ADD_E, REMOVE_B)
HISTORIES = (REPLAY_E, TWICE_D, TWICE_E)
"""Payments that are not alone: with a past, or with a twin."""


@dataclass(slots=True)
class Run:
    """One finished run: the world and the rows it left, and the boundaries killed workers passed.

    ``operations`` is how many operations were asked for in all.
    """

    intent: Intent
    world: CrashWorld
    rows: Rows
    operations: int
    boundaries: list[str] = field(default_factory=list)


async def finished(intent: Intent, world: CrashWorld, boundaries: Sequence[str]) -> Run:
    """The run as it stands now."""
    return Run(intent, world, await world.ledger.rows(), intent.operations, list(boundaries))


@asynccontextmanager
async def working(world: CrashWorld, fuse: Fuse | None = None) -> AsyncIterator[Core]:
    """A worker of a fresh process, whose every way into the world goes through one fuse."""
    fuse = fuse or Fuse()
    store = await world.ledger.open(world.clock, fuse)
    try:
        yield make_core(
            store=FusedStore(store, fuse),
            publisher=FusedPublisher(world.broker, fuse),
            transport=FusedTransport(world.providers, fuse),
            clock=world.clock,
            book=world.book,
            rules=world.rules,
            restoration=world.restoration,
        )
    finally:
        await world.ledger.leave(store, fuse)


async def prepared(
    intent: Intent, behaviours: Sequence[Behaviour], ledger: CrashLedger | None = None
) -> CrashWorld:
    """A world up to the deliveries that the fuse is for, on an empty ledger."""
    if ledger is not None:
        await ledger.clear()
    first = (UNAUTHORISED,) if intent.is_replayed else ()
    has_past = intent.is_removed or intent.is_replayed
    world = intent.world(first if has_past else behaviours, ledger or MemoryLedger())
    world.broker.ready.append(intent.request)
    if has_past:
        await drain(world)
        world.providers.behaviours = list(behaviours)
    if intent.is_removed:
        world.broker.ready.append(cancellation())
    if intent.is_replayed:
        world.broker.ready.append(await _replayed(world))
    if intent.is_doubled:
        world.broker.ready.append(_under_another_key(intent.request))
    return world


async def _replayed(world: CrashWorld) -> Delivery:
    """The dead letter of a payment that was reopened, put back as an operator's tool does."""
    (letter,) = world.broker.letters
    (payment_id,) = (await world.ledger.rows()).records
    async with working(world) as worker:
        reopened = await worker.ledger.payments.reopen(
            payment_id, from_sequence=1, actor="ops", run="R-1", reason="fixed"
        )
    if not isinstance(reopened, Reopened):
        raise TypeError(reopened)
    headers = {**letter.headers, "sequence": reopened.sequence}
    return replace(world.broker.copy(letter, Source.REPLAY), headers=headers)


def _under_another_key(request: Delivery) -> Delivery:
    return replace(request, message_id="key-2")


async def drain(
    world: CrashWorld, fuse: Fuse | None = None, *, deliveries: int | None = None
) -> None:
    """One worker's life: handle what is there, at most so many deliveries."""
    fuse = fuse or Fuse()
    limit = MOST_DELIVERIES if deliveries is None else deliveries
    async with working(world, fuse) as worker:
        for _ in range(limit):
            delivery = world.broker.take()
            if delivery is None:
                return
            try:
                await _deliver(world, worker, delivery, fuse)
            except KilledError:
                # After the acknowledgement it is gone; until then the broker has it still.
                if fuse.passed[-1] != "after acknowledgement":
                    world.broker.hand_back(delivery)
                return
    if deliveries is None:
        raise EndlessError(world.broker.steps)


async def _deliver(world: CrashWorld, worker: Core, delivery: Delivery, fuse: Fuse) -> None:
    handled = await worker.processor.handle(delivery)
    fuse.check()
    if handled.disposition is Disposition.RETURN:
        world.broker.hand_back(delivery)
        return
    fuse.step("before acknowledgement")
    fuse.step("after acknowledgement")


async def kill_run(
    intent: Intent,
    behaviours: Sequence[Behaviour],
    *kills: int,
    scripts: Mapping[Exchange, Said] = MappingProxyType({}),
    ledger: CrashLedger | None = None,
) -> Run:
    """Kill one worker after another at these boundaries, then let one work to the end.

    ``scripts`` is what the broker says to the first publish to an exchange.
    """
    return await fused_run(
        intent, behaviours, *(Fuse(at) for at in kills), scripts=scripts, ledger=ledger
    )


async def fused_run(
    intent: Intent,
    behaviours: Sequence[Behaviour],
    *fuses: Fuse,
    scripts: Mapping[Exchange, Said] = MappingProxyType({}),
    ledger: CrashLedger | None = None,
) -> Run:
    """Let one worker after another meet its fuse, then let one work to the end."""
    world = await prepared(intent, behaviours, ledger)
    world.broker.scripts = {exchange: [said] for exchange, said in scripts.items()}
    boundaries: list[str] = []
    for fuse in fuses:
        await drain(world, fuse)
        boundaries += fuse.passed
    await drain(world)
    await sweep_late(world)
    return await finished(intent, world, boundaries)


async def cancel_run(
    intent: Intent,
    behaviours: Sequence[Behaviour],
    at: int,
    *,
    after_cancelling: Callable[[Rows], None],
    ledger: CrashLedger | None = None,
) -> Run:
    """Cancel a worker's task at a boundary; the delivery goes back, and another worker ends it.

    ``after_cancelling`` sees the rows between the two.
    """
    world = await prepared(intent, behaviours, ledger)
    fuse = CancellingFuse(at)
    boundaries: list[str] = []
    async with working(world, fuse) as worker:
        while (delivery := world.broker.take()) is not None:
            task: asyncio.Task[object] = asyncio.ensure_future(worker.processor.handle(delivery))
            fuse.victim = task
            await asyncio.wait({task})
            boundaries = fuse.passed
            if task.cancelled() or _is_returned(task):
                world.broker.hand_back(delivery)
                break
    after_cancelling(await world.ledger.rows())
    await drain(world)
    await sweep_late(world)
    return await finished(intent, world, boundaries)


def _is_returned(task: "asyncio.Task[object]") -> bool:
    return getattr(task.result(), "disposition", None) is Disposition.RETURN


async def pause_run(
    intent: Intent,
    behaviours: Sequence[Behaviour],
    at: int,
    *,
    deliveries: int | None,
    wait: float,
    skew: float = 0.0,
    ledger: CrashLedger | None = None,
) -> Run:
    """Freeze a worker at a boundary, let another take its delivery, then let the first go on.

    The second one handles that many deliveries (all of them when ``None``), ``wait`` seconds
    later, by a wall clock that differs by ``skew`` seconds. The first one's acknowledgement comes
    over a lost connection and counts for nothing.
    """
    world = await prepared(intent, behaviours, ledger)
    fuse = PausingFuse(at)
    async with working(world, fuse) as frozen:
        while not fuse.paused.is_set() and (delivery := world.broker.take()) is not None:
            task = asyncio.ensure_future(frozen.processor.handle(delivery))
            pausing = asyncio.ensure_future(fuse.paused.wait())
            await asyncio.wait({task, pausing}, return_when=asyncio.FIRST_COMPLETED)
            pausing.cancel()
            if fuse.paused.is_set():
                world.broker.hand_back(delivery)
                world.clock.advance(wait)
                world.clock.shift_wall(skew)
                await drain(world, deliveries=deliveries)
                world.clock.shift_wall(-skew)
                fuse.go_on.set()
            await task
    await drain(world)
    await sweep_late(world)
    return await finished(intent, world, fuse.passed)


async def sweep_late(world: CrashWorld) -> None:
    """Let the sweeper find what nobody came back for."""
    async with working(world) as worker:
        for _ in range(2):
            world.clock.advance(timedelta(hours=3).total_seconds())
            await worker.sweeper.sweep()


async def sweep_run(
    intent: Intent,
    behaviours: Sequence[Behaviour],
    at: int,
    sweeper_at: int,
    *,
    absence: timedelta,
    ledger: CrashLedger | None = None,
) -> Run:
    """Kill a worker, keep its messages away, kill a sweeper at one of its steps, sweep again.

    The messages come back after that, as from a broker that was cut off; ``boundaries`` are
    those of the killed sweeper.
    """
    world = await prepared(intent, behaviours, ledger)
    await drain(world, Fuse(at))
    away, world.broker.ready = world.broker.ready, type(world.broker.ready)()
    waiting, world.broker.ladder = world.broker.ladder, []
    world.clock.advance(absence.total_seconds())
    fuse = Fuse(sweeper_at)
    async with working(world, fuse) as worker:
        with suppress(KilledError):
            await worker.sweeper.sweep()
    # Answers that the killed one had taken are due again after the time it would have needed.
    world.clock.advance(2 * UNPUBLISHED_AGE.total_seconds())
    async with working(world) as worker:
        await worker.sweeper.sweep()
    world.broker.ready.extend(away)
    world.broker.ladder.extend(waiting)
    await drain(world)
    await sweep_late(world)
    return await finished(intent, world, fuse.passed)
