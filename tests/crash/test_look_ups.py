"""A worker killed at every step of looking a doubt up: it is settled once, or stays as it was."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product

import pytest

from tests.core import RESET_AFTER, Core
from tests.crash.fuse import CancellingFuse, Fuse, KilledError, PausingFuse
from tests.crash.laws import breaches
from tests.crash.ledgers import CrashLedger, PostgresLedger
from tests.crash.runs import (
    LINK_C,
    LINK_D,
    LINK_E,
    CrashWorld,
    Intent,
    Run,
    drain,
    finished,
    prepared,
    sweep_late,
    working,
)
from worker.lifecycle.reconcile import STEPS
from worker.look_ups import Finding, LookUp, LookUpPlan, PlanState
from worker.reconciler import LEASE
from worker.records import State
from worker.sweeper import UNPUBLISHED_AGE

ACCOUNT = "safedebit"
INTENTS = (LINK_D, LINK_E)
FOUND = (Finding.FOUND, Finding.FOUND_WITHOUT_LINK, Finding.OTHER_AMOUNT, Finding.NOT_FOUND)
ENDS = {
    Finding.FOUND: (State.SUCCEEDED, 2, PlanState.ENDED),
    Finding.FOUND_WITHOUT_LINK: (State.IN_DOUBT, 2, PlanState.EXHAUSTED),
    Finding.OTHER_AMOUNT: (State.IN_DOUBT, 1, PlanState.BREAK),
    Finding.NOT_FOUND: (State.IN_DOUBT, 1, PlanState.PLANNED),
}
LETTER_WITHOUT_BODY = "the dead letter of in_doubt was never published"
"""Of a link found to be lost: the request's only copy is the letter of the doubt before."""


@dataclass(frozen=True, slots=True)
class LookedUp:
    """One finished run, and what its ledger remembers of the look-ups."""

    run: Run
    sent_before: int
    plan: LookUpPlan
    look_ups: tuple[LookUp, ...]


async def doubtful(intent: Intent, finding: Finding, ledger: CrashLedger | None) -> CrashWorld:
    """A world whose payment was applied and is in doubt, due to be looked up."""
    world = await prepared(intent, (RESET_AFTER,) * 2, ledger)
    account = replace(world.book.accounts[ACCOUNT], look_up=True)
    world.book = replace(world.book, accounts={**world.book.accounts, ACCOUNT: account})
    await drain(world)
    sold = world.providers.sold
    for reference, (amount, link) in list(sold.items()):
        match finding:
            case Finding.OTHER_AMOUNT:
                sold[reference] = str(int(amount) + 1), link
            case Finding.FOUND_WITHOUT_LINK:
                sold[reference] = amount, ""
            case Finding.NOT_FOUND:
                del sold[reference]
            case _:
                pass
    world.clock.advance(STEPS[0].total_seconds())
    return world


async def go_round(world: CrashWorld, fuse: Fuse | None = None) -> None:
    async with working(world, fuse) as worker:
        with suppress(KilledError):
            await worker.reconciler.go_round(ACCOUNT)


async def looked_up(
    intent: Intent, finding: Finding, at: int, *, ledger: CrashLedger | None = None
) -> LookedUp:
    """Kill a worker at one step of a round; another goes round when its lease is over."""
    world = await doubtful(intent, finding, ledger)
    sent = len(world.providers.requests)
    fuse = Fuse(at)
    await go_round(world, fuse)
    world.clock.advance(LEASE.total_seconds())
    await go_round(world)
    world.clock.advance(2 * UNPUBLISHED_AGE.total_seconds())
    await sweep_late(world)
    run = await finished(intent, world, fuse.passed)
    async with working(world) as worker:
        plan, look_ups = await remembered(worker, run)
    return LookedUp(run, sent, plan, look_ups)


async def remembered(worker: Core, run: Run) -> tuple[LookUpPlan, tuple[LookUp, ...]]:
    (operation_id,) = run.rows.records
    history = await worker.ledger.history(operation_id)
    assert history is not None
    (plan,) = await worker.ledger.look_ups.plans([operation_id])
    return plan, history.look_ups


def check(looked_up: LookedUp, finding: Finding, *, why: object) -> None:
    """What holds at the end, wherever the first worker was killed."""
    run = looked_up.run
    (record,) = run.rows.records.values()
    assert (record.state, record.sequence, looked_up.plan.state) == ENDS[finding], why
    assert set(breaches(run)) <= {LETTER_WITHOUT_BODY}, why
    ids = [event["event_id"] for event in run.world.broker.events]
    assert len(set(ids)) == record.sequence, "one event more, or none"
    assert looked_up.plan.token is None, why
    reads = [(each.step, each.reference) for each in looked_up.look_ups]
    assert len(set(reads)) == len(reads), "a step is kept once, however often it was read"
    assert len(run.world.providers.requests) == looked_up.sent_before, "reads alone"


