"""The few interfaces between the core and the world. Every call that waits has a limit."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol, TypeVar
from uuid import UUID

from worker.acts import KeptAct
from worker.calls import Departure, HttpReply, HttpRequest, NoReply, Outcome
from worker.inventory import (
    Books,
    DecidedPage,
    Erased,
    QueueLock,
    SealedPage,
    SealPlace,
    Standing,
    Stretch,
)
from worker.journal import ReplayRun, ReplayStep, RunState, StepState, StepTally, Whereabouts
from worker.letters import EVERY_LETTER, LetterEntry, LetterFilter, LetterTally, UnansweredLetter
from worker.look_ups import Doubt, LookUpPlan, LookUpQuestion, LookUpReading
from worker.messages import OutgoingMessage, Publication
from worker.model import (
    CancelRequest,
    Delivery,
    EmailMark,
    Endpoint,
    Fingerprint,
    Origin,
    PaymentRequest,
    Route,
    Secret,
)
from worker.records import Answer, Change, History, Needs, Record, Restoration, Tombstone
from worker.rules import BrokerAddress
from worker.searches import FoundPayment, PaymentFilter, Place
from worker.switches import AccountReport, Approval, Switch

Result = TypeVar("Result")


class StoreUnavailableError(Exception):
    """The ledger cannot be used now: nothing was decided, or whether it was is not known."""


class Clock(Protocol):
    """Time, chance and new ids, so that nothing else touches them."""

    def now(self) -> datetime:
        """Wall time, aware UTC."""

    def monotonic(self) -> float:
        """Seconds that never go back."""

    async def sleep(self, seconds: float) -> None:
        """Wait, at least a little less than asked for, never a promise."""

    def fraction(self) -> float:
        """A random number in [0, 1)."""

    def new_id(self) -> UUID:
        """A random UUID."""

    def nonce(self) -> str:
        """128 random bits from the system, as 32 hex digits."""


class View(Protocol):
    """The rows of one transaction as they stand, its own earlier writes included."""

    def record(self, operation_id: UUID) -> Record | None: ...

    def answer(self, operation_id: UUID) -> Answer | None:
        """The answer this operation's record names by ``event_id``, if it is decided."""

    def owner(self, fingerprint: Fingerprint) -> Record | None:
        """The payment that owns this fingerprint."""

    def tombstone(self, payment_id: UUID) -> Tombstone | None: ...

    def switch(self, account: str) -> Switch | None:
        """How operators have switched this account; one nobody ever switched has none."""


