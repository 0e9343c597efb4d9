"""Every intent, killed before and after every call of every port, ends in one true answer."""

from itertools import combinations_with_replacement, product

import pytest

from tests.core import (
    ANSWERS,
    DECLINES,
    GATEWAY_LOST_IT,
    REFUSED,
    REFUSED_CONNECTION,
    RESET_AFTER,
    RESET_BEFORE,
    SILENCE,
    SILENT,
    SILENT_BUT_KEPT,
    TOO_MANY,
    UNAUTHORISED,
    UNROUTABLE,
    Behaviour,
    Said,
)
from tests.crash.fuse import LosingFuse
from tests.crash.laws import breaches
from tests.crash.runs import (
    ADD_E,
    HISTORIES,
    INTENTS,
    LINK_D,
    REMOVE_B,
    Intent,
    fused_run,
    kill_run,
)
from worker.messages import Exchange

BEHAVIOURS = {
    "answers": (ANSWERS,),
    "refused, then answers": (REFUSED_CONNECTION, ANSWERS),
    "refused for long": (REFUSED_CONNECTION,) * 5,
    "reset before it acted": (RESET_BEFORE,),
    "reset after it acted": (RESET_AFTER,),
    "acted and silent, twice": (SILENCE, SILENCE),
    "lost before, then after": (RESET_BEFORE, GATEWAY_LOST_IT),
    "lost after, then busy": (RESET_AFTER, TOO_MANY, ANSWERS),
    "lost after, then our password": (SILENCE, UNAUTHORISED),
    "declines": (DECLINES, DECLINES),
}


DURABLE_STEPS = (
    "claim",
    "claim_cancellation",
    "call",
    "settle",
    "publish of the ladder copy",
    "confirm of the ladder copy",
    "publish of the dead letter",
    "confirm of the dead letter",
    "publish of the event",
    "confirm of the event",
    "mark",
    "acknowledgement",
)
"""What a worker does that lasts; a replay's and a sweeper's own steps have tests of their own."""


async def test_every_durable_step_has_a_boundary_before_and_after() -> None:
    passed: set[str] = set()
    for intent, behaviours in product(INTENTS, BEHAVIOURS.values()):
        passed |= set((await kill_run(intent, behaviours, 0)).boundaries)
    missing = {f"{side} {step}" for side in ("before", "after") for step in DURABLE_STEPS} - passed
    # What follows a publish is its confirm: between the two the broker has the message already.
    assert missing == {f"after {step}" for step in DURABLE_STEPS if step.startswith("publish")}


@pytest.mark.parametrize("intent", INTENTS, ids=lambda intent: intent.name)
@pytest.mark.parametrize("behaviours", BEHAVIOURS.values(), ids=BEHAVIOURS)
async def test_a_worker_killed_at_any_boundary_pays_once_and_answers(
    intent: Intent, behaviours: tuple[Behaviour, ...]
) -> None:
    """The count of runs is the count of boundaries an unhurt worker passes."""
    unhurt = await kill_run(intent, behaviours, 0)
    assert breaches(unhurt) == []
    assert len(unhurt.boundaries) >= 10
    for at in range(1, len(unhurt.boundaries) + 1):
        run = await kill_run(intent, behaviours, at)
        assert breaches(run) == [], (at, run.boundaries[-1], run.world.broker.steps)


@pytest.mark.parametrize("intent", HISTORIES, ids=lambda intent: intent.name)
@pytest.mark.parametrize("name", ["answers", "refused, then answers", "reset after it acted"])
async def test_a_replayed_or_doubled_payment_killed_at_any_boundary_is_paid_once(
    intent: Intent, name: str
) -> None:
    unhurt = await kill_run(intent, BEHAVIOURS[name], 0)
    for at in range(1, len(unhurt.boundaries) + 1):
        run = await kill_run(intent, BEHAVIOURS[name], at)
        assert breaches(run) == [], (at, run.boundaries[-1], run.world.broker.steps)


@pytest.mark.parametrize("intent", [LINK_D, ADD_E, REMOVE_B], ids=lambda intent: intent.name)
@pytest.mark.parametrize("first", [ANSWERS, RESET_AFTER], ids=["answers", "reset after it acted"])
async def test_a_worker_killed_twice_pays_once_and_answers(
    intent: Intent, first: Behaviour
) -> None:
    """The second kill hits the worker that cleans up after the first."""
    behaviours = (first, first)
    unhurt = await kill_run(intent, behaviours, 0)
    places = range(1, len(unhurt.boundaries) + 1, 3)
    for kills in combinations_with_replacement(places, 2):
        run = await kill_run(intent, behaviours, *kills)
        assert breaches(run) == [], (kills, run.world.broker.steps)


TROUBLES = {
    f"{exchange.value}: {name}": {exchange: said}
    for exchange, (name, said) in product(
        (Exchange.RESULTS, Exchange.DEAD_LETTER, Exchange.RETRY),
        {
            "silent": SILENT,
            "silent but kept": SILENT_BUT_KEPT,
            "full": REFUSED,
            "unbound": UNROUTABLE,
        }.items(),
    )
}


@pytest.mark.parametrize("intent", [LINK_D, ADD_E], ids=lambda intent: intent.name)
@pytest.mark.parametrize("scripts", TROUBLES.values(), ids=TROUBLES)
async def test_a_worker_killed_while_the_broker_is_in_trouble_loses_no_answer(
    intent: Intent, scripts: dict[Exchange, Said]
) -> None:
    behaviours = (RESET_AFTER, SILENCE)
    unhurt = await kill_run(intent, behaviours, 0, scripts=scripts)
    assert breaches(unhurt) == []
    for at in range(1, len(unhurt.boundaries) + 1):
        run = await kill_run(intent, behaviours, at, scripts=scripts)
        assert breaches(run) == [], (at, run.boundaries[-1], run.world.broker.steps)


@pytest.mark.parametrize("intent", INTENTS + HISTORIES, ids=lambda intent: intent.name)
@pytest.mark.parametrize("name", ["answers", "refused, then answers", "lost after, then busy"])
async def test_a_ledger_lost_for_a_moment_at_any_call_costs_no_payment(
    intent: Intent, name: str
) -> None:
    """The worker lives on and does not learn whether its write was made (invariant I2)."""
    counting = LosingFuse()
    await fused_run(intent, BEHAVIOURS[name], counting)
    for at in range(1, len(counting.passed) + 1):
        fuse = LosingFuse(at)
        run = await fused_run(intent, BEHAVIOURS[name], fuse)
        assert breaches(run) == [], (at, fuse.passed[at - 1], run.world.broker.steps)
