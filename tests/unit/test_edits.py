"""Editing dead letters on a paper queue: one letter is left, with the new e-mail, and it pays."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest

from tests.core import REFUSED, SILENT_BUT_KEPT, UNAUTHORISED, World, basket, initiation
from tests.fakes_letters import PaperQueue
from worker.contract import headers
from worker.deadletters import Act, DeadLetters, Replayed
from worker.edits import EditReport, EditResult, Edits, EmailEdit, bar_of
from worker.identity import identity_of, operation_id_of
from worker.messages import Exchange
from worker.model import Delivery, Secret, Source
from worker.walks import DEAD_LETTERS, QueueLockedError, holding

NEW = "new@example.org"
KEY_1 = operation_id_of(identity_of("dcp", "key-1"))
KEY_2 = operation_id_of(identity_of("dcp", "key-2"))
EDIT = EmailEdit(operation_id=KEY_1, email=NEW, actor="anna", reason="customer called")


def email_in(letter: Delivery) -> str:
    return str(json.loads(letter.body)["email"])


@dataclass(slots=True)
class Desk:
    """An operator's place at a world with one letter for each request it refused."""

    world: World
    queue: PaperQueue = field(default_factory=PaperQueue)
    collected: int = 0

    @property
    def tool(self) -> Edits:
        ledger = self.world.worker().ledger
        return Edits(ledger=ledger, queue=self.queue, publisher=self.world.broker)

    @property
    def emails(self) -> list[str]:
        return sorted(email_in(letter) for letter in self.queue.letters)

    def collect(self) -> None:
        for message in self.world.broker.letters[self.collected :]:
            self.queue.letters.append(self.world.broker.copy(message, Source.ELSEWHERE))
        self.collected = len(self.world.broker.letters)

    async def edit(self, edit: EmailEdit = EDIT) -> EditReport:
        report = await self.tool.edit(edit)
        self.collect()
        assert self.queue.in_hand == 0
        return report

    async def replay(self) -> None:
        """Put the payment back to work and let a worker handle it."""
        worker = self.world.worker()
        letters = DeadLetters(
            ledger=worker.ledger, queue=self.queue, publisher=self.world.broker, actor="anna"
        )
        act = Act(actor="anna", run="R-1", reason="edited")
        assert (await letters.replay(KEY_1, act)).result is Replayed.REPLAYED
        copy = self.world.broker.sent_to(Exchange.REPLAY)[-1]
        await worker.processor.handle(self.world.broker.copy(copy, Source.REPLAY))


async def failed(requests: Sequence[Delivery] = ()) -> Desk:
    """A desk with one letter for each request, each of which met a wrong password."""
    world = World()
    for request in requests or (initiation(),):
        world.providers.behaviours = [UNAUTHORISED]
        await world.worker().processor.handle(request)
    desk = Desk(world)
    desk.collect()
    return desk


@pytest.mark.parametrize("make", [initiation, basket], ids=["link", "basket"])
async def test_an_edited_payment_is_replayed_under_its_new_email_and_paid_once(
    make: Callable[[], Delivery],
) -> None:
    desk = await failed([make()])
    (before,) = desk.queue.letters
    report = await desk.edit()
    assert (report.result, report.sequence, report.is_complete) == (EditResult.EDITED, 1, True)
    (after,) = desk.queue.letters
    assert email_in(after) == NEW
    assert after.headers == before.headers
    assert after.message_id == before.message_id
    assert after.headers[headers.ERROR_CODE] == "provider_credentials"
    await desk.replay()
    last = desk.world.broker.events[-1]
    assert (last["result"], last["sequence"], last["payment_id"]) == (True, 2, str(KEY_1))
    ((_, email),) = desk.world.providers.applied.elements()
    assert email == NEW


