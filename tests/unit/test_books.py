"""The books: every exception is found with its id, and a healthy ledger has none."""

from collections import deque
from dataclasses import dataclass, field, replace
from datetime import timedelta
from uuid import UUID

import pytest

from tests.core import (
    CONFIRMED,
    REFUSED,
    RESET_AFTER,
    UNAUTHORISED,
    World,
    initiation,
    link_account,
    listing,
    with_account,
)
from tests.fakes_clock import START
from tests.fakes_letters import PaperQueue
from tests.provider_examples import LINK_ROUTE
from tests.rows import claim_wish
from worker.identity import identity_of, operation_id_of
from worker.lifecycle.reconcile import STEPS
from worker.messages import Exchange
from worker.model import Delivery, OperationClass, Source
from worker.operators.books import Bookkeeper, Report, Walk
from worker.operators.dead_letters import DeadLetters
from worker.operators.findings import Flaw
from worker.operators.unanswered import synchronise
from worker.records import Kind, State

DAY = timedelta(days=1)
HOURS_3 = timedelta(hours=3).total_seconds()


def payment_id(number: int) -> UUID:
    return operation_id_of(identity_of("dcp", f"key-{number}"))


@dataclass(slots=True)
class Office:
    """A world and its dead-letter queue; letters collect there as the broker gets them."""

    world: World = field(default_factory=World)
    queue: PaperQueue = field(default_factory=PaperQueue)
    collected: int = 0

    async def asked(self, number: int = 1) -> None:
        """Let a fresh worker handle one request; each of its own order."""
        request = initiation(f"key-{number}", id_commande=f"{number}")
        await self.world.worker().processor.handle(request)

    async def failed(self, number: int = 1) -> None:
        """A payment that meets a wrong password and is dead-lettered."""
        self.world.providers.behaviours = [UNAUTHORISED]
        await self.asked(number)

    def collect(self) -> None:
        for message in self.world.broker.letters[self.collected :]:
            self.queue.letters.append(self.world.broker.copy(message, Source.ELSEWHERE))
        self.collected = len(self.world.broker.letters)

    async def report(
        self, walk: Walk = Walk.WHEN_COUNTS_DIFFER, *, has_broker: bool = True
    ) -> Report:
        self.collect()
        ledger = self.world.worker().ledger
        letters = DeadLetters(
            ledger=ledger, queue=self.queue, publisher=self.world.broker, actor="anna"
        )
        keeper = Bookkeeper(
            ledger=ledger, clock=self.world.clock, letters=letters if has_broker else None
        )
        report = await keeper.report(since=START - DAY, until=START + DAY, walk=walk)
        self.collect()
        assert self.queue.in_hand == 0
        return report

    async def flaws(self, walk: Walk = Walk.WHEN_COUNTS_DIFFER) -> list[tuple[Flaw, UUID | None]]:
        found = (await self.report(walk)).findings
        return [(finding.flaw, finding.operation_id) for finding in found]


async def test_healthy_books_balance_and_have_no_exception() -> None:
    office = Office()
    await office.asked(1)
    await office.failed(2)
    await office.asked(3)
    office.world.clock.advance(HOURS_3)
    report = await office.report()
    assert report.findings == ()
    assert report.books.received == sum(line.count for line in report.books.lines) == 3
    assert [(line.kind, line.state, line.count, line.cents) for line in report.books.lines] == [
        (Kind.INITIATION, State.FAILED, 1, 1250),
        (Kind.INITIATION, State.SUCCEEDED, 2, 2500),
    ]
    assert sum(report.books.letters.values()) == 1
    assert report.queue is not None
    assert (report.queue.in_queue, report.queue.in_index, report.queue.leftover) == (1, 1, None)


async def test_equal_counts_leave_the_queue_alone_and_a_wish_walks_it() -> None:
    office = Office()
    for number in (1, 2, 3):
        await office.failed(number)
    await office.report()
    assert office.queue.removed == []
    before = [each.message_id for each in office.queue.letters]
    report = await office.report(Walk.ALWAYS)
    assert report.findings == ()
    assert report.queue is not None
    assert report.queue.leftover == 0
    assert [each.message_id for each in office.queue.letters] == before, "the order is kept"
    again = await office.report(Walk.ALWAYS)
    assert again.findings == (), "a letter that was looked at is still the same letter"


