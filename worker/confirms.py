"""Whether the broker still confirms: noticed from publishes that end in silence, told once.

A broker in a memory or disk alarm takes messages and confirms none; one that was cut off, or
that lost an exchange, is silent too. Then nothing can be acknowledged, so nothing more should be
consumed (rabbitmq section 8). Messages of an exchange that is silent go one at a time: a publish
that timed out may still arrive, and fifty of them, repeated, are fifty duplicates each time.
"""

import asyncio
from collections import Counter
from collections.abc import Callable

from worker.messages import Exchange, OutgoingMessage, Publication
from worker.ports import Clock, Publisher

FEWEST = 3
"""Silences in a row of one exchange that are no accident: a lost channel takes several along."""

LOOK_AGAIN_SECONDS = 1.0
"""Between two looks whether a silent exchange has somebody who tries it."""

PROBE = "check"
"""Type of a message that is published to hear a confirm, under a key nobody is bound for."""


class Confirms:
    """A publisher that notices silence; implements ``ports.Publisher``.

    ``seconds`` bounds a publish, waiting for its turn included. ``on_silence`` is told the
    reason once, when the first exchange falls silent, and ``on_back`` once, when none is.
    """

    def __init__(
        self,
        publisher: Publisher,
        *,
        clock: Clock,
        seconds: float,
        on_silence: Callable[[str], None],
        on_back: Callable[[], None],
    ) -> None:
        self._publisher = publisher
        self._clock = clock
        self._seconds = seconds
        self._on_silence = on_silence
        self._on_back = on_back
        self._streaks: Counter[Exchange] = Counter()
        self._silent: dict[Exchange, asyncio.Lock] = {}

    @property
    def trouble(self) -> str | None:
        """What is not confirmed; ``None`` while everything is."""
        if not self._silent:
            return None
        names = ", ".join(sorted(self._silent))
        return f"the broker confirms nothing sent to: {names}"

    async def publish(self, message: OutgoingMessage) -> Publication:
        """Publish, after those before it where the exchange is silent."""
        turn = self._silent.get(message.exchange)
        if turn is None:
            return self._noted(message, await self._publisher.publish(message))
        try:
            async with asyncio.timeout(self._seconds), turn:
                return self._noted(message, await self._publisher.publish(message))
        except TimeoutError:
            return Publication.UNKNOWN

    async def watch(self) -> None:
        """Try what is silent and has nobody who tries it, for ever."""
        while True:
            await self._clock.sleep(LOOK_AGAIN_SECONDS)
            for exchange, turn in tuple(self._silent.items()):
                if not turn.locked():
                    await self.publish(self._probe(exchange))

    async def until_usable(self) -> None:
        """Return once everything is confirmed again, however long that takes."""
        while self._silent:
            await self._clock.sleep(LOOK_AGAIN_SECONDS)

    def _noted(self, message: OutgoingMessage, publication: Publication) -> Publication:
        exchange = message.exchange
        if publication is not Publication.UNKNOWN:
            self._streaks[exchange] = 0
            if self._silent.pop(exchange, None) is not None and not self._silent:
                self._on_back()
            return publication
        self._streaks[exchange] += 1
        if self._streaks[exchange] >= FEWEST and exchange not in self._silent:
            was_heard = not self._silent
            self._silent[exchange] = asyncio.Lock()
            if was_heard:
                self._on_silence(self.trouble or "")
        return publication

    def _probe(self, exchange: Exchange) -> OutgoingMessage:
        """A message nobody is bound for: its return is a confirm, and nothing stays anywhere.

        The key is shaped like a real one, because topic permissions look at it.
        """
        name = f"{PROBE}-{self._clock.nonce()[:12]}"
        is_result = exchange is Exchange.RESULTS
        return OutgoingMessage(
            exchange=exchange,
            routing_key=f"payment.result.{name}.succeeded" if is_result else name,
            body=b"{}",
            message_id=str(self._clock.new_id()),
            type=PROBE,
        )
