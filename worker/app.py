"""The composition root: builds the worker, starts it in order, stops it in order."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry
from typing_extensions import override

from worker import __version__
from worker.adapters.connection import BrokerTroubleError, OnTrouble
from worker.adapters.consumer import AmqpConsumer
from worker.adapters.http import HttpTransport
from worker.adapters.probes import ProbeServer
from worker.adapters.publisher import AmqpPublisher
from worker.adapters.store_errors import LedgerUnreachableError
from worker.announcer import Announcer
from worker.caller import Caller
from worker.confirms import Confirms
from worker.ledger import Ledger
from worker.ledger_start import LedgerStart, OpenedLedger
from worker.ledger_watch import LedgerWatch
from worker.messages import Handled
from worker.model import Delivery
from worker.permits import AccountPermits
from worker.ports import BrokerDirectory, Clock, Publisher, StoreUnavailableError
from worker.processor import Processor
from worker.providers import PROVIDERS
from worker.provisioning import provision, topology_of
from worker.pulse import Pulse
from worker.replies import Replies
from worker.settings import Role, Settings
from worker.standstill import Standstill
from worker.sweeper import INTERVAL as SWEEP_SECONDS
from worker.sweeper import Sweep, Sweeper
from worker.telemetry import Telemetry

Result = TypeVar("Result")

_LEDGER = "ledger"
_CONFIRMS = "no confirms"
_ACCOUNTS = "every account is down"


class ProbePortError(Exception):
    """The port of the probes cannot be listened on; ``reason`` is the system's word for why."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(host, port, reason)
        self.host = host
        self.port = port
        self.reason = reason

    @override
    def __str__(self) -> str:
        return f"{self.host}:{self.port}: {self.reason}"


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
        self._rules = settings.rules()
        self._book = settings.route_book()
        self._telemetry = telemetry
        self._registry = registry
        self._clock = clock
        self._trusted_certificates = trusted_certificates
        self._topology = topology_of(settings)
        self._consuming: AmqpConsumer | None = None
        self._ledger_start = LedgerStart(settings, telemetry=telemetry, clock=clock)
        self._pulse = Pulse(file=settings.heartbeat_file(), telemetry=telemetry, clock=clock)

    async def run(self, stop: asyncio.Event, hurry: asyncio.Event) -> None:
        """Start, consume until ``stop``, drain until done or ``hurry``, and close.

        Raises ``LedgerError``, ``ProbePortError``, ``StartRefusedError`` and
        ``TopologyRefusedError`` before anything is consumed, and ``LedgerFailedError`` when the
        ledger gives up for good.
        """
        async with AsyncExitStack() as stack:
            opened = await self._unless_stopped(self._start(stack), stop)
            if opened is None:
                return
            ledger, store = opened.ledger, opened.store
            transport = await stack.enter_async_context(
                HttpTransport(clock=self._clock, ca_file=self._trusted_certificates)
            )
            connection = await stack.enter_async_context(
                AmqpPublisher(
                    self._broker("publish"),
                    self._topology,
                    clock=self._clock,
                    on_trouble=self._trouble("publish"),
                    on_publication=self._telemetry.published,
                    seconds=self._rules.publish_seconds,
                )
            )
            publisher = self._confirms(connection)
            announcer = Announcer(
                publisher=publisher, source=f"/payment-worker/{self._settings.deployment}"
            )
            permits = self._permits()
            processor = self._processor(ledger, permits, announcer, publisher, transport)
            consumer, watch = self._consumer(ledger, publisher, processor)
            self._consuming = consumer
            self._pulse.watch(
                consumer=consumer, publisher=connection, ledger=watch, confirms=publisher
            )
            sweeping = asyncio.create_task(
                self._sweep(
                    ledger,
                    Sweeper(
                        ledger=ledger, announcer=announcer, on_surprise=self._surprised_in_sweep
                    ),
                    watch,
                ),
                name="sweeper",
            )
            stack.push_async_callback(_end, sweeping)
            standstill = self._standstill(permits)
            for look in (watch.watch, publisher.watch, standstill.watch):
                stack.push_async_callback(_end, asyncio.create_task(look()))
            consumer.start()
            try:
                await self._until(stop, store.failed)
            finally:
                # Before the publisher closes: what is in flight still has answers to send, and
                # acknowledgements flow on the consumer's own connection until the last of them.
                self._telemetry.noted("Stopping", "worker.stopping", in_flight=consumer.in_flight)
                permits.hurry()
                await self._drain(consumer, hurry)
            if store.failed.is_set():
                raise LedgerFailedError

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
        await stack.enter_async_context(self._probes())
        await stack.enter_async_context(self._pulse.beating())

    def _consumer(
        self,
        ledger: Ledger,
        publisher: Confirms,
        processor: Processor,
    ) -> tuple[AmqpConsumer, LedgerWatch]:
        """Build the consumer, and what pauses it while the ledger is away."""

        async def handle(delivery: Delivery) -> Handled:
            self._telemetry.taken()
            started = self._clock.monotonic()
            try:
                return await processor.handle(delivery)
            except Exception as error:
                self._telemetry.given_up(error, self._clock.monotonic() - started)
                raise

        def ledger_away(reason: str) -> None:
            consumer.pause(_LEDGER)
            self._ledger_start.tell_away(reason)

        def ledger_back() -> None:
            consumer.resume(_LEDGER)
            self._ledger_start.tell_back()

        watch = LedgerWatch(
            ledger.ping, clock=self._clock, on_away=ledger_away, on_back=ledger_back
        )

        async def until_usable() -> None:
            await watch.until_usable()
            await publisher.until_usable()

        consumer = AmqpConsumer(
            self._broker("consume"),
            self._topology,
            handle,
            self._telemetry.handled,
            until_usable=until_usable,
            clock=self._clock,
            on_trouble=self._trouble("consume"),
            prefetch=self._settings.broker.prefetch,
            concurrency=self._settings.broker.concurrency,
        )
        return consumer, watch

    def _hold(self, reason: str, *, until_resumed: bool) -> None:
        """Stop consuming for this reason, or no longer for this one."""
        if self._consuming is not None:
            (self._consuming.pause if until_resumed else self._consuming.resume)(reason)

    def _confirms(self, publisher: Publisher) -> Confirms:
        def fell_silent(reason: str) -> None:
            self._hold(_CONFIRMS, until_resumed=True)
            self._telemetry.warned("The broker confirms nothing", "confirms.away", reason=reason)

        def is_back() -> None:
            self._hold(_CONFIRMS, until_resumed=False)
            self._telemetry.noted("The broker confirms again", "confirms.back")

        return Confirms(
            publisher,
            clock=self._clock,
            seconds=self._rules.publish_seconds,
            on_silence=fell_silent,
            on_back=is_back,
        )

    def _standstill(self, permits: AccountPermits) -> Standstill:
        return Standstill(
            permits,
            clock=self._clock,
            pause=lambda: self._hold(_ACCOUNTS, until_resumed=True),
            resume=lambda: self._hold(_ACCOUNTS, until_resumed=False),
            patience=self._rules.patience_seconds,
            on_down=lambda: self._telemetry.warned("Every account is down", "accounts.down"),
            on_back=lambda: self._telemetry.noted("An account answers again", "accounts.back"),
        )

    def _permits(self) -> AccountPermits:
        permits = AccountPermits(
            {name: account.limits for name, account in self._book.accounts.items()},
            clock=self._clock,
            notify=self._telemetry.breaker_changed,
            hindered=self._telemetry.hindered,
            patience=self._rules.patience_seconds,
        )
        self._telemetry.watch_accounts(permits)
        return permits

    def _processor(
        self,
        ledger: Ledger,
        permits: AccountPermits,
        announcer: Announcer,
        publisher: Publisher,
        transport: HttpTransport,
    ) -> Processor:
        return Processor(
            ledger=ledger,
            book=self._book,
            permits=permits,
            caller=Caller(
                ledger=ledger,
                providers=PROVIDERS,
                transport=transport,
                clock=self._clock,
                rules=self._rules,
                on_surprise=lambda error: self._telemetry.warned(
                    "A call failed in a way nobody foresaw", "call.surprise", error
                ),
            ),
            replies=Replies(
                announcer=announcer,
                publisher=publisher,
                ledger=ledger,
                clock=self._clock,
                rules=self._rules,
                worker_version=__version__,
            ),
            clock=self._clock,
            rules=self._rules,
        )

    @asynccontextmanager
    async def _probes(self) -> AsyncIterator[None]:
        settings = self._settings.probes
        if not settings.enabled:
            yield
            return
        server = ProbeServer(
            settings.host,
            settings.port,
            is_alive=lambda: self._pulse.is_alive,
            readiness=self._pulse.readiness,
            registry=self._registry,
        )
        try:
            await server.start()
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else type(error).__name__
            raise ProbePortError(settings.host, settings.port, reason) from error
        try:
            self._telemetry.noted("Probes listen", "probes.started", port=server.port)
            yield
        finally:
            await server.stop()

    async def _sweep(self, ledger: Ledger, sweeper: Sweeper, watch: LedgerWatch) -> None:
        """Sweep for ever: nobody would notice a sweeper that has ended, and answers would wait."""
        while True:
            await self._clock.sleep(SWEEP_SECONDS * (0.5 + self._clock.fraction()))
            await watch.until_usable()
            try:
                swept = await sweeper.sweep()
                self._telemetry.stands(await ledger.standing(), overdue=swept.overdue)
            except StoreUnavailableError as error:
                watch.missed(error)
                continue
            except Exception as error:  # noqa: BLE001 - told, and tried again with the next sweep
                self._surprised_in_sweep(error)
                continue
            if swept != Sweep(announced=0, unclaimed=0, unsent=0, doubted=0):
                self._telemetry.noted(
                    "Swept",
                    "sweep.done",
                    announced=swept.announced,
                    unclaimed=swept.unclaimed,
                    unsent=swept.unsent,
                    doubted=swept.doubted,
                    overdue=swept.overdue,
                    abandoned=swept.abandoned,
                )

    def _surprised_in_sweep(self, error: Exception) -> None:
        self._telemetry.warned("A sweep failed in a way nobody foresaw", "sweep.surprise", error)

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
