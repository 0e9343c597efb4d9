"""An operator's replay killed before and after each of its steps: one payment, no letter lost."""

from collections import Counter

import pytest

from tests.core import ANSWERS, DECLINES, RESET_AFTER, Behaviour
from tests.crash.laws import breaches
from tests.crash.ledgers import MemoryLedger
from tests.crash.replays import NEIGHBOUR, WANTED, replay_run
from tests.crash.runs import ADD_E, LINK_C, LINK_D, LINK_E, Intent
from worker.records import REPLAY_OUTCOME, State

INTENTS = (LINK_D, LINK_C, LINK_E, ADD_E)
BEHAVIOURS = {
    "answers": (ANSWERS,),
    "reset after it acted": (RESET_AFTER,),
    "declines": (DECLINES,),
}
STEPS = {
    "before add_steps",
    "after begin_run",
    "after note_steps",
    "before end_run",
    "before take of a letter",
    "after take of a letter",
    "before publish of the dead letter",
    "after confirm of the dead letter",
    "before reopen",
    "after reopen",
    "before publish of the replay",
    "before confirm of the replay",
    "after confirm of the replay",
    "before acknowledgement of a letter",
    "after acknowledgement of a letter",
}


@pytest.mark.parametrize("intent", INTENTS, ids=lambda intent: intent.name)
@pytest.mark.parametrize("behaviours", BEHAVIOURS.values(), ids=BEHAVIOURS)
@pytest.mark.parametrize("works_between", [False, True], ids=["run again", "worked, run again"])
async def test_a_replay_killed_at_any_step_and_run_again_pays_once_and_keeps_every_letter(
    intent: Intent, behaviours: tuple[Behaviour, ...], *, works_between: bool
) -> None:
    unhurt, _desk = await replay_run(intent, behaviours, 0, works_between=works_between)
    assert set(unhurt.boundaries) >= STEPS
    assert breaches(unhurt) == []
    for at in range(1, len(unhurt.boundaries) + 1):
        run, desk = await replay_run(intent, behaviours, at, works_between=works_between)
        where = (at, run.boundaries[-1])
        assert breaches(run) == [], where
        wanted = run.rows.records[WANTED]
        assert wanted.sequence >= 2, where
        assert NEIGHBOUR in desk.owners, where
        assert wanted.event_id is not None, where
        owes_letter = run.rows.answers[wanted.event_id].letter is not None
        assert (WANTED in desk.owners) == owes_letter, where
        assert run.rows.records[NEIGHBOUR].sequence == 1, where


@pytest.mark.parametrize("intent", INTENTS, ids=lambda intent: intent.name)
@pytest.mark.parametrize("works_between", [False, True], ids=["at once", "after a worker"])
async def test_a_rival_run_after_a_killed_one_replays_nothing_a_second_time(
    intent: Intent, *, works_between: bool
) -> None:
    """Another operator plans anew what the first one's run has left, then that one is resumed."""
    unhurt, _desk = await replay_run(intent, (ANSWERS,), 0, works_between=works_between)
    for at in range(1, len(unhurt.boundaries) + 1):
        run, desk = await replay_run(
            intent, (ANSWERS,), at, works_between=works_between, has_rival=True
        )
        where = (at, run.boundaries[-1])
        assert breaches(run) == [], where
        assert run.rows.records[WANTED].state is State.SUCCEEDED, where
        assert sum(run.world.providers.applied.values()) == 1, where
        assert NEIGHBOUR in desk.owners, where


@pytest.mark.parametrize("works_between", [False, True], ids=["at once", "after a worker"])
async def test_a_run_of_several_letters_killed_at_any_step_pays_each_once(
    *, works_between: bool
) -> None:
    """By the provider's own count; whatever was killed, no letter is lost and none is left."""
    both = (NEIGHBOUR, WANTED)
    unhurt, _desk = await replay_run(ADD_E, (), 0, works_between=works_between, wanted=both)
    assert len(unhurt.boundaries) > 30
    for at in range(1, len(unhurt.boundaries) + 1):
        run, desk = await replay_run(ADD_E, (), at, works_between=works_between, wanted=both)
        where = (at, run.boundaries[-1])
        assert breaches(run) == [], where
        assert [run.rows.records[each].sequence for each in both] == [2, 2], where
        applied = run.world.providers.applied
        assert sorted(applied.values()) == [1, 1], where
        assert desk.owners == [], where


async def test_a_killed_run_tells_the_audit_once_what_came_of_each_letter() -> None:
    """The act and the journal's line are two writes, and the tool may die in between.

    A first process has sent the letters, a second one is killed while it finds out their outcomes.
    """
    both = (NEIGHBOUR, WANTED)
    sent, _desk = await replay_run(ADD_E, (), 0, works_between=True, wanted=both)
    known, _desk = await replay_run(ADD_E, (), 0, 0, works_between=True, wanted=both)
    steps = known.boundaries[len(sent.boundaries) :]
    assert {"before note_steps", "after note_steps"} <= set(steps)
    for at in range(1, len(steps) + 1):
        ledger = MemoryLedger()
        await replay_run(ADD_E, (), 0, at, works_between=True, wanted=both, ledger=ledger)
        told = Counter(
            (act.operation_id, act.facts.result)
            for act in ledger.tables.audit
            if act.action == REPLAY_OUTCOME
        )
        assert told == dict.fromkeys([(each, "settled") for each in both], 1), (at, steps[at - 1])
