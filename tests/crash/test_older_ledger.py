"""A ledger that is set back to any moment of a run, and the proof that no other looks like it.

While nothing is lost, a copy never names more than its row does: it is published after the write
it tells of. So a copy that does is proof, and no crash may produce one. Set back, the ledger must
not let anything be applied twice, whatever moment the backup is of and wherever the worker died.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from typing_extensions import override

from tests.core import (
    REFUSED,
    REFUSED_CONNECTION,
    RESET_AFTER,
    SILENCE,
    TOO_MANY,
    Behaviour,
    Surroundings,
    World,
    basket,
)
from tests.crash.fuse import Fuse
from tests.crash.laws import MOST_APPLIED
from tests.crash.ledgers import CrashLedger, MemoryLedger
from tests.crash.runs import (
    ADD_E,
    HISTORIES,
    INTENTS,
    LINK_D,
    LINK_E,
    REPLAY_E,
    CrashWorld,
    Intent,
    drain,
    kill_run,
    pause_run,
    prepared,
    sweep_late,
    working,
)
from tests.fakes_tables import MemoryTables
from tests.provider_examples import BASKET_ROUTE
from tests.rows import claim_wish
from worker.contract.envelope import envelope_on
from worker.lifecycle.lost import knows_more
from worker.lifecycle.wishes import Won
from worker.messages import Exchange
from worker.model import OperationClass, Source
from worker.records import Restoration, State

SCRIPTS: Sequence[tuple[Behaviour, ...]] = (
    (),
    (REFUSED_CONNECTION, REFUSED_CONNECTION, REFUSED_CONNECTION),
    (TOO_MANY,),
    (SILENCE,),
    (RESET_AFTER, RESET_AFTER),
)


class BackedUpLedger(MemoryLedger):
    """A ledger that can be copied, and set back to a copy."""

    def set_back(self, backup: MemoryTables) -> None:
        self.tables = backup


@dataclass(slots=True)
class Watch:
    """Compares every copy that is published with the row it is of."""

    breaches: list[str] = field(default_factory=list)

    def over(self, world: Surroundings, tables: MemoryTables) -> None:
        world.broker.after_publishing = lambda: self._look(world, tables)

    def _look(self, world: Surroundings, tables: MemoryTables) -> None:
        if not world.broker.published:
            return  # refused
        message = world.broker.published[-1]
        if message.exchange not in {Exchange.RETRY, Exchange.DEAD_LETTER}:
            return
        if message.routing_key == "unclaimed":
            return
        envelope = envelope_on(world.broker.copy(message, Source.LADDER))
        assert envelope is not None
        row = tables.records.get(envelope.operation_id)
        if knows_more(envelope, row):
            self.breaches.append(f"{envelope.attempts}, {envelope.sequence} beside {row}")


@pytest.mark.parametrize("intent", [*INTENTS, *HISTORIES], ids=lambda intent: intent.name)
async def test_no_crash_makes_a_copy_that_knows_more_than_its_row(
    intent: Intent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed anywhere, or frozen anywhere while another worker goes on, then let go on."""
    watch, make = Watch(), Intent.world

    def watched(self: Intent, behaviours: Sequence[Behaviour], _ledger: CrashLedger) -> CrashWorld:
        ledger = BackedUpLedger()
        world = make(self, behaviours, ledger)
        watch.over(world, ledger.tables)
        return world

    monkeypatch.setattr(Intent, "world", watched)
    for behaviours in SCRIPTS:
        await kill_run(intent, behaviours, scripts={Exchange.RESULTS: REFUSED})
        boundaries = len((await kill_run(intent, behaviours, 10_000)).boundaries)
        for at in range(1, boundaries + 1):
            await kill_run(intent, behaviours, at)
            await pause_run(intent, behaviours, at, deliveries=None, wait=1.0)
            assert watch.breaches == [], (behaviours, at)


async def test_a_claim_given_back_after_a_copy_named_it_is_no_lost_ledger() -> None:
    """The attempt is taken off the row again; the copy that waited for it still counts it."""
    world, watch = World(), Watch()
    watch.over(world, world.store.tables)
    worker = world.worker()
    wish = claim_wish(BASKET_ROUTE, delivery=basket())
    assert isinstance(await worker.ledger.claim(wish), Won)
    await worker.processor.handle(basket())
    operation_id = wish.envelope.operation_id
    await worker.ledger.release(operation_id, wish.token, after=timedelta(0))
    (waiting,) = world.broker.sent_to(Exchange.RETRY)
    row = world.store.tables.records[operation_id]
    assert (waiting.headers["attempts"], row.attempts, row.peak_attempts) == (1, 0, 1)
    copy_of_it = world.broker.take()
    assert copy_of_it is not None
    await worker.processor.handle(copy_of_it)
    assert [event["result"] for event in world.broker.events] == [True]
    assert watch.breaches == []


@dataclass(slots=True)
class BackupFuse(Fuse):
    """Copies the ledger at one boundary, and kills at a later one."""

    ledger: BackedUpLedger = field(default_factory=BackedUpLedger)
    backup_at: int = 0
    backup: MemoryTables | None = None

    @override
    def step(self, name: str) -> None:
        if len(self.passed) + 1 == self.backup_at and not self.is_blown:
            self.backup = copy.deepcopy(self.ledger.tables)
        Fuse.step(self, name)


@pytest.mark.parametrize("intent", [ADD_E, LINK_E, LINK_D, REPLAY_E], ids=lambda each: each.name)
@pytest.mark.parametrize("behaviours", [(), (TOO_MANY,), (SILENCE,)], ids=["pays", "waits", "mute"])
async def test_a_ledger_set_back_and_said_so_pays_nothing_twice(
    intent: Intent, behaviours: tuple[Behaviour, ...]
) -> None:
    """For each moment of the backup and each later one at which the last worker died."""
    doubts = 0
    boundaries = len((await kill_run(intent, behaviours, 10_000)).boundaries)
    for backup_at in range(1, boundaries + 1):
        for killed_at in range(backup_at, boundaries + 1):
            ledger = BackedUpLedger()
            world = await prepared(intent, behaviours, ledger)
            fuse = BackupFuse(at=killed_at, ledger=ledger, backup_at=backup_at)
            await drain(world, fuse)
            if fuse.backup is None:
                continue
            ledger.set_back(fuse.backup)
            await say_so(world)
            await drain(world)
            await sweep_late(world)
            most = MOST_APPLIED[
                OperationClass.NON_IDEMPOTENT if intent.is_basket else intent.operation_class
            ]
            assert max(world.providers.applied.values(), default=0) <= most, (backup_at, killed_at)
            rows = ledger.tables.records.values()
            assert not any(row.state.is_open for row in rows), (backup_at, killed_at)
            doubts += any(row.state is State.IN_DOUBT for row in rows)
            handed_out = {event["link"] for event in world.broker.events} - {None}
            assert len(handed_out) <= 1
    assert doubts > 0, "the span that was forgotten is never doubted"


async def say_so(world: CrashWorld) -> None:
    """What ``ledger restored`` does."""
    world.clock.advance(1.0)
    now = world.clock.now()
    restoration = Restoration(known_until=now, restored_at=now, actor="o.perator")
    async with working(world) as operator:
        affected = await operator.ledger.restorations.affected(restoration)
        await operator.ledger.restorations.record(restoration, affected, is_new=True)
        world.restoration = await operator.ledger.restorations.latest()
