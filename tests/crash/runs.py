"""Driving a world to its end: deliver, kill, deliver again, until nothing is left."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from types import MappingProxyType

from tests.core import (
    UNAUTHORISED,
    Behaviour,
    Core,
    CountingProviders,
    Said,
    World,
    basket,
    book_of,
    cancellation,
    initiation,
)
from tests.crash.fuse import CancellingFuse, Fuse, KilledError, PausingFuse, fused_worker
from worker.lifecycle.reopen import Reopened
from worker.messages import Disposition, Exchange
from worker.model import Delivery, OperationClass, Source

MOST_DELIVERIES = 60
"""More than any honest end needs; a run that reaches it is going round in circles."""


class EndlessError(Exception):
    """The world never came to rest."""


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
    def may_leave_orphans(self) -> bool:
        """Whether a link that nobody received may stand beside a refusal."""
        return self.operation_class is OperationClass.ORPHAN_SAFE and not self.is_basket

    @property
    def request(self) -> Delivery:
        """The request for the payment."""
        return basket() if self.is_basket else initiation()

    def world(self, behaviours: Sequence[Behaviour]) -> World:
        """A world that has this intent in its queue, and providers that behave so."""
        providers = CountingProviders(is_keyed=self.is_keyed, behaviours=list(behaviours))
        return World(book=book_of(self.operation_class), providers=providers)


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
    """One finished run: the world it left, and what was killed on the way."""

    intent: Intent
    world: World
    boundaries: list[str] = field(default_factory=list)


async def prepared(intent: Intent, behaviours: Sequence[Behaviour]) -> World:
    """A world up to the deliveries that the fuse is for."""
    first = (UNAUTHORISED,) if intent.is_replayed else ()
    has_past = intent.is_removed or intent.is_replayed
    world = intent.world(first if has_past else behaviours)
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


async def _replayed(world: World) -> Delivery:
    """The dead letter of a payment that was reopened, put back as an operator's tool does."""
    (letter,) = world.broker.letters
    (payment_id,) = world.store.tables.records
    ledger = fused_worker(world, Fuse()).ledger
    reopened = await ledger.reopen(payment_id, actor="ops", run="run-1", reason="fixed")
    if not isinstance(reopened, Reopened):
        raise TypeError(reopened)
    headers = {**letter.headers, "sequence": reopened.sequence}
    return replace(world.broker.copy(letter, Source.REPLAY), headers=headers)


def _under_another_key(request: Delivery) -> Delivery:
    return replace(request, message_id="key-2")


async def drain(world: World, fuse: Fuse | None = None, *, deliveries: int | None = None) -> None:
    """One worker's life: handle what is there, at most so many deliveries."""
    fuse = fuse or Fuse()
    worker = fused_worker(world, fuse)
    limit = MOST_DELIVERIES if deliveries is None else deliveries
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


async def _deliver(world: World, worker: Core, delivery: Delivery, fuse: Fuse) -> None:
    handled = await worker.processor.handle(delivery)
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
) -> Run:
    """Kill one worker after another at these boundaries, then let one work to the end.

    ``scripts`` is what the broker says to the first publish to an exchange.
    """
    world = await prepared(intent, behaviours)
    world.broker.scripts = {exchange: [said] for exchange, said in scripts.items()}
    boundaries: list[str] = []
    for at in kills:
        fuse = Fuse(at)
        await drain(world, fuse)
        boundaries += fuse.passed
    await drain(world)
    await sweep_late(world)
    return Run(intent, world, boundaries)


async def cancel_run(
    intent: Intent,
    behaviours: Sequence[Behaviour],
    at: int,
    *,
    after_cancelling: Callable[[World], None],
) -> Run:
    """Cancel a worker's task at a boundary; the delivery goes back, and another worker ends it.

    ``after_cancelling`` sees the world between the two.
    """
    world = await prepared(intent, behaviours)
    fuse = CancellingFuse(at)
    worker = fused_worker(world, fuse)
    boundaries: list[str] = []
    while (delivery := world.broker.take()) is not None:
        task: asyncio.Task[object] = asyncio.ensure_future(worker.processor.handle(delivery))
        fuse.victim = task
        await asyncio.wait({task})
        boundaries = fuse.passed
        if task.cancelled() or _is_returned(task):
            world.broker.hand_back(delivery)
            break
    after_cancelling(world)
    await drain(world)
    await sweep_late(world)
    return Run(intent, world, boundaries)


def _is_returned(task: "asyncio.Task[object]") -> bool:
    return getattr(task.result(), "disposition", None) is Disposition.RETURN


async def pause_run(
    intent: Intent, behaviours: Sequence[Behaviour], at: int, *, deliveries: int | None, wait: float
) -> Run:
    """Freeze a worker at a boundary, let another take its delivery, then let the first go on.

    The second one handles that many deliveries (all of them when ``None``), ``wait`` seconds
    later. The first one's acknowledgement comes over a lost connection and counts for nothing.
    """
    world = await prepared(intent, behaviours)
    fuse = PausingFuse(at)
    frozen = fused_worker(world, fuse)
    while not fuse.paused.is_set() and (delivery := world.broker.take()) is not None:
        task = asyncio.ensure_future(frozen.processor.handle(delivery))
        pausing = asyncio.ensure_future(fuse.paused.wait())
        await asyncio.wait({task, pausing}, return_when=asyncio.FIRST_COMPLETED)
        pausing.cancel()
        if fuse.paused.is_set():
            world.broker.hand_back(delivery)
            world.clock.advance(wait)
            await drain(world, deliveries=deliveries)
            fuse.go_on.set()
        await task
    await drain(world)
    await sweep_late(world)
    return Run(intent, world, fuse.passed)


async def sweep_late(world: World) -> None:
    """Let the sweeper find what nobody came back for."""
    for _ in range(2):
        world.clock.advance(timedelta(hours=3).total_seconds())
        await fused_worker(world, Fuse()).sweeper.sweep()
