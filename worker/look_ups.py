"""Looking a doubtful payment up at its provider: what a read tells, and what is remembered of it.

Reads only. What they tell never sends a payment again (payment rules, rule set 3).
"""

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum, unique
from uuid import UUID

from worker.model import Cents, Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class LookUpQuestion:
    """What a provider is asked: a reference of ours, the amount, and the days it may be from."""

    reference: str
    amount: Cents
    since: date
    until: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """The provider has our payment, of the amount that was asked for.

    ``link`` may be handed out; ``unlisted_link`` is one on a host that is not listed, kept for the
    operator and never published.
    """

    http_status: int
    link: Secret | None = None
    unlisted_link: Secret | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedOtherwise:
    """The provider has a payment under our reference, of another amount."""

    http_status: int
    amount: Cents


@dataclass(frozen=True, slots=True, kw_only=True)
class NotListed:
    """The provider lists nothing under our reference, which proves nothing by itself."""

    http_status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadFailed:
    """No answer, or none that can be read; ``reason`` is a word of ours."""

    reason: str
    http_status: int | None = None
    provider_code: str | None = None


LookUpReading = Listed | ListedOtherwise | NotListed | ReadFailed


@unique
class Finding(StrEnum):
    """What one read told, as it is remembered."""

    FOUND = "found"
    FOUND_WITHOUT_LINK = "found_without_link"
    OTHER_AMOUNT = "other_amount"
    NOT_FOUND = "not_found"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class LookUp:
    """One read of one reference, kept as evidence; never overwritten.

    ``sequence`` is the decision that was in doubt, ``step`` the place in the schedule from 1,
    ``amount`` the provider's where it is another than ours.
    """

    operation_id: UUID
    sequence: int
    step: int
    at: datetime
    reference: str
    finding: Finding
    amount: Cents | None = None
    reason: str | None = None
    http_status: int | None = None
    provider_code: str | None = None


@unique
class PlanState(StrEnum):
    """Where the look-ups of one doubt stand.

    ``BREAK`` and ``EXHAUSTED`` wait for a person; ``ENDED`` has nothing left to find out.
    """

    PLANNED = "planned"
    BREAK = "break"
    EXHAUSTED = "exhausted"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class LookUpPlan:
    """The look-ups of one doubt: how many steps were taken, and when the next one is due.

    ``due_at`` is ``None`` once no further one comes. Whoever shows ``token`` has it to himself
    until ``lease_until``.
    """

    operation_id: UUID
    account: str
    sequence: int
    steps: int
    state: PlanState
    due_at: datetime | None
    token: UUID | None = None
    lease_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A payment in doubt that no look-up is planned for yet."""

    operation_id: UUID
    sequence: int
    decided_at: datetime
