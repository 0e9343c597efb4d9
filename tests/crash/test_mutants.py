"""The crash suite is judged by the faults it catches: each deliberate one must be noticed.

The first five are those every payment worker is tempted by. There is no look-up yet whose
silence could be misread, so its place is taken by its sibling: a claim that expired in silence,
read as a claim that sent nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import product
from typing import Any, TypeVar
from uuid import UUID

import pytest
from typing_extensions import override

from tests.core import ANSWERS, RESET_AFTER, SILENCE, SILENT
from tests.crash.fuse import Fuse
from tests.crash.laws import breaches
from tests.crash.ledgers import MemoryLedger
from tests.crash.replays import NEIGHBOUR, replay_run
from tests.crash.runs import ADD_E, INTENTS, LINK_E, EndlessError, Run, kill_run, pause_run
from tests.fakes_store import MemoryStore
from tests.fakes_tables import MemoryTables
from worker.announcer import Announcement, Announcer
from worker.calls import NoReply, NotSent, Outcome, Unknown
from worker.lifecycle.claim import claim
from worker.lifecycle.expire import release_claim
from worker.lifecycle.settle import Evidence, Settled, Settlement, settle
from worker.lifecycle.table import IllegalMoveError
from worker.lifecycle.wishes import Claim, Claimed
from worker.messages import Exchange, OutgoingMessage, Publication
from worker.model import Fingerprint
from worker.operators.walks import NotConfirmedError, WalkedLetter
from worker.ports import Clock, Publisher, Store, View
from worker.records import Answer, Change, Needs, Record, Restoration, State, Tombstone
from worker.replies import Replies
from worker.rules import Rules
from worker.switches import Switch

Result = TypeVar("Result")

BEHAVIOURS = ((ANSWERS,), (RESET_AFTER,), (SILENCE, SILENCE))


class OtherView:
    """A view whose rows are seen otherwise than they are."""

    def __init__(self, view: View, seen: Callable[[Record], Record]) -> None:
        self._view = view
        self._seen = seen

    def record(self, operation_id: UUID) -> Record | None:
        record = self._view.record(operation_id)
        return self._seen(record) if record is not None else None

    def answer(self, operation_id: UUID) -> Answer | None:
        return self._view.answer(operation_id)

    def owner(self, fingerprint: Fingerprint) -> Record | None:
        return self._view.owner(fingerprint)

    def tombstone(self, payment_id: UUID) -> Tombstone | None:
        return self._view.tombstone(payment_id)

    def switch(self, account: str) -> Switch | None:
        return self._view.switch(account)


def claim_seeing(
    seen: Callable[[Record, datetime], Record],
) -> Callable[[View, Claim, Rules, datetime, Restoration | None], Change[Claimed]]:
    """The claim, misled about what it finds."""

    def misled(
        view: View, wish: Claim, rules: Rules, now: datetime, restoration: Restoration | None
    ) -> Change[Claimed]:
        other = OtherView(view, lambda record: seen(record, now))
        return claim(other, wish, rules, now, restoration)

    return misled


def expired_is_not_sent(record: Record, now: datetime) -> Record:
    is_expired = record.lease_until is not None and record.lease_until <= now
    if record.state is State.CALLING and is_expired:
        return replace(record, state=State.RETRY_WAIT)
    return record


def doubt_is_open(record: Record, now: datetime) -> Record:
    if record.state is State.IN_DOUBT:
        return replace(record, state=State.RETRY_WAIT, next_attempt_at=now)
    return record


def lease_is_over(record: Record, now: datetime) -> Record:
    if record.state is State.CALLING:
        return replace(record, state=State.RETRY_WAIT, next_attempt_at=now)
    return record


def unknown_releases(view: View, end: Settlement, rules: Rules, now: datetime) -> Change[Settled]:
    if not isinstance(end.outcome, Unknown):
        return settle(view, end, rules, now)
    record = view.record(end.operation_id)
    if record is None:
        raise LookupError(end.operation_id)
    released = release_claim(view, end.operation_id, end.token, now + timedelta(seconds=5), now)
    return Change(result=Evidence(record), records=released.records)


def late_answer_rules(view: View, end: Settlement, rules: Rules, now: datetime) -> Change[Settled]:
    def own(record: Record) -> Record:
        if record.operation_id != end.operation_id:
            return record
        return replace(record, token=end.token, state=State.CALLING)

    return settle(OtherView(view, own), end, rules, now)


def every_silence_is_not_sent(_no_reply: NoReply) -> Outcome:
    return NotSent()


async def announced_without_publishing(*_self: object, **_named: object) -> Announcement:
    return Announcement.CONFIRMED


RIGHT_ANNOUNCE = Announcer.announce
RIGHT_PUBLISH = Replies._publish  # noqa: SLF001 (the fault sits inside)


def in_the_background(work: Coroutine[Any, Any, object]) -> None:
    """Let it happen some time, as a library does that queues what it is given."""
    asyncio.ensure_future(work).add_done_callback(lambda task: task.exception())


async def announced_before_confirmed(
    announcer: Announcer, answer: Answer, *, correlation_id: str | None, traceparent: str | None
) -> Announcement:
    in_the_background(
        RIGHT_ANNOUNCE(announcer, answer, correlation_id=correlation_id, traceparent=traceparent)
    )
    return Announcement.CONFIRMED


async def announced_whatever_was_said(
    announcer: Announcer, answer: Answer, *, correlation_id: str | None, traceparent: str | None
) -> Announcement:
    await RIGHT_ANNOUNCE(announcer, answer, correlation_id=correlation_id, traceparent=traceparent)
    return Announcement.CONFIRMED


async def sent_before_confirmed(
    replies: Replies, message: OutgoingMessage, delivery: object
) -> Publication:
    in_the_background(RIGHT_PUBLISH(replies, message, delivery))  # type: ignore[arg-type]  # as it came
    return Publication.CONFIRMED


class CarelessStore(MemoryStore):
    """Decides on the rows it saw when it began, and writes without comparing versions."""

    def __init__(self, clock: Clock, tables: MemoryTables, fuse: Fuse) -> None:
        super().__init__(clock, tables)
        self._fuse = fuse

    @override
    async def transact(self, needs: Needs, apply: Callable[[View], Change[Result]]) -> Result:
        seen = MemoryTables(
            records=dict(self.tables.records),
            answers=dict(self.tables.answers),
            owners=dict(self.tables.owners),
            tombstones=dict(self.tables.tombstones),
        )
        decided: list[Change[Result]] = []

        def noted(view: View) -> Change[None]:
            decided.append(apply(view))
            return Change(result=None)

        await MemoryStore(self._clock, seen).transact(needs, noted)
        await self._fuse.boundary("inside the transaction")
        fitting = tuple(map(self._fitting, decided[-1].records))
        change = replace(decided[-1], records=fitting)
        return await super().transact(needs, lambda _view: change)

    def _fitting(self, record: Record) -> Record:
        known = self.tables.records.get(record.operation_id)
        return replace(record, version=1 if known is None else known.version + 1)


async def opened_careless(ledger: MemoryLedger, clock: Clock, fuse: Fuse) -> Store:
    return CarelessStore(clock, ledger.tables, fuse)


MUTANTS: dict[str, tuple[str, object]] = {
    "an expired claim sent nothing": ("worker.ledger.claim", claim_seeing(expired_is_not_sent)),
    "an unknown outcome releases the claim": ("worker.ledger.settle", unknown_releases),
    "every silence means nothing was sent": ("worker.call.of_silence", every_silence_is_not_sent),
    "a doubt is sent again": ("worker.ledger.claim", claim_seeing(doubt_is_open)),
    "the outcome is not published": (
        "worker.announcer.Announcer.announce",
        announced_without_publishing,
    ),
    "a claim holds nobody off": ("worker.ledger.claim", claim_seeing(lease_is_over)),
    "a late answer decides whatever it finds": ("worker.ledger.settle", late_answer_rules),
    "class E is sent again": (
        "worker.lifecycle.claim.allows_another_attempt",
        lambda _record: True,
    ),
    "an event counts as confirmed before it is": (
        "worker.announcer.Announcer.announce",
        announced_before_confirmed,
    ),
    "a copy counts as confirmed before it is": (
        "worker.replies.Replies._publish",
        sent_before_confirmed,
    ),
    "silence is taken for a confirm": (
        "worker.announcer.Announcer.announce",
        announced_whatever_was_said,
    ),
    "a store compares no versions": ("tests.crash.ledgers.MemoryLedger.open", opened_careless),
}
"""Where each fault is put in, and the fault."""


async def let_go_before_confirmed(self: WalkedLetter, copy: OutgoingMessage) -> None:
    publisher: Publisher = self._publisher  # the fault sits inside
    await self.remove()
    if await publisher.publish(copy) is not Publication.CONFIRMED:
        raise NotConfirmedError


REPLAY_MUTANTS: dict[str, tuple[str, object]] = {
    "a letter is let go before its copy is confirmed": (
        "worker.operators.walks.WalkedLetter.send",
        let_go_before_confirmed,
    ),
    "a doubt may be opened again": ("worker.lifecycle.reopen._bar", lambda _record: None),
}
"""Faults in what an operator's tool does, for the runs that kill it."""


