"""What a provider applied after it was told otherwise, until a person has seen to it."""

from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from tests.core import World, initiation
from tests.provider_examples import LINK_ROUTE
from tests.rows import NOW, TOKEN, claim_wish, closed, payment
from tests.store_samples import number
from worker.calls import Declined, NotSent, Outcome, Succeeded, Try, Unknown
from worker.codes import Code
from worker.identity import identity_of, operation_id_of
from worker.ledger import Ledger
from worker.lifecycle.contradiction import ACKNOWLEDGED, TOO_LATE, contradiction_of
from worker.lifecycle.decide import Reason
from worker.lifecycle.ruling import RulingWish, WasNotApplied
from worker.lifecycle.settle import Evidence, Settlement
from worker.look_ups import Finding, LookUp
from worker.operators.books import Bookkeeper, Walk
from worker.operators.contradictions import Acknowledged, NotAcknowledged, acknowledge
from worker.operators.findings import Flaw
from worker.records import AttemptEntry, AuditEntry, History, State

APPLIED = Succeeded(link=None, item_id="12", http_status=200)
REFUSED = Reason(code=Code.PROVIDER_UNAVAILABLE)
DOUBT = Reason(code=Code.OUTCOME_UNKNOWN)
MINUTE = timedelta(minutes=1)
LATER = NOW + MINUTE
PAYMENT_ID = operation_id_of(identity_of("dcp", "key-1"))


def attempt(
    outcome: Outcome = APPLIED, *, at: datetime = LATER, note: str | None = TOO_LATE
) -> AttemptEntry:
    tried = Try(started_at=at, ended_at=at, outcome=outcome)
    return AttemptEntry(
        operation_id=PAYMENT_ID,
        token=TOKEN,
        number=1,
        reference="e762",
        tries=(tried,),
        ended_at=at,
        note=note,
    )


def look_up(finding: Finding = Finding.FOUND, *, at: datetime = LATER) -> LookUp:
    return LookUp(
        operation_id=PAYMENT_ID, sequence=1, step=1, at=at, reference="e762", finding=finding
    )


def applied_at(at: datetime) -> str:
    return f"attempt 1 ended succeeded at {at:%Y-%m-%d %H:%M:%S.%fZ}"


def seen_to(*evidence: str, at: datetime = LATER) -> AuditEntry:
    told = f"was told failed, {', '.join(evidence)}: booked"
    return AuditEntry(
        at=at, actor="anna", action=ACKNOWLEDGED, operation_id=PAYMENT_ID, detail=told
    )


def history(
    state: State,
    *,
    attempts: tuple[AttemptEntry, ...] = (),
    look_ups: tuple[LookUp, ...] = (),
    audit: tuple[AuditEntry, ...] = (),
) -> History:
    if state.is_open:
        record = payment(state)
    else:
        reason = {State.FAILED: REFUSED, State.IN_DOUBT: DOUBT}.get(state)
        record, _answer = closed(payment(), state, reason=reason)
    return History(record=record, answers=(), attempts=attempts, audit=audit, look_ups=look_ups)


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize(
    "late",
    [{"attempts": (attempt(),)}, {"look_ups": (look_up(),)}],
    ids=["an attempt", "a look-up"],
)
def test_only_what_was_told_as_not_applied_is_contradicted(
    state: State, late: dict[str, tuple[AttemptEntry, ...]]
) -> None:
    found = contradiction_of(history(state, **late))  # type: ignore[arg-type] # one of two fields
    assert (found is not None) == (state in {State.FAILED, State.CANCELLED})


@pytest.mark.parametrize(
    "entry",
    [
        attempt(Unknown()),
        attempt(NotSent(code=Code.PROVIDER_UNAVAILABLE)),
        attempt(Declined(code=Code.DECLINED, provider_code=None, http_status=200, known=True)),
        attempt(note="late answer"),
        attempt(note=None),
        attempt(at=NOW - MINUTE),
        replace(attempt(), tries=()),
    ],
)
def test_what_was_not_applied_or_known_before_contradicts_nothing(entry: AttemptEntry) -> None:
    assert contradiction_of(history(State.FAILED, attempts=(entry,))) is None


@pytest.mark.parametrize("finding", list(Finding))
def test_a_look_up_that_finds_the_payment_contradicts_that_it_failed(finding: Finding) -> None:
    found = contradiction_of(history(State.FAILED, look_ups=(look_up(finding),)))
    is_there = finding not in {Finding.NOT_FOUND, Finding.FAILED}
    assert (found is not None) == is_there
    early = look_up(finding, at=NOW - MINUTE)
    assert contradiction_of(history(State.FAILED, look_ups=(early,))) is None


