"""What one subscriber missed is marked, all of it and nothing else."""

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from tests.core import UNAUTHORISED, World, basket, cancellation, initiation
from worker.contract import headers
from worker.identity import identity_of, operation_id_of
from worker.lifecycle.resend import Resending
from worker.messages import Exchange
from worker.model import Origin
from worker.operators import missed
from worker.operators.missed import Missed, MissedAnswers

MINUTE = timedelta(minutes=1)
DCP = Origin("dcp")


@dataclass(slots=True)
class Steps:
    """Collects what a progress bar would be told."""

    told: list[int] = field(default_factory=list)

    def on(self, steps: int) -> None:
        self.told.append(steps)


async def answered(*keys: str) -> World:
    """A world in which these were paid, one a minute, and their answers confirmed."""
    world = World()
    for number, key in enumerate(keys, start=1):
        world.clock.advance(MINUTE.total_seconds())
        asked = initiation(
            key,
            id_commande=f"{number}",
        )
        await world.worker().processor.handle(replace(asked, received_at=world.clock.now()))
    world.clock.advance(10 * MINUTE.total_seconds())
    return world


def all_of(world: World, origin: str = "dcp") -> Missed:
    """Everything that was answered so far."""
    now = world.clock.now()
    return Missed(origin=Origin(origin), since=now - timedelta(days=1), until=now)


async def resend(world: World, wanted: Missed, steps: Steps | None = None) -> Counter[Resending]:
    answers = MissedAnswers(world.worker().ledger, wanted)
    on_progress = (steps or Steps()).on
    return Counter(
        await answers.resend(actor="anna", reason="bound again", on_progress=on_progress)
    )


async def sent_again(world: World) -> list[str]:
    """Event ids that the sweeper sends now."""
    before = len(world.broker.sent_to(Exchange.RESULTS))
    await world.worker().sweeper.sweep()
    again = world.broker.sent_to(Exchange.RESULTS)[before:]
    assert all(message.headers[headers.RESEND] >= 1 for message in again)  # type: ignore[operator]  # a number of ours
    return [message.message_id for message in again]


async def test_every_answer_of_the_origin_goes_out_once_more_under_its_own_id() -> None:
    world = await answered("key-1", "key-2", "key-3")
    first = [message.message_id for message in world.broker.sent_to(Exchange.RESULTS)]
    answers = MissedAnswers(world.worker().ledger, all_of(world))
    assert await answers.count() == 3
    steps = Steps()
    assert await resend(world, all_of(world), steps) == {Resending.MARKED: 3}
    assert sum(steps.told) == 3
    assert sorted(await sent_again(world)) == sorted(first)
    world.clock.advance(200)
    assert await sent_again(world) == []
    assert {entry.action for entry in world.store.tables.audit} == {"resend"}
    assert len(world.store.tables.audit) == 3


async def test_another_origin_and_another_time_are_left_alone() -> None:
    world = await answered("key-1", "key-2", "key-3")
    start = world.clock.now() - 11 * MINUTE  # the second was decided just then
    period = Missed(origin=DCP, since=start, until=start + MINUTE)
    assert await resend(world, period) == {Resending.MARKED: 1}
    (event_id,) = await sent_again(world)
    assert event_id == world.broker.events[1]["event_id"]
    assert await resend(world, all_of(world, "web")) == {}


async def test_what_was_reopened_has_no_answer_to_send() -> None:
    world = World()
    world.providers.behaviours = [UNAUTHORISED]
    await world.worker().processor.handle(initiation())
    operation_id = operation_id_of(identity_of("dcp", "key-1"))
    await world.worker().ledger.payments.reopen(
        operation_id, from_sequence=1, actor="anna", run="R-1", reason="mended"
    )
    world.clock.advance(200)
    assert await MissedAnswers(world.worker().ledger, all_of(world)).count() == 0


async def test_of_a_cancelled_payment_only_the_newest_answer_is_sent() -> None:
    """Its cancellation answers for both: the first one was overtaken."""
    world = World()
    worker = world.worker()
    await worker.processor.handle(basket())
    await worker.processor.handle(cancellation())
    overtaken = world.broker.events[0]["event_id"]
    world.clock.advance(200)
    await resend(world, all_of(world))
    again = await sent_again(world)
    assert again
    assert overtaken not in again


async def test_pages_and_marks_at_once_leave_nothing_out(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await answered(*(f"key-{number}" for number in range(7)))
    monkeypatch.setattr(missed, "LOOKED_AT", 3)
    monkeypatch.setattr(missed, "AT_ONCE", 2)
    steps = Steps()
    assert await resend(world, all_of(world), steps) == {Resending.MARKED: 7}
    assert max(steps.told) <= 2
    assert len(set(await sent_again(world))) == 7
