"""What operators, metrics and the worker's upkeep need of a store, and of the dead-letter queue.

The path of a payment has its own in ``ports``. What stands in a store raises
``StoreUnavailableError`` when the store cannot be used.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from worker.acts import KeptAct
from worker.inventory import (
    Books,
    DecidedPage,
    Erased,
    QueueLock,
    SealedPage,
    SealPlace,
    Stretch,
)
from worker.journal import ReplayRun, ReplayStep, RunState, StepState, StepTally, Whereabouts
from worker.letters import EVERY_LETTER, LetterEntry, LetterFilter, LetterTally, UnansweredLetter
from worker.look_ups import Doubt, LookUpPlan
from worker.model import Delivery, Origin
from worker.records import Answer, Record
from worker.searches import FoundPayment, PaymentFilter, Place
from worker.switches import AccountReport, Approval, Switch


class LetterIndex(Protocol):
    """The dead letters that wait for a person, without their queue."""

    async def page(
        self,
        *,
        after: tuple[datetime, UUID] | None,
        limit: int,
        now: datetime,
        first_seen_before: datetime,
        wanted: LetterFilter = EVERY_LETTER,
    ) -> Sequence[LetterEntry]:
        """A page of the dead-letter index, oldest first: undone letters and unanswered ones.

        In a stable order: what comes or goes moves none of the others to another page.

        One is expired whose time limit lies before ``now``, or that was first seen before that.
        """

    async def tallies(
        self, *, now: datetime, first_seen_before: datetime, wanted: LetterFilter
    ) -> Sequence[LetterTally]:
        """The same letters counted by case, in no order and in one look."""

    async def unanswered(self, operation_id: UUID) -> UnansweredLetter | None:
        """The unanswered letter of an operation, as the last walk found it."""

    async def keep_unanswered(self, found: Sequence[UnansweredLetter]) -> None:
        """Note letters that nobody decided about; of one that is known, that it is still there.

        Its facts and its place in the list stay those of the first time.
        """

    async def forget_unanswered(self, operation_id: UUID) -> None:
        """Take an unanswered letter out of the index: it has left the queue."""

    async def forget_unfound(self, *, found_before: datetime) -> int:
        """Take out all that no walk has met since then, and tell how many."""


class PaymentIndex(Protocol):
    """Every operation that is remembered, found by what is known of it."""

    async def open_operations(
        self, *, untouched_since: datetime, after: UUID | None, limit: int
    ) -> Sequence[Record]:
        """A page of what is undecided and was last written before that time, by id."""

    async def unpublished(
        self, *, decided_before: datetime, after: tuple[datetime, UUID] | None, limit: int
    ) -> Sequence[Answer]:
        """A page of answers whose event nobody confirmed, by time and event id; takes none."""

    async def cancellations(self, payment_id: UUID) -> Sequence[Record]:
        """The cancellations of a payment, in the order they came."""

    async def operation_of(self, event_id: UUID) -> UUID | None:
        """The operation that an event answers."""

    async def decided_operations(
        self, *, origin: Origin, since: datetime, until: datetime, after: UUID | None, limit: int
    ) -> DecidedPage:
        """The operations of an origin decided from ``since`` until before ``until``, by id.

        ``limit`` bounds the rows looked at, not those found: no index leads to an origin's, so
        every row of the ledger is read, and a page that ran on until it was full would hold a
        read open for as long as that takes.
        """

    async def search(
        self, wanted: PaymentFilter, *, after: Place | None, limit: int, newest_first: bool
    ) -> Sequence[FoundPayment]:
        """A page of the operations that are wanted, by first receipt and id.

        In a stable order: what comes meanwhile moves none of the others to another page.
        """

    async def late_successes(self, *, after: UUID | None, limit: int) -> Sequence[UUID]:
        """A page of what failed or was cancelled and may have been applied after all, by id.

        Those with an attempt that came too late to decide anything, whatever it brought, and those
        that a look-up has ever found.
        """

    async def books(self, *, since: datetime, until: datetime) -> Books:
        """What was first seen from ``since`` until before ``until``, in one look."""


class ActLog(Protocol):
    """What people did: the audit's chain, and who let others replay a plan."""

    async def page(self, *, after: int, limit: int) -> Sequence[KeptAct]:
        """A page of all audited acts behind that row, in the order they were written."""

    async def rows(
        self, *, since: datetime | None, until: datetime | None
    ) -> tuple[int, int] | None:
        """First and last row of the acts from ``since`` until before ``until``, if there are any.

        Acts of several workers are written in another order than their clocks tell: between the
        two rows there may be some from outside the period.
        """

    async def approvals(self, *, plan_sha256: str) -> Sequence[Approval]:
        """Who has approved this very plan, the first one first."""


class AccountBoard(Protocol):
    """How operators have switched the accounts, and how the workers stand to them."""

    async def switches(self) -> Sequence[Switch]:
        """Everything that operators have switched, by account."""

    async def report(self, reports: Sequence[AccountReport]) -> None:
        """Note how a worker stands to its accounts, in place of what it said before."""

    async def forget_reports(self, *, worker: UUID, before: datetime) -> None:
        """Take out what this worker has reported, and what nobody has renewed since then."""

    async def reports(self, *, seen_since: datetime) -> Sequence[AccountReport]:
        """What workers have reported since then, by account and worker."""


