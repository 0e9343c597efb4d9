"""What a simulated provider can do with a call, as values; ``acting`` performs them."""

from dataclasses import dataclass
from enum import Enum, StrEnum, auto, unique


@unique
class Shape(Enum):
    """How the body of a successful answer is spelt."""

    PLAIN = auto()
    UNLISTED_HOST = auto()
    HTTP_LINK = auto()
    LINK_WITH_USER = auto()
    NO_LINK = auto()
    NO_ID = auto()
    TEXT_RESULT = auto()
    MISSPELT = auto()
    CUT_JSON = auto()
    OVERSIZED = auto()


@unique
class Search(StrEnum):
    """What a look-up of a payment finds that was applied."""

    FOUND = "found"
    OTHER_AMOUNT = "other amount"
    WITHOUT_LINK = "found without its link"
    EMPTY_TWICE = "nothing twice, then found"
    FAILING = "HTTP 500"
    SLOW = "found after 20 seconds"


@unique
class Breakage(StrEnum):
    """How an exchange ends without a complete answer."""

    HOLD = "hold"
    RESET = "reset"
    CLOSE = "close"
    GARBAGE = "garbage"
    CUT_HEAD = "cut_head"
    CUT_BODY = "cut_body"
    TRICKLE = "trickle"


@dataclass(frozen=True, slots=True)
class Succeed:
    """Apply the operation and answer so, ``after`` that many seconds."""

    shape: Shape = Shape.PLAIN
    after: float = 0.0


@dataclass(frozen=True, slots=True)
class Reject:
    """Refuse as the provider documents it: HTTP 200 and a code; nothing is applied."""

    provider_code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Respond:
    """Answer with a bare HTTP status, whether or not the operation was applied before."""

    status: int
    applied: bool
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """Give no complete answer, whether or not the operation was applied before."""

    how: Breakage
    applied: bool


@dataclass(frozen=True, slots=True)
class Flaky:
    """Fail the first ``times`` calls of one intent, then succeed."""

    times: int
    failure: Respond | Break | Reject


Act = Succeed | Reject | Respond | Break
"""What is done with one call."""

Single = Act | Flaky
"""What may be chosen for a call."""


@dataclass(frozen=True, slots=True)
class OnRemoval:
    """Succeed at everything but the removal of the item."""

    effect: Single


Effect = Single | OnRemoval
"""One magic name's worth of behaviour."""
