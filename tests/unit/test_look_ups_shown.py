"""What a person reads of the look-ups of a doubt, and whether there is something to wait for."""

import pytest

from tests.core import World, listing
from tests.unit.test_reconciler import doubtful, go_round, pass_time, until_due
from worker.cli.doubts_listed import lines_of, row_of
from worker.lifecycle.reconcile import STEPS
from worker.model import OperationClass
from worker.operators.doubts import Doubt, Doubts


async def only_doubt(world: World) -> Doubt:
    ledger = world.worker().ledger
    doubts = Doubts(ledger=ledger, book=world.book, rules=world.rules)
    (doubt,) = [each async for each in doubts.oldest(limit=9, account=None, company=None)]
    return doubt


def said(doubt: Doubt, world: World) -> list[str]:
    return [line for line in lines_of(doubt, world.clock.now()) if "look-up" in line]


async def test_a_doubt_that_nobody_has_looked_up_says_nothing_of_it() -> None:
    world = await doubtful()
    assert said(await only_doubt(world), world) == []
    row = row_of(await only_doubt(world), world.clock.now())
    assert (row["look_ups"], row["next_look_up_at"], row["look_ups_state"]) == ([], None, None)


async def test_what_the_last_step_read_and_when_the_next_one_comes() -> None:
    world = await doubtful(operation_class=OperationClass.ORPHAN_SAFE)
    older, newer = world.providers.references["key-1@example.org"]
    world.providers.search_facts = [listing()] * 4
    await until_due(world)
    pass_time(world, STEPS[1])
    await go_round(world)
    first, second, ahead = said(await only_doubt(world), world)
    assert first.endswith(f"reference {newer}, not found")
    assert second.endswith(f"reference {older}, not found")
    assert ahead == "next look-up: 2026-11-21 20:29:33Z"
    row = row_of(await only_doubt(world), world.clock.now())
    assert row["look_ups_state"] == "planned"


@pytest.mark.parametrize(
    ("amount", "read", "ahead"),
    [
        ("1260", "other amount 12.60 EUR", "the provider has another amount"),
        ("1250", "found without link", "this waits for a person"),
    ],
)
async def test_what_waits_for_a_person_says_so(amount: str, read: str, ahead: str) -> None:
    world = await doubtful()
    (reference,) = world.providers.references["key-1@example.org"]
    world.providers.search_facts = [listing((reference, amount, None))]
    await until_due(world)
    last, following = said(await only_doubt(world), world)
    assert last.endswith(f"reference {reference}, {read}")
    assert following.startswith("next look-up: none, ")
    assert ahead in following
