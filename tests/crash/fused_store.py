"""A ledger's store under a fuse: a boundary before and after what it reads or writes for others."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import TypeVar
from uuid import UUID

from tests.crash.fuse import Fuse
from worker.adapters.ledgers import LedgerStore
from worker.inventory import Books, DecidedPage, QueueLock, Standing
from worker.journal import ReplayRun, ReplayStep, RunState, StepState, StepTally, Whereabouts
from worker.letters import EVERY_LETTER, LetterEntry, LetterFilter, LetterTally, UnansweredLetter
from worker.look_ups import Doubt, LookUpPlan
from worker.model import EmailMark, Origin, Secret
from worker.operator_ports import (
    AccountBoard,
    LetterIndex,
    LookUpPlans,
    PaymentIndex,
    QueueLocks,
    ReplayJournal,
)
from worker.ports import View
from worker.records import Answer, Change, History, Needs, Record, Restoration
from worker.searches import FoundPayment, PaymentFilter, Place
from worker.switches import AccountReport, Switch

Result = TypeVar("Result")


class FusedStore:
    """A store with a boundary before and after every call, and so what stands beside it."""

    def __init__(self, inner: LedgerStore, fuse: Fuse) -> None:
        self._inner = inner
        self._fuse = fuse
        self.letters = FusedLetters(inner.letters, fuse)
        self.payments = FusedPayments(inner.payments, fuse)
        self.acts = inner.acts
        self.accounts = FusedAccounts(inner.accounts, fuse)
        self.look_ups = FusedLookUps(inner.look_ups, fuse)
        self.locks = FusedLocks(inner.locks, fuse)
        self.journal = FusedJournal(inner.journal, fuse)

    def email_marks(self, email: Secret) -> tuple[EmailMark, ...]:
        return self._inner.email_marks(email)

    async def transact(self, needs: Needs, apply: Callable[[View], Change[Result]]) -> Result:
        return await self._fuse.through(_name_of(apply), lambda: self._inner.transact(needs, apply))

    def mark_confirmed(
        self, event_id: UUID, *, event: bool, letter: bool, resends: int = 0
    ) -> None:
        self._fuse.step("before mark")
        self._inner.mark_confirmed(event_id, event=event, letter=letter, resends=resends)
        self._fuse.step("after mark")

    async def find(self, operation_id: UUID) -> tuple[Record, Answer | None] | None:
        return await self._fuse.through("find", lambda: self._inner.find(operation_id))

    async def take_unpublished(
        self, *, untouched_since: datetime, now: datetime, limit: int
    ) -> Sequence[Answer]:
        return await self._fuse.through(
            "take_unpublished",
            lambda: self._inner.take_unpublished(
                untouched_since=untouched_since, now=now, limit=limit
            ),
        )

    async def expired_claims(self, *, expired_before: datetime, limit: int) -> Sequence[UUID]:
        return await self._fuse.through(
            "expired_claims",
            lambda: self._inner.expired_claims(expired_before=expired_before, limit=limit),
        )

    async def overdue_waits(self, *, due_before: datetime, limit: int) -> Sequence[UUID]:
        return await self._fuse.through(
            "overdue_waits",
            lambda: self._inner.overdue_waits(due_before=due_before, limit=limit),
        )

    async def history(self, operation_id: UUID, *, events: Sequence[UUID]) -> History | None:
        return await self._inner.history(operation_id, events=events)

    async def adopted_doubts(self, *, limit: int) -> Sequence[UUID]:
        return await self._fuse.through(
            "adopted_doubts", lambda: self._inner.adopted_doubts(limit=limit)
        )

    async def restoration(self) -> Restoration | None:
        return await self._inner.restoration()

    async def standing(self) -> Standing:
        return await self._inner.standing()

    async def has_room(self) -> bool:
        return await self._fuse.through("has_room", self._inner.has_room)

    async def ping(self) -> None:
        await self._inner.ping()

    async def close(self) -> None:
        await self._inner.close()


class FusedLetters:
    """The dead-letter index of the same store, under the same fuse."""

    def __init__(self, inner: LetterIndex, fuse: Fuse) -> None:
        self._inner = inner
        self._fuse = fuse

    async def page(
        self,
        *,
        after: tuple[datetime, UUID] | None,
        limit: int,
        now: datetime,
        first_seen_before: datetime,
        wanted: LetterFilter = EVERY_LETTER,
    ) -> Sequence[LetterEntry]:
        return await self._inner.page(
            after=after, limit=limit, now=now, first_seen_before=first_seen_before, wanted=wanted
        )

    async def tallies(
        self, *, now: datetime, first_seen_before: datetime, wanted: LetterFilter
    ) -> Sequence[LetterTally]:
        return await self._inner.tallies(
            now=now, first_seen_before=first_seen_before, wanted=wanted
        )

    async def unanswered(self, operation_id: UUID) -> UnansweredLetter | None:
        return await self._fuse.through("unanswered", lambda: self._inner.unanswered(operation_id))

    async def keep_unanswered(self, found: Sequence[UnansweredLetter]) -> None:
        await self._fuse.through("keep_unanswered", lambda: self._inner.keep_unanswered(found))

    async def forget_unanswered(self, operation_id: UUID) -> None:
        await self._fuse.through(
            "forget_unanswered", lambda: self._inner.forget_unanswered(operation_id)
        )

    async def forget_unfound(self, *, found_before: datetime) -> int:
        return await self._fuse.through(
            "forget_unfound", lambda: self._inner.forget_unfound(found_before=found_before)
        )


class FusedPayments:
    """The payments of the same store, under the same fuse."""

    def __init__(self, inner: PaymentIndex, fuse: Fuse) -> None:
        self._inner = inner
        self._fuse = fuse

    async def open_operations(
        self, *, untouched_since: datetime, after: UUID | None, limit: int
    ) -> Sequence[Record]:
        return await self._inner.open_operations(
            untouched_since=untouched_since, after=after, limit=limit
        )

    async def unpublished(
        self, *, decided_before: datetime, after: tuple[datetime, UUID] | None, limit: int
    ) -> Sequence[Answer]:
        return await self._inner.unpublished(
            decided_before=decided_before, after=after, limit=limit
        )

    async def cancellations(self, payment_id: UUID) -> Sequence[Record]:
        return await self._inner.cancellations(payment_id)

    async def late_successes(self, *, after: UUID | None, limit: int) -> Sequence[UUID]:
        return await self._inner.late_successes(after=after, limit=limit)

    async def operation_of(self, event_id: UUID) -> UUID | None:
        return await self._fuse.through("operation_of", lambda: self._inner.operation_of(event_id))

    async def decided_operations(
        self, *, origin: Origin, since: datetime, until: datetime, after: UUID | None, limit: int
    ) -> DecidedPage:
        return await self._fuse.through(
            "decided_operations",
            lambda: self._inner.decided_operations(
                origin=origin, since=since, until=until, after=after, limit=limit
            ),
        )

    async def search(
        self, wanted: PaymentFilter, *, after: Place | None, limit: int, newest_first: bool
    ) -> Sequence[FoundPayment]:
        return await self._inner.search(wanted, after=after, limit=limit, newest_first=newest_first)

    async def books(self, *, since: datetime, until: datetime) -> Books:
        return await self._inner.books(since=since, until=until)


class FusedAccounts:
    """The accounts of the same store, under the same fuse."""

    def __init__(self, inner: AccountBoard, fuse: Fuse) -> None:
        self._inner = inner
        self._fuse = fuse

    async def switches(self) -> Sequence[Switch]:
        return await self._inner.switches()

    async def report(self, reports: Sequence[AccountReport]) -> None:
        await self._fuse.through("report", lambda: self._inner.report(reports))

    async def forget_reports(self, *, worker: UUID, before: datetime) -> None:
        await self._fuse.through(
            "forget reports", lambda: self._inner.forget_reports(worker=worker, before=before)
        )

    async def reports(self, *, seen_since: datetime) -> Sequence[AccountReport]:
        return await self._inner.reports(seen_since=seen_since)


class FusedLookUps:
    """The plans of look-ups of the same store, under the same fuse."""

    def __init__(self, inner: LookUpPlans, fuse: Fuse) -> None:
        self._inner = inner
        self._fuse = fuse

    async def doubts_without_plan(self, *, account: str, limit: int) -> Sequence[Doubt]:
        return await self._fuse.through(
            "doubts_without_plan",
            lambda: self._inner.doubts_without_plan(
                account=account,
                limit=limit,
            ),
        )

    async def keep(self, plans: Sequence[LookUpPlan]) -> None:
        await self._fuse.through("plan_look_ups", lambda: self._inner.keep(plans))

    async def take(
        self, *, account: str, token: UUID, now: datetime, lease_until: datetime
    ) -> LookUpPlan | None:
        return await self._fuse.through(
            "take_look_up",
            lambda: self._inner.take(
                account=account, token=token, now=now, lease_until=lease_until
            ),
        )

    async def give_back(
        self, operation_id: UUID, token: UUID, *, due_at: datetime | None = None
    ) -> None:
        await self._fuse.through(
            "give_look_up_back",
            lambda: self._inner.give_back(operation_id, token, due_at=due_at),
        )

    async def of(self, operations: Sequence[UUID]) -> Sequence[LookUpPlan]:
        return await self._inner.of(operations)

    async def breaks(self, *, after: UUID | None, limit: int) -> Sequence[LookUpPlan]:
        return await self._inner.breaks(after=after, limit=limit)


class FusedLocks:
    """The queue locks of the same store, under the same fuse."""

    def __init__(self, inner: QueueLocks, fuse: Fuse) -> None:
        self._inner = inner
        self._fuse = fuse

    async def take(self, lock: QueueLock, *, now: datetime) -> QueueLock | None:
        return await self._fuse.through("lock", lambda: self._inner.take(lock, now=now))

    async def give_back(self, queue: str, token: UUID) -> None:
        await self._fuse.through("unlock", lambda: self._inner.give_back(queue, token))


class FusedJournal:
    """A journal of replay runs with a boundary before and after every write."""

    def __init__(self, inner: ReplayJournal, fuse: Fuse) -> None:
        self._inner = inner
        self._fuse = fuse

    async def begin_run(self, run: ReplayRun) -> None:
        await self._fuse.through("begin_run", lambda: self._inner.begin_run(run))

    async def end_run(
        self,
        run: str,
        *,
        state: RunState,
        stop_reason: str | None,
        kept: int,
        removed: int,
        at: datetime,
    ) -> None:
        await self._fuse.through(
            "end_run",
            lambda: self._inner.end_run(
                run, state=state, stop_reason=stop_reason, kept=kept, removed=removed, at=at
            ),
        )

    async def resume_run(self, run: str) -> None:
        await self._fuse.through("resume_run", lambda: self._inner.resume_run(run))

    async def ask_to_stop(self, run: str, *, actor: str, at: datetime) -> None:
        await self._fuse.through(
            "ask_to_stop", lambda: self._inner.ask_to_stop(run, actor=actor, at=at)
        )

    async def add_steps(self, run: str, steps: Sequence[ReplayStep]) -> None:
        await self._fuse.through("add_steps", lambda: self._inner.add_steps(run, steps))

    async def note_steps(self, run: str, steps: Sequence[ReplayStep]) -> None:
        if steps:  # noting nothing is no step
            await self._fuse.through("note_steps", lambda: self._inner.note_steps(run, steps))

    async def find_run(self, run: str) -> ReplayRun | None:
        return await self._inner.find_run(run)

    async def runs(self, *, before: tuple[datetime, str] | None, limit: int) -> Sequence[ReplayRun]:
        return await self._inner.runs(before=before, limit=limit)

    async def steps(
        self, run: str, *, states: frozenset[StepState], after: int, limit: int
    ) -> Sequence[ReplayStep]:
        return await self._inner.steps(run, states=states, after=after, limit=limit)

    async def whereabouts(
        self, run: str, *, state: StepState, after: UUID | None, limit: int
    ) -> Sequence[tuple[ReplayStep, Whereabouts | None]]:
        return await self._inner.whereabouts(run, state=state, after=after, limit=limit)

    async def step_tallies(self, run: str) -> Sequence[StepTally]:
        return await self._inner.step_tallies(run)


def _name_of(apply: Callable[[View], Change[Result]]) -> str:
    """The method of the ledger or of one of its registers that a rule is applied by."""
    if isinstance(apply, partial):
        return str(apply.func.__name__)
    return apply.__qualname__.split(".")[1]
