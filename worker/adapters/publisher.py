"""The publisher port on RabbitMQ: every publish ends as one of four facts, within a time limit."""

import asyncio
from collections.abc import Callable
from typing import Self

import aio_pika
from aio_pika.abc import AbstractConnection

from worker.adapters.connection import (
    CLIENT_ERRORS,
    OnTrouble,
    Pace,
    is_own_cancellation,
)
from worker.adapters.lane import Lane
from worker.adapters.sessions import Sessions, end_task
from worker.messages import OutgoingMessage, Publication
from worker.ports import BrokerDirectory, Clock
from worker.topology import Topology

_LEAVE_SECONDS = 5.0

OnPublication = Callable[[OutgoingMessage, Publication], None]
"""Told what became of each publish, for metrics."""


def _say_nothing(_message: OutgoingMessage, _publication: Publication) -> None:
    return


class AmqpPublisher:
    """Publishes on a connection of its own, which is opened again whenever it ends.

    An own connection, because the broker blocks publishing ones on an alarm and acknowledgements
    must still get through (publisher rule P1). ``seconds`` bounds a publish together with the
    wait for a connection; silence is ``UNKNOWN``, never "not sent" (P4): two publishes that timed
    out under a memory alarm both arrived later (measured). Use it as an asynchronous context
    manager, or call ``start`` and ``close``.
    """

    def __init__(
        self,
        broker: BrokerDirectory,
        topology: Topology,
        *,
        clock: Clock,
        on_trouble: OnTrouble,
        on_publication: OnPublication = _say_nothing,
        seconds: float = 10.0,
        pace: Pace | None = None,
    ) -> None:
        self._topology = topology
        self._clock = clock
        self._seconds = seconds
        self._leaves_again_at = clock.monotonic()
        self._on_publication = on_publication
        self._sessions = Sessions(
            broker, role="publisher", clock=clock, on_trouble=on_trouble, pace=pace
        )
        self._keeper: asyncio.Task[None] | None = None
        self._lane: Lane | None = None
        self._lane_opened = asyncio.Condition()
        self._lane_wanted = asyncio.Event()
        self._in_flight: dict[str, asyncio.Event] = {}

    @property
    def is_ready(self) -> bool:
        """Whether a publish could start at once; a blocked connection still counts as ready."""
        return self._lane is not None and self._lane.is_usable

    @property
    def place(self) -> str | None:
        """Endpoint of the broker it is attached to, as ``host:port``."""
        return self._sessions.place

    @property
    def in_flight(self) -> int:
        """Publishes that wait for the broker's word now."""
        return len(self._in_flight)

    @property
    def keeper(self) -> asyncio.Task[None]:
        """The task that keeps it connected, once it was started; it never ends by itself."""
        if self._keeper is None:
            raise RuntimeError
        return self._keeper

    def start(self) -> None:
        """Begin to connect; a publish waits for the connection within its own limit."""
        self._keeper = asyncio.create_task(self._sessions.run(self._serve), name="publisher")

    async def close(self) -> None:
        """Close the connection; what is still unconfirmed ends as unknown."""
        if self._keeper is not None:
            await end_task(self._keeper)
            self._keeper = None

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def publish(self, message: OutgoingMessage) -> Publication:
        """Publish persistent, mandatory and confirmed; publishes of one ``message_id`` take turns.

        A message that AMQP cannot carry (a header name or a key of more than 255 bytes) raises
        ``ValueError`` or ``TypeError``: that is a fault of ours and not of the broker's.
        """
        publication = await self._publish(message)
        self._on_publication(message, publication)
        return publication

    async def _publish(self, message: OutgoingMessage) -> Publication:
        try:
            async with asyncio.timeout(self._seconds):
                await self._take_turn(message)
        except aio_pika.exceptions.PublishError:
            return Publication.UNROUTABLE
        except aio_pika.exceptions.DeliveryError:
            return Publication.REFUSED
        except asyncio.CancelledError:
            if is_own_cancellation():
                raise
            return Publication.UNKNOWN  # the connection died under the publish
        except CLIENT_ERRORS:
            return Publication.UNKNOWN
        return Publication.CONFIRMED

    async def _take_turn(self, message: OutgoingMessage) -> None:
        """Publish, at most one in flight per ``message_id`` (P6)."""
        while (earlier := self._in_flight.get(message.message_id)) is not None:
            await earlier.wait()
        ended = self._in_flight[message.message_id] = asyncio.Event()
        try:
            await self._send(message)
        finally:
            del self._in_flight[message.message_id]
            ended.set()

    async def _send(self, message: OutgoingMessage) -> None:
        lane = self._lane
        if lane is None or not lane.is_usable:
            lane = await self._usable_lane()
        try:
            await lane.publish(message)
        except aio_pika.exceptions.PublishError:  # before DeliveryError: it is a subclass
            raise
        except aio_pika.exceptions.DeliveryError:
            self._leave(lane)
            raise
        finally:
            if not lane.is_usable:
                self._lane_wanted.set()

    def _leave(self, lane: Lane) -> None:
        """After a nack go on with another channel, once in a while.

        A channel whose first publish to a quorum queue meets the moment in which the node of its
        leader is gone refuses every further one, long after another leader was elected, until
        that node is back (measured on a cluster of RabbitMQ 3.10.8; its channel never looks for
        the new leader). A queue that is full refuses on every channel, so they are not replaced
        for each nack.
        """
        now = self._clock.monotonic()
        if now >= self._leaves_again_at:
            self._leaves_again_at = now + _LEAVE_SECONDS
            lane.is_spent = True

    async def _usable_lane(self) -> Lane:
        async with self._lane_opened:
            while self._lane is None or not self._lane.is_usable:
                self._lane_wanted.set()
                await self._lane_opened.wait()
            return self._lane

    async def _serve(self, connection: AbstractConnection) -> None:
        """Keep one usable lane on this connection until it is cancelled.

        A channel that the broker closed (404 for a missing exchange, 406 for a message it will
        not take) is replaced at once: the others must not wait for the fault of one.
        """
        spent: list[Lane] = []
        try:
            while True:
                lane = await Lane.open(connection, self._topology)
                self._lane_wanted.clear()
                async with self._lane_opened:
                    self._lane = lane
                    self._lane_opened.notify_all()
                await self._until_unusable(lane)
                spent = [old for old in (*spent, lane) if not await _closed_if_idle(old)]
        finally:
            self._lane = None

    async def _until_unusable(self, lane: Lane) -> None:
        closed = asyncio.ensure_future(lane.closed())
        try:
            while lane.is_usable:
                wanted = asyncio.ensure_future(self._lane_wanted.wait())
                await asyncio.wait({closed, wanted}, return_when=asyncio.FIRST_COMPLETED)
                wanted.cancel()
                if lane.is_usable:
                    self._lane_wanted.clear()
        finally:
            closed.cancel()


async def _closed_if_idle(lane: Lane) -> bool:
    if lane.is_idle:
        await lane.close()
    return lane.is_idle
