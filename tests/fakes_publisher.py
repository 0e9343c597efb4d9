"""A publisher that records instead of sending; it passes the contract of the real one."""

import asyncio
from collections.abc import Callable, Iterable

from worker.messages import Exchange, OutgoingMessage, Publication

Rule = Callable[[OutgoingMessage], bool]


class FakePublisher:
    """Implements ``ports.Publisher``.

    Publications are taken in turn from ``script``, then from the first matching ``answer`` rule,
    else ``CONFIRMED``. ``messages`` are all that were asked for, ``confirmed`` those that
    arrived; ``UNKNOWN`` leaves open whether a message arrived, and here it did not. While
    ``gate`` is clear nothing is answered.
    """

    def __init__(self, script: Iterable[Publication] = ()) -> None:
        self.messages: list[OutgoingMessage] = []
        self.confirmed: list[OutgoingMessage] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self._script = list(script)
        self._rules: list[tuple[Rule, Publication]] = []

    def script(self, *publications: Publication) -> None:
        """Append what the next publishes come to."""
        self._script.extend(publications)

    def answer(
        self,
        publication: Publication,
        *,
        exchange: Exchange | None = None,
        routing_key: str | None = None,
    ) -> None:
        """Answer every publish to this exchange and key so; the latest rule wins."""

        def matches(message: OutgoingMessage) -> bool:
            return exchange in {None, message.exchange} and routing_key in {
                None,
                message.routing_key,
            }

        self._rules.insert(0, (matches, publication))

    def to(self, exchange: Exchange) -> list[OutgoingMessage]:
        """The confirmed messages of one exchange."""
        return [message for message in self.confirmed if message.exchange is exchange]

    async def publish(self, message: OutgoingMessage) -> Publication:
        self.messages.append(message)
        await self.gate.wait()
        publication = self._decide(message)
        if publication is Publication.CONFIRMED:
            self.confirmed.append(message)
        return publication

    def _decide(self, message: OutgoingMessage) -> Publication:
        if self._script:
            return self._script.pop(0)
        matching = (publication for matches, publication in self._rules if matches(message))
        return next(matching, Publication.CONFIRMED)