class LookUpPlans(Protocol):
    """Which doubt is looked up next at its provider."""

    async def doubts_without_plan(self, *, account: str, limit: int) -> Sequence[Doubt]:
        """Payments of an account in doubt whose look-ups nobody has planned yet.

        Those alone that were sent under a reference; what repeats another's answer is not looked
        up by itself. Oldest first.
        """

    async def keep(self, plans: Sequence[LookUpPlan]) -> None:
        """Keep plans; one that is known of the same doubt, or of a later one, stays as it is."""

    async def take(
        self, *, account: str, token: UUID, now: datetime, lease_until: datetime
    ) -> LookUpPlan | None:
        """Take the plan of an account that has been due for longest, by compare-and-set."""

    async def give_back(
        self, operation_id: UUID, token: UUID, *, due_at: datetime | None = None
    ) -> None:
        """Give a taken plan back, due as it was or then; one taken by another stays his."""

    async def of(self, operations: Sequence[UUID]) -> Sequence[LookUpPlan]:
        """The plans that there are of these operations, in no order."""

    async def breaks(self, *, after: UUID | None, limit: int) -> Sequence[LookUpPlan]:
        """A page of the doubts whose provider lists another amount, by id."""


class QueueLocks(Protocol):
    """Who walks round a queue: one at a time."""

    async def take(self, lock: QueueLock, *, now: datetime) -> QueueLock | None:
        """Take a queue for one walk, or renew it, by compare-and-set on its token.

        ``None`` when it is ours; else the lock that stands in the way, not yet over at ``now``.
        """

    async def give_back(self, queue: str, token: UUID) -> None:
        """Give a queue back; one that another has taken meanwhile stays his."""


class ReplayJournal(Protocol):
    """The journal of replay runs, kept beside the ledger's rows; holds no body and no person.

    Every method raises ``StoreUnavailableError`` when the store cannot be used, and every write
    may be made again.
    """

    async def begin_run(self, run: ReplayRun) -> None:
        """Write a run's line, after its steps: a run without all of them is none."""

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
        """Note how a run ended, and what it did to other letters on its way."""

    async def resume_run(self, run: str) -> None:
        """Note that a run goes on; who asked it to stop is forgotten."""

    async def ask_to_stop(self, run: str, *, actor: str, at: datetime) -> None:
        """Ask a run that has not ended to stop."""

    async def find_run(self, run: str) -> ReplayRun | None: ...

    async def runs(self, *, before: tuple[datetime, str] | None, limit: int) -> Sequence[ReplayRun]:
        """A page of runs, the newest first, by start and name."""

    async def add_steps(self, run: str, steps: Sequence[ReplayStep]) -> None:
        """Add steps to a run; one whose operation is there already stays as it is."""

    async def note_steps(self, run: str, steps: Sequence[ReplayStep]) -> None:
        """Note how these steps of a run stand now, all or none."""

    async def steps(
        self, run: str, *, states: frozenset[StepState], after: int, limit: int
    ) -> Sequence[ReplayStep]:
        """A page of a run's steps that are in one of these states, in the order of the plan."""

    async def whereabouts(
        self, run: str, *, state: StepState, after: UUID | None, limit: int
    ) -> Sequence[tuple[ReplayStep, Whereabouts | None]]:
        """A page of a run's steps in that state, each with its operation as it stands, by id."""

    async def step_tallies(self, run: str) -> Sequence[StepTally]:
        """All steps of a run counted by state and result, in no order."""


class Retention(Protocol):
    """Erasing what need not be kept any longer, each stretch in one small write.

    What is open or in doubt is never touched, nor what an open or doubtful cancellation is about.
    ``updated_at`` stays: nothing was decided. Every method raises ``StoreUnavailableError`` when
    the store cannot be used, and may be run again.
    """

    async def erase_emails(self, stretch: Stretch) -> Erased:
        """Erase e-mails with their marks and fingerprints; the rows stay, and their answers.

        With them go the links that no repeat will ever send: those of attempts, which are
        evidence, and of answers that a later one has replaced.
        """

    async def erase_links(self, stretch: Stretch) -> Erased:
        """Erase links of published answers whose e-mail is erased: repeats say ``link_erased``."""

    async def remove_operations(self, stretch: Stretch) -> Erased:
        """Remove rows whose e-mail is erased, with their answers and attempts.

        They stay while an answer is unpublished or a dead letter waits for a person.
        """

    async def erase_people(
        self, operations: Collection[UUID], *, decided_before: datetime
    ) -> Collection[UUID]:
        """Erase e-mails and links of these operations whatever their age; which it did.

        The fingerprint goes with them only from what was decided before that time: until then a
        second request for the same, under another key, is known by it (contract section 2).
        What is open, in doubt or unpublished, what an open or doubtful cancellation is about, and
        what has an undone letter, stays as it is.
        """

    async def remove_runs(self, stretch: Stretch) -> Erased:
        """Remove replay runs that ended before then, with their steps."""

    async def remove_tombstones(self, *, until: datetime, is_dry: bool) -> int:
        """Remove cancellations' tombstones that have expired by then; how many there were."""


class Seals(Protocol):
    """Everything that is sealed, and under which keys; raises ``StoreUnavailableError``."""

    async def walk(self, after: SealPlace | None, *, limit: int, is_dry: bool) -> SealedPage:
        """Look at a page of rows; seal anew, under the first key, what is sealed under another.

        ``is_dry`` only counts.
        """

    async def forget_keys(self, unused: Collection[str]) -> None:
        """Take keys off the list of those that a start insists on: nothing needs them."""


class LetterInHand(Protocol):
    """One dead letter taken from the queue and not yet acknowledged."""

    @property
    def delivery(self) -> Delivery: ...

    async def acknowledge(self) -> None:
        """Remove it: its copy is confirmed elsewhere."""

    async def give_back(self) -> None:
        """Return it to the queue: no copy is known to be safe."""


class LetterQueue(Protocol):
    """The dead-letter queue, to be walked once round; letters come one at a time."""

    async def depth(self) -> int:
        """Letters in the queue now."""

    async def take(self) -> LetterInHand | None:
        """The next letter, or ``None`` when the queue is empty."""
