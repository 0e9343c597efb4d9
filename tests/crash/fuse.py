"""A fuse that stops a worker at one boundary: before or after one durable step of its work.

A boundary stands before and after every call of every port: each ledger transaction by its name
(claim, settle, ...), the provider's call, each publish and its confirm, the marks, the
acknowledgement, and what an operator's tool does with a letter. A store under the fuse may add
boundaries of its own around its commits.
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import ClassVar, TypeVar
from uuid import UUID

from typing_extensions import override

from worker.acts import KeptAct
from worker.adapters.ledgers import LedgerStore
from worker.calls import Departure, HttpReply, HttpRequest, NoReply
from worker.inventory import Books, DecidedPage, QueueLock, Standing
from worker.journal import ReplayRun, ReplayStep, RunState, StepState, StepTally, Whereabouts
from worker.letters import EVERY_LETTER, LetterEntry, LetterFilter, LetterTally, UnansweredLetter
from worker.look_ups import Doubt, LookUpPlan
from worker.messages import Exchange, OutgoingMessage, Publication
from worker.model import Delivery, EmailMark, Origin, Secret
from worker.ports import (
    LetterInHand,
    LetterQueue,
    Publisher,
    ReplayJournal,
    StoreUnavailableError,
    Transport,
    View,
)
from worker.records import Answer, Change, History, Needs, Record, Restoration
from worker.searches import FoundPayment, PaymentFilter, Place
from worker.switches import AccountReport, Approval, Switch

Result = TypeVar("Result")


class KilledError(BaseException):
    """The process is gone: no handler of the product may see this as an error of its own."""


class Turn:
    """Awaiting it gives the event loop exactly one turn."""

    def __await__(self) -> Generator[None, None, None]:
        yield


@dataclass(slots=True)
class Fuse:
    """Counts boundaries and acts at the ``at``-th (1 is the first); 0 never acts.

    Or it acts at the first one called ``name``.
    ``passed`` names every boundary in order. Killed, every later boundary kills too, so nothing
    of that process reaches the world again. ``enters_commits`` says whether this kind may act
    inside a commit, where nothing can be frozen or cancelled; ``doing`` is the transaction whose
    commit comes next.
    """

    kills: ClassVar[bool] = True
    enters_commits: ClassVar[bool] = True

    at: int = 0
    passed: list[str] = field(default_factory=list)
    is_blown: bool = False
    doing: str = "marks"
    name: str | None = None

    def is_reached_by(self, name: str) -> bool:
        """Note a boundary, and tell whether it is the one to act at."""
        self.passed.append(name)
        return not self.is_blown and (len(self.passed) == self.at or name == self.name)

    async def boundary(self, name: str) -> None:
        self.step(name)

    @property
    def is_dead(self) -> bool:
        """Whether the process is gone."""
        return self.is_blown and self.kills

    def check(self) -> None:
        """A killed process goes on with nothing."""
        if self.is_dead:
            raise KilledError

    def step(self, name: str) -> None:
        """A boundary of a call that does not wait."""
        self.check()
        if self.is_reached_by(name):
            self.is_blown = True
            raise KilledError(name)


@dataclass(slots=True)
class CancellingFuse(Fuse):
    """Cancels the worker's task at the boundary, as a stop does, and lets it clean up."""

    kills: ClassVar[bool] = False
    enters_commits: ClassVar[bool] = False

    victim: "asyncio.Task[object] | None" = None

    @override
    async def boundary(self, name: str) -> None:
        self.step(name)
        if self.is_blown:
            await Turn()

    @override
    def step(self, name: str) -> None:
        if self.is_reached_by(name) and self.victim is not None:
            self.is_blown = True
            self.victim.cancel()


@dataclass(slots=True)
class PausingFuse(Fuse):
    """Freezes the worker at the boundary until ``go_on`` is set, as a stopped machine does."""

    kills: ClassVar[bool] = False
    enters_commits: ClassVar[bool] = False

    paused: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    @override
    async def boundary(self, name: str) -> None:
        if self.is_reached_by(name):
            self.is_blown = True
            self.paused.set()
            await self.go_on.wait()

    @override
    def step(self, name: str) -> None:
        self.passed.append(name)


@dataclass(slots=True)
class LosingFuse(Fuse):
    """Loses the ledger at the boundary, once: the worker lives and does not learn what was done."""

    kills: ClassVar[bool] = False
    enters_commits: ClassVar[bool] = False

    @override
    def step(self, name: str) -> None:
        if self.is_reached_by(name) and name in _OF_THE_LEDGER:
            self.is_blown = True
            raise StoreUnavailableError(name)


