"""What becomes of acknowledgements whose task is cancelled: none goes without a word."""

import asyncio
from typing import cast

from aiormq.abc import AbstractChannel
from structlog.testing import capture_logs

from tests.core import basket
from worker.adapters.clock import SystemClock
from worker.adapters.intake import Intake, Received
from worker.messages import Disposition
from worker.model import Environment
from worker.topology import Topology


class FakeChannel:
    """What an intake asks of a channel; ``room`` is set while the client's queue has some."""

    def __init__(self) -> None:
        self.on_consumer_cancel_callbacks: set[object] = set()
        self.closing: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self.acknowledged: list[tuple[int, bool]] = []
        self.room = asyncio.Event()
        self.asked = asyncio.Event()

    async def basic_ack(self, tag: int, *, multiple: bool, wait: bool) -> None:
        assert not wait
        self.asked.set()
        await self.room.wait()
        self.acknowledged.append((tag, multiple))


def settling(channel: FakeChannel) -> list[asyncio.Task[None]]:
    """Two deliveries of one turn, settled: the first one acknowledges for both."""
    topology = Topology(environment=Environment.STAGING)
    intake = Intake(
        cast("AbstractChannel", channel),
        topology,
        clock=SystemClock(),
        on_received=lambda _received: None,
    )
    return [
        asyncio.create_task(
            intake.settle(Received(intake, tag, basket(f"key-{tag}")), Disposition.ACKNOWLEDGE)
        )
        for tag in (1, 2)
    ]


async def test_the_others_are_acknowledged_although_the_first_is_cancelled() -> None:
    channel = FakeChannel()
    channel.room.set()
    first, second = settling(channel)
    await SystemClock().sleep(0)  # a turn of the loop: both have begun
    first.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    assert channel.acknowledged == [(2, True)]


async def test_acknowledgements_cut_short_in_a_full_queue_are_told() -> None:
    """At a stop: the broker delivers them again, and the ledger repeats the answers."""
    channel = FakeChannel()
    with capture_logs() as logs:
        first, second = settling(channel)
        await channel.asked.wait()
        first.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
    assert first.cancelled()
    assert not channel.acknowledged
    told = [
        each["labels.message_id"]
        for each in logs
        if each["event.action"] == "delivery.acknowledgement_lost"
    ]
    assert sorted(told) == ["key-1", "key-2"]
