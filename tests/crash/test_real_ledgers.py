"""The same kills on the durable ledgers, each worker a process that opens them anew.

Every intent meets every way a provider behaves, and in each such life a worker is killed at every
boundary, those inside the commits included. A frozen worker, a lost ledger, a replay and a sweeper
meet the two ways that leave most behind; their full product runs in memory (``test_kills``,
``test_two_workers``, ``test_replays``, ``test_sweeps``).
"""

from datetime import timedelta

import pytest

from tests.core import ANSWERS, REFUSED_CONNECTION, RESET_AFTER, Behaviour
from tests.crash.fuse import LosingFuse
from tests.crash.laws import breaches
from tests.crash.ledgers import CrashLedger
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
COMMITS = {
    f"{side} the commit of {transaction}"
    for side in ("before", "after")
    for transaction in ("settle", "marks")
}


@pytest.mark.parametrize("intent", INTENTS, ids=lambda intent: intent.name)
@pytest.mark.parametrize("behaviours", BEHAVIOURS.values(), ids=BEHAVIOURS)
async def test_a_worker_killed_at_any_boundary_pays_once_and_answers(
    real_ledger: CrashLedger, intent: Intent, behaviours: tuple[Behaviour, ...]
) -> None:
    unhurt = await kill_run(intent, behaviours, 0, ledger=real_ledger)
    assert breaches(unhurt) == []
    assert set(unhurt.boundaries) >= COMMITS
    for at in range(1, len(unhurt.boundaries) + 1):
        run = await kill_run(intent, behaviours, at, ledger=real_ledger)
        assert breaches(run) == [], (at, run.boundaries[-1], run.world.broker.steps)


@pytest.mark.parametrize("intent", HISTORIES, ids=lambda intent: intent.name)
async def test_a_replayed_or_doubled_payment_killed_at_any_boundary_is_paid_once(
    real_ledger: CrashLedger, intent: Intent
) -> None:
    behaviours = (REFUSED_CONNECTION, ANSWERS)
    unhurt = await kill_run(intent, behaviours, 0, ledger=real_ledger)
    for at in range(1, len(unhurt.boundaries) + 1):
        run = await kill_run(intent, behaviours, at, ledger=real_ledger)
        assert breaches(run) == [], (at, run.boundaries[-1], run.world.broker.steps)


@pytest.mark.parametrize("intent", INTENTS, ids=lambda intent: intent.name)
@pytest.mark.parametrize("behaviours", FEW.values(), ids=FEW)
async def test_two_workers_interleaved_at_any_boundary_pay_once(
    real_ledger: CrashLedger, intent: Intent, behaviours: tuple[Behaviour, ...]
) -> None:
    """The first freezes past its lease and goes on when the second has ended the matter."""
    unhurt = await pause_run(intent, behaviours, 0, deliveries=None, wait=0, ledger=real_ledger)
    for at in range(1, len(unhurt.boundaries) + 1):
        run = await pause_run(
            intent, behaviours, at, deliveries=None, wait=PAST_THE_LEASE, ledger=real_ledger
        )
        assert breaches(run) == [], (at, run.boundaries[at - 1 :][:1], run.world.broker.steps)


@pytest.mark.parametrize("intent", INTENTS, ids=lambda intent: intent.name)
async def test_a_ledger_lost_for_a_moment_at_any_call_costs_no_payment(
    real_ledger: CrashLedger, intent: Intent
) -> None:
    """The worker lives on and does not learn whether its write was made."""
    behaviours = FEW["reset after it acted"]
    counting = LosingFuse()
    await fused_run(intent, behaviours, counting, ledger=real_ledger)
    for at in range(1, len(counting.passed) + 1):
        fuse = LosingFuse(at)
        run = await fused_run(intent, behaviours, fuse, ledger=real_ledger)
        assert breaches(run) == [], (at, fuse.passed[at - 1], run.world.broker.steps)


@pytest.mark.parametrize("intent", [LINK_D, ADD_E], ids=lambda intent: intent.name)
async def test_a_replay_killed_at_any_step_and_run_again_pays_once(
    real_ledger: CrashLedger, intent: Intent
) -> None:
    unhurt, _desk = await replay_run(intent, (ANSWERS,), 0, works_between=True, ledger=real_ledger)
    assert "after the commit of reopen" in unhurt.boundaries
    for at in range(1, len(unhurt.boundaries) + 1):
        run, _desk = await replay_run(
            intent, (ANSWERS,), at, works_between=True, ledger=real_ledger
        )
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
    assert "before take_unpublished" in swept.boundaries
    for sweeper_at in range(1, len(swept.boundaries) + 1):
        run = await sweep_run(
            intent, behaviours, at, sweeper_at, absence=absence, ledger=real_ledger
        )
        assert breaches(run) == [], (at, run.boundaries[-1])