def places(ledger: CrashLedger | None, boundaries: Sequence[str]) -> Sequence[int]:
    """Steps to be killed at: all; on PostgreSQL those that leave another state behind."""
    is_slow = isinstance(ledger, PostgresLedger)
    return [
        at
        for at, name in enumerate(boundaries, start=1)
        if not is_slow or name == "after call" or "the commit of" in name or "look_up" in name
    ]


@pytest.mark.parametrize(
    ("intent", "finding"),
    [
        *product(INTENTS, FOUND),
        (LINK_C, Finding.FOUND),  # its link is known to be lost: this reads it back
    ],
    ids=lambda each: getattr(each, "name", str(each)),
)
async def test_killed_at_any_step_a_doubt_is_settled_once_or_left(
    intent: Intent, finding: Finding
) -> None:
    unhurt = await looked_up(intent, finding, 0)
    check(unhurt, finding, why="unhurt")
    names = set(unhurt.run.boundaries)
    assert names >= {"before call", "after take_look_up", "before reconcile", "after reconcile"}
    for at in places(None, unhurt.run.boundaries):
        killed = await looked_up(intent, finding, at)
        check(killed, finding, why=(at, killed.run.boundaries[-1]))


@pytest.mark.parametrize("finding", [Finding.FOUND, Finding.OTHER_AMOUNT])
async def test_a_durable_ledger_survives_the_same_kills(
    real_ledger: CrashLedger, finding: Finding
) -> None:
    unhurt = await looked_up(LINK_D, finding, 0, ledger=real_ledger)
    check(unhurt, finding, why="unhurt")
    assert "before the commit of reconcile" in unhurt.run.boundaries
    for at in places(real_ledger, unhurt.run.boundaries):
        killed = await looked_up(LINK_D, finding, at, ledger=real_ledger)
        check(killed, finding, why=(at, killed.run.boundaries[-1]))


async def test_cancelled_at_any_step_the_doubt_is_free_for_the_next_worker_at_once() -> None:
    """A stop gives the step back: nobody has to wait for a lease to end."""
    unhurt = await looked_up(LINK_E, Finding.FOUND, 0)
    for at in range(1, len(unhurt.run.boundaries) + 1):
        world = await doubtful(LINK_E, Finding.FOUND, None)
        fuse = CancellingFuse(at)
        await stopped_round(world, fuse)
        await go_round(world)
        run = await finished(LINK_E, world, fuse.passed)
        (record,) = run.rows.records.values()
        assert (record.state, record.sequence) == (State.SUCCEEDED, 2), fuse.passed[at - 1]


@pytest.mark.parametrize("finding", [Finding.FOUND, Finding.NOT_FOUND])
async def test_a_worker_frozen_at_any_step_past_its_lease_changes_nothing_any_more(
    finding: Finding,
) -> None:
    """Another one has taken the step over; what the first one read is evidence and no more."""
    unhurt = await looked_up(LINK_E, finding, 0)
    for at in range(1, len(unhurt.run.boundaries) + 1):
        world = await doubtful(LINK_E, finding, None)
        sent = len(world.providers.requests)
        fuse = PausingFuse(at)
        async with working(world, fuse) as frozen:
            going = asyncio.ensure_future(frozen.reconciler.go_round(ACCOUNT))
            pausing = asyncio.ensure_future(fuse.paused.wait())
            await asyncio.wait({going, pausing}, return_when=asyncio.FIRST_COMPLETED)
            pausing.cancel()
            world.clock.advance(LEASE.total_seconds())
            await go_round(world)
            fuse.go_on.set()
            await going
        run = await finished(LINK_E, world, fuse.passed)
        (record,) = run.rows.records.values()
        state, sequence, _ = ENDS[finding]
        assert (record.state, record.sequence) == (state, sequence), fuse.passed[at - 1]
        async with working(world) as worker:
            plan, _ = await remembered(worker, run)
        assert plan.token is None, fuse.passed[at - 1]
        assert len(world.providers.requests) == sent


async def stopped_round(world: CrashWorld, fuse: CancellingFuse) -> None:
    """Go round in a task of its own, as the worker does, and wait for its end."""
    async with working(world, fuse) as worker:
        task: asyncio.Task[object] = asyncio.ensure_future(worker.reconciler.go_round(ACCOUNT))
        fuse.victim = task
        await asyncio.wait({task})