async def test_a_claim_without_an_end_is_found_once_its_lease_is_over() -> None:
    office = Office()
    delivery = initiation("key-1", id_commande="1")
    await office.world.worker().ledger.claim(claim_wish(LINK_ROUTE, delivery=delivery))
    office.world.clock.advance(60)
    assert await office.flaws() == []
    office.world.clock.advance(60)
    assert await office.flaws() == [(Flaw.ATTEMPT_WITHOUT_END, payment_id(1))]


async def test_a_wait_whose_message_is_gone_is_found_after_two_hours() -> None:
    office = Office()
    wish = claim_wish(LINK_ROUTE, delivery=initiation("key-1", id_commande="1"))
    ledger = office.world.worker().ledger
    await ledger.claim(wish)
    await ledger.release(payment_id(1), wish.token, after=timedelta(minutes=10))
    office.world.clock.advance(timedelta(hours=2, minutes=10).total_seconds())
    assert await office.flaws() == []
    office.world.clock.advance(1)
    assert await office.flaws() == [(Flaw.OPEN_WITHOUT_MESSAGE, payment_id(1))]


async def test_an_answer_nobody_confirmed_is_found_after_two_minutes() -> None:
    office = Office()
    office.world.broker.scripts[Exchange.RESULTS] = [REFUSED]
    await office.asked()
    office.world.clock.advance(120)
    assert await office.flaws() == []
    office.world.clock.advance(1)
    assert await office.flaws() == [(Flaw.DECIDED_AND_UNPUBLISHED, payment_id(1))]
    await office.world.worker().sweeper.sweep()
    assert await office.flaws() == []


async def test_a_reopened_payment_that_nobody_takes_up_is_found_after_a_quarter_of_an_hour() -> (
    None
):
    office = Office()
    await office.failed()
    office.collect()
    await office.world.worker().ledger.payments.reopen(
        payment_id(1), from_sequence=1, actor="anna", run="R-1", reason="mended"
    )
    office.queue.letters.clear()
    office.world.clock.advance(15 * 60)
    assert await office.flaws() == []
    office.world.clock.advance(1)
    assert await office.flaws() == [(Flaw.REOPENED_AND_UNDECIDED, payment_id(1))]


async def test_a_letter_that_vanished_is_named_by_the_walk_that_the_counts_call_for() -> None:
    office = Office()
    for number in (1, 2):
        await office.failed(number)
    office.collect()
    del office.queue.letters[0]
    assert await office.flaws() == [(Flaw.LETTER_NOT_IN_QUEUE, payment_id(1))]
    assert await office.flaws(Walk.NEVER) == [(Flaw.LETTERS_DIFFER, None)]


async def test_a_letter_that_no_worker_could_publish_is_named_without_a_walk() -> None:
    """The sweeper's decision owes a letter whose body is with the lost message alone."""
    office = Office()
    delivery = initiation("key-1", id_commande="1")
    await office.world.worker().ledger.claim(claim_wish(LINK_ROUTE, delivery=delivery))
    office.world.clock.advance(HOURS_3)
    await office.world.worker().sweeper.sweep()
    office.world.clock.advance(200)
    await office.world.worker().sweeper.sweep()
    report = await office.report(has_broker=False)
    assert report.queue is None
    assert [(each.flaw, each.operation_id) for each in report.findings] == [
        (Flaw.LETTER_NOT_IN_QUEUE, payment_id(1))
    ]
    assert "never published" in report.findings[0].detail


def given_up(number: int) -> Delivery:
    """A request that the broker itself dead-lettered."""
    return replace(
        initiation(f"key-{number}", id_commande=f"{number}"),
        source=Source.ELSEWHERE,
        routing_key="dead",
        headers={"x-death": f'[{{"routing-keys": ["{initiation().routing_key}"]}}]'},
    )


async def test_a_letter_of_the_brokers_own_is_unanswered_until_its_row_is_decided() -> None:
    office = Office(queue=PaperQueue(deque([given_up(1)])))
    assert await office.flaws() == [(Flaw.UNANSWERED, payment_id(1))]
    assert await office.flaws() == [(Flaw.UNANSWERED, payment_id(1))], "rotated, it is still known"
    await office.asked(1)
    report = await office.report()
    assert report.findings == ()
    assert report.queue is not None
    assert report.queue.leftover == 1


