"""The ledger in the words of payments: each method is one durable write of a pure rule."""

from collections.abc import Awaitable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from worker.identity import event_id_of
from worker.inventory import Standing
from worker.lifecycle.cancel import CancelClaimed, CancelWish, claim_cancellation
from worker.lifecycle.claim import claim
from worker.lifecycle.duplicates import follow_owner
from worker.lifecycle.expire import abandon_wait, expire_claim, release_claim
from worker.lifecycle.refuse import refuse
from worker.lifecycle.settle import Settled, Settlement, settle
from worker.lifecycle.wishes import Claim, Claimed, Decided, Held
from worker.model import Delivery, Unreadable
from worker.ports import Clock, Store, StoreUnavailableError, View
from worker.records import Answer, Change, History, Needs, Record, Restoration, Status
from worker.registers.accounts import Accounts
from worker.registers.acts import Acts
from worker.registers.letters import Letters
from worker.registers.look_ups import LookUps
from worker.registers.payments import Payments
from worker.registers.restorations import Restorations
from worker.rules import Rules


class Ledger:
    """Claims, settles and remembers operations; raises ``StoreUnavailableError``.

    The path of a payment is here; what operators, metrics and the reconciler do beside it is kept
    in the registers this holds. The two writes of every payment hand on the store's own future:
    shielded as it is, it costs a payment no task.
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
        self.letters = Letters(store=store, rules=rules, clock=clock)
        self.payments = Payments(store=store, rules=rules, clock=clock)
        self.acts = Acts(store=store, clock=clock)
        self.accounts = Accounts(store=store, clock=clock)
        self.look_ups = LookUps(store=store, clock=clock)
        self.restorations = Restorations(store=store, payments=self.payments, clock=clock)
        self.locks = store.locks

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

    async def standing(self) -> Standing:
        """What is in doubt or unsent as a whole, for metrics."""
        return await self._store.standing()

    async def has_room(self) -> bool:
        """Whether new claims may be written."""
        return await self._store.has_room()

    async def ping(self) -> None:
        """Prove that a write would be possible."""
        await self._store.ping()
