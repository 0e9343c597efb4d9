"""The same kills on the durable ledgers, inside their commits too.

SQLite: every intent meets every way a provider behaves, and in each such life a worker is killed
at every boundary. PostgreSQL, where the successor of a killed worker has to connect anew: every
intent and every behaviour again, and of the boundaries those that leave another state behind than
the one before (inside a commit, after a call, between a publish and its confirm, after an
acknowledgement), every other one in one behaviour and the rest in the next, so that every intent
is killed at each of them. A frozen worker, a lost ledger, a replay and a sweeper meet the ways
that leave most behind; their full product runs in memory (``test_kills``, ``test_two_workers``,
``test_replays``, ``test_sweeps``).
"""

import re
from collections.abc import Sequence
from datetime import timedelta

import pytest

from tests.core import ANSWERS, REFUSED_CONNECTION, RESET_AFTER
from tests.crash.fuse import CuttingFuse, LosingFuse
from tests.crash.laws import breaches
from tests.crash.ledgers import CrashLedger, PostgresLedger
from tests.crash.replays import replay_run
from tests.crash.runs import (
    ADD_E,
    HISTORIES,
    INTENTS,
    LINK_D,
    REMOVE_B,
    Intent,
    fused_run,
    kill_run,
    pause_run,
    sweep_run,
)
from tests.crash.test_kills import BEHAVIOURS

FEW = {"reset after it acted": (RESET_AFTER,), "refused, then answers": (REFUSED_CONNECTION,)}
PAST_THE_LEASE = 600.0


def named(intent: Intent) -> str:
    return intent.name


LASTING = re.compile("(before|after) the commit|after call|before confirm|after acknowledgement")
"""Boundaries that leave another state behind than the one before them."""


def places(ledger: CrashLedger, boundaries: Sequence[str]) -> Sequence[int]:
    """Boundaries to kill at: all; on PostgreSQL the lasting ones."""
    is_slow = isinstance(ledger, PostgresLedger)
    return [at for at, name in enumerate(boundaries, start=1) if not is_slow or LASTING.match(name)]


def in_turns(ledger: CrashLedger, boundaries: Sequence[str], turn: int) -> Sequence[int]:
    """Boundaries to kill at in one of many lives: on PostgreSQL every other lasting one."""
    chosen = places(ledger, boundaries)
    return chosen[turn % 2 :: 2] if isinstance(ledger, PostgresLedger) else chosen


@pytest.mark.parametrize("intent", INTENTS, ids=named)
async def test_a_worker_killed_at_any_boundary_pays_once_and_answers(
    real_ledger: CrashLedger, intent: Intent
) -> None:
    wanted: set[str] = set()
    killed_at: set[str] = set()
    for turn, (name, behaviours) in enumerate(BEHAVIOURS.items()):
        unhurt = await kill_run(intent, behaviours, 0, ledger=real_ledger)
        assert breaches(unhurt) == [], name
        wanted |= {unhurt.boundaries[at - 1] for at in places(real_ledger, unhurt.boundaries)}
        new = [unhurt.boundaries.index(each) + 1 for each in wanted - killed_at]
        for at in {*in_turns(real_ledger, unhurt.boundaries, turn), *new}:
            run = await kill_run(intent, behaviours, at, ledger=real_ledger)
            assert breaches(run) == [], (name, at, run.boundaries[-1], run.world.broker.steps)
            killed_at.add(run.boundaries[-1])
    assert killed_at == wanted
    claim = "claim_cancellation" if intent.is_removed else "claim"
    transactions = (claim, "settle")
    assert killed_at >= {f"before the commit of {each}" for each in transactions}
    assert killed_at >= {f"after the commit of {each}" for each in transactions}


@pytest.mark.parametrize("intent", HISTORIES, ids=named)
async def test_a_replayed_or_doubled_payment_killed_at_any_boundary_is_paid_once(
    real_ledger: CrashLedger, intent: Intent
) -> None:
    for turn, behaviours in enumerate([(REFUSED_CONNECTION, ANSWERS), (ANSWERS,), (RESET_AFTER,)]):
        unhurt = await kill_run(intent, behaviours, 0, ledger=real_ledger)
        for at in in_turns(real_ledger, unhurt.boundaries, turn):
            run = await kill_run(intent, behaviours, at, ledger=real_ledger)
            assert breaches(run) == [], (at, run.boundaries[-1], run.world.broker.steps)


