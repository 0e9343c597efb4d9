"""A producer and a subscriber on plain connections, apart from everything the product does.

They do what contract and reference ask of an ERP: publish persistently with confirms, send again
under the same ``message_id`` while nobody knows, acknowledge an event when it is kept.
"""

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import aio_pika
import aiormq.exceptions
from aio_pika.abc import (
    AbstractChannel,
    AbstractConnection,
    AbstractExchange,
    AbstractIncomingMessage,
)

from tests.faults.soak_judge import Asked, Heard, Letter
from tests.faults.soak_load import Kind, Request
from worker.adapters.clock import SystemClock

TROUBLES = (
    aiormq.exceptions.AMQPError,
    aiormq.exceptions.ChannelInvalidStateError,
    aio_pika.exceptions.DeliveryError,
    OSError,
    TimeoutError,
)
"""What the client library raises when the broker is away, or takes a message not now."""

_RECONNECT_SECONDS = 0.25
_ANSWER_SECONDS = 5.0

_clock = SystemClock()

Serve = Callable[[AbstractChannel], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the broker is, and under which prefix its objects stand."""

    port: int
    prefix: str

    async def connect(self) -> AbstractConnection:
        """One connection of the administrator; one try."""
        return await aio_pika.connect(
            host="127.0.0.1",
            port=self.port,
            virtualhost="payments",
            login="guest",
            heartbeat=10,
            timeout=_ANSWER_SECONDS,
        )

    async def keep(self, serve: Serve) -> None:
        """Connect and serve, again and again, until cancelled; a session ends with its channel."""
        while True:
            session = asyncio.create_task(self._session(serve))
            try:
                await asyncio.wait({session})
            finally:
                await _end(session)
            if not session.cancelled():  # so ends one whose connection died under a call
                error = session.exception()
                if error is not None and not isinstance(error, TROUBLES):
                    raise error
            await _clock.sleep(_RECONNECT_SECONDS)

    async def _session(self, serve: Serve) -> None:
        connection = await self.connect()
        ended = asyncio.Event()
        connection.close_callbacks.add(lambda *_: ended.set())
        try:
            channel = await connection.channel()
            channel.close_callbacks.add(lambda *_: ended.set())
            serving = asyncio.ensure_future(serve(channel))
            watching = asyncio.create_task(ended.wait())
            try:
                await asyncio.wait({serving, watching}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                await _end(watching)
                await _end(serving)
            if not serving.cancelled():
                serving.result()
        finally:
            await _close(connection)


@dataclass(slots=True)
class Sending:
    """What a producer knows of one request: when it was sent first, and when confirmed."""

    request: Request
    sent_at: float
    confirmed_at: float | None = None
    sendings: int = 0

    @property
    def asked(self) -> Asked:
        """The same as evidence."""
        return Asked(
            request=self.request,
            sent_at=self.sent_at,
            confirmed_at=self.confirmed_at,
            sendings=self.sendings,
        )


@dataclass(slots=True)
class Producer:
    """Publishes requests until each is confirmed."""

    place: Place
    sendings: dict[str, Sending] = field(default_factory=dict)
    _exchange: AbstractExchange | None = None
    _opened: asyncio.Event = field(default_factory=asyncio.Event)

    async def keep(self) -> None:
        """Stay connected until cancelled."""
        await self.place.keep(self._serve)

    async def send(self, request: Request) -> None:
        """Publish until the broker has confirmed one copy; the key never changes."""
        sending = self.sendings.setdefault(request.key, Sending(request, _clock.monotonic()))
        message = aio_pika.Message(
            request.encoded,
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            message_id=request.key,
            correlation_id=f"c-{request.key}",
        )
        while not await self._is_confirmed(message, request.routing_key, sending):
            await _clock.sleep(_RECONNECT_SECONDS)
        if sending.confirmed_at is None:
            sending.confirmed_at = _clock.monotonic()

    async def _is_confirmed(
        self, message: aio_pika.Message, routing_key: str, sending: Sending
    ) -> bool:
        await self._opened.wait()
        exchange = self._exchange
        if exchange is None:
            return False
        sending.sendings += 1
        try:
            await exchange.publish(message, routing_key, mandatory=False, timeout=_ANSWER_SECONDS)
        except asyncio.CancelledError:
            # The library's own word for a connection that died under a publish (measured).
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return False
        except TROUBLES:
            return False
        return True

    async def _serve(self, channel: AbstractChannel) -> None:
        self._exchange = await channel.get_exchange(f"{self.place.prefix}requests", ensure=False)
        self._opened.set()
        try:
            await asyncio.Event().wait()
        finally:
            self._exchange = None
            self._opened.clear()


@dataclass(slots=True)
class Subscriber:
    """Takes events off a result queue; ``on_event`` hears each one after it was kept."""

    place: Place
    queue: str
    on_event: Callable[[Heard], None]
    heard: list[Heard] = field(default_factory=list)
    answered: set[str] = field(default_factory=set)

    async def keep(self) -> None:
        """Stay connected until cancelled."""
        await self.place.keep(self._serve)

    async def _serve(self, channel: AbstractChannel) -> None:
        failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def take(message: AbstractIncomingMessage) -> None:
            try:
                self._keep(message)
            except Exception as error:  # noqa: BLE001 - the library only logs what a callback raises
                if not failed.done():
                    failed.set_exception(error)
                return
            with contextlib.suppress(*TROUBLES):  # it comes again, and is known by its event_id
                await message.ack()

        await channel.set_qos(200, timeout=_ANSWER_SECONDS)
        queue = await channel.declare_queue(
            f"{self.place.prefix}{self.queue}", passive=True, timeout=_ANSWER_SECONDS
        )
        await queue.consume(take, timeout=_ANSWER_SECONDS)
        await failed

    def _keep(self, message: AbstractIncomingMessage) -> None:
        event = heard_of(message, _clock.monotonic())
        self.heard.append(event)
        if event.request_id is not None:
            self.answered.add(event.request_id)
        self.on_event(event)


def heard_of(message: AbstractIncomingMessage, at: float) -> Heard:
    """Read an event's body."""
    body = json.loads(message.body)
    return Heard(
        at=at,
        event_id=body["event_id"],
        event_type=body["event_type"],
        payment_id=body["payment_id"],
        sequence=body["sequence"],
        request_id=body["request_id"],
        code=body["code"],
        is_retryable=bool(body["error"] and body["error"]["retryable"]),
        link=body["link"],
        item_id=body["basket_item_id"],
        duplicate_of=body["duplicate_of"],
        content_digest=hashlib.sha256(message.body).hexdigest(),
        is_redelivered=bool(message.redelivered),
    )


@dataclass(frozen=True, slots=True)
class Desk:
    """Looks into queues, each time on a connection of its own."""

    place: Place

    async def depths(self, *suffixes: str) -> dict[str, int]:
        """Ready messages of queues."""
        async with self._channel() as channel:
            return {
                suffix: (
                    await channel.declare_queue(
                        self.place.prefix + suffix, passive=True, timeout=_ANSWER_SECONDS
                    )
                ).declaration_result.message_count
                or 0
                for suffix in suffixes
            }

    async def letters(self) -> list[Letter]:
        """Every dead letter, taken off the queue."""
        return [
            Letter(
                payment_id=str(each.headers.get("payment-id")),
                sequence=int(str(each.headers.get("sequence", 0))),
                message_id=each.message_id or "",
            )
            for each in await self._taken("dlq")
        ]

    async def left(self, *suffixes: str) -> frozenset[str]:
        """Keys of the messages that are still in queues, taken off them."""
        messages = [each for suffix in suffixes for each in await self._taken(suffix)]
        return frozenset(each.message_id or "" for each in messages)

    async def _taken(self, suffix: str) -> list[AbstractIncomingMessage]:
        messages: list[AbstractIncomingMessage] = []
        async with self._channel() as channel:
            queue = await channel.get_queue(self.place.prefix + suffix, ensure=False)
            while (message := await queue.get(fail=False, timeout=_ANSWER_SECONDS)) is not None:
                messages.append(message)
                await message.ack()
        return messages

    @contextlib.asynccontextmanager
    async def _channel(self) -> AsyncIterator[AbstractChannel]:
        connection = await self.place.connect()
        try:
            yield await connection.channel()
        finally:
            await _close(connection)


def is_about_success(event: Heard) -> bool:
    """Whether a payment has just succeeded for itself and not as another's duplicate."""
    return event.event_type == "payment.initiation.succeeded" and event.duplicate_of is None


def is_cancellable(request: Request) -> bool:
    return request.kind is Kind.BASKET and request.is_cancelled


async def _close(connection: AbstractConnection) -> None:
    with contextlib.suppress(*TROUBLES):
        async with asyncio.timeout(2):
            await connection.close()


async def _end(task: asyncio.Future[None] | asyncio.Task[bool]) -> None:
    """Cancel until it has ended: the library may swallow one cancellation (Python 3.11)."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=1)
