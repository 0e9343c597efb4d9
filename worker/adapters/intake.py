"""One consuming session: a channel, the deliveries it brought, and the one place that settles."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import structlog
from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel, DeliveredMessage
from pamqp.commands import Basic

from worker.adapters.connection import (
    CALL_SECONDS,
    CLIENT_ERRORS,
    BrokerTroubleError,
    TroubleKind,
    broker_text,
    open_channel,
)
from worker.adapters.deliveries import to_delivery
from worker.messages import Disposition
from worker.model import Delivery
from worker.ports import Clock
from worker.topology import Topology

_logger = structlog.get_logger()


@dataclass(frozen=True, slots=True, eq=False)
class Received:
    """A delivery with what is needed to settle it: its session and its tag there."""

    intake: "Intake"
    tag: int
    delivery: Delivery


class Intake:
    """Consumes the work queue on one channel, which lives as long as its connection.

    Deliveries go to ``on_received`` and come back through ``settle``. A channel that ends takes
    its unsettled deliveries with it: the broker delivers them again.
    """

    def __init__(
        self,
        channel: AbstractChannel,
        topology: Topology,
        *,
        clock: Clock,
        on_received: Callable[[Received], None],
    ) -> None:
        self._channel = channel
        self._topology = topology
        self._clock = clock
        self._on_received = on_received
        self._tag: str | None = None
        self._returned: list[Received] = []
        self._open: set[int] = set()
        self._finished: list[Received] = []
        self._is_settling = False
        self._end: asyncio.Future[BrokerTroubleError] = asyncio.get_running_loop().create_future()
        channel.on_consumer_cancel_callbacks.add(self._note_cancel)
        channel.closing.add_done_callback(self._note_close)

    @classmethod
    async def open(
        cls,
        connection: AbstractConnection,
        topology: Topology,
        *,
        clock: Clock,
        prefetch: int,
        on_received: Callable[[Received], None],
    ) -> "Intake":
        """Open a channel and limit it to ``prefetch`` unsettled deliveries, before it consumes.

        Without that limit every queued message is delivered at once (measured: 500 of 500).
        """
        channel = await open_channel(connection)
        await channel.basic_qos(prefetch_count=prefetch, timeout=CALL_SECONDS)
        return cls(channel, topology, clock=clock, on_received=on_received)

    @property
    def is_consuming(self) -> bool:
        """Whether the broker knows our consumer, as far as we have been told."""
        return self._tag is not None and not self._end.done()

    @property
    def holds_returned(self) -> bool:
        """Whether deliveries wait to be given back."""
        return bool(self._returned)

    async def consume(self) -> None:
        """Register the consumer. Raises the client's error when the queue is missing (404)."""
        if self._tag is None:
            ok = await self._channel.basic_consume(
                self._topology.work_queue, self._receive, timeout=CALL_SECONDS
            )
            self._tag = ok.consumer_tag

    async def cease(self) -> None:
        """Take the consumer back; deliveries that are under way stay ours."""
        if self._tag is not None:
            tag, self._tag = self._tag, None
            await self._channel.basic_cancel(tag, timeout=CALL_SECONDS)

    @property
    def end(self) -> asyncio.Future[BrokerTroubleError]:
        """Done when this session is over; its result says why."""
        return self._end

    async def settle(self, received: Received, disposition: Disposition) -> None:
        """Tell the broker what became of a delivery: the only place that does.

        What is settled within one turn of the event loop is acknowledged together, by whoever
        came first. A returned delivery is kept until ``give_back``, because a consumer that is
        still registered would get it again at once.
        """
        if disposition is Disposition.RETURN:
            self._returned.append(received)
            return
        self._finished.append(received)
        if self._is_settling:
            return
        self._is_settling = True
        try:
            await self._clock.sleep(0)
        finally:  # also when this task is being cancelled: the others rely on it
            await self._acknowledge_finished()

    async def return_now(self, received: Received) -> None:
        """Return one delivery while consuming goes on; it may come straight back."""
        try:
            await self._nack(received)
        except CLIENT_ERRORS as error:
            self._lost("return_lost", received, error)

    async def give_back(self, unstarted: list[Received]) -> None:
        """Return deliveries to the queue: the ones settled so, and the ones never started."""
        returned, self._returned = self._returned, []
        for received in (*returned, *unstarted):
            await self._nack(received)

    async def _nack(self, received: Received) -> None:
        await self._channel.basic_nack(received.tag, requeue=True)
        self._open.discard(received.tag)

    async def _acknowledge_finished(self) -> None:
        try:
            while self._finished:  # more of them while the client's queue is full
                finished, self._finished = self._finished, []
                try:
                    await self._acknowledge([received.tag for received in finished])
                except (*CLIENT_ERRORS, asyncio.CancelledError) as error:
                    for received in finished:
                        self._lost("acknowledgement_lost", received, error)
                    if isinstance(error, asyncio.CancelledError):
                        raise
        finally:
            self._is_settling = False

    async def _acknowledge(self, tags: Sequence[int]) -> None:
        self._open.difference_update(tags)
        lowest = min(self._open, default=None)
        for tag, is_multiple in acknowledgements(tags, lowest_open=lowest):
            await self._channel.basic_ack(tag, multiple=is_multiple, wait=False)

    async def _receive(self, message: DeliveredMessage) -> None:
        """Hand over at once: this task belongs to the channel and is cancelled with it."""
        tag = message.delivery_tag
        if tag is None:
            return
        self._open.add(tag)
        delivery = to_delivery(message, self._topology, self._clock.now())
        self._on_received(Received(self, tag, delivery))

    def _lost(self, what: str, received: Received, error: BaseException) -> None:
        """Redelivery after a finished handling is normal: the ledger repeats the answer."""
        facts = {
            "event.action": f"delivery.{what}",
            "error.type": type(error).__name__,
            "labels.message_id": received.delivery.message_id,
        }
        _logger.warning("The broker delivers a message again", **facts)

    def _note_cancel(self, frame: Basic.Cancel) -> None:
        queue = self._topology.work_queue
        reason = f"the broker cancelled the consumer of {queue}: was the queue deleted?"
        if frame.consumer_tag == self._tag:
            # Not MISSING: a failover cancels as well. The next session asks for the queue, and a
            # 404 is the answer that needs a person.
            self._note_end(BrokerTroubleError(TroubleKind.LOST, reason))

    def _note_close(self, closing: asyncio.Future[object]) -> None:
        error = None if closing.cancelled() else closing.exception()
        why = broker_text(error) if error is not None else "it ended"
        self._note_end(BrokerTroubleError(TroubleKind.LOST, f"the channel was closed: {why}"))

    def _note_end(self, trouble: BrokerTroubleError) -> None:
        if not self._end.done():
            self._end.set_result(trouble)


def acknowledgements(
    finished: Sequence[int], *, lowest_open: int | None
) -> Iterator[tuple[int, bool]]:
    """Tags to acknowledge, and whether each means all before it too.

    Several at once only up to the highest tag below which every delivery is finished: a payment
    under way must come back when this worker ends. That tag is itself one of the finished, for the
    broker takes one that is not outstanding as an error.
    """
    together = [tag for tag in finished if lowest_open is None or tag < lowest_open]
    if together:
        yield max(together), len(together) > 1
    for tag in finished:
        if lowest_open is not None and tag > lowest_open:
            yield tag, False
