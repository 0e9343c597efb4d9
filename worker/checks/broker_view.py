"""What can be seen of the broker over AMQP, changing nothing and leaving nothing there.

Every question goes over a connection of its own: one that the broker ends is then the fault of
one question. Raises ``NotReachedError`` where the broker does not answer.
"""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from typing_extensions import override

from worker.adapters.connection import (
    CLIENT_ERRORS,
    BrokerTroubleError,
    TroubleKind,
    broker_text,
    connected,
    is_own_cancellation,
    server_version,
)
from worker.adapters.letters import AmqpLetterQueue
from worker.adapters.lone_publish import publish_alone
from worker.adapters.topology import Finding, verify
from worker.checks.verdicts import CannotSeeError, NotReachedError
from worker.messages import Exchange, OutgoingMessage, Publication
from worker.model import Fault
from worker.ports import Clock
from worker.rules import BrokerAddress
from worker.topology import ExchangeDeclaration, QueueDeclaration, Topology

_ROLE = "check"
_CONNECT_SECONDS = 5.0
_PUBLISH_SECONDS = 5.0

_FIXES = {
    TroubleKind.UNREACHABLE: "Start the broker, or correct broker.host and broker.port.",
    TroubleKind.REFUSED: "Correct broker.user, broker.password or broker.virtual_host.",
    TroubleKind.CERTIFICATE: "Correct broker.ca_file, or renew the broker's certificate.",
    TroubleKind.LOST: "Run it again; look at the broker's log if it stays so.",
    TroubleKind.MISSING: "Run it again; look at the broker's log if it stays so.",
}

Fate = Publication | Fault


class BrokerView:
    """Looks at one broker; what was seen is kept, so that every check speaks of the same."""

    def __init__(self, address: BrokerAddress, topology: Topology, *, clock: Clock) -> None:
        self.address = address
        self._way = address
        self.topology = topology
        self._clock = clock
        self._existing: list[Finding] | None = None
        self._fates: dict[Exchange, Fate] = {}

    async def log_in(self) -> list[tuple[BrokerAddress, NotReachedError | None]]:
        """Connect to each endpoint, open the virtual host, leave; what barred us, if anything.

        Raises ``NotReachedError`` where no endpoint lets us in.
        """
        addresses = self.address.addresses()
        found = list(zip(addresses, await asyncio.gather(*map(_bar_at, addresses)), strict=True))
        bars = [bar for _, bar in found if bar is not None]
        if len(bars) == len(found):
            raise NotReachedError("; ".join(bar.reason for bar in bars), bars[0].fix)
        # No question waits for an endpoint that is known to be away.
        self._way = next(address for address, bar in found if bar is None)
        return found

    async def version(self) -> str:
        """The broker's version in its own words; empty where it tells none."""
        with _answering():
            async with connected(self._way, role=_ROLE, seconds=_CONNECT_SECONDS) as connection:
                return server_version(connection)

    async def existing(self) -> list[Finding]:
        """Which objects exist, the other environment's marks included."""
        if self._existing is None:
            self._existing = await self._verified(self.topology, arguments=False)
        return self._existing

    async def alike(self) -> list[Finding]:
        """Which objects have the type and the arguments of either way of provisioning."""
        return await self._verified(self.topology, arguments=True)

    async def as_declared(self, queues: Iterable[str]) -> dict[str, Finding]:
        """Whether these queues hold every argument they would be declared with over AMQP."""
        asked = _QueuesInFull(
            environment=self.topology.environment,
            prefix=self.topology.prefix,
            subscribers=self.topology.subscribers,
            names=frozenset(queues),
        )
        findings = await self._verified(asked, arguments=True)
        return {found.name: found for found in findings if found.kind == "queue"}

    async def unroutable(self, exchange: Exchange) -> Fate:
        """What becomes of a message nobody is bound for: it must come back.

        The key is random and shaped like a real one, because topic permissions look at it.
        """
        if exchange not in self._fates:
            name = f"check-{self._clock.nonce()[:12]}"
            is_result = exchange is Exchange.RESULTS
            message = OutgoingMessage(
                exchange=exchange,
                routing_key=f"payment.result.{name}.succeeded" if is_result else name,
                body=b'{"event_type": "check", "payment": null}',
                message_id=str(self._clock.new_id()),
                type="check",
            )
            self._fates[exchange] = await publish_alone(
                self._way, self.topology, message, seconds=_PUBLISH_SECONDS
            )
        return self._fates[exchange]

    async def depth(self, queue: str) -> int:
        """Messages that are ready in a queue; raises ``CannotSeeError`` where it is not shown."""
        with _answering():
            async with connected(self._way, role=_ROLE, seconds=_CONNECT_SECONDS) as connection:
                walk = await AmqpLetterQueue.open(
                    connection, queue, topology=self.topology, clock=self._clock
                )
                try:
                    return await walk.depth()
                except CLIENT_ERRORS as error:
                    raise CannotSeeError(broker_text(error)) from error

    async def _verified(self, topology: Topology, *, arguments: bool) -> list[Finding]:
        with _answering():
            async with connected(self._way, role=_ROLE, seconds=_CONNECT_SECONDS) as connection:
                return await verify(connection, topology, arguments=arguments)


@dataclass(frozen=True, kw_only=True)
class _QueuesInFull(Topology):
    """Some queues alone, each with every argument as its structure.

    ``verify`` accepts a queue that was made in either way of provisioning. Here only the way over
    AMQP is left, so that ``OK`` proves the limits as well.
    """

    names: frozenset[str]

    @property
    @override
    def exchanges(self) -> tuple[ExchangeDeclaration, ...]:
        return ()

    @property
    @override
    def queues(self) -> tuple[QueueDeclaration, ...]:
        return tuple(
            QueueDeclaration(name=queue.name, structure=queue.arguments, limits={})
            for queue in super().queues
            if queue.name in self.names
        )

    @property
    @override
    def foreign_marks(self) -> tuple[str, ...]:
        return ()


async def _bar_at(address: BrokerAddress) -> NotReachedError | None:
    try:
        with _answering():
            async with connected(address, role=_ROLE, seconds=_CONNECT_SECONDS):
                return None
    except NotReachedError as bar:
        return bar


@contextmanager
def _answering() -> Iterator[None]:
    """Turn what the client says about a broker that does not answer into one exception."""
    try:
        yield
    except BrokerTroubleError as trouble:
        raise NotReachedError(trouble.reason, _FIXES[trouble.kind]) from trouble
    except CLIENT_ERRORS as error:
        raise NotReachedError(broker_text(error), _FIXES[TroubleKind.LOST]) from error
    except asyncio.CancelledError:
        if is_own_cancellation():
            raise
        reason = "the connection ended under a question"
        raise NotReachedError(reason, _FIXES[TroubleKind.LOST]) from None
