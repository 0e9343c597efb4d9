"""What the ledger remembers of one operation, and the answer it owes."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum, unique
from typing import Generic, TypeVar
from uuid import UUID

from worker.calls import Try
from worker.codes import Code
from worker.look_ups import LookUp, LookUpPlan
from worker.model import (
    EmailMark,
    Facts,
    Fault,
    Fingerprint,
    Identity,
    Operation,
    OperationClass,
    Origin,
    Secret,
)
from worker.switches import Approval, Switch

Result_co = TypeVar("Result_co", covariant=True)


@unique
class Kind(StrEnum):
    """A refusal never binds its key: it has an identity of its own."""

    INITIATION = "initiation"
    CANCELLATION = "cancellation"
    REFUSAL = "refusal"


@unique
class State(StrEnum):
    """Where an operation stands; ``lifecycle`` holds the table of the moves between them."""

    CALLING = "calling"
    RETRY_WAIT = "retry_wait"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    IN_DOUBT = "in_doubt"
    CANCELLED = "cancelled"

    @property
    def is_open(self) -> bool:
        """Whether no answer has been decided yet."""
        return self in {State.CALLING, State.RETRY_WAIT}


@unique
class Status(StrEnum):
    """Last word of a result's routing key."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    IN_DOUBT = "in_doubt"
    CANCELLED = "cancelled"
    CANCEL_FAILED = "cancel_failed"
    CANCEL_IN_DOUBT = "cancel_in_doubt"

    @property
    def event_type(self) -> str:
        """The event type this status is published under."""
        return _EVENT_TYPES[self]


