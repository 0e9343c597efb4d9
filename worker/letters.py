"""What is asked of the dead-letter index as a whole: which letters are meant, and in what sums."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum, unique
from string import ascii_uppercase
from typing import Final
from uuid import UUID

from worker.codes import Category, Code
from worker.model import Facts, Fingerprint, OperationClass, Origin, PaymentTarget
from worker.records import Kind, State

UNANSWERED: Final = "unanswered"
"""What stands for a code where nothing was decided: the broker gave the request up."""


def code_name(code: Code | None) -> str:
    """The code of a letter as people and scripts read it."""
    return UNANSWERED if code is None else code.value


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterFilter:
    """Which letters are meant: all that is given must hold, ``None`` restricts nothing.

    Among ``codes``, ``None`` stands for the unanswered ones. ``since`` and ``until`` are of the
    failure, from the first moment on and before the last; ``payment_id`` finds the letters of its
    cancellations too. ``text`` is looked for in the error's detail, origin, company, client and
    order, the letters a to z in either case. ``resolved`` asks for what an operator has set aside,
    and for nothing else.
    """

    codes: frozenset[Code | None] | None = None
    origin: Origin | None = None
    company: str | None = None
    target: PaymentTarget | None = None
    payment_id: UUID | None = None
    operation_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None
    resolved: bool = False

    @property
    def has_decided(self) -> bool:
        """Whether a decided letter can meet it."""
        return self.codes is None or any(code is not None for code in self.codes)

    @property
    def has_unanswered(self) -> bool:
        """Whether an unanswered letter can meet it: resolved, it is decided."""
        return not self.resolved and (self.codes is None or None in self.codes)

    def of_the_resolved(self) -> "LetterFilter":
        """The same filter over what an operator has set aside."""
        return replace(self, resolved=True)


EVERY_LETTER = LetterFilter()

_SMALL = {ord(letter): letter.lower() for letter in ascii_uppercase}


def folded(text: str) -> str:
    """The letters a to z small: as much as every ledger does alike, whatever its language."""
    return text.translate(_SMALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterCase:
    """All of a letter that decides whether a replay can help.

    ``code`` is ``None`` of an unanswered one, and ``state`` where the ledger has no row of it.
    ``may_be_applied``: an attempt ended unknown and nobody has cleared it since; ``is_expired``:
    no new attempt may start any more; ``is_superseded``: another payment of the same content is
    open, in doubt or paid; ``is_edited``: its e-mail was changed since the decision.
    """

    code: Code | None
    kind: Kind
    state: State | None
    operation_class: OperationClass | None
    link_published: bool
    may_be_applied: bool
    is_expired: bool
    names_order: bool
    is_superseded: bool
    is_edited: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterEntry:
    """One line of the dead-letter index: what a person decides by, without the body."""

    operation_id: UUID
    payment_id: UUID
    sequence: int
    failed_at: datetime
    origin: Origin
    facts: Facts
    confirmed: bool
    case: LetterCase

    @property
    def kind(self) -> Kind:
        """What kind of operation it is of."""
        return self.case.kind

    @property
    def state(self) -> State | None:
        """Where the operation stands; ``None`` where the ledger has no row of it."""
        return self.case.state

    @property
    def code(self) -> Code | None:
        """Why it was dead-lettered; ``None``: unanswered."""
        return self.case.code


@dataclass(frozen=True, slots=True, kw_only=True)
class UnansweredLetter:
    """A letter of the queue that the broker made: whose it is, as far as it can be read.

    ``failed_at`` is when the broker gave the request up, else when we first saw the letter;
    ``cause`` is the broker's word for why (rabbitmq, "Dead letters"), ``None`` where it does not
    say. ``found_at`` is of the latest walk that met it.
    """

    operation_id: UUID
    kind: Kind
    payment_id: UUID
    sequence: int
    origin: Origin
    fingerprint: Fingerprint | None
    facts: Facts
    first_seen: datetime
    not_after: datetime | None
    failed_at: datetime
    cause: str | None
    found_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterTally:
    """Letters of one case: how many, how many of them the broker has confirmed, and when."""

    case: LetterCase
    count: int
    confirmed: int
    first: datetime
    last: datetime


@unique
class Advice(StrEnum):
    """What has to happen before letters of a code are replayed (operations 1.4)."""

    AFTER_OUTAGE = "after_outage"
    AFTER_FIX = "after_fix"
    NEEDS_EDIT = "needs_edit"
    LOOK_UP = "look_up"
    NEVER = "never"


@unique
class Verdict(StrEnum):
    """Whether a replay can help one letter (operations 1.4).

    ``ALREADY_DONE``: it is decided, and a replay only sends the stored answer again.
    """

    SAFE = "safe"
    NEEDS_EDIT = "needs_edit"
    HOPELESS = "hopeless"
    UNKNOWN = "unknown"
    ALREADY_DONE = "already_done"


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterGroup:
    """The letters of one code: how many of each verdict, ``confirmed`` of them in the queue.

    Unanswered letters have no code and no category.
    """

    code: Code | None
    category: Category | None
    advice: Advice
    count: int
    confirmed: int
    first: datetime
    last: datetime
    verdicts: Mapping[Verdict, int]
