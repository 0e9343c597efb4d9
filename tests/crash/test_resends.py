"""An operator's ``results resend`` killed anywhere: no answer is lost or changed."""

import json
from collections import Counter, deque
from contextlib import suppress
from datetime import timedelta

from tests.core import UNROUTABLE, World, initiation
from tests.crash.fuse import Fuse, FusedLetterQueue, FusedPublisher, KilledError
from tests.crash.fused_store import FusedStore
from tests.fakes_letters import PaperQueue
from worker.ledger import Ledger
from worker.messages import Exchange
from worker.model import Origin, Source
from worker.operators.missed import Missed, MissedAnswers
from worker.operators.unclaimed import UnclaimedEvents


async def unheard() -> tuple[World, PaperQueue]:
    """Two answers nobody was bound for, and a stranger's event between their copies."""
    world = World()
    world.broker.scripts[Exchange.RESULTS] = [UNROUTABLE, UNROUTABLE]
    for number in (1, 2):
        await world.worker().processor.handle(initiation(f"key-{number}", id_commande=f"{number}"))
    first, second = (
        world.broker.copy(message, Source.ELSEWHERE) for message in world.broker.unclaimed
    )
    return world, PaperQueue(deque([first, initiation("a stranger's"), second]))


async def walk(world: World, queue: PaperQueue, fuse: Fuse) -> None:
    """One run of the command, on the world as it stands, until the fuse ends it."""
    ledger = Ledger(store=FusedStore(world.store, fuse), rules=world.rules, clock=world.clock)
    events = UnclaimedEvents(
        ledger=ledger,
        queue=FusedLetterQueue(queue, fuse),
        publisher=FusedPublisher(world.broker, fuse),
    )
    await events.resend(actor="anna", reason="dcp is bound")


async def killed_at(place: int) -> bool:
    """Kill the walk there, walk again, sweep, and judge; whether the fuse was reached."""
    world, queue = await unheard()
    owed = {message.message_id: message.body for message in world.broker.unclaimed}
    fuse = Fuse(at=place)
    try:
        await walk(world, queue, fuse)
    except KilledError:
        queue.lose_connection()
    await walk(world, queue, Fuse())
    world.clock.advance(200)
    await world.worker().sweeper.sweep()
    world.clock.advance(200)
    await world.worker().sweeper.sweep()
    sent = world.broker.sent_to(Exchange.RESULTS)
    assert {each.message_id: each.body for each in sent} == owed, fuse.passed
    assert len(sent) == len(owed), "one wish is one sending, however often it was marked"
    assert {json.loads(each.body)["event_id"] for each in sent} == set(owed)
    assert not queue.held
    assert world.providers.applied.total() == len(owed), "sending again calls nobody"
    kept = [message for message in world.broker.unclaimed if message.message_id not in owed]
    strangers = [each for each in queue.letters if each.message_id not in owed]
    assert kept or strangers, "what the ledger does not know stays"
    return fuse.is_blown


async def test_a_walk_killed_anywhere_loses_no_answer() -> None:
    """Marked but not let go, it is marked again; let go, it is owed by the ledger."""
    place = 1
    while await killed_at(place):
        place += 1
    assert place > 20, "the steps of three copies"


async def marked(world: World, fuse: Fuse) -> None:
    """One run of ``results resend --origin``, until the fuse ends it."""
    ledger = Ledger(store=FusedStore(world.store, fuse), rules=world.rules, clock=world.clock)
    now = world.clock.now()
    period = Missed(origin=Origin("dcp"), since=now - timedelta(days=1), until=now)
    answers = MissedAnswers(ledger, period)
    await answers.count()
    await answers.resend(actor="anna", reason="bound again", on_progress=lambda _steps: None)


async def marking_killed_at(place: int) -> bool:
    """Kill the command there, let a worker sweep, then run the command again and sweep."""
    world = World()
    for number in (1, 2, 3):
        await world.worker().processor.handle(initiation(f"key-{number}", id_commande=f"{number}"))
    owed = {message.message_id: message.body for message in world.broker.sent_to(Exchange.RESULTS)}
    world.broker.published.clear()
    world.clock.advance(200)
    fuse = Fuse(at=place)
    with suppress(KilledError):
        await marked(world, fuse)
    await world.worker().sweeper.sweep()
    world.clock.advance(200)
    await marked(world, Fuse())
    for _ in range(2):
        await world.worker().sweeper.sweep()
        world.clock.advance(200)
    sent = world.broker.sent_to(Exchange.RESULTS)
    assert {each.message_id: each.body for each in sent} == owed, fuse.passed
    assert all(count <= 2 for count in Counter(each.message_id for each in sent).values())
    assert world.providers.applied.total() == len(owed), "sending again calls nobody"
    return fuse.is_blown


async def test_a_resend_of_an_origin_killed_anywhere_is_made_good_by_the_next() -> None:
    """What was marked is sent, what was not is marked by the next run: nothing else is sent."""
    place = 1
    while await marking_killed_at(place):
        place += 1
    assert place > 8, "the look, and the marks of three answers"
