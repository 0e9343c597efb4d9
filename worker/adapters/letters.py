"""Walking a queue letter by letter: the port behind the operator's commands."""

from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel
from pamqp.commands import Basic

from worker.adapters.connection import CALL_SECONDS, open_channel
from worker.adapters.decoding import decode_leniently
from worker.adapters.deliveries import to_delivery
from worker.model import Delivery
from worker.ports import Clock
from worker.topology import Topology


class AmqpLetter:
    """One message taken and held; implements ``operator_ports.LetterInHand``.

    It comes back to the queue by itself when the connection closes before it is settled.
    """

    def __init__(self, channel: AbstractChannel, tag: int, delivery: Delivery) -> None:
        self._channel = channel
        self._tag = tag
        self._delivery = delivery

    @property
    def delivery(self) -> Delivery:
        return self._delivery

    async def acknowledge(self) -> None:
        """Remove it: its copy is confirmed elsewhere."""
        await self._channel.basic_ack(self._tag)

    async def give_back(self) -> None:
        """Return it to the queue; counted by the broker, whose limit on hold queues is huge."""
        await self._channel.basic_nack(self._tag, requeue=True)


class AmqpLetterQueue:
    """A queue to be walked once round by ``basic.get``; implements ``operator_ports.LetterQueue``.

    One letter in hand at a time: letters held while an operator thinks would be invisible to
    everybody else. Raises the client's errors (``connection.CLIENT_ERRORS``).
    """

    def __init__(
        self, channel: AbstractChannel, queue: str, topology: Topology, clock: Clock
    ) -> None:
        self._channel = channel
        self._queue = queue
        self._topology = topology
        self._clock = clock

    @classmethod
    async def open(
        cls, connection: AbstractConnection, queue: str, *, topology: Topology, clock: Clock
    ) -> "AmqpLetterQueue":
        """Open a channel for the walk of the queue with this full name."""
        decode_leniently()
        return cls(await open_channel(connection), queue, topology, clock)

    async def depth(self) -> int:
        """Messages that are ready, exactly; ``rabbitmqctl list_queues`` lags by seconds."""
        declared = await self._channel.queue_declare(
            self._queue, passive=True, timeout=CALL_SECONDS
        )
        return declared.message_count or 0

    async def take(self) -> AmqpLetter | None:
        """Take the first message, or ``None`` when the queue is empty."""
        message = await self._channel.basic_get(self._queue, timeout=CALL_SECONDS)
        tag = message.delivery_tag
        if isinstance(message.delivery, Basic.GetEmpty) or tag is None:
            return None
        return AmqpLetter(
            self._channel, tag, to_delivery(message, self._topology, self._clock.now())
        )
