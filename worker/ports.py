"""The few interfaces between the core and the world. Every call that waits has a limit."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol, TypeVar
from uuid import UUID

from worker.calls import Departure, HttpReply, HttpRequest, NoReply, Outcome
from worker.inventory import Standing
from worker.look_ups import LookUpQuestion, LookUpReading
from worker.messages import OutgoingMessage, Publication
from worker.model import (
    CancelRequest,
    EmailMark,
    Endpoint,
    Fingerprint,
    PaymentRequest,
    Route,
    Secret,
)
from worker.operator_ports import (
    AccountBoard,
    ActLog,
    LetterIndex,
    LookUpPlans,
    PaymentIndex,
    QueueLocks,
)
from worker.records import Answer, Change, History, Needs, Record, Restoration, Tombstone
from worker.rules import BrokerAddress
from worker.switches import Switch

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
    """Durable rows with serialisable transactions and group commit: the path of a payment.

    Every method raises ``StoreUnavailableError`` when the store cannot be used. Beside that path
    stands what others look into.
    """

    @property
    def letters(self) -> LetterIndex: ...

    @property
    def payments(self) -> PaymentIndex: ...

    @property
    def acts(self) -> ActLog: ...

    @property
    def accounts(self) -> AccountBoard: ...

    @property
    def look_ups(self) -> LookUpPlans: ...

    @property
    def locks(self) -> QueueLocks: ...

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

    async def adopted_doubts(self, *, limit: int) -> Sequence[UUID]:
        """Adopted duplicates in doubt although the payment they repeat is decided otherwise."""

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