async def test_the_other_letters_go_round_unharmed() -> None:
    desk = await failed([initiation("key-1"), initiation("key-2", id_commande="2")])
    other = desk.queue.letters[1]
    report = await desk.edit()
    assert (report.result, report.rotated, report.removed) == (EditResult.EDITED, 1, 0)
    (edited, kept) = desk.queue.letters
    assert email_in(edited) == NEW
    assert (kept.body, kept.message_id, kept.headers) == (
        other.body,
        other.message_id,
        other.headers,
    )


async def test_running_it_again_changes_nothing() -> None:
    desk = await failed()
    await desk.edit()
    (after,) = desk.queue.letters
    report = await desk.edit()
    assert report.result is EditResult.UNCHANGED
    assert [each.body for each in desk.queue.letters] == [after.body]
    history = await desk.world.worker().ledger.history(KEY_1)
    assert history is not None
    assert [entry.action for entry in history.audit] == ["edit"]


@pytest.mark.parametrize("edited_first", [False, True])
async def test_what_a_crash_left_twice_is_brought_down_to_one(edited_first: object) -> None:
    """Killed between the confirm of the copy and the acknowledgement of the original."""
    desk = await failed()
    (original,) = desk.queue.letters
    await desk.edit()
    if edited_first:
        desk.queue.letters.append(original)
    else:
        desk.queue.letters.appendleft(original)
    report = await desk.edit()
    assert (report.result, report.removed) == (EditResult.EDITED, 1)
    assert desk.emails == [NEW]


async def test_an_edit_that_nobody_confirmed_is_finished_by_running_it_again() -> None:
    desk = await failed()
    for trouble in (REFUSED, SILENT_BUT_KEPT):
        desk.world.broker.scripts[Exchange.DEAD_LETTER] = [trouble]
        assert (await desk.edit()).result is EditResult.NOT_CONFIRMED
    assert (await desk.edit()).result is EditResult.EDITED
    assert desk.emails == [NEW]
    await desk.replay()
    assert desk.world.broker.events[-1]["result"] is True


async def test_the_person_who_decides_is_shown_the_email_that_is_there() -> None:
    desk = await failed([initiation("key-2", id_commande="2"), initiation("key-1")])
    assert await desk.tool.look(EDIT) == Secret("key-1@example.org")
    desk.collect()
    assert len(desk.queue.letters) == 2
    nobody = replace(EDIT, operation_id=operation_id_of(identity_of("dcp", "key-3")))
    assert await desk.tool.look(nobody) == EditReport(result=EditResult.NOT_FOUND)


async def test_an_email_that_makes_the_request_wrong_is_told_and_not_used() -> None:
    desk = await failed()
    report = await desk.edit(replace(EDIT, email="nobody"))
    assert (report.result, [fault.field for fault in report.faults]) == (
        EditResult.NOT_EDITED,
        ["email"],
    )
    assert desk.emails == ["key-1@example.org"]


async def test_a_letter_of_a_payment_that_is_open_again_is_kept() -> None:
    desk = await failed()
    ledger = desk.world.worker().ledger
    await ledger.reopen(KEY_1, actor="anna", run="R-1", reason="", from_sequence=1)
    assert await bar_of(ledger, KEY_1) == "it is open (retry_wait)"
    report = await desk.edit()
    assert (report.result, report.reason) == (EditResult.NOT_EDITED, "it is open (retry_wait)")
    assert desk.emails == ["key-1@example.org"]


async def test_a_refused_message_is_its_producers_to_correct() -> None:
    world = World()
    await world.worker().processor.handle(initiation(email="nobody"))
    desk = Desk(world)
    desk.collect()
    (refusal,) = [message.headers[headers.PAYMENT_ID] for message in world.broker.letters]
    bar = await bar_of(world.worker().ledger, type(KEY_1)(str(refusal)))
    assert bar is not None
    assert "its producer sends it corrected" in bar


async def test_an_edit_and_another_walk_do_not_go_at_once() -> None:
    desk = await failed()
    ledger = desk.world.worker().ledger
    async with holding(ledger, DEAD_LETTERS, actor="bob", purpose="replay R-9"):
        with pytest.raises(QueueLockedError, match="bob"):
            await desk.edit()
