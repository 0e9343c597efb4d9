"""One publishing channel: confirmed, mandatory, persistent."""

import asyncio

import aiormq.exceptions
from aio_pika.abc import AbstractConnection
from aiormq.channel import Channel
from pamqp.commands import Basic

from worker.adapters.connection import open_channel
from worker.messages import Exchange, OutgoingMessage
from worker.topology import Topology

_PERSISTENT = 2


class Lane:
    """A channel of the client's lower layer and what is under way on it.

    A lane with an unanswered publish is *spent*: nothing new starts on it, and it is closed when
    the last publish under way has ended. ``Basic.Return`` carries no delivery tag, the client
    matches it by ``message_id``; a return that comes late would otherwise be taken for the fate
    of the next publish with that id (measured: two in flight with one id swapped their outcomes
    50 times out of 50).
    """

    def __init__(self, channel: Channel, topology: Topology) -> None:
        self._channel = channel
        self._exchanges = {each: topology.exchange(each) for each in Exchange}
        self._under_way = 0
        self.is_spent = False

    @classmethod
    async def open(cls, connection: AbstractConnection, topology: Topology) -> "Lane":
        """Open a channel with confirms, on which an unroutable message raises."""
        return cls(await open_channel(connection, publisher_confirms=True), topology)

    @property
    def is_idle(self) -> bool:
        return self._under_way == 0

    @property
    def is_usable(self) -> bool:
        """Whether a publish may start here: the channel lives and owes no answer."""
        return not self.is_spent and not self._channel.is_closed

    async def closed(self) -> None:
        """Wait until the channel has ended, for whatever reason."""
        await asyncio.wait({self._channel.closing})

    async def close(self) -> None:
        """Close the channel; a publish under way ends as unknown."""
        if not self._channel.is_closed:
            await self._channel.close()

    async def publish(self, message: OutgoingMessage) -> None:
        """Publish and wait for the confirm, for as long as the caller allows.

        Raises ``PublishError`` when it came back unroutable and ``DeliveryError`` for a nack;
        after anything else nobody knows, and the lane is spent.
        """
        self._under_way += 1
        decided = False
        try:
            await self._channel.basic_publish(
                message.body,
                exchange=self._exchanges[message.exchange],
                routing_key=message.routing_key,
                properties=_properties_of(message),
                mandatory=True,
                # The confirm says it all. Waiting for the socket too, which the client does under
                # a lock, would send the events of one commit one turn of the loop after another.
                wait=False,
            )
            decided = True
        except aiormq.exceptions.DeliveryError:
            decided = True
            raise
        finally:
            self._under_way -= 1
            self.is_spent = self.is_spent or not decided


def _properties_of(message: OutgoingMessage) -> Basic.Properties:
    return Basic.Properties(
        content_type="application/json",
        headers=dict(message.headers),
        delivery_mode=_PERSISTENT,
        message_id=message.message_id,
        correlation_id=message.correlation_id,
        message_type=message.type,
        timestamp=message.timestamp,
    )