@dataclass(slots=True)
class CuttingFuse(Fuse):
    """Cuts the line to the database around one commit, once: the worker lives on."""

    kills: ClassVar[bool] = False

    @override
    def step(self, name: str) -> None:
        if self.is_reached_by(name) and "the commit of" in name:
            self.is_blown = True
            raise KilledError(name)


_OF_THE_LEDGER = frozenset(
    f"{side} {name}"
    for side in ("before", "after")
    for name in (
        "abandon",
        "claim",
        "claim_cancellation",
        "expire",
        "expired_claims",
        "find",
        "has_room",
        "lock",
        "mark",
        "overdue_waits",
        "refuse",
        "release",
        "reopen",
        "settle",
        "take_unpublished",
        "unlock",
    )
)


class FusedStore:
    """A store with a boundary before and after every call."""

    def __init__(self, inner: LedgerStore, fuse: Fuse) -> None:
        self._inner = inner
        self._fuse = fuse

    @property
    def journal(self) -> "FusedJournal":
        """The journal of the same store, under the same fuse."""
        return FusedJournal(self._inner.journal, self._fuse)

    def email_marks(self, email: Secret) -> tuple[EmailMark, ...]:
        return self._inner.email_marks(email)

    async def transact(self, needs: Needs, apply: Callable[[View], Change[Result]]) -> Result:
        return await self._through(_name_of(apply), lambda: self._inner.transact(needs, apply))

    def mark_confirmed(
        self, event_id: UUID, *, event: bool, letter: bool, resends: int = 0
    ) -> None:
        self._fuse.step("before mark")
        self._inner.mark_confirmed(event_id, event=event, letter=letter, resends=resends)
        self._fuse.step("after mark")

    async def find(self, operation_id: UUID) -> tuple[Record, Answer | None] | None:
        return await self._through("find", lambda: self._inner.find(operation_id))

    async def take_unpublished(
        self, *, untouched_since: datetime, now: datetime, limit: int
    ) -> Sequence[Answer]:
        return await self._through(
            "take_unpublished",
            lambda: self._inner.take_unpublished(
                untouched_since=untouched_since, now=now, limit=limit
            ),
        )

    async def expired_claims(self, *, expired_before: datetime, limit: int) -> Sequence[UUID]:
        return await self._through(
            "expired_claims",
            lambda: self._inner.expired_claims(expired_before=expired_before, limit=limit),
        )

    async def overdue_waits(self, *, due_before: datetime, limit: int) -> Sequence[UUID]:
        return await self._through(
            "overdue_waits",
            lambda: self._inner.overdue_waits(due_before=due_before, limit=limit),
        )

    async def history(self, operation_id: UUID, *, events: Sequence[UUID]) -> History | None:
        return await self._inner.history(operation_id, events=events)

    async def letters(
        self,
        *,
        after: tuple[datetime, UUID] | None,
        limit: int,
        now: datetime,
        first_seen_before: datetime,
        wanted: LetterFilter = EVERY_LETTER,
    ) -> Sequence[LetterEntry]:
        return await self._inner.letters(
            after=after, limit=limit, now=now, first_seen_before=first_seen_before, wanted=wanted
        )

    async def letter_tallies(
        self, *, now: datetime, first_seen_before: datetime, wanted: LetterFilter
    ) -> Sequence[LetterTally]:
        return await self._inner.letter_tallies(
            now=now, first_seen_before=first_seen_before, wanted=wanted
        )

    async def unanswered(self, operation_id: UUID) -> UnansweredLetter | None:
        return await self._through("unanswered", lambda: self._inner.unanswered(operation_id))

    async def keep_unanswered(self, found: Sequence[UnansweredLetter]) -> None:
        await self._through("keep_unanswered", lambda: self._inner.keep_unanswered(found))

    async def forget_unanswered(self, operation_id: UUID) -> None:
        await self._through(
            "forget_unanswered", lambda: self._inner.forget_unanswered(operation_id)
        )

    async def forget_unfound(self, *, found_before: datetime) -> int:
        return await self._through(
            "forget_unfound", lambda: self._inner.forget_unfound(found_before=found_before)
        )

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

    async def operation_of(self, event_id: UUID) -> UUID | None:
        return await self._through("operation_of", lambda: self._inner.operation_of(event_id))

    async def decided_operations(
        self, *, origin: Origin, since: datetime, until: datetime, after: UUID | None, limit: int
    ) -> DecidedPage:
        return await self._through(
            "decided_operations",
            lambda: self._inner.decided_operations(
                origin=origin, since=since, until=until, after=after, limit=limit
            ),
        )

    async def search(
        self, wanted: PaymentFilter, *, after: Place | None, limit: int, newest_first: bool
    ) -> Sequence[FoundPayment]:
        return await self._inner.search(wanted, after=after, limit=limit, newest_first=newest_first)

    async def adopted_doubts(self, *, limit: int) -> Sequence[UUID]:
        return await self._through(
            "adopted_doubts", lambda: self._inner.adopted_doubts(limit=limit)
        )

    async def books(self, *, since: datetime, until: datetime) -> Books:
        return await self._inner.books(since=since, until=until)

    async def acts(self, *, after: int, limit: int) -> Sequence[KeptAct]:
        return await self._inner.acts(after=after, limit=limit)

    async def act_rows(
        self, *, since: datetime | None, until: datetime | None
    ) -> tuple[int, int] | None:
        return await self._inner.act_rows(since=since, until=until)

    async def switches(self) -> Sequence[Switch]:
        return await self._inner.switches()

    async def report_accounts(self, reports: Sequence[AccountReport]) -> None:
        await self._through("report", lambda: self._inner.report_accounts(reports))

    async def forget_reports(self, *, worker: UUID, before: datetime) -> None:
        await self._through(
            "forget reports", lambda: self._inner.forget_reports(worker=worker, before=before)
        )

    async def account_reports(self, *, seen_since: datetime) -> Sequence[AccountReport]:
        return await self._inner.account_reports(seen_since=seen_since)

    async def approvals(self, *, plan_sha256: str) -> Sequence[Approval]:
        return await self._inner.approvals(plan_sha256=plan_sha256)

    async def lock_queue(self, lock: QueueLock, *, now: datetime) -> QueueLock | None:
        return await self._through("lock", lambda: self._inner.lock_queue(lock, now=now))

    async def unlock_queue(self, queue: str, token: UUID) -> None:
        await self._through("unlock", lambda: self._inner.unlock_queue(queue, token))

    async def doubts_without_plan(self, *, account: str, limit: int) -> Sequence[Doubt]:
        return await self._through(
            "doubts_without_plan",
            lambda: self._inner.doubts_without_plan(
                account=account,
                limit=limit,
            ),
        )

    async def plan_look_ups(self, plans: Sequence[LookUpPlan]) -> None:
        await self._through("plan_look_ups", lambda: self._inner.plan_look_ups(plans))

    async def take_look_up(
        self, *, account: str, token: UUID, now: datetime, lease_until: datetime
    ) -> LookUpPlan | None:
        return await self._through(
            "take_look_up",
            lambda: self._inner.take_look_up(
                account=account, token=token, now=now, lease_until=lease_until
            ),
        )

    async def give_look_up_back(
        self, operation_id: UUID, token: UUID, *, due_at: datetime | None = None
    ) -> None:
        await self._through(
            "give_look_up_back",
            lambda: self._inner.give_look_up_back(operation_id, token, due_at=due_at),
        )

    async def look_up_plans(self, operations: Sequence[UUID]) -> Sequence[LookUpPlan]:
        return await self._inner.look_up_plans(operations)

    async def breaks(self, *, after: UUID | None, limit: int) -> Sequence[LookUpPlan]:
        return await self._inner.breaks(after=after, limit=limit)

    async def restoration(self) -> Restoration | None:
        return await self._inner.restoration()

    async def standing(self) -> Standing:
        return await self._inner.standing()

    async def has_room(self) -> bool:
        return await self._through("has_room", self._inner.has_room)

    async def ping(self) -> None:
        await self._inner.ping()

    async def close(self) -> None:
        await self._inner.close()

    async def _through(self, name: str, call: Callable[[], Awaitable[Result]]) -> Result:
        await self._fuse.boundary(f"before {name}")
        self._fuse.doing = name
        try:
            result = await call()
        except StoreUnavailableError:
            self._fuse.check()  # killed inside its commit: there is nobody left to hear of it
            raise
        self._fuse.doing = "marks"
        await self._fuse.boundary(f"after {name}")
        return result