async def test_an_unanswered_letter_that_was_noted_is_an_exception_without_a_walk() -> None:
    """The report, the index and the queue agree about it, whoever looks, until it is decided."""
    office = Office(queue=PaperQueue(deque([given_up(1)])))
    await synchronise(
        ledger=office.world.worker().ledger,
        queue=office.queue,
        publisher=office.world.broker,
        actor="anna",
    )
    for walk in Walk:
        assert await office.flaws(walk) == [(Flaw.UNANSWERED, payment_id(1))], walk
    alone = await office.report(has_broker=False)
    assert [each.flaw for each in alone.findings] == [Flaw.UNANSWERED]
    figures = (await office.report()).queue
    assert figures is not None
    assert (figures.in_queue, figures.in_index) == (1, 1)
    await office.asked(1)
    for walk in Walk:
        assert await office.flaws(walk) == [], walk


async def test_an_unanswered_letter_that_vanished_is_named() -> None:
    """Nobody has an answer, no row tells of it, and its body is gone."""
    office = Office(queue=PaperQueue(deque([given_up(1), given_up(2)])))
    await synchronise(
        ledger=office.world.worker().ledger,
        queue=office.queue,
        publisher=office.world.broker,
        actor="anna",
    )
    office.collect()
    del office.queue.letters[0]
    assert await office.flaws() == [
        (Flaw.UNANSWERED, payment_id(2)),
        (Flaw.LETTER_NOT_IN_QUEUE, payment_id(1)),
    ]


async def test_a_letter_of_nobody_is_named_by_its_message_id_or_not_at_all() -> None:
    """Its producer may have called it by a person's address."""
    guid = "0b9bd9d7-2f3c-4f0e-9a39-3f6f3ac53cf5"
    ours_garbled = {"payment-id": "x", "error-code": "declined"}
    letters = [
        replace(given_up(1), message_id=name, headers=ours_garbled)
        for name in (guid, "anna@example.org")
    ]
    report = await Office(queue=PaperQueue(deque(letters))).report()
    assert [(each.flaw, each.message_id) for each in report.findings] == [
        (Flaw.UNANSWERED, guid),
        (Flaw.UNANSWERED, None),
    ]


async def test_a_second_copy_of_a_letter_is_left_over_and_no_exception() -> None:
    office = Office()
    await office.failed()
    office.collect()
    office.queue.letters.append(office.queue.letters[0])
    report = await office.report()
    assert report.findings == ()
    assert report.queue is not None
    assert report.queue.leftover == 1


@pytest.mark.parametrize("answered", [0, 1])
async def test_a_walk_that_the_broker_cuts_short_says_so_and_loses_nothing(answered: int) -> None:
    office = Office()
    for number in (1, 2):
        await office.failed(number)
    office.collect()
    office.world.broker.scripts[Exchange.DEAD_LETTER] = [*[CONFIRMED] * answered, REFUSED]
    report = await office.report(Walk.ALWAYS)
    assert [finding.flaw for finding in report.findings] == [Flaw.LETTERS_DIFFER]
    assert len(office.queue.letters) == 2


# --- what a look-up found ------------------------------------------------------------------------


async def looked_up(office: Office, *, amount: str) -> None:
    """A payment in doubt whose provider lists it without its link, of that amount."""
    world = office.world
    account = replace(link_account(OperationClass.NON_IDEMPOTENT), look_up=True)
    world.book = with_account(account)
    world.providers.behaviours = [RESET_AFTER]
    await office.asked(1)
    office.collect()
    (reference,) = world.providers.sold
    world.providers.search_facts = [listing((reference, amount, None))]
    world.clock.advance(STEPS[0].total_seconds())
    assert await world.worker().reconciler.go_round("safedebit") == 1
    world.clock.advance(HOURS_3)
    await world.worker().sweeper.sweep()


async def test_a_payment_of_another_amount_is_an_exception_until_a_person_has_decided() -> None:
    office = Office()
    await looked_up(office, amount="1251")
    assert await office.flaws() == [(Flaw.OTHER_AMOUNT_AT_PROVIDER, payment_id(1))]


async def test_the_letter_of_a_lost_link_is_the_one_that_lies_in_the_queue() -> None:
    office = Office()
    await looked_up(office, amount="1250")
    for walk in Walk:
        report = await office.report(walk)
        assert report.findings == (), walk
        assert report.queue is not None
        assert (report.queue.in_queue, report.queue.in_index) == (1, 1)
        assert not report.queue.leftover
