"""What a delivery asks of the ledger, and the few things the ledger may say."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from worker.identity import operation_id_of, refusal_identity
from worker.model import (
    Delivery,
    EmailMark,
    Envelope,
    Identity,
    OperationClass,
    PaymentRequest,
    Refusal,
    Route,
    Step,
)
from worker.ports import View
from worker.records import Answer, Needs, Record


@dataclass(frozen=True, slots=True)
class Kept:
    """Account and class of a payment's first attempt, which every later one keeps."""

    account: str
    operation_class: OperationClass


@dataclass(frozen=True, slots=True, kw_only=True)
class Won:
    """The claim is ours: this attempt may call the provider until ``lease_until``.

    ``payment`` is the payment a cancellation is about; ``lease_ends`` the lease's end on the
    claimant's own monotonic clock, counted from before the claim.
    """

    record: Record
    token: UUID
    lease_until: datetime
    payment: Record | None = None
    lease_ends: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Not now: somebody is calling, or it is not due, or no call is allowed at the moment."""

    until: datetime
    reason: str
    attempts: int = 0
    sequence: int = 1


@dataclass(frozen=True, slots=True)
class Decided:
    """There is an answer to send; ``repeated`` when it had been decided before."""

    answer: Answer
    record: Record
    repeated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The operation goes on by a ladder copy."""

    step: Step
    record: Record
    reason: str


Claimed = Won | Held | Decided | Kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a claim is decided by; ``may_call`` is false while the account gives no permit.

    ``kept`` is what ``plan`` was made for, once the payment's first attempt is known.
    ``is_forced`` marks a live call from staging, which is audited (contract section 2, Run mode).
    ``email_mark`` is what the payment's rows are found by, set by the ledger.
    """

    envelope: Envelope
    request: PaymentRequest
    plan: Route | Refusal
    token: UUID
    may_call: bool
    delivery: Delivery
    kept: Kept | None = None
    is_forced: bool = False
    email_mark: EmailMark | None = None

    @property
    def mismatch_identity(self) -> Identity:
        """Identity of the refusal that another content under the same key would get."""
        return refusal_identity(self.envelope.identity, self.request.fingerprint)

    @property
    def needs(self) -> Needs:
        """Rows to load: the payment, its possible mismatch refusal, the fingerprint's owner."""
        return Needs(
            (self.envelope.operation_id, operation_id_of(self.mismatch_identity)),
            self.request.fingerprint,
        )


def held(record: Record, until: datetime, reason: str) -> Held:
    return Held(until=until, reason=reason, attempts=record.attempts, sequence=record.sequence)


def stored_answer(view: View, record: Record) -> Decided:
    answer = view.answer(record.operation_id)
    if answer is None:
        # A decided row without its answer cannot be written by this module.
        raise LookupError(record.operation_id)
    return Decided(answer, record, repeated=True)
