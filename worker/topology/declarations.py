"""What one exchange, queue or binding is made of, and the limits that queues share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum, unique
from types import MappingProxyType

Setting = str | int
Settings = Mapping[str, Setting]

# A net only: every return counts up to RabbitMQ 4.2, a whole prefetch with each lost channel, so
# a low limit kills innocent payments. The worker decides by itself at 100 deliveries.
WORK_DELIVERIES = 1_000
# From 4.0 a queue without a limit gets one of 20, and without a dead-letter exchange the 21st
# look at a letter deletes it; -1 is not portable (refused by the policy validator of 3.10).
_HOLD_DELIVERIES = 1_000_000
LONG_OUTAGE_BYTES = 4_000_000_000  # by bytes, not by count: a million requests may be waiting
_HOLD_BYTES = 2_000_000_000


@unique
class ExchangeType(StrEnum):
    TOPIC = "topic"
    DIRECT = "direct"
    FANOUT = "fanout"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeDeclaration:
    """A durable exchange; ``limits`` are a policy in definitions and arguments over AMQP."""

    name: str
    type: ExchangeType
    internal: bool = False
    limits: Settings = field(default_factory=lambda: MappingProxyType({}))

    @property
    def arguments(self) -> Settings:
        """Arguments of the declaration over AMQP."""
        return self.limits


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDeclaration:
    """A durable quorum queue.

    ``structure`` are arguments either way, because losing them would change what the queue is;
    ``limits`` are named as in a policy.
    """

    name: str
    structure: Settings
    limits: Settings

    @property
    def arguments(self) -> Settings:
        """Arguments of the declaration over AMQP: everything, as policies cannot be set there."""
        return {**self.structure, **{f"x-{name}": value for name, value in self.limits.items()}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """A queue bound to an exchange."""

    exchange: str
    queue: str
    routing_key: str


QUORUM: Settings = MappingProxyType({"x-queue-type": "quorum"})
HOLD_LIMITS: Settings = MappingProxyType(
    {
        "overflow": "reject-publish",
        "max-length-bytes": _HOLD_BYTES,
        "delivery-limit": _HOLD_DELIVERIES,
    }
)
RESULT_LIMITS: Settings = MappingProxyType({**HOLD_LIMITS, "max-length-bytes": LONG_OUTAGE_BYTES})
RETRY_LIMITS: Settings = MappingProxyType(
    {"max-length-bytes": LONG_OUTAGE_BYTES, "delivery-limit": _HOLD_DELIVERIES}
)
