"""A person and a late answer at the same moment: on every store exactly one of them decides."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from tests.contract.test_store import LEDGERS, NAMES, LedgerOnTrial, MakeLedger
from tests.rows import closed
from tests.store_samples import number, sample_record, write
from worker.calls import Succeeded
from worker.codes import Code
from worker.ledger import Ledger
from worker.lifecycle.decide import Reason
from worker.lifecycle.ruling import NotRuled, Ruled, RulingWish, WasNotApplied
from worker.lifecycle.settle import Evidence, Settlement
from worker.lifecycle.wishes import Decided
from worker.model import Secret
from worker.records import State
from worker.rules import Rules

ROUNDS = 12
LINK = Secret("https://pay.example.org/late")


@pytest_asyncio.fixture(params=LEDGERS, ids=NAMES)
async def ledger(request: pytest.FixtureRequest) -> AsyncIterator[LedgerOnTrial]:
    make: MakeLedger = request.param
    with make(request) as on_trial:
        yield on_trial
        await on_trial.close()


async def test_of_a_person_and_a_late_answer_exactly_one_decides(ledger: LedgerOnTrial) -> None:
    """Two processes on one ledger; who comes second says so, and leaves the row alone."""
    stores = [await ledger.open(), await ledger.open()]
    worker, desk = [Ledger(store=store, rules=Rules(), clock=store.clock) for store in stores]
    for value in range(1, ROUNDS + 1):
        before = replace(sample_record(value, version=2), unknown_attempts=1)
        record, answer = closed(before, State.IN_DOUBT, reason=Reason(code=Code.OUTCOME_UNKNOWN))
        record = replace(record, version=1)
        await write(stores[0], record, answers=(answer,))
        token = record.token
        assert token is not None
        late = Settlement(
            operation_id=number(value),
            payment_id=number(value),
            token=token,
            outcome=Succeeded(link=LINK, http_status=200),
            tries=(),
        )
        word = RulingWish(record=record, ruling=WasNotApplied(), actor="anna", reason="not there")
        if value % 2:
            ruled, settled = await asyncio.gather(desk.payments.rule(word), worker.settle(late))
        else:
            settled, ruled = await asyncio.gather(worker.settle(late), desk.payments.rule(word))
        history = await desk.history(number(value))
        assert history is not None
        assert (history.record.sequence, len(history.answers)) == (2, 2)
        assert len(history.attempts) == 1, "what the late answer brought is kept either way"
        if isinstance(settled, Decided):
            assert isinstance(ruled, NotRuled)
            assert (history.record.state, history.audit) == (State.SUCCEEDED, ())
        else:
            assert isinstance(settled, Evidence)
            assert isinstance(ruled, Ruled)
            assert ruled.is_new
            assert history.record.state is State.FAILED
            assert history.attempts[0].note == "too late, kept as evidence"


async def test_two_people_at_once_decide_it_once(ledger: LedgerOnTrial) -> None:
    stores = [await ledger.open(), await ledger.open()]
    for value in range(1, ROUNDS + 1):
        before = replace(sample_record(value, version=2), unknown_attempts=1)
        record, answer = closed(before, State.IN_DOUBT, reason=Reason(code=Code.OUTCOME_UNKNOWN))
        record = replace(record, version=1)
        await write(stores[0], record, answers=(answer,))
        said = await asyncio.gather(
            *(
                Ledger(store=store, rules=Rules(), clock=store.clock).payments.rule(
                    RulingWish(record=record, ruling=WasNotApplied(), actor=actor, reason="gone")
                )
                for store, actor in zip(stores, ("anna", "bert"), strict=True)
            )
        )
        assert sorted(isinstance(each, Ruled) and each.is_new for each in said) == [False, True]
        assert all(isinstance(each, Ruled) for each in said)
        assert len(await stores[0].audit(number(value))) == 1