def _name_of(apply: Callable[[View], Change[Result]]) -> str:
    """The method of ``worker.ledger`` that a rule is applied by."""
    if isinstance(apply, partial):
        return str(apply.func.__name__)
    return apply.__qualname__.split(".")[1]


class FusedJournal:
    """A journal of replay runs with a boundary before and after every write."""

    def __init__(self, inner: ReplayJournal, fuse: Fuse) -> None:
        self._inner = inner
        self._fuse = fuse

    async def begin_run(self, run: ReplayRun) -> None:
        await self._through("begin_run", lambda: self._inner.begin_run(run))

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
        await self._through(
            "end_run",
            lambda: self._inner.end_run(
                run, state=state, stop_reason=stop_reason, kept=kept, removed=removed, at=at
            ),
        )

    async def resume_run(self, run: str) -> None:
        await self._through("resume_run", lambda: self._inner.resume_run(run))

    async def ask_to_stop(self, run: str, *, actor: str, at: datetime) -> None:
        await self._through("ask_to_stop", lambda: self._inner.ask_to_stop(run, actor=actor, at=at))

    async def add_steps(self, run: str, steps: Sequence[ReplayStep]) -> None:
        await self._through("add_steps", lambda: self._inner.add_steps(run, steps))

    async def note_steps(self, run: str, steps: Sequence[ReplayStep]) -> None:
        if steps:  # noting nothing is no step
            await self._through("note_steps", lambda: self._inner.note_steps(run, steps))

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

    async def _through(self, name: str, call: Callable[[], Awaitable[None]]) -> None:
        await self._fuse.boundary(f"before {name}")
        self._fuse.doing = name
        try:
            await call()
        except StoreUnavailableError:
            self._fuse.check()  # killed inside its commit: there is nobody left to hear of it
            raise
        self._fuse.doing = "marks"
        await self._fuse.boundary(f"after {name}")


