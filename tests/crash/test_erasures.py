"""Erasing a person, killed anywhere: never by halves, and the next run finishes it."""

from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from tests.core import email_of
from tests.crash.fuse import Fuse, FusedLetterQueue, FusedPublisher, KilledError
from tests.crash.test_parking import DECIDED, NEIGHBOUR, UNANSWERED, Desk, desk, swept
from worker.letters import LetterFilter
from worker.model import Secret
from worker.operators.erasure import (
    Eraser,
    LetterEraser,
    LettersRemoved,
    Person,
    Standing,
    operations_of,
)
from worker.records import State

BY_EMAIL = Person(email=Secret(email_of("key-2")))
"""Whose letter the broker made: only its body tells of him."""


async def remove(
    at: Desk, fuse: Fuse, known: Collection[UUID] = (DECIDED,), person: Person = BY_EMAIL
) -> LettersRemoved | None:
    """One run of the walks, until the fuse ends it."""
    ledger, _parking = at.tool(fuse)
    eraser = LetterEraser(
        ledger=ledger,
        dead_letters=FusedLetterQueue(at.dead, fuse),
        parking=FusedLetterQueue(at.parking, fuse),
        publisher=FusedPublisher(at.world.broker, fuse),
        actor="anna",
        reason="request 4711",
    )
    done = None
    try:
        done = await eraser.remove(person, known, on_progress=lambda _steps: None)
    except KilledError:
        at.dead.lose_connection()
        at.parking.lose_connection()
    at.collect()
    at.world.clock.advance(31)  # a killed walk's lock is free again after its lease
    return done


def content_goes(at: Desk) -> None:
    """Let the time pass for which another request may be judged by what these ask for."""
    age = at.world.rules.content_age + timedelta(seconds=1)
    at.world.clock.advance(age.total_seconds())


async def erase_rows(at: Desk, *operations: UUID) -> set[UUID]:
    ledger = at.world.worker().ledger
    eraser = Eraser(
        ledger=ledger, retention=at.world.store.retention, actor="anna", reason="request 4711"
    )
    return await eraser.erase(operations)


async def test_letters_removed_with_a_kill_at_any_step_are_all_gone_after_the_next_run() -> None:
    """A neighbour's letter stays; the one that nobody had answered is answered, once."""
    place = 0
    while True:
        place += 1
        at, fuse = await desk(), Fuse(at=place)
        await remove(at, fuse)
        there = at.owners(at.dead) + at.owners(at.parking)
        assert NEIGHBOUR in there, fuse.passed
        await remove(at, Fuse())
        where = (place, fuse.passed[-1:])
        assert set(at.owners(at.dead)) == {NEIGHBOUR}, where
        assert not at.parking.letters, where
        assert await at.listed() == [NEIGHBOUR], where
        assert await at.listed(LetterFilter(resolved=True)) == sorted([DECIDED, UNANSWERED]), where
        assert await erase_rows(at, UNANSWERED) == set(), "its answer is not published"
        await swept(at)
        (event,) = [
            each for each in at.world.broker.events if each["payment_id"] == str(UNANSWERED)
        ]
        assert event["code"] == "delivery_limit_reached", where
        content_goes(at)
        everybody = {NEIGHBOUR, DECIDED, UNANSWERED}
        assert await erase_rows(at, *everybody) == {DECIDED, UNANSWERED}, where
        rows = at.world.store.tables.records
        assert {each for each in everybody if rows[each].fingerprint} == {NEIGHBOUR}, where
        assert sum(at.world.providers.applied.values()) == 0
        if not fuse.is_blown:
            break
    assert place > 25, "the steps of three letters"


async def test_letters_that_were_set_aside_are_found_in_their_queue() -> None:
    at = await desk()
    await at.resolve(Fuse(), LetterFilter())
    assert set(at.owners(at.parking)) == {NEIGHBOUR, DECIDED, UNANSWERED}
    done = await remove(at, Fuse())
    assert done is not None
    assert done.removed == {DECIDED, UNANSWERED}
    assert set(at.owners(at.parking)) == {NEIGHBOUR}


async def test_a_letter_in_doubt_stays_and_so_does_its_row() -> None:
    at = await desk()
    tables = at.world.store.tables
    tables.records[DECIDED] = replace(tables.records[DECIDED], state=State.IN_DOUBT)
    done = await remove(at, Fuse())
    assert done is not None
    assert done.left == {DECIDED: "it is in doubt"}
    assert done.removed == {UNANSWERED}
    assert set(at.owners(at.dead)) == {NEIGHBOUR, DECIDED}
    assert await erase_rows(at, DECIDED) == set()


async def test_a_letter_that_names_nobody_stays_and_is_counted() -> None:
    """Nothing could be decided about it, so removing it would lose a request."""
    at = await desk()
    (letter,) = [each for each in at.dead.letters if each.headers.get("payment-id") == str(DECIDED)]
    at.dead.letters.remove(letter)
    at.dead.letters.append(replace(letter, headers={"payment-id": "nobody"}))
    done = await remove(at, Fuse(), (), Person(email=Secret(email_of("key-1"))))
    assert done is not None
    assert (done.nameless, done.removed) == (1, set())
    assert len(at.dead.letters) == 3


async def test_each_of_a_persons_operations_tells_whether_it_can_go() -> None:
    at = await desk()
    ledger = at.world.worker().ledger
    by_client = Person(client=at.world.store.tables.records[DECIDED].facts.id_client)
    found = {
        each.payment.operation_id: each.standing async for each in operations_of(ledger, by_client)
    }
    assert set(found.values()) == {Standing.LETTER_WAITS}
    await remove(at, Fuse())
    await swept(at)
    content_goes(at)
    after = {
        each.payment.operation_id: each.standing async for each in operations_of(ledger, by_client)
    }
    assert after == {
        NEIGHBOUR: Standing.LETTER_WAITS,
        DECIDED: Standing.ERASABLE,
        UNANSWERED: Standing.ERASABLE,
    }
    await erase_rows(at, DECIDED)
    found = {
        each.payment.operation_id: each.standing async for each in operations_of(ledger, by_client)
    }
    assert found[DECIDED] is Standing.ERASED
