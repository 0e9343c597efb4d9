"""One call to a provider: what is sent, what comes back, and what the attempt amounts to."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum, unique
from typing import Literal

from typing_extensions import override

from worker.codes import Code
from worker.model import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """One request exactly as it is sent: ``url`` is final, byte for byte, and never re-quoted.

    A GET has no body and changes nothing at the provider.
    """

    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    method: Literal["GET", "POST"] = "POST"

    @override
    def __repr__(self) -> str:
        return f"HttpRequest({len(self.body)} bytes)"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpReply:
    """A complete answer; header names are lower case; ``body`` is ``None`` over the size cap."""

    status: int
    headers: Mapping[str, str]
    body: bytes | None
    received_at: datetime

    @override
    def __repr__(self) -> str:
        return f"HttpReply(status={self.status})"


@unique
class Silence(StrEnum):
    """Why no complete answer came; the phase is told by ``NoReply.may_have_arrived``."""

    CONNECT = "connect"
    CERTIFICATE = "certificate"
    TIMEOUT = "timeout"
    BROKEN = "broken"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class NoReply:
    """The fact a transport reports by phase: whether the request may have arrived."""

    may_have_arrived: bool
    silence: Silence


@dataclass(slots=True)
class Departure:
    """How far one exchange came, for a caller that is cancelled and gets no fact.

    ``has_left`` is set before the first byte is handed to the socket; while it is not, nothing
    has left this machine.
    """

    has_left: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeeded:
    """Applied, and the answer was understood. A basket item may come without a link."""

    link: Secret | None
    item_id: str | None = None
    http_status: int
    link_dropped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Declined:
    """A final business answer; ``known`` tells whether the provider's code is in our table."""

    code: Code
    provider_code: str | None
    http_status: int
    known: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NotApplied:
    """The server says it did not act; ``retry_after`` in seconds, capped at an hour."""

    code: Code
    http_status: int
    retry_after: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotSent:
    """Nothing left this machine: safe to try again for every class."""

    code: Code = Code.PROVIDER_UNAVAILABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Misconfigured:
    """Our set-up is wrong and nothing was applied; the account's breaker opens."""

    code: Code
    http_status: int | None = None
    provider_code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """Nobody here knows whether it was applied.

    ``never_resend`` holds whatever the class (a link on a host that is not listed);
    ``link`` is then kept encrypted for the operator and never published.
    """

    http_status: int | None = None
    code: Code = Code.OUTCOME_UNKNOWN
    never_resend: bool = False
    link: Secret | None = None


Outcome = Succeeded | Declined | NotApplied | NotSent | Misconfigured | Unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """One call within an attempt, for the attempt's history."""

    started_at: datetime
    ended_at: datetime
    outcome: Outcome
