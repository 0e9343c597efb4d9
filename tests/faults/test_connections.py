"""Failure cases 16, 19 to 21 and 37: every way a connection to the broker can break, under load.

Payments flow at a steady rate while it breaks, the providers count what they applied, and the
judge of the long run says what became of each. ``python -m tests.faults.connections`` runs the same
scenes one by one at the product's default settings, and measures them.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker import Broker, private_broker
from tests.faults.connection_run import cost_of, endure
from tests.faults.connection_scenes import (
    CANCELLED,
    CLOSED,
    DELETED,
    FROZEN,
    FROZEN_BRIEFLY,
    HALF_OPEN_CONSUMER,
    HALF_OPEN_PUBLISHER,
    KILLED,
    ROTATED,
    Scene,
)
from tests.faults.connection_site import SHORTENED, ground

pytestmark = [pytest.mark.broker, pytest.mark.time_limit(120)]

_FLOW = 10


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    """A node that may be frozen and killed."""
    with private_broker() as node:
        yield node


@pytest.mark.parametrize(
    "scenes",
    [
        pytest.param((HALF_OPEN_CONSUMER, HALF_OPEN_PUBLISHER), id="case-20-half-open"),
        pytest.param((FROZEN_BRIEFLY, FROZEN, KILLED), id="case-16-and-19-broker-away"),
        # Apart from each other: faults in quick succession lengthen the waits between the tries.
        pytest.param((CLOSED, CANCELLED), id="case-21-closed-and-cancelled"),
        pytest.param((DELETED,), id="case-21-queue-deleted"),
        pytest.param((ROTATED,), id="case-37-password-changed"),
    ],
)
async def test_a_broken_connection_is_noticed_and_replaced_and_costs_no_payment(
    broker: Broker, tmp_path: Path, scenes: tuple[Scene, ...]
) -> None:
    """It comes back by itself; a person is called once where only a person can help."""
    async with ground(broker, tmp_path, SHORTENED, seed=7) as place:
        for scene in scenes:
            await place.traffic.goes_on(_FLOW)
            await endure(scene, place)
        await place.traffic.goes_on(_FLOW)
        cost = await cost_of(place)
    assert cost.verdict.is_good, cost.verdict
    assert cost.pages == sum(scene.pages for scene in scenes)
    assert cost.verdict.requests >= _FLOW * (len(scenes) + 1)
