"""The register of payments: what operators find in it, and what they decide about one."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from worker.inventory import PAGE, Books, DecidedPage
from worker.lifecycle.edit import Edited, EditWish, NotEdited, edit_email
from worker.lifecycle.reopen import NotReopened, Reopened, reopen
from worker.lifecycle.resend import Resending, ResendWish, resend
from worker.lifecycle.ruling import RulingWish, Verdict, rule
from worker.model import EmailMark, Origin, Secret
from worker.ports import Clock, Store, View
from worker.records import Answer, Change, Needs, Record
from worker.rules import Rules
from worker.searches import EVERY_PAYMENT, FoundPayment, PaymentFilter, Place


class Payments:
    """Every operation as a person looks for it; raises ``StoreUnavailableError``."""

    def __init__(self, *, store: Store, rules: Rules, clock: Clock) -> None:
        self._store = store
        self._index = store.payments
        self._rules = rules
        self._clock = clock

    def email_marks(self, email: Secret) -> tuple[EmailMark, ...]:
        """What the payments of an e-mail are found by."""
        return self._store.email_marks(email)

    async def search(
        self,
        wanted: PaymentFilter = EVERY_PAYMENT,
        *,
        after: Place | None = None,
        limit: int,
        newest_first: bool = True,
    ) -> AsyncIterator[FoundPayment]:
        """At most so many of the operations that are wanted, read page by page."""
        while limit > 0:
            size = min(PAGE, limit)
            page = await self._index.search(
                wanted, after=after, limit=size, newest_first=newest_first
            )
            for found in page:
                yield found
            if len(page) < size:
                return
            limit, after = limit - size, page[-1].place

    async def books(self, *, since: datetime, until: datetime) -> Books:
        """What was first seen within that period, and where it stands."""
        return await self._index.books(since=since, until=until)

    async def open_operations(self, *, untouched_for: timedelta) -> AsyncIterator[Record]:
        """Every undecided operation that nobody has written for that long, page by page."""
        since, after = self._clock.now() - untouched_for, None
        while page := await self._index.open_operations(
            untouched_since=since, after=after, limit=PAGE
        ):
            for record in page:
                yield record
            after = page[-1].operation_id

    async def unpublished(self, *, older_than: timedelta) -> AsyncIterator[Answer]:
        """Every answer that nobody has confirmed for that long, page by page; takes none."""
        before, after = self._clock.now() - older_than, None
        while page := await self._index.unpublished(decided_before=before, after=after, limit=PAGE):
            for answer in page:
                yield answer
            after = page[-1].event.occurred_at, page[-1].event.event_id

    async def late_successes(self) -> AsyncIterator[UUID]:
        """What failed or was cancelled and may have been applied after all, page by page.

        ``lifecycle.contradiction`` says whether it was.
        """
        after = None
        while page := await self._index.late_successes(after=after, limit=PAGE):
            for operation_id in page:
                yield operation_id
            after = page[-1]

    async def cancellations(self, payment_id: UUID) -> Sequence[Record]:
        """The cancellations of a payment, in the order they came."""
        return await self._index.cancellations(payment_id)

    async def operation_of(self, event_id: UUID) -> UUID | None:
        """The operation that an event answers."""
        return await self._index.operation_of(event_id)

    async def decided_operations(
        self, *, origin: Origin, since: datetime, until: datetime, after: UUID | None, limit: int
    ) -> DecidedPage:
        """What an origin was answered within a period; see ``operator_ports.PaymentIndex``."""
        return await self._index.decided_operations(
            origin=origin, since=since, until=until, after=after, limit=limit
        )

    @property
    def contents_needed_since(self) -> datetime:
        """What was decided since then may be what another request is judged by."""
        return self._clock.now() - self._rules.content_age

    async def reopen(
        self, operation_id: UUID, *, from_sequence: int, actor: str, run: str, reason: str
    ) -> Reopened | NotReopened:
        """Open a failed operation again for a replay; audited; see ``lifecycle.reopen``."""
        found = await self._store.find(operation_id)
        apply = partial(
            reopen,
            operation_id=operation_id,
            from_sequence=from_sequence,
            actor=actor,
            run=run,
            reason=reason,
            rules=self._rules,
            now=self._clock.now(),
        )
        needs = Needs((operation_id,), None if found is None else found[0].fingerprint)
        return await self._store.transact(needs, apply)

    async def edit_email(self, wish: EditWish) -> Edited | NotEdited:
        """Have a failed payment go by another e-mail; audited, see ``lifecycle.edit``."""
        wish = replace(wish, email_mark=self._store.email_marks(wish.after.email)[0])

        def apply(view: View) -> Change[Edited | NotEdited]:
            return edit_email(view, wish, self._clock.now())

        return await self._store.transact(wish.needs, apply)

    async def rule(self, wish: RulingWish) -> Verdict:
        """Write a person's word on a doubt; audited, see ``lifecycle.ruling``."""

        def apply(view: View) -> Change[Verdict]:
            return rule(view, wish, self._rules, self._clock.now())

        return await self._store.transact(wish.needs, apply)

    async def resend(self, wish: ResendWish) -> Resending:
        """Mark an operation's newest answer for sending again; see ``lifecycle.resend``."""

        def apply(view: View) -> Change[Resending]:
            return resend(view, wish, self._clock.now())

        return await self._store.transact(Needs((wish.operation_id,)), apply)
