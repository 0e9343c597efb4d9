"""An ERP: publishes requests and reads what comes of them, with a plain AMQP client.

Nothing of the product's own publisher, consumer or models is used here. A tap is bound beside the
real queues, so that tests see every message of every exchange without taking any away.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractExchange, AbstractIncomingMessage, HeadersType
from jsonschema import Draft202012Validator, FormatChecker

from tests.acceptance.installation import CHECKOUT
from tests.broker import Broker
from tests.waiting import until
from worker import __version__
from worker.adapters.clock import SystemClock

EVERY_TAP: Mapping[str, tuple[str, ...]] = {
    "results": ("#",),
    "retry": ("5s", "30s", "2m", "10m", "1h"),
    "dlx": ("dead", "unclaimed", "parking"),
    "replay": ("work", "parking"),
}
"""Exchanges the worker and the operators' commands publish to, and the keys they use."""

BLANK = " "
"""A ``message_id`` that counts as absent: contract section 2, Identity."""

_clock = SystemClock()


def new_key() -> str:
    """A key no other request has, as a producer makes one."""
    return str(_clock.new_id())


def payment_id_of(origin: str, key: str) -> str:
    """Payment id as contract section 2 defines it, worked out here a second time."""
    return str(uuid5(uuid5(NAMESPACE_URL, "urn:payment-worker:v1"), f"{origin}\u001f{key}"))


def order(**changes: object) -> dict[str, object]:
    """Body of a sound request, for an order no other test has."""
    return {
        "payment_target": "LABANQUEPOSTALE",
        "payment_run_mode": "TEST",
        "payment_type": "SEPA",
        "id_origin": "dcp",
        "id_societe": "1",
        "id_client": "2263",
        "id_commande": new_key()[:12],
        "type_paiement": "SEPA",
        "amount": "1250",
        "email": "client@example.org",
    } | changes


