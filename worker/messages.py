"""What leaves for the broker, and what the broker said about it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum, unique
from types import MappingProxyType

from typing_extensions import override


@unique
class Exchange(StrEnum):
    """The exchanges we publish to, without their prefix."""

    RESULTS = "results"
    RETRY = "retry"
    DEAD_LETTER = "dlx"
    REPLAY = "replay"
    REQUESTS = "requests"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingMessage:
    """One message to publish: persistent, mandatory and confirmed, always."""

    exchange: Exchange
    routing_key: str
    body: bytes
    message_id: str
    correlation_id: str | None = None
    type: str | None = None
    timestamp: datetime | None = None
    headers: Mapping[str, str | int] = field(default_factory=lambda: MappingProxyType({}))

    @override
    def __repr__(self) -> str:
        return f"OutgoingMessage({self.exchange}, message_id={self.message_id!r})"


@unique
class Publication(StrEnum):
    """What became of a publish: rabbitmq rules P3, P4 and P7."""

    CONFIRMED = "confirmed"
    UNROUTABLE = "unroutable"
    REFUSED = "refused"
    UNKNOWN = "unknown"