@pytest.mark.parametrize("intent", INTENTS, ids=named)
async def test_two_workers_interleaved_at_any_boundary_pay_once(
    real_ledger: CrashLedger, intent: Intent
) -> None:
    """The first freezes past its lease and goes on when the second has ended the matter."""
    for behaviours in FEW.values():
        unhurt = await pause_run(intent, behaviours, 0, deliveries=None, wait=0, ledger=real_ledger)
        for at in range(1, len(unhurt.boundaries) + 1):
            run = await pause_run(
                intent, behaviours, at, deliveries=None, wait=PAST_THE_LEASE, ledger=real_ledger
            )
            assert breaches(run) == [], (at, run.boundaries[at - 1 :][:1], run.world.broker.steps)


@pytest.mark.parametrize("intent", INTENTS, ids=named)
async def test_a_ledger_lost_for_a_moment_at_any_call_costs_no_payment(
    real_ledger: CrashLedger, intent: Intent
) -> None:
    """The worker lives on and does not learn whether its write was made."""
    behaviours = (RESET_AFTER,)
    counting = LosingFuse()
    await fused_run(intent, behaviours, counting, ledger=real_ledger)
    for at in range(1, len(counting.passed) + 1):
        fuse = LosingFuse(at)
        run = await fused_run(intent, behaviours, fuse, ledger=real_ledger)
        assert breaches(run) == [], (at, fuse.passed[at - 1], run.world.broker.steps)


@pytest.mark.parametrize("real_ledger", ["postgresql"], indirect=True)
@pytest.mark.parametrize("intent", INTENTS, ids=named)
async def test_a_commit_whose_answer_was_lost_is_known_by_its_own_token(
    real_ledger: CrashLedger, intent: Intent
) -> None:
    """Invariant I2: the line is cut at the commit, and the payment goes on as if it were not.

    Not for SQLite, where an error inside a commit ends the process.
    """
    behaviours = (ANSWERS,)
    counting = CuttingFuse()
    unhurt = await fused_run(intent, behaviours, counting, ledger=real_ledger)
    commits = [at for at, name in enumerate(counting.passed, start=1) if "the commit of" in name]
    assert len(commits) >= 4
    for at in commits:
        fuse = CuttingFuse(at)
        run = await fused_run(intent, behaviours, fuse, ledger=real_ledger)
        assert fuse.is_blown
        assert breaches(run) == [], (at, fuse.passed[at - 1])
        assert run.world.broker.steps == []
        assert run.world.broker.events == unhurt.world.broker.events
        assert run.world.providers.applied == unhurt.world.providers.applied


@pytest.mark.parametrize("intent", [LINK_D, ADD_E], ids=named)
async def test_a_replay_killed_at_any_step_and_run_again_pays_once(
    real_ledger: CrashLedger, intent: Intent
) -> None:
    behaviours = (ANSWERS,)
    unhurt, _ = await replay_run(intent, behaviours, 0, works_between=True, ledger=real_ledger)
    assert "after the commit of reopen" in unhurt.boundaries
    for at in places(real_ledger, unhurt.boundaries):
        run, _ = await replay_run(intent, behaviours, at, works_between=True, ledger=real_ledger)
        assert breaches(run) == [], (at, run.boundaries[-1])


@pytest.mark.parametrize(
    ("intent", "left_at"),
    [
        (LINK_D, "after claim"),
        (ADD_E, "after claim"),
        (LINK_D, "after settle"),
        (ADD_E, "after settle"),
        (REMOVE_B, "after claim_cancellation"),
        (REMOVE_B, "after settle"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
async def test_a_sweeper_killed_at_any_step_decides_and_publishes_once(
    real_ledger: CrashLedger, intent: Intent, left_at: str
) -> None:
    behaviours, absence = (RESET_AFTER,), timedelta(hours=3)
    unhurt = await kill_run(intent, behaviours, 0, ledger=real_ledger)
    at = unhurt.boundaries.index(left_at) + 1
    swept = await sweep_run(intent, behaviours, at, 0, absence=absence, ledger=real_ledger)
    assert "before the commit of take_unpublished" in swept.boundaries
    for sweeper_at in places(real_ledger, swept.boundaries):
        run = await sweep_run(
            intent, behaviours, at, sweeper_at, absence=absence, ledger=real_ledger
        )
        assert breaches(run) == [], (at, run.boundaries[-1])