def test_what_nobody_has_named_has_to_be_seen_to_whenever_it_came() -> None:
    """An attempt that was being written while somebody acknowledged another was not seen."""
    late, later = (attempt(),), (look_up(at=LATER + MINUTE),)
    first = applied_at(LATER)
    second = f"a look-up of reference e762 found it at {LATER + MINUTE:%Y-%m-%d %H:%M:%S.%fZ}"

    def judged(*audit: AuditEntry) -> tuple[str, bool]:
        found = contradiction_of(history(State.FAILED, attempts=late, look_ups=later, audit=audit))
        assert found is not None
        assert found.at == LATER + MINUTE
        return found.evidence, found.is_acknowledged

    both = f"{first}, {second}"
    assert judged() == (both, False)
    assert judged(seen_to(first)) == (second, False)
    assert judged(seen_to(first, at=LATER + 9 * MINUTE)) == (second, False)
    assert judged(seen_to(first), seen_to(second)) == (both, True)
    assert judged(seen_to(first, second)) == (both, True)


# --- through the ledger and the books ------------------------------------------------------------


async def told_as_failed(world: World, ledger: Ledger) -> UUID:
    """A doubt that a person has settled as failed; the token of the attempt that left it."""
    wish = claim_wish(LINK_ROUTE, delivery=initiation("key-1", id_commande="1"))
    await ledger.claim(wish)
    await settled(ledger, wish.token, Unknown(never_resend=True), world.clock.now())
    found = await ledger.find(PAYMENT_ID)
    assert found is not None
    await ledger.payments.rule(
        RulingWish(record=found[0], ruling=WasNotApplied(), actor="anna", reason="not there")
    )
    return wish.token


async def settled(ledger: Ledger, token: UUID, outcome: Outcome, at: datetime) -> object:
    end = Settlement(
        operation_id=PAYMENT_ID,
        payment_id=PAYMENT_ID,
        token=token,
        outcome=outcome,
        tries=(Try(started_at=at, ended_at=at, outcome=outcome),),
    )
    return await ledger.settle(end)


async def flaws(world: World, ledger: Ledger) -> list[tuple[Flaw, UUID | None, str]]:
    keeper = Bookkeeper(ledger=ledger, clock=world.clock, letters=None)
    now = world.clock.now()
    report = await keeper.report(since=now - MINUTE, until=now, walk=Walk.NEVER)
    return [(each.flaw, each.operation_id, each.detail) for each in report.findings]


async def test_a_late_success_is_an_exception_until_somebody_has_seen_to_it() -> None:
    world = World()
    ledger = world.worker().ledger
    token = await told_as_failed(world, ledger)
    nothing = await acknowledge(ledger, PAYMENT_ID, actor="anna", reason="ticket 4711")
    assert isinstance(nothing, NotAcknowledged)
    assert await flaws(world, ledger) == []
    world.clock.advance(60)
    late = await settled(ledger, token, APPLIED, world.clock.now())
    assert isinstance(late, Evidence)
    ((flaw, operation_id, detail),) = await flaws(world, ledger)
    assert (flaw, operation_id) == (Flaw.APPLIED_BUT_TOLD_OTHERWISE, PAYMENT_ID)
    assert "told failed provider_unavailable, attempt 1 ended succeeded" in detail
    world.clock.advance(60)
    for is_new in (True, False):
        done = await acknowledge(ledger, PAYMENT_ID, actor="anna", reason="ticket 4711")
        assert isinstance(done, Acknowledged)
        assert (done.is_new, done.record.state) == (is_new, State.FAILED)
    assert await flaws(world, ledger) == []
    (act,) = [each for each in world.store.tables.audit if each.action == ACKNOWLEDGED]
    assert act.detail.startswith("was told failed, attempt 1 ended succeeded at 20")
    assert act.detail.endswith("Z: ticket 4711")
    assert (act.facts.account, act.facts.cents) == ("safedebit", 1250)


async def test_what_nobody_knows_or_is_open_has_nothing_to_be_seen_to() -> None:
    world = World()
    ledger = world.worker().ledger
    unknown = await acknowledge(ledger, number(1), actor="anna", reason="x")
    assert unknown == NotAcknowledged("the ledger does not know it")
    await ledger.claim(claim_wish(LINK_ROUTE, delivery=initiation("key-1", id_commande="1")))
    opened = await acknowledge(ledger, PAYMENT_ID, actor="anna", reason="x")
    assert opened == NotAcknowledged("it is open: a worker decides it")
