"""What the worker makes of each simulated behaviour, stated once and proved by the tests.

For the default operation classes: D for the link provider (one re-send after an unknown
outcome), E for adding a basket item (none), B for its removal. Source: payment rules R1 to R4.
"""

from dataclasses import dataclass, replace
from enum import StrEnum, unique

from worker.codes import Code
from worker.records import Status
from worker.simulator.effects import (
    Break,
    Breakage,
    Effect,
    OnRemoval,
    Reject,
    Respond,
    Search,
    Single,
)


@unique
class Decided(StrEnum):
    """When the worker decides."""

    FIRST = "at the first answer"
    SENT_AGAIN = "after one more call"
    USED_UP = "when attempts or time are used up"
    LATER = "when the provider recovers"


@dataclass(frozen=True, slots=True)
class Expected:
    """What the worker answers in the end; ``applied`` counts what the provider did by then."""

    status: Status
    code: Code | None
    applied: int
    decided: Decided = Decided.FIRST


@dataclass(frozen=True, slots=True, kw_only=True)
class Magic:
    """One name: what it does, and what comes of it with each provider.

    ``removal`` is set where the name is about the removal of a basket item, ``search`` where it is
    about the look-up of a payment in doubt.
    """

    name: str
    does: str
    effect: Effect
    link: Expected
    basket: Expected
    removal: Expected | None = None
    search: Search | None = None


def success(decided: Decided = Decided.FIRST) -> Expected:
    return Expected(Status.SUCCEEDED, None, 1, decided)


def failure(code: Code, decided: Decided = Decided.FIRST) -> Expected:
    return Expected(Status.FAILED, code, 0, decided)


def doubt(*, applied: int, decided: Decided = Decided.FIRST) -> Expected:
    return Expected(Status.IN_DOUBT, Code.OUTCOME_UNKNOWN, applied, decided)


def succeeding(name: str, does: str, effect: Effect, *, decided: Decided = Decided.FIRST) -> Magic:
    """Succeeds with both providers."""
    expected = success(decided)
    return Magic(name=name, does=does, effect=effect, link=expected, basket=expected)


def refusing(name: str, does: str, effect: Effect, code: Code) -> Magic:
    """Both providers give the same definite answer."""
    return Magic(name=name, does=does, effect=effect, link=failure(code), basket=failure(code))


def postponing(name: str, does: str, effect: Effect, code: Code) -> Magic:
    """Both providers say that they did not act, as often as they are asked."""
    expected = failure(code, Decided.USED_UP)
    return Magic(name=name, does=does, effect=effect, link=expected, basket=expected)


def unclear(name: str, does: str, effect: Effect, *, applied: bool) -> Magic:
    """Both leave a doubt; only the link, which nobody received, is asked for once more."""
    return Magic(
        name=name,
        does=does,
        effect=effect,
        link=doubt(applied=2 * applied, decided=Decided.SENT_AGAIN),
        basket=doubt(applied=int(applied)),
    )


def breaking(name: str, does: str, how: Breakage, *, applied: bool) -> Magic:
    """The exchange ends without a complete answer."""
    return unclear(name, does, Break(how=how, applied=applied), applied=applied)


def searching(name: str, does: str, search: Search) -> Magic:
    """In doubt although applied; then this is what a look-up of the link finds."""
    lost = unclear(
        name,
        f"Applies it and answers HTTP 500; {does}",
        Respond(status=500, applied=True),
        applied=True,
    )
    return replace(lost, search=search)


def rejecting(provider_code: str, code: Code, *, name: str | None = None) -> Magic:
    """The link provider's own refusal; the basket provider has an error marker, no codes."""
    return Magic(
        name=name or f"reject-{provider_code.lower().replace('_', '-')}",
        does=f"Refuses: the link provider with {provider_code}, the basket with an error marker.",
        effect=Reject(provider_code),
        link=failure(code),
        basket=failure(Code.PROVIDER_REFUSED),
    )


def answering(status: int, code: Code) -> Magic:
    """A bare HTTP status that decides by itself; nothing is applied."""
    effect = Respond(status=status, applied=False)
    return refusing(f"http-{status}", f"Answers HTTP {status}.", effect, code)


def removing(name: str, does: str, effect: Single, expected: Expected) -> Magic:
    """Everything succeeds but the removal of the basket item."""
    return Magic(
        name=name,
        does=does,
        effect=OnRemoval(effect),
        link=success(),
        basket=success(),
        removal=expected,
    )
