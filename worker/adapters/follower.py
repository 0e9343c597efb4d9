"""Following result events live."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel, DeliveredMessage

from worker.adapters.connection import (
    CALL_SECONDS,
    BrokerTroubleError,
    TroubleKind,
    broker_text,
    open_channel,
)
from worker.adapters.decoding import decode_leniently
from worker.adapters.deliveries import to_delivery
from worker.messages import Exchange
from worker.model import Delivery
from worker.ports import Clock
from worker.topology import Topology

_PREFETCH = 100


async def follow(
    connection: AbstractConnection,
    keys: Sequence[str],
    *,
    topology: Topology,
    clock: Clock,
    ready: asyncio.Event | None = None,
) -> AsyncIterator[Delivery]:
    """Yield events as they are published under these binding keys, from now on.

    A temporary queue of our own gets copies; subscribers lose nothing. But while it is bound, an
    event it matches counts as routed even when no subscriber's queue is, so that event is not
    returned and not kept as unclaimed: bind the origins you watch (``payment.result.dcp.*``),
    never ``#``. ``ready`` is set once nothing can be missed any more. Raises
    ``BrokerTroubleError`` when the connection ends, and the client's errors.
    """
    channel = await open_channel(connection)
    declared = await channel.queue_declare(exclusive=True, timeout=CALL_SECONDS)
    queue = declared.queue or ""
    for key in keys:
        await channel.queue_bind(
            queue, topology.exchange(Exchange.RESULTS), key, timeout=CALL_SECONDS
        )
    async for delivery in _consume(channel, queue, topology, clock, ready):
        yield delivery


async def follow_queue(
    connection: AbstractConnection,
    queue: str,
    *,
    topology: Topology,
    clock: Clock,
    ready: asyncio.Event | None = None,
) -> AsyncIterator[Delivery]:
    """Yield and acknowledge the messages of a queue: its subscriber will not see them again."""
    channel = await open_channel(connection)
    async for delivery in _consume(channel, queue, topology, clock, ready):
        yield delivery


async def _consume(
    channel: AbstractChannel,
    queue: str,
    topology: Topology,
    clock: Clock,
    ready: asyncio.Event | None,
) -> AsyncIterator[Delivery]:
    decode_leniently()
    arrived: asyncio.Queue[DeliveredMessage | BrokerTroubleError] = asyncio.Queue()

    def note_close(closing: asyncio.Future[object]) -> None:
        error = None if closing.cancelled() else closing.exception()
        why = broker_text(error) if error is not None else "it ended"
        arrived.put_nowait(BrokerTroubleError(TroubleKind.LOST, f"the channel was closed: {why}"))

    def note_cancel(_: object) -> None:
        reason = f"the broker cancelled the consumer of {queue}"
        arrived.put_nowait(BrokerTroubleError(TroubleKind.MISSING, reason))

    channel.closing.add_done_callback(note_close)
    channel.on_consumer_cancel_callbacks.add(note_cancel)
    await channel.basic_qos(prefetch_count=_PREFETCH, timeout=CALL_SECONDS)
    await channel.basic_consume(queue, arrived.put, timeout=CALL_SECONDS)
    if ready is not None:
        ready.set()
    while True:
        message = await arrived.get()
        if isinstance(message, BrokerTroubleError):
            raise message
        yield to_delivery(message, topology, clock.now())
        # Only now: what was not taken from this iterator goes back to the queue.
        if message.delivery_tag is not None:
            await channel.basic_ack(message.delivery_tag)
