"""Editing dead letters on a paper queue: one letter is left, with the new e-mail, and it pays."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

import pytest

from tests.core import REFUSED, SILENT_BUT_KEPT, UNAUTHORISED, World, basket, initiation
from tests.fakes_letters import PaperQueue
from tests.replay_desk import ReplayDesk, WorkingClock
from worker.contract import headers
from worker.identity import identity_of, operation_id_of
from worker.journal import RunState
from worker.messages import Exchange
from worker.model import Delivery, Secret, Source
from worker.operators.edits import EditReport, EditResult, Edits, EmailEdit, bar_of
from worker.operators.walks import DEAD_LETTERS, QueueLockedError, holding

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
        desk = ReplayDesk(self.world, self.queue, collected=self.collected)
        run = await desk.replay(KEY_1)
        assert run.state is RunState.FINISHED
        self.collected = desk.collected


async def failed(requests: Sequence[Delivery] = ()) -> Desk:
    """A desk with one letter for each request, each of which met a wrong password."""
    world = World(clock=WorkingClock())
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
    await ledger.payments.reopen(KEY_1, actor="anna", run="R-1", reason="", from_sequence=1)
    assert await bar_of(ledger, KEY_1) == "it is open (retry_wait)"
    report = await desk.edit()
    assert (report.result, report.reason) == (EditResult.NOT_EDITED, "it is open (retry_wait)")
    assert desk.emails == ["key-1@example.org"]


# --- refused messages --------------------------------------------------------------------------


async def refused(request: Delivery) -> tuple[Desk, EmailEdit]:
    """A desk with the letter of a message that could not be read, and the wish to mend it."""
    world = World()
    await world.worker().processor.handle(request)
    desk = Desk(world)
    desk.collect()
    (letter,) = desk.queue.letters
    return desk, replace(EDIT, operation_id=UUID(str(letter.headers[headers.PAYMENT_ID])))


@pytest.mark.parametrize("wrong", ["nobody", None, 12, "a@b@c"])
async def test_a_message_refused_for_its_email_is_a_first_request_with_another_one(
    wrong: object,
) -> None:
    """Contract section 2: an unreadable body never binds its key."""
    desk, edit = await refused(initiation(email=wrong))
    assert edit.operation_id != KEY_1
    ledger = desk.world.worker().ledger
    assert await bar_of(ledger, edit.operation_id) is None
    assert await desk.tool.look(edit) is None
    desk.collect()
    report = await desk.edit(edit)
    assert (report.result, report.payment_id) == (EditResult.ASKED_AGAIN, KEY_1)
    assert not desk.queue.letters
    copy, aside = desk.world.broker.sent_to(Exchange.REPLAY)
    assert (copy.message_id, copy.headers[headers.SEQUENCE]) == ("key-1", 1)
    assert (aside.routing_key, aside.headers[headers.PAYMENT_ID]) == (
        "parking",
        str(edit.operation_id),
    )
    assert not await ledger.letters.page()
    worker = desk.world.worker()
    await worker.processor.handle(desk.world.broker.copy(copy, Source.REPLAY))
    last = desk.world.broker.events[-1]
    assert (last["result"], last["payment_id"], last["sequence"]) == (True, str(KEY_1), 1)
    assert last["request_id"] == "key-1"
    assert [email for _, email in desk.world.providers.applied.elements()] == [NEW]
    repeat = await desk.edit(edit)
    assert repeat.result is EditResult.NOT_FOUND


async def test_a_message_that_came_without_a_name_gets_its_payments_as_its_own() -> None:
    request = replace(
        initiation(email="nobody", headers={headers.IDEMPOTENCY_KEY: "key-1"}), message_id=None
    )
    desk, edit = await refused(request)
    assert (await desk.edit(edit)).payment_id == KEY_1
    copy = desk.world.broker.sent_to(Exchange.REPLAY)[0]
    assert copy.message_id == str(KEY_1)
    await desk.world.worker().processor.handle(desk.world.broker.copy(copy, Source.REPLAY))
    last = desk.world.broker.events[-1]
    assert (last["result"], last["request_id"]) == (True, None)


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (initiation(email="nobody", amount="0"), "its producer sends it corrected"),
        (initiation(email="nobody", headers={"CC": "x"}), "its producer sends it corrected"),
        (initiation(amount="0"), "no e-mail mends"),
    ],
    ids=["amount too", "a header too", "amount"],
)
async def test_a_message_refused_for_more_than_its_email_is_its_producers_to_correct(
    request_: Delivery, why: str
) -> None:
    desk, edit = await refused(request_)
    bar = await bar_of(desk.world.worker().ledger, edit.operation_id)
    assert bar is not None
    assert why in bar
    report = await desk.edit(edit)
    assert report.result is EditResult.NOT_EDITED
    assert len(desk.queue.letters) == 1
    assert not desk.world.broker.sent_to(Exchange.REPLAY)


async def test_a_message_without_a_key_or_an_email_cannot_be_mended_here() -> None:
    for request in (
        replace(initiation(email="nobody"), message_id=None),
        without_email(initiation()),
    ):
        desk, edit = await refused(request)
        assert (await desk.edit(edit)).result is EditResult.NOT_EDITED
        assert len(desk.queue.letters) == 1


def without_email(request: Delivery) -> Delivery:
    body = {name: value for name, value in json.loads(request.body).items() if name != "email"}
    return replace(request, body=json.dumps(body).encode())


async def test_a_key_that_was_used_since_is_left_to_the_request_that_used_it() -> None:
    desk, edit = await refused(initiation(email="nobody"))
    await desk.world.worker().processor.handle(initiation(email="other@example.org"))
    report = await desk.edit(edit)
    assert (report.result, report.reason) == (
        EditResult.NOT_EDITED,
        "its key has been used since, for another request",
    )
    assert len(desk.queue.letters) == 1


async def test_a_corrected_message_that_came_meanwhile_is_not_sent_twice() -> None:
    desk, edit = await refused(initiation(email="nobody"))
    await desk.world.worker().processor.handle(initiation(email=NEW))
    report = await desk.edit(edit)
    assert (report.result, report.payment_id) == (EditResult.ASKED_AGAIN, KEY_1)
    assert [copy.routing_key for copy in desk.world.broker.sent_to(Exchange.REPLAY)] == ["parking"]
    assert sum(desk.world.providers.applied.values()) == 1


async def test_an_edit_and_another_walk_do_not_go_at_once() -> None:
    desk = await failed()
    ledger = desk.world.worker().ledger
    async with holding(ledger, DEAD_LETTERS, actor="bob", purpose="replay R-9"):
        with pytest.raises(QueueLockedError, match="bob"):
            await desk.edit()
