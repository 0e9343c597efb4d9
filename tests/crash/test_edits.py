"""An operator's edit killed before and after each of its steps: one letter, one payment."""

import json
from dataclasses import replace

import pytest

from tests.core import UNAUTHORISED
from tests.crash.fuse import Fuse, FusedLetterQueue, FusedPublisher, KilledError
from tests.crash.ledgers import CrashLedger, MemoryLedger, Rows
from tests.crash.replays import NEIGHBOUR, WANTED, Desk
from tests.crash.runs import ADD_E, LINK_C, LINK_E, Intent, drain, working
from worker.identity import digest_of, identity_of, operation_id_of, refusal_identity
from worker.model import Delivery
from worker.operators.edits import EditReport, EditResult, Edits, EmailEdit
from worker.records import Answer, State

NEW = "new@example.org"
EDIT = EmailEdit(operation_id=WANTED, email=NEW, actor="anna", reason="customer called")
REFUSED = replace(
    EDIT,
    operation_id=operation_id_of(
        refusal_identity(
            identity_of("dcp", "key-1"),
            digest_of(ADD_E.request.body.replace(b"key-1@example.org", b"nobody")),
        )
    ),
)
STEPS = {
    "after take of a letter",
    "before edit_email",
    "after edit_email",
    "before publish of the dead letter",
    "before confirm of the dead letter",
    "after confirm of the dead letter",
    "before acknowledgement of a letter",
    "after acknowledgement of a letter",
    "before unlock",
}


def neighbour(request: Delivery) -> Delivery:
    """Another payment of the same kind: another key, another order."""
    body = request.body.replace(b"key-1@", b"key-0@").replace(b'"40017"', b'"40018"')
    return replace(request, message_id="key-0", body=body)


async def desk_of(intent: Intent, ledger: CrashLedger | None = None) -> Desk:
    """A desk with two letters, the wanted one second, both of payments that met a wrong key."""
    if ledger is not None:
        await ledger.clear()
    world = intent.world((UNAUTHORISED, UNAUTHORISED), ledger or MemoryLedger())
    for request in (neighbour(intent.request), intent.request):
        world.broker.ready.append(request)
        await drain(world)
    world.providers.behaviours = []
    desk = Desk(world)
    desk.collect()
    return desk


async def edit(desk: Desk, fuse: Fuse, wish: EmailEdit = EDIT) -> EditReport | None:
    """Edit as one process; killed, what it held comes back to the queue, and its lock ends."""
    report = None
    async with working(desk.world, fuse) as tool:
        edits = Edits(
            ledger=tool.ledger,
            queue=FusedLetterQueue(desk.queue, fuse),
            publisher=FusedPublisher(desk.world.broker, fuse),
        )
        try:
            report = await edits.edit(wish)
        except KilledError:
            desk.queue.lose_connection()
    desk.collect()
    desk.world.clock.advance(60)  # past the lease of a lock that nobody gave back
    return report


def emails(desk: Desk) -> list[str]:
    return sorted(json.loads(letter.body)["email"] for letter in desk.queue.letters)


async def ends_well(desk: Desk, where: object) -> None:
    """Run again and replayed, the provider hears of the new e-mail once, and never of the old."""
    assert NEIGHBOUR in desk.owners, where
    assert WANTED in desk.owners, where  # a copy too many, never a letter too few
    report = await edit(desk, Fuse())
    assert report is not None, where
    assert report.result in {EditResult.EDITED, EditResult.UNCHANGED}, where
    assert desk.owners.count(WANTED) == 1, where
    assert NEIGHBOUR in desk.owners, where  # twice, where its own rotation was cut off
    assert set(emails(desk)) == {"key-0@example.org", NEW}, where
    await desk.replay([WANTED], Fuse())
    await drain(desk.world)
    rows = await desk.world.ledger.rows()
    assert rows.records[WANTED].state is State.SUCCEEDED, where
    assert [email for _, email in desk.world.providers.applied.elements()] == [NEW], where
    assert set(rows.records) == {NEIGHBOUR, WANTED}, where