async def noticing(*, until: int | None = None) -> tuple[int, int]:
    """Runs that break a promise or cannot end, and all runs; stops after ``until`` of the first."""
    noticed = runs = 0
    for intent, behaviours in product(INTENTS, BEHAVIOURS):
        for exchange in (Exchange.RESULTS, Exchange.DEAD_LETTER, Exchange.RETRY):
            noticed += await _is_noticed(kill_run(intent, behaviours, scripts={exchange: SILENT}))
            runs += 1
        unhurt = await kill_run(intent, behaviours, 0)
        for at in range(1, len(unhurt.boundaries) + 1):
            noticed += await _is_noticed(kill_run(intent, behaviours, at))
            late = pause_run(intent, behaviours, at, deliveries=None, wait=600.0)
            noticed += await _is_noticed(late)
            runs += 2
            if until is not None and noticed >= until:
                return noticed, runs
    return noticed, runs


async def _is_noticed(run: Awaitable[Run]) -> bool:
    try:
        return bool(breaches(await run))
    except (EndlessError, IllegalMoveError):
        return True


async def test_the_right_rules_break_no_run() -> None:
    noticed, runs = await noticing()
    assert noticed == 0
    assert runs > 600


@pytest.mark.parametrize("mutant", MUTANTS)
async def test_a_wrong_rule_is_noticed(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured without the early end, of about 800 runs, in the order of the table.

    63, 505, 281, 231, all, 63, 42, 40, 30, 156, 15 and 46.
    """
    target, wrong = MUTANTS[mutant]
    monkeypatch.setattr(target, wrong)
    noticed, _runs = await noticing(until=10)
    assert noticed >= 10


async def noticing_replays() -> int:
    """Replays that pay twice, lose a letter or leave a payment open."""
    noticed = 0
    for intent, behaviour in product((LINK_E, ADD_E), (ANSWERS, RESET_AFTER)):
        unhurt, _desk = await replay_run(
            intent, (behaviour,), 0, works_between=True, has_rival=True
        )
        for at in range(1, len(unhurt.boundaries) + 1):
            run, desk = await replay_run(
                intent, (behaviour,), at, works_between=True, has_rival=True
            )
            noticed += bool(breaches(run)) or NEIGHBOUR not in desk.owners
    return noticed


async def test_the_right_replay_breaks_no_run() -> None:
    assert await noticing_replays() == 0


@pytest.mark.parametrize("mutant", REPLAY_MUTANTS)
async def test_a_wrong_replay_is_noticed(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target, wrong = REPLAY_MUTANTS[mutant]
    monkeypatch.setattr(target, wrong)
    assert await noticing_replays() > 0
