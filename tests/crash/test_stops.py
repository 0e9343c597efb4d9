"""A worker whose task is cancelled at any await gives its claim back or records its doubt."""

import pytest

from tests.core import ANSWERS, REFUSED_CONNECTION, RESET_AFTER, Behaviour
from tests.crash.laws import breaches
from tests.crash.ledgers import Rows
from tests.crash.runs import INTENTS, Intent, cancel_run, kill_run
from worker.records import State

BEHAVIOURS = {
    "answers": (ANSWERS,),
    "refused, then answers": (REFUSED_CONNECTION, ANSWERS),
    "reset after it acted": (RESET_AFTER,),
}


@pytest.mark.parametrize("intent", INTENTS, ids=lambda intent: intent.name)
@pytest.mark.parametrize("behaviours", BEHAVIOURS.values(), ids=BEHAVIOURS)
async def test_a_task_cancelled_at_any_boundary_leaves_no_claim_behind(
    intent: Intent, behaviours: tuple[Behaviour, ...]
) -> None:
    unhurt = await kill_run(intent, behaviours, 0)
    for at in range(1, len(unhurt.boundaries) + 1):
        claims: list[str] = []

        def looked_at(rows: Rows, claims: list[str] = claims) -> None:
            claims.extend(
                record.kind for record in rows.records.values() if record.state is State.CALLING
            )

        run = await cancel_run(intent, behaviours, at, after_cancelling=looked_at)
        assert claims == [], at
        assert breaches(run) == [], (at, run.world.broker.steps)
