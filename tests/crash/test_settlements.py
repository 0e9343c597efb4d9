"""A person's word on a doubt, killed at each step and said again: one decision, told once."""

import json
from collections import Counter
from contextlib import suppress
from dataclasses import replace

import pytest

from tests.core import RESET_AFTER, World, basket, email_of, initiation, make_core
from tests.crash.fuse import Fuse, FusedPublisher, KilledError
from tests.crash.fused_store import FusedStore
from tests.rows import reading
from worker.ledger import Ledger
from worker.lifecycle.ruling import MayBeReplayed, Ruling, RulingWish, WasApplied, WasNotApplied
from worker.messages import Exchange
from worker.records import Status

OWNER = reading(basket()).envelope.operation_id
COPY = initiation("key-2", payment_target="MILLIET", email=email_of("key-1"))
COPY_ID = reading(COPY).envelope.operation_id
RULINGS: dict[str, Ruling] = {
    "applied": WasApplied(item_id="17"),
    "not applied": WasNotApplied(),
    "may be replayed": MayBeReplayed(),
}
TOLD = {
    "applied": (Status.SUCCEEDED, 2),
    "not applied": (Status.FAILED, 2),
    "may be replayed": (Status.IN_DOUBT, 1),
}
"""How both the doubt and its copy stand in the end, and under which sequence."""


async def doubtful() -> World:
    """A doubt that its provider has applied, and a second request that was answered with it."""
    world = World()
    world.providers.behaviours = [RESET_AFTER]
    for delivery in (basket(), COPY):
        asked = replace(delivery, received_at=world.clock.now())
        await world.worker().processor.handle(asked)
    return world


async def settle(world: World, ruling: Ruling, fuse: Fuse) -> None:
    """One run of the command, on the world as it stands, until the fuse ends it."""
    ledger = Ledger(store=FusedStore(world.store, fuse), rules=world.rules, clock=world.clock)
    found = await ledger.find(OWNER)
    assert found is not None
    await ledger.payments.rule(
        RulingWish(record=found[0], ruling=ruling, actor="anna", reason="seen")
    )


async def sweep(world: World, fuse: Fuse) -> None:
    """A fresh worker sweeps until all is told, one that the fuse kills first."""
    for each in (fuse, Fuse(), Fuse()):
        world.clock.advance(200)
        core = make_core(
            store=FusedStore(world.store, each),
            publisher=FusedPublisher(world.broker, each),
            transport=world.providers,
            clock=world.clock,
        )
        with suppress(KilledError):
            await core.sweeper.sweep()


@pytest.mark.parametrize("name", RULINGS)
async def test_a_settlement_killed_at_any_step_and_said_again_decides_once(name: str) -> None:
    """So does a sweeper that is killed while it tells the copy of it."""
    steps = sweeps = 0
    command, sweeper = Fuse(at=1), Fuse()
    while True:
        world = await doubtful()
        with suppress(KilledError):
            await settle(world, RULINGS[name], command)
        await settle(world, RULINGS[name], Fuse())
        await sweep(world, sweeper)
        judge(world, name, (command.passed, sweeper.passed))
        if command.is_blown:
            steps += 1
            command = Fuse(at=command.at + 1)
            continue
        if sweeper.at and not sweeper.is_blown:
            break
        sweeps += 1
        command, sweeper = Fuse(), Fuse(at=sweeper.at + 1)
    assert steps >= 4, "the look and the write"
    assert sweeps > 4


def judge(world: World, name: str, where: object) -> None:
    """Both are decided once, told at least once, and nobody was called again."""
    status, sequence = TOLD[name]
    events = [json.loads(each.body) for each in world.broker.sent_to(Exchange.RESULTS)]
    for operation_id in (OWNER, COPY_ID):
        record = world.store.tables.records[operation_id]
        assert record.sequence == sequence, where
        told = [each for each in events if each["payment_id"] == str(operation_id)]
        by_sequence: dict[int, set[str]] = {}
        for each in told:
            by_sequence.setdefault(each["sequence"], set()).add(each["event_id"])
        assert set(by_sequence) == set(range(1, sequence + 1)), where
        assert all(len(ids) == 1 for ids in by_sequence.values()), where
        assert told[-1]["event_type"].endswith(status.value), where
    acts = Counter(
        entry.action for entry in world.store.tables.audit if entry.operation_id == OWNER
    )
    assert acts == {"unlock" if name == "may be replayed" else "settle": 1}, where
    assert world.providers.applied.total() == 1, where
