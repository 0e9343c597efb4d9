"""Two workers on one ledger: one freezes anywhere, the other takes over, the first goes on."""

import pytest

from tests.core import ANSWERS, REFUSED_CONNECTION, RESET_AFTER, Behaviour
from tests.crash.laws import breaches
from tests.crash.runs import HISTORIES, INTENTS, Intent, kill_run, pause_run

BEHAVIOURS = {
    "answers": (ANSWERS,),
    "refused, then answers": (REFUSED_CONNECTION, ANSWERS),
    "reset after it acted": (RESET_AFTER,),
}
PAST_THE_LEASE = 600.0


@pytest.mark.parametrize("intent", INTENTS + HISTORIES, ids=lambda intent: intent.name)
@pytest.mark.parametrize("behaviours", BEHAVIOURS.values(), ids=BEHAVIOURS)
@pytest.mark.parametrize(
    ("wait", "deliveries"),
    [(0.0, 1), (PAST_THE_LEASE, 1), (PAST_THE_LEASE, None)],
    ids=["at once", "past the lease", "past the lease and to the end"],
)
async def test_two_workers_interleaved_at_any_boundary_pay_once(
    intent: Intent, behaviours: tuple[Behaviour, ...], wait: float, deliveries: int | None
) -> None:
    unhurt = await kill_run(intent, behaviours, 0)
    for at in range(1, len(unhurt.boundaries) + 1):
        run = await pause_run(intent, behaviours, at, deliveries=deliveries, wait=wait)
        assert breaches(run) == [], (at, run.boundaries[at - 1 :][:1], run.world.broker.steps)
