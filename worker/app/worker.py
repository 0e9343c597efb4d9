"""A worker's life: what it stands on first, then its parts, and all of it down again in order."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry

from worker.adapters.connection import BrokerTroubleError, OnTrouble
from worker.adapters.consumer import AmqpConsumer
from worker.adapters.http import HttpTransport
from worker.adapters.publisher import AmqpPublisher
from worker.adapters.store_errors import LedgerUnreachableError
from worker.app.assembly import Assembly
from worker.app.endless import EndlessParts, PartEndedError
from worker.app.ledger_start import LedgerStart, OpenedLedger
from worker.app.probing import probes
from worker.app.pulse import Pulse
from worker.ports import BrokerDirectory, Clock
from worker.provisioning import provision, topology_of
from worker.settings import Role, Settings
from worker.telemetry import Telemetry

Result = TypeVar("Result")


class LedgerFailedError(Exception):
    """The ledger cannot be trusted any more: whether its last writes are durable is not known."""


class Worker:
    """One worker process: consumes until it is told to stop."""

    def __init__(
        self,
        settings: Settings,
        *,
        broker: Callable[[Role], BrokerDirectory],
        telemetry: Telemetry,
        registry: CollectorRegistry,
        clock: Clock,
        trusted_certificates: Path | None = None,
    ) -> None:
        self._settings = settings
        self._broker = broker
        self._telemetry = telemetry
        self._registry = registry
        self._clock = clock
        self._trusted_certificates = trusted_certificates
        self._ledger_start = LedgerStart(settings, telemetry=telemetry, clock=clock)
        self._pulse = Pulse(file=settings.heartbeat_file(), telemetry=telemetry, clock=clock)

    async def run(self, stop: asyncio.Event, hurry: asyncio.Event) -> None:
        """Start, consume until ``stop``, drain until done or ``hurry``, and close.

        Raises ``LedgerError``, ``ProbePortError``, ``StartRefusedError`` and
        ``TopologyRefusedError`` before anything is consumed, ``LedgerFailedError`` when the
        ledger gives up for good, and ``PartEndedError`` when a part ends that never should.
        """
        endless = EndlessParts(self._telemetry)
        async with AsyncExitStack() as stack:
            opened = await self._unless_stopped(self._start(stack), stop)
            if opened is None:
                return
            parts = await self._assemble(stack, opened, endless)
            parts.consumer.start()
            endless.look_after("consumer", parts.consumer.keeper)
            try:
                await self._until(stop, opened.store.failed, endless.ended)
            finally:
                endless.stop()
                # Before the publisher closes: what is in flight still has answers to send, and
                # acknowledgements flow on the consumer's own connection until the last of them.
                in_flight = parts.consumer.in_flight
                self._telemetry.noted("Stopping", "worker.stopping", in_flight=in_flight)
                parts.permits.hurry()
                await self._drain(parts.consumer, hurry)
            if opened.store.failed.is_set():
                raise LedgerFailedError
            if endless.part is not None:
                raise PartEndedError(endless.part)

    async def _assemble(
        self, stack: AsyncExitStack, opened: OpenedLedger, endless: EndlessParts
    ) -> Assembly:
        """Put the parts together, with everything that looks after them under way."""
        transport = await stack.enter_async_context(
            HttpTransport(clock=self._clock, ca_file=self._trusted_certificates)
        )
        publisher = await stack.enter_async_context(
            AmqpPublisher(
                self._broker("publish"),
                topology_of(self._settings),
                clock=self._clock,
                on_trouble=self._trouble("publish"),
                on_publication=self._telemetry.published,
                seconds=self._settings.rules().publish_seconds,
            )
        )
        endless.look_after("publisher", publisher.keeper)
        parts = Assembly(
            self._settings,
            opened,
            ledger_start=self._ledger_start,
            publisher=publisher,
            transport=transport,
            broker=self._broker("consume"),
            on_trouble=self._trouble("consume"),
            telemetry=self._telemetry,
            clock=self._clock,
        )
        self._pulse.watch(
            consumer=parts.consumer,
            publisher=publisher,
            ledger=parts.watch,
            confirms=parts.confirms,
            switchboard=parts.switchboard,
        )
        # Before anything is consumed: a pause outlives every restart.
        await parts.switchboard.look()
        stack.push_async_callback(parts.switchboard.sign_off)
        for name, looking in (
            ("sweeper", parts.sweeping.go_on()),
            ("ledger watch", parts.watch.watch()),
            ("confirms", parts.confirms.watch()),
            ("standstill", parts.standstill.watch()),
            ("switchboard", parts.switchboard.watch()),
        ):
            stack.push_async_callback(_end, endless.begin(name, looking))
        if parts.maintaining.is_wanted:
            erasing = endless.begin("retention", parts.maintaining.go_on())
            stack.push_async_callback(_end, erasing)
        if parts.reconciling.is_wanted:
            reading = endless.begin("reconciler", parts.reconciling.go_on())
            stack.push_async_callback(_end, reading)
        return parts

    async def _start(self, stack: AsyncExitStack) -> OpenedLedger:
        """Begin with what the worker stands on, in order: ledger, probes, the broker's objects.

        A ledger that must not be used ends the start before anything else is touched. One that
        is away is waited for with the probes open: a supervisor sees a worker that lives and is
        not ready.
        """
        try:
            opened = await self._ledger_start.open(stack)
        except LedgerUnreachableError as away:
            self._pulse.wait_for("the ledger")
            await self._come_alive(stack)
            opened = await self._ledger_start.wait(stack, str(away))
            self._pulse.wait_for("the broker")
        else:
            await self._come_alive(stack)
        await provision(
            self._settings,
            self._broker("operate"),
            clock=self._clock,
            on_trouble=self._trouble("setup"),
        )
        return opened

    async def _come_alive(self, stack: AsyncExitStack) -> None:
        await stack.enter_async_context(
            probes(
                self._settings,
                pulse=self._pulse,
                telemetry=self._telemetry,
                registry=self._registry,
            )
        )
        await stack.enter_async_context(self._pulse.beating())

    async def _drain(self, consumer: AmqpConsumer, hurry: asyncio.Event) -> None:
        draining = asyncio.create_task(consumer.stop(self._settings.timing.drain_seconds))
        hurrying = asyncio.create_task(hurry.wait())
        await asyncio.wait({draining, hurrying}, return_when=asyncio.FIRST_COMPLETED)
        if not draining.done():
            # Told twice: handlers are cancelled now; each still records what it knows.
            draining.cancel()
            await asyncio.wait({draining})
            await consumer.stop(0.0)
        await _end(hurrying)

    async def _until(self, *events: asyncio.Event) -> None:
        waiting = [asyncio.create_task(event.wait()) for event in events]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                await _end(task)

    async def _unless_stopped(
        self, work: Coroutine[Any, Any, Result], stop: asyncio.Event
    ) -> Result | None:
        """Do this work unless a stop comes first, which gives ``None``."""
        working = asyncio.ensure_future(work)
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            return None
        finally:
            await _end(working)
            await _end(stopping)

    def _trouble(self, role: str) -> OnTrouble:
        def tell(trouble: BrokerTroubleError, delay: float) -> None:
            self._pulse.lost(role)
            self._telemetry.disconnected(
                role,
                trouble.reason,
                trouble=trouble.kind,
                needs_person=trouble.needs_person,
                retry_in=delay,
            )

        return tell


async def _end(task: asyncio.Task[object] | asyncio.Future[object]) -> None:
    """Cancel a task and wait until it has ended; its own failure was seen where it counts."""
    task.cancel()
    await asyncio.wait({task})
