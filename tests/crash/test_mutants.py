"""The crash suite is judged by the faults it catches: each deliberate one must be noticed.

The first five are those every payment worker is tempted by. There is no look-up yet whose
silence could be misread, so its place is taken by its sibling: a claim that expired in silence,
read as a claim that sent nothing.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import product
from uuid import UUID

import pytest

from tests.core import ANSWERS, RESET_AFTER, SILENCE
from tests.crash.laws import breaches
from tests.crash.runs import INTENTS, EndlessError, Run, kill_run, pause_run
from worker.announcer import Announcement
from worker.calls import NoReply, NotSent, Outcome, Unknown
from worker.lifecycle.claim import claim
from worker.lifecycle.expire import release_claim
from worker.lifecycle.settle import Evidence, Settled, Settlement, settle
from worker.lifecycle.table import IllegalMoveError
from worker.lifecycle.wishes import Claim, Claimed
from worker.model import Fingerprint
from worker.ports import View
from worker.records import Answer, Change, Record, State, Tombstone
from worker.rules import Rules

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


def claim_seeing(
    seen: Callable[[Record, datetime], Record],
) -> Callable[[View, Claim, Rules, datetime], Change[Claimed]]:
    """The claim, misled about what it finds."""

    def misled(view: View, wish: Claim, rules: Rules, now: datetime) -> Change[Claimed]:
        return claim(OtherView(view, lambda record: seen(record, now)), wish, rules, now)

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
}
"""Where each fault is put in, and the fault."""


async def noticing(*, until: int | None = None) -> tuple[int, int]:
    """Runs that break a promise or cannot end, and all runs; stops after ``until`` of the first."""
    noticed = runs = 0
    for intent, behaviours in product(INTENTS, BEHAVIOURS):
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
    """Measured without the early end, of about 700 runs: 63, 437, 237, 197, all, 63 and 42."""
    target, wrong = MUTANTS[mutant]
    monkeypatch.setattr(target, wrong)
    noticed, _runs = await noticing(until=10)
    assert noticed == 10
