"""The worker's pulse: a loop that ticks, tells that it ticks, and notes what is connected."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from worker.adapters.consumer import AmqpConsumer
from worker.adapters.heartbeat import INTERVAL, STALE_AFTER, beat, remove
from worker.adapters.probes import HoldsBut
from worker.adapters.publisher import AmqpPublisher
from worker.confirms import Confirms
from worker.ledger_watch import LedgerWatch
from worker.ports import Clock
from worker.switchboard import Switchboard
from worker.telemetry import Telemetry

_TICK_SECONDS = 1.0


class Pulse:
    """Liveness and readiness of one worker, from what its parts say of themselves."""

    def __init__(self, *, file: Path, telemetry: Telemetry, clock: Clock) -> None:
        self._file = file
        self._telemetry = telemetry
        self._clock = clock
        self._consumer: AmqpConsumer | None = None
        self._publisher: AmqpPublisher | None = None
        self._ledger: LedgerWatch | None = None
        self._confirms: Confirms | None = None
        self._switchboard: Switchboard | None = None
        self._awaited = "the broker"
        self._connected: dict[str, bool] = {"consume": False, "publish": False}
        self._last_tick = clock.monotonic()
        self._last_beat = -INTERVAL
        self._is_file_told = False

    def wait_for(self, what: str) -> None:
        """Say of a worker that is not started yet what it waits for."""
        self._awaited = what

    def watch(
        self,
        *,
        consumer: AmqpConsumer,
        publisher: AmqpPublisher,
        ledger: LedgerWatch,
        confirms: Confirms,
        switchboard: Switchboard,
    ) -> None:
        """Look at these parts from now on."""
        self._consumer = consumer
        self._publisher = publisher
        self._ledger = ledger
        self._confirms = confirms
        self._switchboard = switchboard

    def lost(self, role: str) -> None:
        """A connection is gone, possibly for less than a tick: the next look finds it anew."""
        self._connected[role] = False

    @property
    def is_alive(self) -> bool:
        """Whether the event loop ticks: nothing else is mended by a restart."""
        return self._clock.monotonic() - self._last_tick < STALE_AFTER

    def readiness(self) -> Mapping[str, str | bool | HoldsBut]:
        """What must hold for a worker to take payments; a text says why something does not.

        What operators have paused on purpose is told and holds: nothing is broken (operations 5.6).
        """
        if self._consumer is None or self._publisher is None or self._ledger is None:
            return {"started": f"waiting for {self._awaited}"}
        board = self._switchboard
        paused = None if board is None else board.paused
        return {
            "started": True,
            "ledger": self._ledger.trouble or True,
            "consuming": self._consuming(self._consumer),
            "publishing": self._publishing(self._publisher),
            "accounts": True if paused is None else HoldsBut(f"paused by operators: {paused}"),
        }

    def _consuming(self, consumer: AmqpConsumer) -> str | bool | HoldsBut:
        if consumer.is_consuming:
            return True
        pauses = ", ".join(sorted(consumer.pauses))
        board = self._switchboard
        if board is not None and board.is_stopped and len(consumer.pauses) == 1:
            return HoldsBut("paused by operators")
        return f"paused: {pauses}" if pauses else "no consumer registered"

    def _publishing(self, publisher: AmqpPublisher) -> str | bool:
        # A channel that is wanted and not opened is how an alarm looks from here: first the cause.
        silence = self._confirms.trouble if self._confirms is not None else None
        return silence or publisher.is_ready or "not connected"

    @asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """Tick until the end of this context, then take the heartbeat file away."""
        ticking = asyncio.create_task(self._tick_on(), name="pulse")
        try:
            yield
        finally:
            ticking.cancel()
            await asyncio.wait({ticking})
            remove(self._file)

    async def _tick_on(self) -> None:
        while True:
            self._tick()
            await self._clock.sleep(_TICK_SECONDS)

    def _tick(self) -> None:
        now = self._clock.monotonic()
        self._last_tick = now
        if self._consumer is not None and self._publisher is not None:
            self._note("consume", self._consumer.place, connected=self._consumer.is_consuming)
            self._note("publish", self._publisher.place, connected=self._publisher.is_ready)
            if self._consumer.is_consuming or self._consumer.pauses:
                self._telemetry.ticked()
        if now - self._last_beat >= INTERVAL:
            self._last_beat = now
            self._beat()

    def _note(self, role: str, place: str | None, *, connected: bool) -> None:
        if connected and not self._connected[role]:
            self._telemetry.connected(role, place)
        self._connected[role] = connected

    def _beat(self) -> None:
        try:
            beat(self._file, self._clock.now())
        except OSError as error:
            if not self._is_file_told:
                self._telemetry.warned("No heartbeat can be written", "heartbeat.failed", error)
            self._is_file_told = True
        else:
            self._is_file_told = False
