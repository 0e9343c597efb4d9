"""The state table, pair by pair, and the laws that no edit of it may break."""

from dataclasses import replace
from itertools import product

import pytest

from tests.fakes_clock import FakeClock
from tests.fakes_store import MemoryStore
from tests.rows import NOW, payment
from worker.lifecycle.decide import moved
from worker.lifecycle.table import MOVES, IllegalMoveError, Move, after
from worker.ports import View
from worker.records import Change, Needs, State

# Payment rules, rule set 2. Beyond the arrows there: a row may begin decided (a duplicate's
# answer, a lost ledger, a tombstone), and a cancellation may begin by waiting.
GRID = """
-           claim    wait        succeed    fail    doubt     cancel     reopen      find
nothing     calling  retry_wait  succeeded  failed  in_doubt  cancelled  -           -
calling     calling  retry_wait  succeeded  failed  in_doubt  -          -           -
retry_wait  calling  retry_wait  succeeded  failed  in_doubt  cancelled  -           -
in_doubt    -        -           succeeded  failed  -         -          retry_wait  in_doubt
failed      -        -           -          -       -         -          retry_wait  -
succeeded   -        -           -          -       -         cancelled  -           -
cancelled   -        -           -          -       -         -          -           -
"""

_LINES = [line.split() for line in GRID.strip().splitlines()]
EXPECTED = {
    (line[0], move): target
    for line in _LINES[1:]
    for move, target in zip(_LINES[0][1:], line[1:], strict=True)
}
ALL_STATES: list[State | None] = [None, *State]
PAIRS = list(product(ALL_STATES, Move))


def _name(state: State | None) -> str:
    return state.value if state else "nothing"


@pytest.mark.parametrize(("state", "move"), PAIRS)
def test_a_pair_leads_where_the_grid_says_or_raises(state: State | None, move: Move) -> None:
    target = EXPECTED[_name(state), move.value]
    if target == "-":
        with pytest.raises(IllegalMoveError) as raised:
            after(state, move)
        assert (raised.value.state, raised.value.move) == (state, move)
    else:
        assert after(state, move) is State(target)


def test_the_grid_and_the_table_speak_of_the_same_pairs() -> None:
    assert len(EXPECTED) == len(PAIRS) == 56
    assert set(MOVES) == set(ALL_STATES)


@pytest.mark.parametrize(("state", "move"), list(product(State, Move)))
def test_a_move_raises_the_version_or_changes_nothing(state: State, move: Move) -> None:
    record = payment(state)
    before = replace(record)
    if EXPECTED[state.value, move.value] == "-":
        with pytest.raises(IllegalMoveError):
            moved(record, move, NOW)
    else:
        ahead = moved(record, move, NOW)
        expected = replace(
            before, state=State(EXPECTED[state.value, move.value]), version=4, updated_at=NOW
        )
        assert ahead == expected
    assert record == before


async def test_an_illegal_move_in_a_transaction_writes_nothing() -> None:
    store = MemoryStore(FakeClock())
    first = replace(payment(State.SUCCEEDED), version=1)
    needs = Needs((first.operation_id,))
    await store.transact(needs, lambda _view: Change(result=None, records=(first,)))

    def illegal(view: View) -> Change[None]:
        found = view.record(first.operation_id)
        assert found is not None
        return Change(result=None, records=(moved(found, Move.REOPEN, NOW),))

    with pytest.raises(IllegalMoveError, match="no reopen from succeeded"):
        await store.transact(needs, illegal)
    assert await store.find(first.operation_id) == (first, None)


def test_doubt_is_left_only_by_an_answer_or_an_audited_reopening() -> None:
    """No claim, no wait and no cancellation: those need no evidence.

    A look-up that finds it without a link tells more about the doubt and does not end it.
    """
    left = {move for move, state in MOVES[State.IN_DOUBT].items() if state is not State.IN_DOUBT}
    assert left == {Move.SUCCEED, Move.FAIL, Move.REOPEN}
    assert set(MOVES[State.IN_DOUBT]) == {*left, Move.FIND}


def test_a_success_changes_only_by_a_cancellation() -> None:
    assert set(MOVES[State.SUCCEEDED]) == {Move.CANCEL}


def test_a_failure_changes_only_by_a_reopening() -> None:
    assert set(MOVES[State.FAILED]) == {Move.REOPEN}


def test_a_cancelled_payment_is_at_its_end() -> None:
    assert MOVES[State.CANCELLED] == {}


@pytest.mark.parametrize("known", [State.SUCCEEDED, State.FAILED, State.CANCELLED])
def test_a_known_state_is_never_replaced_by_a_less_known_one(known: State) -> None:
    assert not set(MOVES[known].values()) & {State.CALLING, State.IN_DOUBT}


def test_open_states_are_those_without_an_answer() -> None:
    assert {state for state in State if state.is_open} == {State.CALLING, State.RETRY_WAIT}
