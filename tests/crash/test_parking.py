"""Setting letters aside and bringing them back, killed anywhere: nothing lost, and it ends well."""

from collections import Counter
from collections.abc import Awaitable, Collection
from dataclasses import dataclass, field, replace
from datetime import timedelta
from uuid import UUID

import pytest

from tests.core import REFUSED, UNAUTHORISED, World, initiation
from tests.crash.fuse import Fuse, FusedLetterQueue, FusedPublisher, KilledError
from tests.crash.fused_store import FusedStore
from tests.fakes_clock import START
from tests.fakes_letters import PaperQueue, given_up
from worker.codes import Code
from worker.identity import identity_of, operation_id_of
from worker.ledger import Ledger
from worker.letters import EVERY_LETTER, LetterFilter
from worker.messages import Exchange
from worker.model import Delivery, Source
from worker.operators.books import Bookkeeper, Walk
from worker.operators.dead_letters import DeadLetters
from worker.operators.parking import Parked, Parking, ParkingAct, ParkingOutcome
from worker.operators.unanswered import synchronise

ACT = ParkingAct(actor="anna", reason="paid by hand", worker_version="1")
NEIGHBOUR, DECIDED, UNANSWERED = (
    operation_id_of(identity_of("dcp", f"key-{number}")) for number in range(3)
)
WANTED = frozenset({DECIDED, UNANSWERED})


def asked(number: int) -> Delivery:
    return initiation(f"key-{number}", id_commande=f"{number}")


@dataclass(slots=True)
class Desk:
    """A world with both queues, and the tool on top of them."""

    world: World = field(default_factory=World)
    dead: PaperQueue = field(default_factory=PaperQueue)
    parking: PaperQueue = field(default_factory=PaperQueue)
    seen: int = 0
    told: list[ParkingOutcome] = field(default_factory=list)

    def collect(self) -> None:
        """Move what was published since the last time to where the broker routes it."""
        for message in self.world.broker.published[self.seen :]:
            if message.exchange is Exchange.DEAD_LETTER and message.routing_key == "dead":
                self.dead.letters.append(self.world.broker.copy(message, Source.ELSEWHERE))
            if message.exchange is Exchange.REPLAY:
                assert message.routing_key == "parking"
                self.parking.letters.append(self.world.broker.copy(message, Source.REPLAY))
        self.seen = len(self.world.broker.published)

    def tool(self, fuse: Fuse) -> tuple[Ledger, Parking]:
        ledger = Ledger(
            store=FusedStore(self.world.store, fuse),
            rules=self.world.rules,
            clock=self.world.clock,
        )
        return ledger, Parking(
            ledger=ledger,
            dead_letters=FusedLetterQueue(self.dead, fuse),
            parking=FusedLetterQueue(self.parking, fuse),
            publisher=FusedPublisher(self.world.broker, fuse),
            act=ACT,
            tell=self.told.append,
        )

    async def resolve(self, fuse: Fuse, wanted: Collection[UUID] | LetterFilter) -> None:
        """One run of the command, by ids or by a filter, until the fuse ends it."""
        ledger, parking = self.tool(fuse)
        unfinished: Collection[UUID] = ()
        if isinstance(wanted, LetterFilter):
            unfinished = await ids_of(ledger, wanted.of_the_resolved())
            wanted = await ids_of(ledger, wanted)
        await self._run(parking.resolve(wanted, unfinished=unfinished))

    async def restore(self, fuse: Fuse) -> None:
        _ledger, parking = self.tool(fuse)
        await self._run(parking.restore(WANTED))

    async def _run(self, walk: Awaitable[bool]) -> None:
        try:
            assert await walk
        except KilledError:
            self.dead.lose_connection()
            self.parking.lose_connection()
        self.collect()
        self.world.clock.advance(31)  # a killed walk's lock is free again after its lease

    async def listed(self, wanted: LetterFilter = EVERY_LETTER) -> list[UUID]:
        return sorted(await ids_of(self.world.worker().ledger, wanted))

    def owners(self, queue: PaperQueue) -> Counter[UUID]:
        return Counter(UUID(str(letter.headers["payment-id"])) for letter in queue.letters)


async def ids_of(ledger: Ledger, wanted: LetterFilter) -> frozenset[UUID]:
    return frozenset([entry.operation_id async for entry in ledger.letters.listed(wanted)])


async def desk() -> Desk:
    """A neighbour's letter, a decided one and one of the broker's own, in that order."""
    place = Desk()
    for number in (0, 1):
        place.world.providers.behaviours = [UNAUTHORISED]
        await place.world.worker().processor.handle(asked(number))
    place.collect()
    place.dead.letters.append(given_up(asked(2)))
    await synchronise(
        ledger=place.world.worker().ledger,
        queue=place.dead,
        publisher=place.world.broker,
        actor="anna",
    )
    place.collect()
    return place


async def swept(place: Desk) -> None:
    place.world.clock.advance(200)
    await place.world.worker().sweeper.sweep()