class FusedPublisher:
    """A publisher with a boundary before every publish, and before and after its confirm."""

    def __init__(self, inner: Publisher, fuse: Fuse) -> None:
        self._inner = inner
        self._fuse = fuse

    async def publish(self, message: OutgoingMessage) -> Publication:
        name = _PUBLISHED[message.exchange, message.routing_key == "unclaimed"]
        await self._fuse.boundary(f"before publish of {name}")
        published = await self._inner.publish(message)
        await self._fuse.boundary(f"before confirm of {name}")
        await self._fuse.boundary(f"after confirm of {name}")
        return published


_PUBLISHED = {
    (Exchange.RESULTS, False): "the event",
    (Exchange.DEAD_LETTER, False): "the dead letter",
    (Exchange.DEAD_LETTER, True): "the unclaimed event",
    (Exchange.RETRY, False): "the ladder copy",
    (Exchange.REPLAY, False): "the replay",
}


class FusedTransport:
    """A transport with a boundary before and after every call."""

    def __init__(self, inner: Transport, fuse: Fuse) -> None:
        self._inner = inner
        self._fuse = fuse

    async def send(
        self,
        request: HttpRequest,
        *,
        fresh_connection: bool,
        seconds: float,
        departure: Departure | None = None,
    ) -> HttpReply | NoReply:
        await self._fuse.boundary("before call")
        answer = await self._inner.send(
            request, fresh_connection=fresh_connection, seconds=seconds, departure=departure
        )
        await self._fuse.boundary("after call")
        return answer


class FusedLetterQueue:
    """A dead-letter queue with a boundary before and after everything done to a letter."""

    def __init__(self, inner: LetterQueue, fuse: Fuse) -> None:
        self._inner = inner
        self._fuse = fuse

    async def depth(self) -> int:
        return await self._inner.depth()

    async def take(self) -> LetterInHand | None:
        await self._fuse.boundary("before take of a letter")
        letter = await self._inner.take()
        await self._fuse.boundary("after take of a letter")
        return None if letter is None else FusedLetter(letter, self._fuse)


class FusedLetter:
    """A letter in hand whose settling has a boundary before and after."""

    def __init__(self, inner: LetterInHand, fuse: Fuse) -> None:
        self._inner = inner
        self._fuse = fuse

    @property
    def delivery(self) -> Delivery:
        return self._inner.delivery

    async def acknowledge(self) -> None:
        await self._fuse.boundary("before acknowledgement of a letter")
        await self._inner.acknowledge()
        await self._fuse.boundary("after acknowledgement of a letter")

    async def give_back(self) -> None:
        await self._fuse.boundary("before return of a letter")
        await self._inner.give_back()
        await self._fuse.boundary("after return of a letter")
