"""The consumer: bounded, pausable, and never in the way of a payment that is under way.

The client cancels a message callback when its connection drops, and a callback that raises leaves
its message unacknowledged until the channel ends (both measured). So a callback only hands over,
each delivery is handled in a task of its own that outlives its session, and nothing but
``Intake.settle`` tells the broker what became of it. A redelivery while the first handling still
runs is normal; the ledger sorts it out.
"""

import asyncio
import traceback
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import PurePath
from typing import Any, Final

import structlog
from aio_pika.abc import AbstractConnection

from worker.adapters.connection import OnTrouble, Pace
from worker.adapters.decoding import decode_leniently
from worker.adapters.intake import Intake, Received
from worker.adapters.sessions import Sessions, end_task
from worker.messages import Disposition, Handled
from worker.model import Delivery
from worker.ports import BrokerDirectory, Clock
from worker.rules import CANCELLED_SECONDS
from worker.topology import Topology

_RETURNED: Final = "returned"
_TICK_SECONDS = 5.0
_logger = structlog.get_logger()


class AmqpConsumer:
    """Consumes the work queue on a connection of its own and hands each delivery to ``handle``.

    At most ``prefetch`` deliveries are unsettled and at most ``concurrency`` are being handled;
    the others wait here. ``on_handled`` gets each result and the seconds it took.

    A delivery that comes back as ``RETURN`` is returned to the queue once, after the consumer was
    taken back: nothing is consumed until a pause that grows with every such return is over and
    ``until_usable`` has come back, so that nothing spins. What already waits here stays:
    unacknowledged deliveries never exceed ``prefetch``. A delivery whose handling raised waits by
    itself and is returned while the others go on.
    """

    def __init__(
        self,
        broker: BrokerDirectory,
        topology: Topology,
        handle: Callable[[Delivery], Awaitable[Handled]],
        on_handled: Callable[[Handled, float], None],
        *,
        until_usable: Callable[[], Awaitable[None]],
        clock: Clock,
        on_trouble: OnTrouble,
        prefetch: int = 50,
        concurrency: int = 50,
        pace: Pace | None = None,
    ) -> None:
        if min(prefetch, concurrency) < 1:
            raise ValueError(prefetch, concurrency)
        decode_leniently()
        self._topology = topology
        self._handle = handle
        self._on_handled = on_handled
        self._until_usable = until_usable
        self._clock = clock
        self._prefetch = prefetch
        self._concurrency = concurrency
        self._pace = pace or Pace()
        self._sessions = Sessions(
            broker, role="consumer", clock=clock, on_trouble=on_trouble, pace=pace
        )
        self._keeper: asyncio.Task[None] | None = None
        self._recovery: asyncio.Task[None] | None = None
        self._intake: Intake | None = None
        self._waiting: deque[Received] = deque()
        self._under_way: set[asyncio.Task[None]] = set()
        self._pauses: set[str] = set()
        self._long_pauses: set[str] = set()
        self._returns = 0
        self._is_stopping = False
        self._changed = asyncio.Event()
        self._last_tick = clock.monotonic()

    @property
    def is_consuming(self) -> bool:
        """Whether our consumer is registered on the broker: readiness, and the true liveness."""
        return self._intake is not None and self._intake.is_consuming

    @property
    def place(self) -> str | None:
        """Endpoint of the broker it is attached to, as ``host:port``."""
        return self._sessions.place

    @property
    def in_flight(self) -> int:
        """Deliveries being handled now."""
        return len(self._under_way)

    @property
    def last_tick(self) -> float:
        """Monotonic time at which the session loop last turned: every 5 s while connected."""
        return self._last_tick

    @property
    def pauses(self) -> frozenset[str]:
        """Why nothing is consumed now; empty when nothing holds consumption back."""
        return frozenset(self._pauses)

    @property
    def keeper(self) -> asyncio.Task[None]:
        """The task that keeps it connected, once it was started; it never ends by itself."""
        if self._keeper is None:
            raise RuntimeError
        return self._keeper

    def start(self) -> None:
        """Begin to connect and to consume."""
        self._keeper = asyncio.create_task(self._sessions.run(self._serve), name="consumer")

    def pause(self, reason: str, *, gives_back: bool = False) -> None:
        """Stop consuming for this reason too; deliveries being handled go on.

        ``gives_back`` returns to the queue what was not started: a pause of hours must not hold
        it, since the broker closes the channel of who does not acknowledge for half an hour.
        """
        self._pauses.add(reason)
        if gives_back:
            self._long_pauses.add(reason)
        self._changed.set()

    def resume(self, reason: str) -> None:
        """Take one reason away; consumption goes on when none is left."""
        self._pauses.discard(reason)
        self._long_pauses.discard(reason)
        self._changed.set()
        self._start_waiting()

    async def stop(self, drain_seconds: float) -> None:
        """Stop taking, hand back what was not started, finish what was, then close.

        Handlers still running after ``drain_seconds`` are cancelled; their deliveries come back
        when the connection closes. Closing by itself would not drain: it cancels and requeues.
        """
        self._is_stopping = True
        self._changed.set()
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=drain_seconds)
        remaining = [task for task in (*self._under_way, self._recovery) if task is not None]
        for task in remaining:
            if not task.cancelling():  # a second cancellation would cut its recording short
                task.cancel()
        if remaining:
            await asyncio.wait(remaining, timeout=CANCELLED_SECONDS)
        if self._keeper is not None:
            await end_task(self._keeper)
            self._keeper = None

    async def _serve(self, connection: AbstractConnection) -> None:
        intake = await Intake.open(
            connection,
            self._topology,
            clock=self._clock,
            prefetch=self._prefetch,
            on_received=self._receive,
        )
        self._intake = intake
        try:
            while not intake.end.done():
                self._changed.clear()
                await self._adjust(intake)
                self._last_tick = self._clock.monotonic()
                await self._until_changed(intake)
            raise intake.end.result()
        finally:
            self._intake = None
            self._take_unstarted()  # the broker delivers them again

    async def _adjust(self, intake: Intake) -> None:
        """Bring the broker's view in line with ours: consume or not, and give back."""
        wanted = not (self._pauses or self._is_stopping)
        if not wanted or intake.holds_returned:
            await intake.cease()  # first, or what is given back would come straight to us again
            is_long = self._is_stopping or self._long_pauses
            unstarted = self._take_unstarted() if is_long else []
            await intake.give_back(unstarted)
        if wanted:
            await intake.consume()

    async def _until_changed(self, intake: Intake) -> None:
        changed = asyncio.ensure_future(self._changed.wait())
        either: set[asyncio.Future[Any]] = {changed, intake.end}
        try:
            await asyncio.wait(either, timeout=_TICK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()

    def _take_unstarted(self) -> list[Received]:
        unstarted = list(self._waiting)
        self._waiting.clear()
        return unstarted

    def _receive(self, received: Received) -> None:
        self._waiting.append(received)
        self._start_waiting()

    def _start_waiting(self) -> None:
        while (
            self._waiting
            and len(self._under_way) < self._concurrency
            and not self._pauses
            and not self._is_stopping
        ):
            task = asyncio.create_task(self._attend(self._waiting.popleft()))
            self._under_way.add(task)
            task.add_done_callback(self._note_done)

    def _note_done(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log_crash("delivery.report_failed", error, None)
        self._start_waiting()

    async def _attend(self, received: Received) -> None:
        """Handle one delivery and settle it last, whatever happened to its session meanwhile."""
        started = self._clock.monotonic()
        handled: Handled | None = None
        try:
            handled = await self._handle(received.delivery)
        except Exception as error:  # noqa: BLE001 (one bad delivery must not stop the others)
            _log_crash("delivery.handler_failed", error, received.delivery.message_id)
        if handled is None:
            await self._return_alone(received)
            return
        seconds = self._clock.monotonic() - started
        await received.intake.settle(received, handled.disposition)
        if handled.disposition is Disposition.RETURN:
            self._pause_after_return()
        else:
            self._returns = 0
        self._on_handled(handled, seconds)

    async def _return_alone(self, received: Received) -> None:
        """Return a delivery that nobody can handle, the later the more often it came.

        The others go on: a fault of one message is no reason to stop consuming. Without a
        ledger row it is given up at a hundred deliveries (contract section 3).
        """
        count = received.delivery.delivery_count
        await self._clock.sleep(self._pace.delay(count, self._clock.fraction()))
        await received.intake.return_now(received)

    def _pause_after_return(self) -> None:
        self.pause(_RETURNED)
        if self._recovery is None:
            self._recovery = asyncio.create_task(self._recover(), name="consumer recovery")

    async def _recover(self) -> None:
        """Wait, the longer the more returns in a row, until consuming makes sense again."""
        try:
            while True:
                delay = self._pace.delay(self._returns, self._clock.fraction())
                self._returns += 1
                await self._clock.sleep(delay)
                try:
                    await self._until_usable()
                except Exception as error:  # noqa: BLE001 (a failing probe is one more reason to wait)
                    _log_crash("consumer.probe_failed", error, None)
                else:
                    return
        finally:
            self._recovery = None
            self.resume(_RETURNED)


def _log_crash(event: str, error: BaseException, message_id: str | None) -> None:
    """Log the type and the place only: the text of an exception may hold personal data."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{PurePath(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "unknown"
    facts = {
        "event.action": event,
        "error.type": type(error).__name__,
        "error.stack": [place],
        "labels.message_id": message_id,
    }
    _logger.error("Something nobody foresaw", **facts)
