"""The ledger in the words of payments: each method is one durable write of a pure rule."""

from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from worker.acts import KeptAct
from worker.identity import event_id_of
from worker.inventory import Books, DecidedPage, QueueLock, Standing
from worker.letters import (
    EVERY_LETTER,
    LetterEntry,
    LetterFilter,
    LetterGroup,
    LetterTally,
    UnansweredLetter,
)
from worker.lifecycle.aside import (
    AsideWish,
    BroughtBack,
    LeftAlone,
    SetAside,
    bring_back,
    set_aside,
)
from worker.lifecycle.cancel import CancelClaimed, CancelWish, claim_cancellation
from worker.lifecycle.claim import claim
from worker.lifecycle.duplicates import follow_owner
from worker.lifecycle.edit import Edited, EditWish, NotEdited, edit_email
from worker.lifecycle.expire import abandon_wait, expire_claim, release_claim
from worker.lifecycle.prospects import groups_of
from worker.lifecycle.reconcile import Read, Reconciled, planned, reconcile
from worker.lifecycle.refuse import refuse
from worker.lifecycle.reopen import NotReopened, Reopened, reopen
from worker.lifecycle.resend import Resending, ResendWish, resend
from worker.lifecycle.restore import Restored, is_in_doubt_after, restore
from worker.lifecycle.ruling import RulingWish, Verdict, rule
from worker.lifecycle.settle import Settled, Settlement, settle
from worker.lifecycle.switches import (
    Asked,
    StillPaused,
    Switched,
    SwitchWish,
    ask_probe,
    pause,
    resume,
)
from worker.lifecycle.wishes import Claim, Claimed, Decided, Held
from worker.look_ups import LookUpPlan
from worker.model import Delivery, EmailMark, Origin, Secret, Unreadable
from worker.ports import Clock, Store, StoreUnavailableError, View
from worker.records import (
    NO_FACTS,
    ActFacts,
    Answer,
    AuditEntry,
    Change,
    History,
    Needs,
    Record,
    Restoration,
    Status,
)
from worker.rules import Rules
from worker.searches import EVERY_PAYMENT, FoundPayment, PaymentFilter, Place
from worker.switches import AccountReport, Approval, Switch

PAGE = 500
"""Rows per read: a long read keeps the ledger's log from being folded back."""

REPORT_AGE = timedelta(seconds=45)
"""A worker that has said nothing for that long is gone: it renews its report every 15 s."""

REPORTS_KEPT = timedelta(days=1)


