"""What leaves for the broker, and what became of a delivery."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum, unique
from types import MappingProxyType
from uuid import UUID

from typing_extensions import override

from worker.calls import Try
from worker.codes import Code
from worker.model import Origin, Step
from worker.records import Kind, Status


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


@unique
class Disposition(StrEnum):
    """What the consumer does with a delivery; it alone touches the broker's message."""

    ACKNOWLEDGE = "acknowledge"
    RETURN = "return"


@unique
class Action(StrEnum):
    """What a delivery led to, as one word for logs and metrics."""

    ANSWERED = "answered"
    REPEATED = "repeated"
    WAITING = "waiting"
    RETURNED = "returned"


@unique
class Suspicion(StrEnum):
    """A reason to look at who publishes a request (rabbitmq failure case 8)."""

    COPY_HEADER = "copy_header"
    OWN_HEADER = "own_header"
    DEATH_HEADER = "death_header"


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """The facts of one delivery for its one log line: ids and states, nothing personal.

    ``age`` is the time since the request was first seen, in seconds.
    """

    action: Action
    operation_id: UUID | None = None
    kind: Kind | None = None
    payment_id: UUID | None = None
    message_id: str | None = None
    origin: Origin | None = None
    status: Status | None = None
    code: Code | None = None
    account: str | None = None
    live: bool | None = None
    attempts: int = 0
    sequence: int = 0
    step: Step | None = None
    reason: str | None = None
    age: float | None = None
    dead_lettered: bool = False
    unclaimed: bool = False
    reply_to_ignored: bool = False
    unknown_properties: tuple[str, ...] = ()
    suspicions: tuple[Suspicion, ...] = ()
    tries: tuple[Try, ...] = ()
    livemode_forced: bool = False


@dataclass(frozen=True, slots=True)
class Handled:
    """What the processor decided about one delivery."""

    disposition: Disposition
    story: Story