@pytest.mark.parametrize("intent", [LINK_C, LINK_E, ADD_E], ids=lambda intent: intent.name)
async def test_an_edit_killed_at_any_step_and_run_again_leaves_one_letter_that_pays_once(
    intent: Intent,
) -> None:
    unhurt = Fuse()
    await edit(await desk_of(intent), unhurt)
    assert set(unhurt.passed) >= STEPS
    for at in range(1, len(unhurt.passed) + 1):
        desk = await desk_of(intent)
        fuse = Fuse(at)
        await edit(desk, fuse)
        await ends_well(desk, (at, fuse.passed[-1]))


async def test_a_refused_message_asked_for_again_and_killed_at_any_step_pays_once() -> None:
    """Whether or not a worker has taken up the corrected request before the edit is run again."""
    for works_between in (False, True):
        unhurt = Fuse()
        await edit(await refused_desk(), unhurt, REFUSED)
        assert set(unhurt.passed) >= {"after confirm of the replay", "before set_aside"}
        for at in range(1, len(unhurt.passed) + 1):
            desk = await refused_desk()
            fuse = Fuse(at)
            await edit(desk, fuse, REFUSED)
            where = (at, fuse.passed[-1], works_between)
            if works_between:
                await drain(desk.world)
            report = await edit(desk, Fuse(), REFUSED)
            assert report is not None, where
            assert report.result in {EditResult.ASKED_AGAIN, EditResult.NOT_FOUND}, where
            assert desk.owners == [], where
            await drain(desk.world)
            rows = await desk.world.ledger.rows()
            assert rows.records[WANTED].state is State.SUCCEEDED, where
            assert [email for _, email in desk.world.providers.applied.elements()] == [NEW], where
            assert all(answer.letter_resolved for answer in letters_of(rows)), where


def letters_of(rows: Rows) -> list[Answer]:
    return [answer for answer in rows.answers.values() if answer.letter is not None]


async def refused_desk() -> Desk:
    """A desk with the letter of one message that was refused for its e-mail."""
    world = ADD_E.world((), MemoryLedger())
    request = ADD_E.request
    world.broker.ready.append(
        replace(request, body=request.body.replace(b"key-1@example.org", b"nobody"))
    )
    await drain(world)
    desk = Desk(world)
    desk.collect()
    return desk


async def test_on_a_durable_ledger_it_is_also_killed_inside_its_commit(
    real_ledger: CrashLedger,
) -> None:
    unhurt = Fuse()
    await edit(await desk_of(ADD_E, real_ledger), unhurt)
    commits = {f"{side} the commit of edit_email" for side in ("before", "after")}
    assert commits <= set(unhurt.passed)
    for name in (*sorted(commits), "before publish of the dead letter", "before unlock"):
        desk = await desk_of(ADD_E, real_ledger)
        fuse = Fuse(name=name)
        await edit(desk, fuse)
        assert fuse.is_blown
        await ends_well(desk, name)


async def test_two_edits_killed_one_after_the_other_end_with_the_last_ones_email() -> None:
    """The first was cut off between the ledger and the letter, and was wrong itself."""
    desk = await desk_of(ADD_E)
    await edit(desk, Fuse(name="after edit_email"))
    assert "key-1@example.org" in emails(desk)
    async with working(desk.world, Fuse()) as tool:
        edits = Edits(ledger=tool.ledger, queue=desk.queue, publisher=desk.world.broker)
        report = await edits.edit(replace(EDIT, email="third@example.org"))
    desk.collect()
    assert report.result is EditResult.EDITED
    assert emails(desk) == ["key-0@example.org", "third@example.org"]
    await desk.replay([WANTED], Fuse())
    await drain(desk.world)
    applied = [email for _, email in desk.world.providers.applied.elements()]
    assert applied == ["third@example.org"]
