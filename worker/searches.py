"""What is asked of the ledger about single payments: which ones are meant, and what is told."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from worker.codes import Code
from worker.model import EmailMark, Facts, Origin
from worker.records import Kind, State

Place = tuple[datetime, UUID]
"""Where a page ended: first receipt and id of its last operation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentFilter:
    """Which operations are meant: all that is given must hold, ``None`` restricts nothing.

    ``payment_id`` finds its cancellations and its adopted duplicates too. ``message_id`` is what
    the producer called the request, ``reference`` one that any of its attempts was sent under.
    ``since`` and ``until`` are of the first receipt, from the first moment on and before the last.
    ``email_marks`` are those of one e-mail, under each key that is in use.
    """

    order: str | None = None
    client: str | None = None
    company: str | None = None
    origin: Origin | None = None
    payment_id: UUID | None = None
    message_id: str | None = None
    reference: str | None = None
    states: frozenset[State] | None = None
    account: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    email_marks: tuple[EmailMark, ...] | None = None


EVERY_PAYMENT = PaymentFilter()


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundPayment:
    """One operation as a list shows it; no secret is read for it.

    ``decided_at`` is of its latest decision, ``None`` while it is open.
    """

    operation_id: UUID
    kind: Kind
    payment_id: UUID
    state: State
    code: Code | None
    sequence: int
    attempts: int
    first_seen: datetime
    decided_at: datetime | None
    origin: Origin
    facts: Facts
    account: str | None
    reference: str | None
    duplicate_of: UUID | None

    @property
    def place(self) -> Place:
        """Where a page ends that ends with it."""
        return self.first_seen, self.operation_id
