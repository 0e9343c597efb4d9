"""The rows of a store in memory, and how what stands beside a payment's path gets at them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TypeVar
from uuid import UUID

from tests.fakes_journal import MemoryRuns
from worker.inventory import QueueLock
from worker.letters import UnansweredLetter
from worker.look_ups import LookUp, LookUpPlan, PlanState
from worker.model import Fingerprint
from worker.records import (
    Answer,
    AttemptEntry,
    AuditEntry,
    Letter,
    Record,
    Restoration,
    State,
    Tombstone,
)
from worker.switches import AccountReport, Approval, Switch

Result = TypeVar("Result")


@dataclass
class MemoryTables:
    """The rows; two stores on the same tables are two workers on one ledger."""

    records: dict[UUID, Record] = field(default_factory=dict)
    answers: dict[UUID, Answer] = field(default_factory=dict)
    taken: dict[UUID, datetime] = field(default_factory=dict)
    owners: dict[Fingerprint, UUID] = field(default_factory=dict)
    tombstones: dict[UUID, Tombstone] = field(default_factory=dict)
    attempts: list[AttemptEntry] = field(default_factory=list)
    audit: list[AuditEntry] = field(default_factory=list)
    restorations: list[Restoration] = field(default_factory=list)
    queue_locks: dict[str, QueueLock] = field(default_factory=dict)
    switches: dict[str, Switch] = field(default_factory=dict)
    reports: dict[tuple[str, UUID], AccountReport] = field(default_factory=dict)
    approvals: dict[tuple[str, str], Approval] = field(default_factory=dict)
    unanswered: dict[UUID, UnansweredLetter] = field(default_factory=dict)
    look_up_plans: dict[UUID, LookUpPlan] = field(default_factory=dict)
    look_ups: list[LookUp] = field(default_factory=list)
    replays: MemoryRuns = field(default_factory=MemoryRuns)

    @property
    def letters_found(self) -> set[UUID]:
        """Whose letters the last walk round their queue has met unanswered."""
        return set(self.unanswered)

    def answer_of(self, record: Record | None) -> Answer | None:
        """The answer that a record names."""
        if record is None or record.event_id is None:
            return None
        return self.answers.get(record.event_id)

    def undone_letter(self, answer: Answer) -> tuple[Record, Answer, Letter] | None:
        """The dead letter of an answer that stands, with the operation it is about."""
        record = self.records.get(answer.operation_id)
        if (
            record is None
            or answer.letter is None
            or record.event_id != answer.event.event_id
            or record.state not in {State.FAILED, State.IN_DOUBT}
        ):
            return None
        return record, answer, answer.letter

    def breaks(self) -> list[LookUpPlan]:
        """The plans of doubts whose provider lists another amount."""
        return [
            plan
            for plan in self.look_up_plans.values()
            if plan.state is PlanState.BREAK
            and (record := self.records.get(plan.operation_id)) is not None
            and record.state is State.IN_DOUBT
            and record.sequence == plan.sequence
        ]


class Submit(Protocol):
    """How the store makes a write durable."""

    async def __call__(self, work: Callable[[], Result]) -> Result: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryAccess:
    """A store's rows as they are now, how it reads them and how it writes them."""

    tables: Callable[[], MemoryTables]
    read: Callable[[], Awaitable[None]]
    submit: Submit