@pytest.mark.parametrize("wanted", [WANTED, LetterFilter()], ids=["by id", "by filter"])
async def test_a_resolve_killed_at_any_step_is_finished_by_the_next_one(
    wanted: Collection[UUID] | LetterFilter,
) -> None:
    """The filter means all three letters, the ids all but the neighbour's."""
    meant = WANTED if wanted is WANTED else WANTED | {NEIGHBOUR}
    place = 0
    while True:
        place += 1
        at = await desk()
        fuse = Fuse(at=place)
        await at.resolve(fuse, wanted)
        assert at.dead.letters or at.parking.letters, fuse.passed
        there = at.owners(at.dead) + at.owners(at.parking)
        assert set(there) == {NEIGHBOUR, DECIDED, UNANSWERED}, fuse.passed
        await at.resolve(Fuse(), wanted)
        where = (place, fuse.passed[-1:])
        assert set(at.owners(at.parking)) == meant, where
        assert set(at.owners(at.dead)) == {NEIGHBOUR} - meant, where
        assert await at.listed() == sorted({NEIGHBOUR} - meant), where
        assert await at.listed(LetterFilter(resolved=True)) == sorted(meant), where
        assert {letter.headers.get("error-code") for letter in at.parking.letters} == {
            "provider_credentials",
            "delivery_limit_reached",
        }, where
        await swept(at)
        (event,) = [
            each for each in at.world.broker.events if each["payment_id"] == str(UNANSWERED)
        ]
        assert (event["code"], event["sequence"]) == ("delivery_limit_reached", 1), where
        found = await at.world.worker().ledger.history(DECIDED)
        assert found is not None
        assert [entry.action for entry in found.audit] == ["resolve"], where
        assert sum(at.world.providers.applied.values()) == 0
        if not fuse.is_blown:
            break
    assert place > 25, "the steps of three letters"


async def test_a_restore_killed_at_any_step_is_finished_by_the_next_one() -> None:
    place = 0
    while True:
        place += 1
        at = await desk()
        await at.resolve(Fuse(), LetterFilter())
        fuse = Fuse(at=place)
        await at.restore(fuse)
        there = at.owners(at.dead) + at.owners(at.parking)
        assert set(there) == {NEIGHBOUR, DECIDED, UNANSWERED}, fuse.passed
        await at.restore(Fuse())
        where = (place, fuse.passed[-1:])
        assert set(at.owners(at.dead)) == WANTED, where
        assert set(at.owners(at.parking)) == {NEIGHBOUR}, where
        assert await at.listed() == sorted(WANTED), where
        assert await at.listed(LetterFilter(resolved=True)) == [NEIGHBOUR], where
        codes = {entry.code async for entry in at.world.worker().ledger.letters.listed()}
        assert codes == {Code.PROVIDER_CREDENTIALS, Code.DELIVERY_LIMIT_REACHED}, where
        if not fuse.is_blown:
            break
    assert place > 20, "the steps of three letters"


async def test_of_two_requests_under_one_key_only_the_first_is_resolved_however_often_killed() -> (
    None
):
    """The second is owed an answer of its own, so it stays listed for a worker to refuse it."""
    place = 0
    while True:
        place += 1
        at = Desk()
        other = replace(asked(2), body=asked(3).body)
        at.dead.letters += [given_up(asked(2)), given_up(other)]
        fuse = Fuse(at=place)
        await at.resolve(fuse, {UNANSWERED})
        await at.resolve(Fuse(), {UNANSWERED})
        where = (place, fuse.passed[-1:])
        assert {letter.body for letter in at.parking.letters} == {asked(2).body}, where
        assert {letter.body for letter in at.dead.letters} == {other.body}, where
        assert await at.listed() == [UNANSWERED], where
        said = at.told[-1]
        assert (said.result, "another request" in str(said.reason)) == (Parked.LEFT_ALONE, True)
        if not fuse.is_blown:
            break
    assert place > 10, "the steps of two letters"


async def test_letters_that_no_queue_holds_are_seen_to_and_listed_again_all_the_same() -> None:
    """Nothing else could end an exception whose letter was purged."""
    at = await desk()
    at.dead.letters.clear()
    stranger = operation_id_of(identity_of("dcp", "key-9"))
    await at.resolve(Fuse(), WANTED | {stranger})
    assert {each.operation_id: each.result for each in at.told} == {
        DECIDED: Parked.WITHOUT_LETTER,
        UNANSWERED: Parked.WITHOUT_LETTER,
        stranger: Parked.LEFT_ALONE,
    }
    assert await at.listed() == [NEIGHBOUR]
    at.told.clear()
    await at.restore(Fuse())
    assert {each.operation_id: each.result for each in at.told} == {
        DECIDED: Parked.WITHOUT_LETTER,
        UNANSWERED: Parked.LEFT_ALONE,
    }
    assert await at.listed() == sorted([NEIGHBOUR, DECIDED])
    at.told.clear()
    await at.restore(Fuse())
    assert {each.result for each in at.told} == {Parked.LEFT_ALONE}, "none of it is set aside"


async def test_a_walk_the_broker_cuts_short_leaves_the_rest_as_it_was() -> None:
    at = await desk()
    at.world.broker.scripts[Exchange.REPLAY] = [REFUSED]
    _ledger, parking = at.tool(Fuse())
    assert not await parking.resolve(WANTED)
    at.collect()
    assert set(at.owners(at.dead)) == {NEIGHBOUR, DECIDED, UNANSWERED}
    assert at.told == []
    await at.resolve(Fuse(), WANTED)
    assert {each.result for each in at.told} == {Parked.RESOLVED}
    at.world.broker.scripts[Exchange.DEAD_LETTER] = [REFUSED]
    assert not await parking.restore(WANTED)
    at.collect()
    assert set(at.owners(at.parking)) == WANTED


async def test_the_books_miss_no_letter_that_was_set_aside() -> None:
    at = await desk()
    await at.resolve(Fuse(), WANTED)
    await swept(at)
    ledger = at.world.worker().ledger
    letters = DeadLetters(ledger=ledger, queue=at.dead, publisher=at.world.broker, actor="anna")
    keeper = Bookkeeper(ledger=ledger, clock=at.world.clock, letters=letters)
    day = timedelta(days=1)
    for walk in Walk:
        report = await keeper.report(since=START - day, until=START + day, walk=walk)
        at.collect()
        assert report.findings == (), walk
        assert sum(report.books.letters.values()) == 1