_EVENT_TYPES = {
    Status.SUCCEEDED: "payment.initiation.succeeded",
    Status.FAILED: "payment.initiation.failed",
    Status.IN_DOUBT: "payment.initiation.in_doubt",
    Status.CANCELLED: "payment.cancellation.succeeded",
    Status.CANCEL_FAILED: "payment.cancellation.failed",
    Status.CANCEL_IN_DOUBT: "payment.cancellation.in_doubt",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One decided answer. Rendered by ``contract.events``; the link is never shown in a repr."""

    event_id: UUID
    status: Status
    occurred_at: datetime
    origin: Origin
    payment_id: UUID
    request_id: str | None
    sequence: int
    facts: Facts
    attempts: int
    link: Secret | None = None
    code: Code | None = None
    provider_code: str | None = None
    http_status: int | None = None
    faults: tuple[Fault, ...] = ()
    provider: str | None = None
    provider_reference: str | None = None
    basket_item_id: str | None = None
    livemode: bool | None = None
    duplicate_of: UUID | None = None
    conflicts_with: UUID | None = None
    payment_status: State | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """Why a request is dead-lettered; the body comes from the delivery in hand."""

    code: Code
    detail: str
    failed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An event with the dead letter owed beside it, and what the broker has confirmed of both.

    ``correlation_id`` and ``traceparent`` are those of the request that led to the decision:
    used when the answer is sent without a delivery in hand. ``resends`` counts how often an
    operator asked for the event to be sent again; a confirmation of an earlier sending does not
    count for a later one. ``letter_resolved``: an operator has set the letter aside.
    """

    operation_id: UUID
    event: Event
    letter: Letter | None
    correlation_id: str | None
    traceparent: str | None = None
    event_confirmed: bool = False
    letter_confirmed: bool = False
    resends: int = 0
    letter_resolved: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One operation's row. Every write is a compare-and-set on ``version``.

    ``operation_id`` is the payment's, the cancellation's or the refusal's own id, ``payment_id``
    the payment it is about (the same, except for a cancellation). ``token`` is the attempt that
    holds the claim; in doubt, the attempt that left the doubt. ``attempts`` counts delivery
    rounds that called or may have called, ``peak_attempts`` the most that it ever counted (a claim
    given back is taken off again), ``unknown_attempts`` those that ended unknown,
    ``cleared_attempts`` how many of these a reopening has declared harmless,
    ``opened_attempts`` the attempts made before the current opening (the ladder starts anew
    with each), ``reopened_by`` the replay run that opened it last, ``waits`` the uncounted waits
    of a cancellation for its payment. ``email`` is kept only where a later call needs it,
    ``email_mark`` finds the payments of an e-mail; retention erases both with ``fingerprint``,
    which contains it.
    """

    operation_id: UUID
    kind: Kind
    payment_id: UUID
    identity: Identity
    fingerprint: Fingerprint | None
    origin: Origin
    facts: Facts
    state: State
    sequence: int
    version: int
    first_seen: datetime
    created_at: datetime
    updated_at: datetime
    not_after: datetime | None = None
    message_id: str | None = None
    correlation_id: str | None = None
    traceparent: str | None = None
    account: str | None = None
    operation: Operation | None = None
    operation_class: OperationClass | None = None
    live: bool | None = None
    reference: str | None = None
    attempts: int = 0
    peak_attempts: int = 0
    unknown_attempts: int = 0
    cleared_attempts: int = 0
    opened_attempts: int = 0
    waits: int = 0
    token: UUID | None = None
    lease_until: datetime | None = None
    next_attempt_at: datetime | None = None
    decided_at: datetime | None = None
    event_id: UUID | None = None
    code: Code | None = None
    link: Secret | None = None
    link_published: bool = False
    item_id: str | None = None
    email: Secret | None = None
    duplicate_of: UUID | None = None
    reopened_by: str | None = None
    email_mark: EmailMark | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEntry:
    """History of one attempt, written when it ends and never overwritten."""

    operation_id: UUID
    token: UUID
    number: int
    reference: str | None
    tries: tuple[Try, ...]
    ended_at: datetime
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tombstone:
    """A cancellation that came before its payment: an initiate that meets it is not called."""

    payment_id: UUID
    origin: Origin
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Restoration:
    """The ledger came back from a backup: it knows nothing of what happened in between.

    ``known_until`` is when the backup was taken, ``restored_at`` when an operator said so: the
    workers stood still from before it until after it.
    """

    known_until: datetime
    restored_at: datetime
    actor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ActFacts:
    """What can be counted or looked up of an act: no body, no link, no person but colleagues.

    ``result`` is what came of it for the operation of the act; ``cents`` sums euro cents.
    """

    account: str | None = None
    run: str | None = None
    plan_sha256: str | None = None
    approved_by: str | None = None
    result: str | None = None
    count: int | None = None
    cents: int | None = None

    @property
    def known(self) -> dict[str, str | int]:
        """Those that there are, by name."""
        values = {
            "account": self.account,
            "run": self.run,
            "plan_sha256": self.plan_sha256,
            "approved_by": self.approved_by,
            "result": self.result,
            "count": self.count,
            "cents": self.cents,
        }
        return {name: value for name, value in values.items() if value is not None}


NO_FACTS = ActFacts()


REPLAY_OUTCOME = "replay_outcome"
"""The act that says what a letter of a replay run has come to; its history tells it anyway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One act that a person must be able to look up: who, what, why; or that was denied."""

    at: datetime
    actor: str
    action: str
    operation_id: UUID | None
    detail: str
    is_denied: bool = False
    facts: ActFacts = NO_FACTS


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """All that the ledger remembers of one operation, each in the order it was written.

    ``answers`` are its decisions by sequence, that of a repeat or a cancellation included,
    ``look_ups`` what was read about it at its provider, ``look_up_plan`` when it is read next.
    """

    record: Record
    answers: tuple[Answer, ...]
    attempts: tuple[AttemptEntry, ...]
    audit: tuple[AuditEntry, ...]
    look_ups: tuple[LookUp, ...] = ()
    look_up_plan: LookUpPlan | None = None


@dataclass(frozen=True, slots=True)
class Needs:
    """The rows one transaction looks at, declared so that a store may load a batch at once.

    ``operations`` covers records, their latest answers and tombstones of the same id, ``accounts``
    the switches of those names.
    """

    operations: tuple[UUID, ...]
    fingerprint: Fingerprint | None = None
    accounts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Change(Generic[Result_co]):
    """What a transaction decided: its result, and the rows to write with it, all or none.

    A record with ``version`` 1 is inserted; any other replaces the row of ``version - 1``.
    ``owner`` makes an operation the owner of a fingerprint, ``disowned`` takes one from it.
    ``look_up_plan`` is given back with the change, if it still carries the token that took it.
    """

    result: Result_co
    records: tuple[Record, ...] = ()
    answers: tuple[Answer, ...] = ()
    attempts: tuple[AttemptEntry, ...] = ()
    owner: tuple[Fingerprint, UUID] | None = None
    disowned: tuple[Fingerprint, UUID] | None = None
    tombstones: tuple[Tombstone, ...] = field(default=())
    audit: tuple[AuditEntry, ...] = ()
    restoration: Restoration | None = None
    switches: tuple[Switch, ...] = ()
    approvals: tuple[Approval, ...] = ()
    look_ups: tuple[LookUp, ...] = ()
    look_up_plan: LookUpPlan | None = None
