"""Walking a queue on paper: alone, one letter in hand, nothing let go unconfirmed."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from tests.core import REFUSED, SILENT, UNAUTHORISED, World, initiation
from tests.fakes_letters import PaperQueue
from worker.identity import identity_of, operation_id_of
from worker.ledger import Ledger
from worker.messages import Exchange
from worker.model import Source
from worker.operators.walks import (
    LEASE,
    RENEW_SECONDS,
    NotConfirmedError,
    QueueLockedError,
    QueueLockLostError,
    Walk,
    holding,
    walking,
)
from worker.ports import StoreUnavailableError


@dataclass(slots=True)
class Office:
    """A world whose letters lie in a paper queue."""

    world: World = field(default_factory=World)
    queue: PaperQueue = field(default_factory=PaperQueue)
    collected: int = 0

    async def failed(self, *keys: str) -> "Office":
        for number, key in enumerate(keys):
            self.world.providers.behaviours = [UNAUTHORISED]
            request = initiation(key, id_commande=f"{number + 1}")
            await self.world.worker().processor.handle(request)
        self.collect()
        return self

    def collect(self) -> None:
        """Move the letters the broker got since the last time into the queue."""
        for message in self.world.broker.letters[self.collected :]:
            self.queue.letters.append(self.world.broker.copy(message, Source.ELSEWHERE))
        self.collected = len(self.world.broker.letters)

    @property
    def ledger(self) -> Ledger:
        return self.world.worker().ledger

    @property
    def names(self) -> list[str | None]:
        return [letter.message_id for letter in self.queue.letters]


async def walk_of(office: Office, purpose: str = "a look") -> list[str | None]:
    """Walk once round keeping everything, and name what was met."""
    met = []
    async with walking(
        queue=office.queue,
        publisher=office.world.broker,
        ledger=office.ledger,
        name="dead-letters",
        actor="anna",
        purpose=purpose,
    ) as walk:
        async for letter in walk:
            met.append(letter.delivery.message_id)
            await letter.keep()
            office.collect()
        assert walk.is_complete
    return met


async def test_every_letter_is_met_once_and_stays_in_its_order() -> None:
    office = await Office().failed("key-1", "key-2", "key-3")
    assert await walk_of(office) == ["key-1", "key-2", "key-3"]
    assert office.names == ["key-1", "key-2", "key-3"]
    assert office.queue.in_hand == 0


async def test_a_letter_says_whose_it_is() -> None:
    office = await Office().failed("key-1")
    async with walking(
        queue=office.queue,
        publisher=office.world.broker,
        ledger=office.ledger,
        name="dead-letters",
        actor="anna",
        purpose="a look",
    ) as walk:
        async for letter in walk:
            assert letter.operation_id == operation_id_of(identity_of("dcp", "key-1"))
            assert (letter.sequence, letter.replay_count, letter.is_unanswered) == (1, 0, False)
            assert letter.message_name is None  # any word may name a person
            await letter.remove()
            assert letter.is_settled
    assert office.names == []


async def test_what_is_left_as_it_is_goes_back_to_the_front() -> None:
    office = await Office().failed("key-1", "key-2")
    async with walking(
        queue=office.queue,
        publisher=office.world.broker,
        ledger=office.ledger,
        name="dead-letters",
        actor="anna",
        purpose="a look",
    ) as walk:
        async for _letter in walk:
            break
        assert not walk.is_complete
    assert office.names == ["key-1", "key-2"]
    assert office.queue.in_hand == 0


@pytest.mark.parametrize("said", [REFUSED, SILENT], ids=["refused", "silent"])
async def test_an_unconfirmed_copy_ends_the_walk_and_its_letter_stays(said: object) -> None:
    office = await Office().failed("key-1", "key-2")
    office.world.broker.scripts[Exchange.DEAD_LETTER] = [said]  # type: ignore[list-item]
    with pytest.raises(NotConfirmedError):
        await walk_of(office)
    assert office.names == ["key-1", "key-2"]
    assert office.queue.in_hand == 0
    assert await walk_of(office) == ["key-1", "key-2"]  # the lock was given back


async def test_two_walks_at_once_are_refused_by_name() -> None:
    office = await Office().failed("key-1")
    async with holding(office.ledger, "dead-letters", actor="bert", purpose="replay R-7"):
        with pytest.raises(QueueLockedError) as refused:
            await walk_of(office)
    assert (refused.value.holder.actor, refused.value.holder.purpose) == ("bert", "replay R-7")
    assert await walk_of(office) == ["key-1"]


async def test_a_walk_that_died_stands_in_the_way_for_its_lease_only() -> None:
    office = await Office().failed("key-1")
    dead = holding(office.ledger, "dead-letters", actor="bert", purpose="died")
    await dead.__aenter__()
    office.world.clock.advance(LEASE.total_seconds() - 1)
    with pytest.raises(QueueLockedError):
        await walk_of(office)
    office.world.clock.advance(1)
    assert await walk_of(office) == ["key-1"]


async def test_a_long_walk_renews_its_lease() -> None:
    office = await Office().failed(*(f"key-{n}" for n in range(6)))
    async with walking(
        queue=office.queue,
        publisher=office.world.broker,
        ledger=office.ledger,
        name="dead-letters",
        actor="anna",
        purpose="slow",
    ) as walk:
        async for letter in walk:
            await letter.keep()
            office.world.clock.advance(RENEW_SECONDS)
            assert walk.lock.until > office.world.clock.now()
        assert walk.is_complete


async def test_a_walk_that_stood_still_too_long_gives_way() -> None:
    """The other one has the queue: what the first does from now on would be a second walk."""
    office = await Office().failed("key-1", "key-2")
    async with walking(
        queue=office.queue,
        publisher=office.world.broker,
        ledger=office.ledger,
        name="dead-letters",
        actor="anna",
        purpose="slow",
    ) as walk:
        async for letter in walk:
            await letter.keep()
            break
        office.world.clock.advance(timedelta(minutes=2).total_seconds())
        async with holding(office.ledger, "dead-letters", actor="bert", purpose="quick"):
            with pytest.raises(QueueLockLostError) as lost:
                await _next_of(walk)
    assert lost.value.holder.actor == "bert"
    assert office.queue.in_hand == 0


async def _next_of(walk: Walk) -> None:
    async for _letter in walk:
        pytest.fail("it walked on")


async def test_a_stopped_walk_gives_its_queue_back() -> None:
    office = await Office().failed("key-1")
    reached = asyncio.Event()

    async def hold_for_ever() -> None:
        async with holding(office.ledger, "dead-letters", actor="bert", purpose="hanging"):
            reached.set()
            await asyncio.get_running_loop().create_future()

    task = asyncio.ensure_future(hold_for_ever())
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await walk_of(office) == ["key-1"]


async def test_without_its_ledger_no_walk_begins_and_none_fails_to_end() -> None:
    office = await Office().failed("key-1")
    worker = office.world.worker()
    async with holding(worker.ledger, "dead-letters", actor="bert", purpose="cut off"):
        office.world.store.unavailable = True
        with pytest.raises(StoreUnavailableError):
            await walk_of(office)
    assert office.names == ["key-1"]
