"""The dead-letter queue on paper: one letter in hand at a time, as an operator's tool has it."""

import json
from collections import deque
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

from tests.fakes_clock import START
from worker.model import Delivery, Source
from worker.operator_ports import LetterInHand


@dataclass(slots=True)
class PaperLetter:
    """Implements ``operator_ports.LetterInHand``."""

    delivery: Delivery
    queue: "PaperQueue"

    async def acknowledge(self) -> None:
        self.queue.held.remove(self.delivery)
        self.queue.removed.append(self.delivery)

    async def give_back(self) -> None:
        self.queue.held.remove(self.delivery)
        self.queue.letters.appendleft(self.delivery)


@dataclass(slots=True)
class PaperQueue:
    """Implements ``operator_ports.LetterQueue`` on the paper broker; one letter in hand."""

    letters: deque[Delivery] = field(default_factory=deque)
    removed: list[Delivery] = field(default_factory=list)
    held: list[Delivery] = field(default_factory=list)

    @property
    def in_hand(self) -> int:
        return len(self.held)

    async def depth(self) -> int:
        return len(self.letters)

    async def take(self) -> LetterInHand | None:
        assert not self.held
        if not self.letters:
            return None
        self.held.append(self.letters.popleft())
        return PaperLetter(self.held[-1], self)

    def lose_connection(self) -> None:
        """Return what is in hand, as the broker does when its holder is gone."""
        self.letters.extendleft(self.held)
        self.held.clear()


DIED: Final = START - timedelta(hours=3)


def given_up(delivery: Delivery, *, cause: str = "delivery_limit") -> Delivery:
    """A request as the broker itself dead-letters it, three hours before the start."""
    death = {
        "queue": "payments.work",
        "reason": cause,
        "time": DIED.isoformat(),
        "routing-keys": [delivery.routing_key],
    }
    return replace(
        delivery,
        source=Source.ELSEWHERE,
        exchange="payments.dlx",
        routing_key="dead",
        headers={**delivery.headers, "x-death": json.dumps([death])},
    )