class Ledger:
    """Claims, settles and remembers operations; raises ``StoreUnavailableError``.

    The two writes of every payment hand on the store's own future: shielded as it is, it costs a
    payment no task.
    """

    def __init__(
        self,
        *,
        store: Store,
        rules: Rules,
        clock: Clock,
        restoration: Restoration | None = None,
    ) -> None:
        """``clock`` is the one by which everybody who uses this ledger tells the time.

        ``restoration`` is the ledger's latest return from a backup, as read at the start.
        """
        self._store = store
        self._rules = rules
        self._clock = clock
        self._restoration = restoration

    @property
    def clock(self) -> Clock:
        """The clock of the times in it: whoever compares one of them goes by this clock."""
        return self._clock

    def claim(self, wish: Claim) -> Awaitable[Claimed]:
        """Claim a payment, or learn why not; see ``lifecycle.claim``."""
        wish = replace(wish, email_mark=self._store.email_marks(wish.request.email)[0])
        return self._store.transact(
            wish.needs,
            # No inner function: its annotations are evaluated for each payment anew.
            lambda view: claim(view, wish, self._rules, self._clock.now(), self._restoration),
        )

    async def claim_cancellation(self, wish: CancelWish) -> CancelClaimed:
        """Claim a cancellation, or learn why not; see ``lifecycle.cancel``."""

        def apply(view: View) -> Change[CancelClaimed]:
            now = self._clock.now()
            return claim_cancellation(view, wish, self._rules, now, self._restoration)

        return await self._store.transact(wish.needs, apply)

    async def refuse(self, message: Unreadable, delivery: Delivery) -> Decided | Held:
        """Decide a message that cannot be read; held while its operation is being called."""

        def apply(view: View) -> Change[Decided | Held]:
            return refuse(view, message, delivery, self._clock.now())

        return await self._store.transact(Needs((message.envelope.operation_id,)), apply)

    def settle(self, end: Settlement) -> Awaitable[Settled]:
        """Write how an attempt ended and what follows."""
        return self._store.transact(
            end.needs, lambda view: settle(view, end, self._rules, self._clock.now())
        )

    async def release(self, operation_id: UUID, token: UUID, *, after: timedelta) -> Record | None:
        """Give a claim back that sent nothing, due again ``after`` that time, uncounted."""

        def apply(view: View) -> Change[Record | None]:
            now = self._clock.now()
            return release_claim(view, operation_id, token, now + after, now)

        return await self._store.transact(Needs((operation_id,)), apply)

    async def expire(self, operation_id: UUID, *, older_than: timedelta) -> Decided | None:
        """Bring a claim into doubt that expired that long ago and that nobody came back for."""
        found = await self._store.find(operation_id)
        if found is None:
            return None
        needs = Needs((operation_id, found[0].payment_id))

        def apply(view: View) -> Change[Decided | None]:
            now = self._clock.now()
            return expire_claim(view, operation_id, now - older_than, now)

        return await self._store.transact(needs, apply)

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

    async def adopted_doubts(self, *, limit: int) -> Sequence[UUID]:
        """Duplicates that still answer a doubt although the payment they repeat is decided."""
        return await self._store.adopted_doubts(limit=limit)

    async def follow(self, operation_id: UUID) -> Decided | None:
        """Answer a duplicate as its payment; see ``lifecycle.duplicates``."""
        found = await self._store.find(operation_id)
        if found is None or found[0].duplicate_of is None:
            return None

        def apply(view: View) -> Change[Decided | None]:
            return follow_owner(view, operation_id, self._clock.now())

        return await self._store.transact(Needs((operation_id, found[0].duplicate_of)), apply)

    async def find(self, operation_id: UUID) -> tuple[Record, Answer | None] | None:
        """Read one operation and its latest answer."""
        return await self._store.find(operation_id)

    async def history(self, operation_id: UUID) -> History | None:
        """All that is remembered of one operation.

        Its answers are found by their ids, which follow from their status and sequence.
        """
        found = await self._store.find(operation_id)
        if found is None:
            return None
        latest = found[0].event_id
        events = [
            event_id_of(operation_id, status, sequence)
            for sequence in range(1, found[0].sequence + 1)
            for status in Status
        ]
        if latest is not None and latest not in events:
            events.append(latest)  # of another one: a duplicate repeats it
        return await self._store.history(operation_id, events=events)

    async def letter_of(self, operation_id: UUID) -> LetterEntry | None:
        """The dead letter of one operation as the index lists it; ``None`` where none waits.

        Of two the decided one: what the broker gave up besides was decided with it.
        """
        wanted = LetterFilter(operation_id=operation_id)
        entries = await self.letters(limit=2, wanted=wanted)
        return max(entries, key=lambda entry: entry.code is not None, default=None)

    def confirmed(self, answer: Answer, *, event: bool = False, letter: bool = False) -> None:
        """Mark what the broker confirmed, with the next group commit; nobody waits.

        A ledger that is away loses the mark, which costs a duplicate: the answer is safe with
        the broker, so its request is acknowledged all the same.
        """
        with suppress(StoreUnavailableError):
            self._store.mark_confirmed(
                answer.event.event_id, event=event, letter=letter, resends=answer.resends
            )

    async def take_unpublished(self, *, older_than: timedelta, limit: int) -> Sequence[Answer]:
        """Take answers that nobody has confirmed for that long; no other worker takes them."""
        now = self._clock.now()
        return await self._store.take_unpublished(
            untouched_since=now - older_than, now=now, limit=limit
        )

    async def expired_claims(self, *, older_than: timedelta, limit: int) -> Sequence[UUID]:
        """Operations whose claim expired that long ago."""
        return await self._store.expired_claims(
            expired_before=self._clock.now() - older_than, limit=limit
        )

    async def overdue_waits(self, *, older_than: timedelta, limit: int) -> Sequence[UUID]:
        """Operations whose wait ended that long ago, without a message that came back."""
        return await self._store.overdue_waits(
            due_before=self._clock.now() - older_than, limit=limit
        )

    async def abandon(self, operation_id: UUID, *, older_than: timedelta) -> Decided | None:
        """Decide a wait whose message is lost, once no attempt may start any more."""
        found = await self._store.find(operation_id)
        if found is None:
            return None
        needs = Needs((operation_id, found[0].payment_id))

        def apply(view: View) -> Change[Decided | None]:
            now = self._clock.now()
            return abandon_wait(view, operation_id, now - older_than, self._rules, now)

        return await self._store.transact(needs, apply)

    async def letters(
        self,
        *,
        after: tuple[datetime, UUID] | None = None,
        limit: int = 100,
        wanted: LetterFilter = EVERY_LETTER,
    ) -> Sequence[LetterEntry]:
        """A page of the dead-letter index, oldest first."""
        now = self._clock.now()
        return await self._store.letters.page(
            after=after,
            limit=limit,
            now=now,
            first_seen_before=now - self._rules.max_age,
            wanted=wanted,
        )

    async def letter_groups(self, wanted: LetterFilter = EVERY_LETTER) -> Sequence[LetterGroup]:
        """The dead-letter index by code, the largest group first; see ``lifecycle.prospects``."""
        return groups_of(await self._tallies(wanted))

    async def _tallies(self, wanted: LetterFilter) -> Sequence[LetterTally]:
        now = self._clock.now()
        return await self._store.letters.tallies(
            now=now, first_seen_before=now - self._rules.max_age, wanted=wanted
        )

    async def set_aside(self, wish: AsideWish) -> SetAside | LeftAlone:
        """Mark a dead letter as seen to; see ``lifecycle.aside``."""
        restoration = await self._store.restoration()

        def apply(view: View) -> Change[SetAside | LeftAlone]:
            return set_aside(view, wish, self._rules, self._clock.now(), restoration)

        return await self._store.transact(wish.needs, apply)

    async def bring_back(
        self, operation_id: UUID, *, actor: str, reason: str
    ) -> BroughtBack | LeftAlone:
        """Let a letter that was set aside wait for a person again; see ``lifecycle.aside``."""

        def apply(view: View) -> Change[BroughtBack | LeftAlone]:
            now = self._clock.now()
            return bring_back(view, operation_id, actor=actor, reason=reason, now=now)

        return await self._store.transact(Needs((operation_id,)), apply)

    async def note_act(
        self,
        operation_id: UUID | None,
        *,
        actor: str,
        action: str,
        detail: str,
        is_denied: bool = False,
        facts: ActFacts = NO_FACTS,
    ) -> None:
        """Audit an act that changes nothing; ``None`` where it is about no single operation."""

        def apply(_view: View) -> Change[None]:
            entry = AuditEntry(
                at=self._clock.now(),
                actor=actor,
                action=action,
                operation_id=operation_id,
                detail=detail,
                is_denied=is_denied,
                facts=facts,
            )
            return Change(result=None, audit=(entry,))

        await self._store.transact(Needs(()), apply)

    async def unanswered(self, operation_id: UUID) -> UnansweredLetter | None:
        """The letter of an operation that the broker gave up, where the index has one."""
        return await self._store.letters.unanswered(operation_id)

    async def keep_unanswered(self, found: Sequence[UnansweredLetter]) -> None:
        """Note unanswered letters that a walk has met."""
        await self._store.letters.keep_unanswered(found)

    async def forget_unanswered(self, operation_id: UUID) -> None:
        """Take an unanswered letter out of the index, once it has left the queue."""
        await self._store.letters.forget_unanswered(operation_id)

    async def forget_unfound(self, *, found_before: datetime) -> int:
        """Take out the unanswered letters that a whole walk has not met; how many."""
        return await self._store.letters.forget_unfound(found_before=found_before)

    async def open_operations(self, *, untouched_for: timedelta) -> AsyncIterator[Record]:
        """Every undecided operation that nobody has written for that long, page by page."""
        since, after = self._clock.now() - untouched_for, None
        while page := await self._store.payments.open_operations(
            untouched_since=since, after=after, limit=PAGE
        ):
            for record in page:
                yield record
            after = page[-1].operation_id

    async def unpublished(self, *, older_than: timedelta) -> AsyncIterator[Answer]:
        """Every answer that nobody has confirmed for that long, page by page; takes none."""
        before, after = self._clock.now() - older_than, None
        while page := await self._store.payments.unpublished(
            decided_before=before, after=after, limit=PAGE
        ):
            for answer in page:
                yield answer
            after = page[-1].event.occurred_at, page[-1].event.event_id

    async def all_letters(self, wanted: LetterFilter = EVERY_LETTER) -> AsyncIterator[LetterEntry]:
        """All of the dead-letter index that is wanted, oldest first, page by page."""
        after = None
        while page := await self.letters(after=after, limit=PAGE, wanted=wanted):
            for entry in page:
                yield entry
            after = page[-1].failed_at, page[-1].operation_id

    @property
    def contents_needed_since(self) -> datetime:
        """What was decided since then may be what another request is judged by."""
        return self._clock.now() - self._rules.content_age

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
            page = await self._store.payments.search(
                wanted, after=after, limit=size, newest_first=newest_first
            )
            for found in page:
                yield found
            if len(page) < size:
                return
            limit, after = limit - size, page[-1].place

    async def books(self, *, since: datetime, until: datetime) -> Books:
        """What was first seen within that period, and where it stands."""
        return await self._store.payments.books(since=since, until=until)

    async def resend(self, wish: ResendWish) -> Resending:
        """Mark an operation's newest answer for sending again; see ``lifecycle.resend``."""

        def apply(view: View) -> Change[Resending]:
            return resend(view, wish, self._clock.now())

        return await self._store.transact(Needs((wish.operation_id,)), apply)

    async def cancellations(self, payment_id: UUID) -> Sequence[Record]:
        """The cancellations of a payment, in the order they came."""
        return await self._store.payments.cancellations(payment_id)

    async def operation_of(self, event_id: UUID) -> UUID | None:
        """The operation that an event answers."""
        return await self._store.payments.operation_of(event_id)

    async def decided_operations(
        self, *, origin: Origin, since: datetime, until: datetime, after: UUID | None, limit: int
    ) -> DecidedPage:
        """What an origin was answered within a period; see ``operator_ports.PaymentIndex``."""
        return await self._store.payments.decided_operations(
            origin=origin, since=since, until=until, after=after, limit=limit
        )

    async def note(self, entry: AuditEntry) -> None:
        """Remember an act that changes no row: who did what."""

        def apply(_view: View) -> Change[None]:
            return Change(result=None, audit=(entry,))

        await self._store.transact(Needs(()), apply)

    async def note_all(self, entries: Sequence[AuditEntry]) -> None:
        """Remember several acts in one write."""

        def apply(_view: View) -> Change[None]:
            return Change(result=None, audit=tuple(entries))

        if entries:
            await self._store.transact(Needs(()), apply)

    async def acts(self, *, first: int = 0, last: int | None = None) -> AsyncIterator[KeptAct]:
        """Every audited act from one row to another, page by page, in the order of the chain."""
        after = first - 1
        while page := await self._store.acts.page(after=after, limit=PAGE):
            for act in page:
                if last is not None and act.row > last:
                    return
                yield act
            after = page[-1].row

    async def act_before(self, row: int) -> KeptAct | None:
        """The act right before a row; rows leave gaps where a transaction was taken back."""
        step = 1
        while True:
            page = await self._store.acts.page(after=max(0, row - 1 - step), limit=step)
            before = [act for act in page if act.row < row]
            if before or step >= row:
                return before[-1] if before else None
            step *= 2

    async def act_rows(
        self, *, since: datetime | None, until: datetime | None
    ) -> tuple[int, int] | None:
        """First and last row of a period's acts, if there are any."""
        return await self._store.acts.rows(since=since, until=until)

    async def pause_account(self, wish: SwitchWish) -> Switched:
        """Stop an account's calls, or all consumption; see ``lifecycle.switches``."""
        return await self._store.transact(
            wish.needs, lambda view: pause(view, wish, self._clock.now())
        )

    async def resume_account(self, wish: SwitchWish) -> Switched:
        """Let an account be called again; see ``lifecycle.switches``."""
        return await self._store.transact(
            wish.needs, lambda view: resume(view, wish, self._clock.now())
        )

    async def ask_probe(self, wish: SwitchWish) -> Asked | StillPaused:
        """Ask an account's open breakers for one try; see ``lifecycle.switches``."""
        identifier = self._clock.new_id()
        return await self._store.transact(
            wish.needs, lambda view: ask_probe(view, wish, identifier, self._clock.now())
        )

    async def approve(self, approval: Approval, facts: ActFacts) -> None:
        """Remember that an account lets another one replay a plan; audited."""
        act = AuditEntry(
            at=approval.at,
            actor=approval.actor,
            action="approve",
            operation_id=None,
            detail=approval.reason,
            facts=facts,
        )

        def apply(_view: View) -> Change[None]:
            return Change(result=None, approvals=(approval,), audit=(act,))

        await self._store.transact(Needs(()), apply)

    async def approvals(self, plan_sha256: str) -> Sequence[Approval]:
        """Who has approved this very plan."""
        return await self._store.acts.approvals(plan_sha256=plan_sha256)

    async def switches(self) -> Mapping[str, Switch]:
        """Everything that operators have switched, by account."""
        return {switch.account: switch for switch in await self._store.accounts.switches()}

    async def report_accounts(self, reports: Sequence[AccountReport]) -> None:
        """Note how a worker stands to its accounts."""
        await self._store.accounts.report(reports)

    async def forget_reports(self, worker: UUID) -> None:
        """Take out what a worker that ends has reported, and what nobody renews any more."""
        await self._store.accounts.forget_reports(
            worker=worker, before=self._clock.now() - REPORTS_KEPT
        )

    async def account_reports(self) -> Sequence[AccountReport]:
        """How the workers stand that have reported lately."""
        since = self._clock.now() - REPORT_AGE
        return await self._store.accounts.reports(seen_since=since)

    async def restoration(self) -> Restoration | None:
        """The ledger's latest return from a backup, as it stands now."""
        return await self._store.restoration()

    async def affected_by(self, restoration: Restoration) -> Sequence[Record]:
        """What recording this restoration brings into doubt."""
        return [
            record
            async for record in self.open_operations(untouched_for=timedelta(0))
            if is_in_doubt_after(record, restoration)
        ]

    async def restore(
        self, restoration: Restoration, affected: Sequence[Record], *, is_new: bool
    ) -> Restored:
        """Decide what a restoration brings into doubt, page by page, and record it with the last.

        One write for all of a long backlog would need more locks than a server has (measured: it
        refused 24 000). Cut off before the last, nothing is recorded, and doing it again goes on.
        """
        doubted, rest = 0, affected
        while len(rest) > PAGE:
            doubted += (await self._restore_page(restoration, rest[:PAGE], is_new=False)).doubted
            rest = rest[PAGE:]
        last = await self._restore_page(restoration, rest, is_new=is_new)
        return replace(last, doubted=doubted + last.doubted)

    async def _restore_page(
        self, restoration: Restoration, affected: Sequence[Record], *, is_new: bool
    ) -> Restored:
        operations = [record.operation_id for record in affected]
        payments = [record.payment_id for record in affected]

        def apply(view: View) -> Change[Restored]:
            return restore(view, operations, restoration, self._clock.now(), is_new=is_new)

        needs = Needs(tuple(dict.fromkeys([*operations, *payments])))
        return await self._store.transact(needs, apply)

    async def plan_look_ups(self, account: str) -> int:
        """Plan the look-ups of an account's doubts that nobody has planned yet; how many."""
        count = 0
        while doubts := await self._store.look_ups.doubts_without_plan(account=account, limit=PAGE):
            await self._store.look_ups.keep([planned(each, account) for each in doubts])
            count += len(doubts)
            if len(doubts) < PAGE:
                break
        return count

    async def take_look_up(self, account: str, *, lease: timedelta) -> LookUpPlan | None:
        """Take the doubt that has been due for longest; no other worker gets it meanwhile."""
        now = self._clock.now()
        return await self._store.look_ups.take(
            account=account, token=self._clock.new_id(), now=now, lease_until=now + lease
        )

    async def give_look_up_back(self, plan: LookUpPlan) -> None:
        """Leave a step that was taken to whoever comes next."""
        if plan.token is not None:
            await self._store.look_ups.give_back(plan.operation_id, plan.token)

    async def reconcile(self, plan: LookUpPlan, reads: Sequence[Read]) -> Reconciled:
        """Write what a step read, and what follows; see ``lifecycle.reconcile``."""

        def apply(view: View) -> Change[Reconciled]:
            return reconcile(view, plan, reads, self._clock.now())

        return await self._store.transact(Needs((plan.operation_id,)), apply)

    async def breaks(self) -> AsyncIterator[LookUpPlan]:
        """Every doubt whose provider lists another amount, page by page."""
        after = None
        while page := await self._store.look_ups.breaks(after=after, limit=PAGE):
            for plan in page:
                yield plan
            after = page[-1].operation_id

    async def look_up_plans(self, operations: Sequence[UUID]) -> Sequence[LookUpPlan]:
        """How far the look-ups of these operations are, of those that there are plans for.

        What each of them read stands in the history.
        """
        return await self._store.look_ups.of(operations)

    async def lock_queue(self, lock: QueueLock, *, now: datetime) -> QueueLock | None:
        """Take or renew a queue for one walk; else the lock that stands in the way."""
        return await self._store.locks.take(lock, now=now)

    async def unlock_queue(self, queue: str, token: UUID) -> None:
        """Give a queue back."""
        await self._store.locks.give_back(queue, token)

    async def standing(self) -> Standing:
        """What is in doubt or unsent as a whole, for metrics."""
        return await self._store.standing()

    async def has_room(self) -> bool:
        """Whether new claims may be written."""
        return await self._store.has_room()

    async def ping(self) -> None:
        """Prove that a write would be possible."""
        await self._store.ping()