class Store(Protocol):
    """Durable rows with serialisable transactions and group commit: SQLite, later PostgreSQL.

    Every method raises ``StoreUnavailableError`` when the store cannot be used.
    """

    def email_marks(self, email: Secret) -> tuple[EmailMark, ...]:
        """What rows about an e-mail are found by; new ones carry the first."""

    def transact(self, needs: Needs, apply: Callable[[View], Change[Result]]) -> Awaitable[Result]:
        """Run ``apply`` in a transaction; awaited, its result once the change is durable.

        ``apply`` is pure and may be run again. An exception it raises reaches the caller,
        and nothing of that change is written.
        """

    def mark_confirmed(
        self, event_id: UUID, *, event: bool, letter: bool, resends: int = 0
    ) -> None:
        """Note what the broker confirmed, with the next group commit; nobody waits for it.

        ``resends`` is that of the answer that was sent: where an operator has asked for the event
        again since, this confirmation is of an earlier sending and ``event`` is not noted.
        """

    async def find(self, operation_id: UUID) -> tuple[Record, Answer | None] | None:
        """Read one operation and its latest answer."""

    async def history(self, operation_id: UUID, *, events: Sequence[UUID]) -> History | None:
        """One operation with those of these answers that there are, its attempts and audit."""

    async def take_unpublished(
        self, *, untouched_since: datetime, now: datetime, limit: int
    ) -> Sequence[Answer]:
        """Take answers whose event nobody confirmed, by compare-and-set, oldest first.

        Only those created and last taken before ``untouched_since``; each is marked taken
        ``now``, so that two workers do not take the same. Where there are more than ``limit``,
        those that nobody has touched for longest: the answers of one full queue, refused again
        and again, must not stand before all others for ever.
        """

    async def expired_claims(self, *, expired_before: datetime, limit: int) -> Sequence[UUID]:
        """Operations in CALLING whose lease ended before that time."""

    async def overdue_waits(self, *, due_before: datetime, limit: int) -> Sequence[UUID]:
        """Operations in RETRY_WAIT that were due before that time, longest overdue first."""

    async def letters(
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

    async def letter_tallies(
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

    async def adopted_doubts(self, *, limit: int) -> Sequence[UUID]:
        """Adopted duplicates in doubt although the payment they repeat is decided otherwise."""

    async def books(self, *, since: datetime, until: datetime) -> Books:
        """What was first seen from ``since`` until before ``until``, in one look."""

    async def acts(self, *, after: int, limit: int) -> Sequence[KeptAct]:
        """A page of all audited acts behind that row, in the order they were written."""

    async def act_rows(
        self, *, since: datetime | None, until: datetime | None
    ) -> tuple[int, int] | None:
        """First and last row of the acts from ``since`` until before ``until``, if there are any.

        Acts of several workers are written in another order than their clocks tell: between the
        two rows there may be some from outside the period.
        """

    async def switches(self) -> Sequence[Switch]:
        """Everything that operators have switched, by account."""

    async def report_accounts(self, reports: Sequence[AccountReport]) -> None:
        """Note how a worker stands to its accounts, in place of what it said before."""

    async def forget_reports(self, *, worker: UUID, before: datetime) -> None:
        """Take out what this worker has reported, and what nobody has renewed since then."""

    async def account_reports(self, *, seen_since: datetime) -> Sequence[AccountReport]:
        """What workers have reported since then, by account and worker."""

    async def approvals(self, *, plan_sha256: str) -> Sequence[Approval]:
        """Who has approved this very plan, the first one first."""

    async def lock_queue(self, lock: QueueLock, *, now: datetime) -> QueueLock | None:
        """Take a queue for one walk, or renew it, by compare-and-set on its token.

        ``None`` when it is ours; else the lock that stands in the way, not yet over at ``now``.
        """

    async def unlock_queue(self, queue: str, token: UUID) -> None:
        """Give a queue back; one that another has taken meanwhile stays his."""

    async def doubts_without_plan(self, *, account: str, limit: int) -> Sequence[Doubt]:
        """Payments of an account in doubt whose look-ups nobody has planned yet.

        Those alone that were sent under a reference; what repeats another's answer is not looked
        up by itself. Oldest first.
        """

    async def plan_look_ups(self, plans: Sequence[LookUpPlan]) -> None:
        """Keep plans; one that is known of the same doubt, or of a later one, stays as it is."""

    async def take_look_up(
        self, *, account: str, token: UUID, now: datetime, lease_until: datetime
    ) -> LookUpPlan | None:
        """Take the plan of an account that has been due for longest, by compare-and-set."""

    async def give_look_up_back(
        self, operation_id: UUID, token: UUID, *, due_at: datetime | None = None
    ) -> None:
        """Give a taken plan back, due as it was or then; one taken by another stays his."""

    async def look_up_plans(self, operations: Sequence[UUID]) -> Sequence[LookUpPlan]:
        """The plans that there are of these operations, in no order."""

    async def breaks(self, *, after: UUID | None, limit: int) -> Sequence[LookUpPlan]:
        """A page of the doubts whose provider lists another amount, by id."""

    async def restoration(self) -> Restoration | None:
        """The latest return of the ledger from a backup, if there ever was one."""

    async def standing(self) -> Standing:
        """What is in doubt or unsent as a whole."""

    async def has_room(self) -> bool:
        """Whether new claims may be written: at least 200 MiB free where it lives."""

    async def ping(self) -> None:
        """Prove that a write would be possible."""

    async def close(self) -> None:
        """Write what is queued and release the files."""


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


class Transport(Protocol):
    """One HTTP exchange. It reports facts; what they mean is the core's business."""

    async def send(
        self,
        request: HttpRequest,
        *,
        fresh_connection: bool,
        seconds: float,
        departure: Departure | None = None,
    ) -> HttpReply | NoReply:
        """Send within ``seconds`` overall.

        Never follows redirects, never repeats a POST, never raises for a failed call; a
        cancellation while waiting propagates, and ``departure`` then tells whether the request
        had left.
        """


class BrokerDirectory(Protocol):
    """Where the broker is and who we are there, asked anew before every connection."""

    def addresses(self) -> tuple[BrokerAddress, ...]:
        """One address for each endpoint, in order, with the login as it is now; never none."""


class Publisher(Protocol):
    """Publishes persistent, mandatory, confirmed messages."""

    async def publish(self, message: OutgoingMessage) -> Publication:
        """Publish within the publisher's own time limit; silence is ``UNKNOWN``."""


class Signing(Protocol):
    """What a provider needs at the moment of sending and may not take by itself."""

    def now(self) -> datetime: ...

    def nonce(self) -> str: ...


class Provider(Protocol):
    """A provider is pure: it builds requests and reads answers, it never waits.

    Requests are built anew for every try, because a signature is valid for seconds only.
    """

    def initiate(
        self, request: PaymentRequest, route: Route, reference: str, signing: Signing
    ) -> HttpRequest: ...

    def read_initiation(self, reply: HttpReply, route: Route) -> Outcome: ...

    def cancel(
        self, request: CancelRequest, item_id: str, email: Secret, route: Route, signing: Signing
    ) -> HttpRequest:
        """Raises ``NotImplementedError`` where the provider has no cancellation."""

    def read_cancellation(self, reply: HttpReply, route: Route) -> Outcome: ...

    def look_up(self, asked: LookUpQuestion, endpoint: Endpoint) -> HttpRequest:
        """Ask by a read whether a payment is known.

        Raises ``NotImplementedError`` where the provider has no such read.
        """

    def read_look_up(
        self, reply: HttpReply, asked: LookUpQuestion, endpoint: Endpoint
    ) -> LookUpReading: ...


class Permit(Protocol):
    """Leave to call one account once; told what came of it."""

    @property
    def is_probe(self) -> bool:
        """Whether this call is the half-open breaker's probe."""

    @property
    def may_go_on(self) -> bool:
        """Whether another try within this delivery makes sense."""

    @property
    def pause(self) -> float:
        """Seconds until the account may be asked again; 0 when it may be now."""

    def begin(self) -> None:
        """Tell the breaker that a call begins."""

    def report(self, outcome: Outcome) -> None:
        """Tell the breaker how the call ended."""


class Permits(Protocol):
    """Bulkhead, rate limit and circuit breaker of every account."""

    def take(self, account: str, *, within: float) -> AbstractAsyncContextManager[Permit | float]:
        """Yield a permit, or, when none was free in time, the seconds to wait before asking."""


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
