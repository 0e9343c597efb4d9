"""The topology against a real broker: declare it over AMQP, and see what is there.

Every question is asked on a throw-away channel, because a no closes the channel it was asked on.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum, unique

import aiormq.exceptions
from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel
from typing_extensions import override

from worker.adapters.connection import CALL_SECONDS, broker_text, open_channel
from worker.topology import Binding, ExchangeDeclaration, QueueDeclaration, Topology
from worker.topology.declarations import Settings

_NOT_VISIBLE = "not visible over AMQP"
_TYPE = "x-queue-type"


@unique
class Verdict(StrEnum):
    """What is known about one object; what cannot be seen is ``SKIP``, never ``OK``."""

    OK = "ok"
    MISSING = "missing"
    MISMATCH = "mismatch"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Finding:
    """One object and what was seen of it; ``reason`` holds the broker's words."""

    kind: str
    name: str
    verdict: Verdict
    reason: str = ""

    @property
    def is_fault(self) -> bool:
        """Whether a worker must not consume from such a broker."""
        return self.verdict in {Verdict.MISSING, Verdict.MISMATCH}


class TopologyRefusedError(Exception):
    """The broker does not let us declare, or it is not the broker we are configured for."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    @override
    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


async def declare(connection: AbstractConnection, topology: Topology) -> None:
    """Create every object with all its arguments; existing ones that are alike stay untouched.

    The mark of our environment is created only where the broker says that the other environment's
    mark is not there: else a worker would make its own permit. Raises ``TopologyRefusedError``.
    """
    for foreign in topology.foreign_marks:
        finding = await _existence(connection, "exchange", foreign)
        match finding.verdict:
            case Verdict.MISSING:
                continue
            case Verdict.OK:
                reason = "this broker belongs to the other environment"
            case _:
                reason = f"cannot tell whose broker this is: {finding.reason}"
        raise TopologyRefusedError(foreign, reason)
    for exchange in topology.exchanges:
        await _insist(connection, exchange.name, _exchange_call(exchange, exchange.arguments))
    for queue in topology.queues:
        await _insist(connection, queue.name, _queue_call(queue, queue.arguments))
    for binding in topology.bindings:
        await _insist(connection, binding.queue, _binding_call(binding))


async def verify(
    connection: AbstractConnection, topology: Topology, *, arguments: bool = True
) -> list[Finding]:
    """Look at every object, changing nothing.

    Existence by passive declare: 404 is missing, 403 cannot be told. A passive declare says
    nothing about type and arguments (measured), so with ``arguments`` each existing object is
    declared again exactly as it should be, over AMQP or by definitions; that needs the right to
    configure, and a 406 names the difference.
    """
    findings: list[Finding] = []
    for exchange in topology.exchanges:
        found = await _existence(connection, "exchange", exchange.name)
        # A mark is its name and nothing else. Compared like the others it would be unseen for a
        # worker without the right to configure, and an unseen mark bars the start.
        is_comparable = arguments and exchange.name != topology.mark
        if is_comparable and found.verdict is Verdict.OK:
            ways: tuple[Settings, ...] = (exchange.arguments, {})
            calls = [_exchange_call(exchange, way) for way in ways]
            found = await _likeness(connection, found, calls)
        findings.append(found)
    for queue in topology.queues:
        found = await _existence(connection, "queue", queue.name)
        if arguments and found.verdict is Verdict.OK:
            calls = [_queue_call(queue, way) for way in (queue.arguments, queue.structure)]
            found = await _likeness(connection, found, calls)
        findings.append(found)
    findings.extend([await _absence(connection, foreign) for foreign in topology.foreign_marks])
    findings.append(Finding("bindings", topology.named("*"), Verdict.SKIP, _NOT_VISIBLE))
    findings.append(Finding("policies", topology.named("*"), Verdict.SKIP, _NOT_VISIBLE))
    return findings


_Call = Callable[[AbstractChannel], Awaitable[object]]


@asynccontextmanager
async def _throw_away(connection: AbstractConnection) -> AsyncIterator[AbstractChannel]:
    channel = await open_channel(connection)
    try:
        yield channel
    finally:
        if not channel.is_closed:
            await channel.close()


async def _existence(connection: AbstractConnection, kind: str, name: str) -> Finding:
    try:
        async with _throw_away(connection) as channel:
            if kind == "queue":
                await channel.queue_declare(name, passive=True, timeout=CALL_SECONDS)
            else:
                await channel.exchange_declare(name, passive=True, timeout=CALL_SECONDS)
    except aiormq.exceptions.ChannelNotFoundEntity as error:
        return Finding(kind, name, Verdict.MISSING, broker_text(error))
    except aiormq.exceptions.ChannelAccessRefused as error:
        return Finding(kind, name, Verdict.SKIP, broker_text(error))
    return Finding(kind, name, Verdict.OK)


async def _absence(connection: AbstractConnection, name: str) -> Finding:
    """The mark of another environment must not be there."""
    found = await _existence(connection, "exchange", name)
    match found.verdict:
        case Verdict.MISSING:
            return Finding("exchange", name, Verdict.OK, "absent, as it should be")
        case Verdict.OK:
            reason = "this broker belongs to the other environment"
            return Finding("exchange", name, Verdict.MISMATCH, reason)
        case _:
            return found


async def _likeness(connection: AbstractConnection, found: Finding, calls: list[_Call]) -> Finding:
    """Declare an existing object again in each permitted way until one is accepted."""
    reasons: list[str] = []
    for call in calls:
        try:
            async with _throw_away(connection) as channel:
                await call(channel)
        except aiormq.exceptions.ChannelAccessRefused:
            why = f"exists; its arguments are {_NOT_VISIBLE} without the right to configure"
            return Finding(found.kind, found.name, Verdict.SKIP, why)
        except aiormq.exceptions.ChannelPreconditionFailed as error:
            reasons.append(broker_text(error))
        else:
            return found
    # The broker names one difference only. Of a classic queue the type is what matters.
    told = next((each for each in reasons if _TYPE in each), reasons[0])
    return Finding(found.kind, found.name, Verdict.MISMATCH, told)


async def _insist(connection: AbstractConnection, name: str, call: _Call) -> None:
    try:
        async with _throw_away(connection) as channel:
            await call(channel)
    except (
        aiormq.exceptions.ChannelAccessRefused,
        aiormq.exceptions.ChannelNotFoundEntity,
        aiormq.exceptions.ChannelPreconditionFailed,
    ) as error:
        raise TopologyRefusedError(name, broker_text(error)) from error


def _exchange_call(exchange: ExchangeDeclaration, arguments: Settings) -> _Call:
    async def call(channel: AbstractChannel) -> None:
        await channel.exchange_declare(
            exchange.name,
            exchange_type=exchange.type,
            durable=True,
            internal=exchange.internal,
            arguments=dict(arguments),
            timeout=CALL_SECONDS,
        )

    return call


def _queue_call(queue: QueueDeclaration, arguments: Settings) -> _Call:
    async def call(channel: AbstractChannel) -> None:
        await channel.queue_declare(
            queue.name, durable=True, arguments=dict(arguments), timeout=CALL_SECONDS
        )

    return call


def _binding_call(binding: Binding) -> _Call:
    async def call(channel: AbstractChannel) -> None:
        await channel.queue_bind(
            binding.queue, binding.exchange, binding.routing_key, timeout=CALL_SECONDS
        )

    return call
