"""An operator's ``dead-letters sync`` killed anywhere: no letter is lost, and the index agrees."""

from collections import Counter, deque

from tests.core import UNAUTHORISED, World, initiation
from tests.crash.fuse import Fuse, FusedLetterQueue, FusedPublisher, KilledError
from tests.crash.fused_store import FusedStore
from tests.fakes_letters import PaperQueue, given_up
from worker.identity import identity_of, operation_id_of
from worker.ledger import Ledger
from worker.model import Delivery, Source
from worker.operators.unanswered import synchronise

KEYS = [operation_id_of(identity_of("dcp", f"key-{number}")) for number in range(4)]


def asked(number: int) -> Delivery:
    return initiation(f"key-{number}", id_commande=f"{number}")


async def sync(world: World, queue: PaperQueue, fuse: Fuse) -> None:
    """One run of the command until the fuse ends it; what it published comes to the queue."""
    seen = len(world.broker.letters)
    try:
        await synchronise(
            ledger=Ledger(
                store=FusedStore(world.store, fuse), rules=world.rules, clock=world.clock
            ),
            queue=FusedLetterQueue(queue, fuse),
            publisher=FusedPublisher(world.broker, fuse),
            actor="anna",
        )
    except KilledError:
        queue.lose_connection()
    queue.letters.extend(
        world.broker.copy(letter, Source.ELSEWHERE) for letter in world.broker.letters[seen:]
    )
    world.clock.advance(31)  # a killed walk's lock is free again after its lease


async def killed_at(place: int) -> bool:
    """One letter was noted and is gone since, one is decided, two are new."""
    world, queue = World(), PaperQueue(deque([given_up(asked(0))]))
    await sync(world, queue, Fuse())
    queue.letters.clear()
    world.providers.behaviours = [UNAUTHORISED]
    await world.worker().processor.handle(asked(1))
    decided = world.broker.copy(world.broker.letters[-1], Source.ELSEWHERE)
    queue.letters.extend([given_up(asked(2)), decided, given_up(asked(3))])
    fuse = Fuse(at=place)
    await sync(world, queue, fuse)
    there = Counter(letter.message_id for letter in queue.letters)
    assert set(there) == {"key-1", "key-2", "key-3"}, fuse.passed
    await sync(world, queue, Fuse())
    ledger = world.worker().ledger
    listed = {entry.operation_id: entry.code async for entry in ledger.letters.listed()}
    assert set(listed) == set(KEYS[1:]), fuse.passed
    assert [listed[KEYS[2]], listed[KEYS[3]]] == [None, None]
    assert {letter.body for letter in queue.letters} == {asked(n).body for n in (1, 2, 3)}
    assert sum(world.providers.applied.values()) == 0
    return fuse.is_blown


async def test_a_sync_killed_anywhere_is_finished_by_the_next_one() -> None:
    """Noted but not put back, or put back but not noted: the next walk meets the letter again."""
    place = 1
    while await killed_at(place):
        place += 1
    assert place > 20, "the steps of three letters"