def basket_order(**changes: object) -> dict[str, object]:
    """The same for the basket provider."""
    return order(payment_target="MILLIET", **changes)


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that was published and confirmed; answers are known by ``correlation_id``."""

    correlation_id: str
    message_id: str


@dataclass(frozen=True, slots=True)
class Answer:
    """An event as it came: the message, and its body that the published schema accepts."""

    message: AbstractIncomingMessage
    body: dict[str, Any]

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 (a JSON value of any kind)
        return self.body[name]

    @property
    def status(self) -> str:
        """Last word of the routing key."""
        return (self.message.routing_key or "").rpartition(".")[2]

    @property
    def faults(self) -> list[tuple[str, str]]:
        """Field and code of everything that was wrong with the request."""
        return [(each["field"], each["code"]) for each in self.body["error"]["fields"]]


@dataclass(slots=True)
class Erp:
    """A connection of its own, and everything the tap has heard since it was bound."""

    prefix: str
    channel: AbstractChannel
    heard: list[AbstractIncomingMessage] = field(default_factory=list)

    async def send(
        self,
        body: Mapping[str, object] | bytes | str,
        *,
        routing_key: str = "payment.initiate.dcp",
        message_id: str | None = None,
        is_correlated: bool = True,
        headers: HeadersType | None = None,
        reply_to: str | None = None,
        exchange: str = "requests",
    ) -> Sent:
        """Publish one message and wait for the broker's confirm.

        It gets a new ``message_id`` unless told another: the client library would invent one
        itself, so ``BLANK`` stands for a producer that gives none.
        """
        content = json.dumps(body) if isinstance(body, Mapping) else body
        identifier = message_id or new_key()
        correlation = new_key() if is_correlated else None
        message = aio_pika.Message(
            content.encode() if isinstance(content, str) else content,
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            correlation_id=correlation,
            message_id=identifier,
            headers=headers or {},
            reply_to=reply_to,
        )
        target = await self._exchange(exchange)
        await target.publish(message, routing_key, mandatory=False, timeout=10)
        return Sent(correlation or identifier, identifier)

    async def cancel(
        self, *, origin: str = "dcp", message_id: str | None = None, **body: object
    ) -> Sent:
        """Publish a cancellation."""
        return await self.send(body, routing_key=f"payment.cancel.{origin}", message_id=message_id)

    def answers(self, sent: Sent) -> list[Answer]:
        """Events that answer one message so far, each one checked."""
        return [checked(each) for each in self._about(sent, "results")]

    async def answer(self, sent: Sent, *, number: int = 1, seconds: float = 40.0) -> Answer:
        """Wait for an event that answers one message: the first, or a later one."""
        await until(lambda: len(self._about(sent, "results")) >= number, seconds)
        return self.answers(sent)[number - 1]

    async def letter(self, sent: Sent, *, key: str = "dead") -> AbstractIncomingMessage:
        """Wait for the dead letter of one message."""
        return await self._first(sent, "dlx", key)

    def heard_of(self, payment_id: str) -> list[Answer]:
        """Events about one payment so far, whatever they answer."""
        events = [each for each in self.heard if each.exchange == self.prefix + "results"]
        return [each for each in map(checked, events) if each["payment_id"] == payment_id]

    def letters(self, sent: Sent) -> list[AbstractIncomingMessage]:
        """Dead letters of one message so far."""
        return self._about(sent, "dlx", "dead")

    async def rung(self, sent: Sent, step: str) -> AbstractIncomingMessage:
        """Wait until one message is put on a rung of the ladder."""
        return await self._first(sent, "retry", step)

    def copies(self, sent: Sent) -> list[AbstractIncomingMessage]:
        """Copies of one message that were put on the ladder so far."""
        return self._about(sent, "retry")

    def rungs(self, sent: Sent) -> list[str]:
        """The steps one message was put on so far."""
        return [each.routing_key or "" for each in self.copies(sent)]

    async def is_answered(self) -> None:
        """A good request is still answered: nothing before it stopped the worker."""
        assert (await self.answer(await self.send(order()))).status == "succeeded"

    async def depth(self, suffix: str) -> int:
        """Ready messages in one of the real queues."""
        queue = await self.channel.declare_queue(self.prefix + suffix, passive=True)
        return queue.declaration_result.message_count or 0

    async def has_depth(self, suffix: str, depth: int, *, seconds: float = 20.0) -> None:
        """Wait until exactly so many messages are ready in one of the real queues."""
        async with asyncio.timeout(seconds):
            while await self.depth(suffix) != depth:
                await _clock.sleep(0.05)

    async def take(self, suffix: str, *, seconds: float = 20.0) -> AbstractIncomingMessage:
        """Wait for the next message of one of the real queues, and acknowledge it."""
        queue = await self.channel.get_queue(self.prefix + suffix, ensure=False)
        async with asyncio.timeout(seconds):
            while (message := await queue.get(fail=False, timeout=10)) is None:
                await _clock.sleep(0.05)
        await message.ack()
        return message

    async def _first(self, sent: Sent, exchange: str, key: str) -> AbstractIncomingMessage:
        await until(lambda: bool(self._about(sent, exchange, key)), 40.0)
        return self._about(sent, exchange, key)[0]

    def _about(
        self, sent: Sent, exchange: str, key: str | None = None
    ) -> list[AbstractIncomingMessage]:
        return [
            each
            for each in self.heard
            if each.exchange == self.prefix + exchange
            and sent.correlation_id in {each.correlation_id, each.message_id}
            and key in {None, each.routing_key}
        ]

    async def _exchange(self, suffix: str) -> AbstractExchange:
        return await self.channel.get_exchange(self.prefix + suffix, ensure=False)


@asynccontextmanager
async def connected_erp(
    broker: Broker,
    prefix: str,
    *,
    taps: Mapping[str, tuple[str, ...]] = EVERY_TAP,
    virtual_host: str = "payments",
) -> AsyncIterator[Erp]:
    """An ERP with its tap bound; the exchanges must be there."""
    connection = await aio_pika.connect(
        host="127.0.0.1", port=broker.port, virtualhost=virtual_host, login="guest"
    )
    async with connection:
        erp = Erp(prefix, await connection.channel(on_return_raises=True))
        queue = await erp.channel.declare_queue(exclusive=True)
        for exchange, keys in taps.items():
            for key in keys:
                await queue.bind(prefix + exchange, key)

        async def hear(message: AbstractIncomingMessage) -> None:
            erp.heard.append(message)

        await queue.consume(hear, no_ack=True)
        yield erp


def checked(message: AbstractIncomingMessage) -> Answer:
    """Read an event and hold it against everything contract section 3 says of its message."""
    body = json.loads(message.body)
    assert [error.message for error in _event_schema().iter_errors(body)] == []
    assert message.message_id == body["event_id"] == str(UUID(body["event_id"]))
    assert message.type == body["event_type"]
    assert message.content_type == "application/json"
    assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
    assert message.timestamp is not None
    assert message.headers["cloudEvents_id"] == body["event_id"]
    assert message.headers["cloudEvents_type"] == body["event_type"]
    assert message.headers["cloudEvents_subject"] == body["payment_id"]
    assert message.headers["cloudEvents_specversion"] == "1.0"
    assert not body.keys() & {"email", "commentaire"}
    return Answer(message, body)


def checked_letter(letter: AbstractIncomingMessage, answer: Answer) -> Mapping[str, object]:
    """Hold a dead letter against contract sections 2 and 4, and return its headers."""
    headers = dict(letter.headers)
    error = answer["error"]
    assert headers["error-code"] == error["code"]
    assert headers["error-category"] == error["category"]
    assert headers["payment-id"] == answer["payment_id"]
    if answer["event_type"].startswith("payment.initiation"):
        assert headers["sequence"] == answer["sequence"]
        assert headers["replay-count"] == answer["sequence"] - 1
    assert headers["attempts"] == answer["attempts"]
    assert headers["worker-version"] == __version__
    for name in ("identity", "first-seen", "origin-routing-key", "failed-at", "error-detail"):
        assert isinstance(headers[name], str), name
    assert str(headers["origin-exchange"]).endswith("requests")
    assert letter.message_id == (answer["request_id"] or answer["payment_id"])
    assert not [name for name, value in headers.items() if "@" in str(value)]
    assert not [name for name in headers if name.startswith("x-")]
    return headers


@cache
def _event_schema() -> Draft202012Validator:
    path = CHECKOUT / "schemas" / "v1" / "payment-result.schema.json"
    return Draft202012Validator(json.loads(path.read_text("utf-8")), format_checker=FormatChecker())
