"""A worker killed anywhere, its message away for hours, and a sweeper killed at each step."""

from datetime import timedelta

import pytest

from tests.core import ANSWERS, RESET_AFTER, Behaviour
from tests.crash.laws import breaches
from tests.crash.runs import INTENTS, Intent, kill_run, sweep_run

BEHAVIOURS = {"answers": (ANSWERS,), "reset after it acted": (RESET_AFTER, RESET_AFTER)}
ABSENCES = {
    "past the sweeper's age": timedelta(hours=3),
    "too old for an attempt": timedelta(hours=25),
}


@pytest.mark.parametrize("intent", INTENTS, ids=lambda intent: intent.name)
@pytest.mark.parametrize("behaviours", BEHAVIOURS.values(), ids=BEHAVIOURS)
@pytest.mark.parametrize("absence", ABSENCES.values(), ids=ABSENCES)
async def test_a_sweeper_killed_at_any_step_decides_and_publishes_once(
    intent: Intent, behaviours: tuple[Behaviour, ...], absence: timedelta
) -> None:
    unhurt = await kill_run(intent, behaviours, 0)
    # Between two steps nothing lasts: a kill before the next one leaves what the last one left.
    for at, name in enumerate(unhurt.boundaries, start=1):
        if name.startswith("before"):
            continue
        swept = await sweep_run(intent, behaviours, at, 0, absence=absence)
        assert breaches(swept) == [], at
        for sweeper_at in range(1, len(swept.boundaries) + 1):
            run = await sweep_run(intent, behaviours, at, sweeper_at, absence=absence)
            assert breaches(run) == [], (at, name, run.boundaries[-1])
