"""Walking a queue once round: alone, with one letter in hand, and nothing let go unconfirmed.

A queue gives its hundredth letter only after ninety-nine others, and a letter held while an
operator thinks is invisible to everybody else. So whoever looks for letters takes one after the
other: each is published somewhere, confirmed, and only then acknowledged. A crash leaves a
duplicate, never a gap (operations 1.5).

One walk at a time: two would take each other's letters, and each would call the queue incomplete.
The lock is a row of the ledger with a lease, so a walk that died stands in nobody's way for long.
It guards the order of things, not the money: what may be replayed, the ledger decides.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Self
from uuid import UUID

from worker.contract import headers
from worker.contract.copies import rotated_copy
from worker.contract.deaths import last_death
from worker.contract.fields import read_guid
from worker.contract.reading import CANCEL_PREFIX, INITIATE_PREFIX, read, read_broker_letter
from worker.inventory import QueueLock
from worker.ledger import Ledger
from worker.messages import OutgoingMessage, Publication
from worker.model import Delivery, Envelope, Reading, Source
from worker.operator_ports import LetterInHand, LetterQueue
from worker.ports import Publisher, StoreUnavailableError
from worker.shield import attempt

DEAD_LETTERS = "dead-letters"
"""The name under which the dead-letter queue is locked."""

LEASE = timedelta(seconds=30)
RENEW_SECONDS = 10.0
_UNLOCK_SECONDS = 2.0
_DIGITS = 10


class QueueLockedError(Exception):
    """Somebody else walks this queue; ``holder`` says who, for what and since when."""

    def __init__(self, holder: QueueLock) -> None:
        super().__init__(f"{holder.actor} walks {holder.queue} ({holder.purpose})")
        self.holder = holder


class QueueLockLostError(QueueLockedError):
    """The walk stood still for longer than its lease, and another one began."""


class NotConfirmedError(Exception):
    """The broker did not confirm a copy: the letter is still in its queue, the walk is over."""


class QueueHold:
    """A queue that is ours until the lease ends; renewed by whoever holds it."""

    def __init__(self, ledger: Ledger, lock: QueueLock) -> None:
        self._ledger = ledger
        self._lock = lock
        self._renewed_at = ledger.clock.monotonic()

    @property
    def lock(self) -> QueueLock:
        """Who holds it, as others see it."""
        return self._lock

    async def renew(self) -> None:
        """Renew the lease where that is due; raises ``QueueLockLostError``."""
        clock = self._ledger.clock
        if clock.monotonic() - self._renewed_at < RENEW_SECONDS:
            return
        now = clock.now()
        renewed = replace(self._lock, until=now + LEASE)
        holder = await self._ledger.locks.take(renewed, now=now)
        if holder is not None:
            raise QueueLockLostError(holder)
        self._lock, self._renewed_at = renewed, clock.monotonic()


@asynccontextmanager
async def holding(
    ledger: Ledger, queue: str, *, actor: str, purpose: str
) -> AsyncIterator[QueueHold]:
    """Hold a queue's lock; raises ``QueueLockedError``, ``StoreUnavailableError``."""
    now = ledger.clock.now()
    lock = QueueLock(
        queue=queue,
        token=ledger.clock.new_id(),
        actor=actor,
        purpose=purpose,
        since=now,
        until=now + LEASE,
    )
    holder = await ledger.locks.take(lock, now=now)
    if holder is not None:
        raise QueueLockedError(holder)
    try:
        yield QueueHold(ledger, lock)
    finally:
        # Given back also by a task that is being stopped; where that fails the lease ends it.
        await attempt(_give_back(ledger, lock), seconds=_UNLOCK_SECONDS)


async def _give_back(ledger: Ledger, lock: QueueLock) -> None:
    with suppress(StoreUnavailableError):
        await ledger.locks.give_back(lock.queue, lock.token)


class WalkedLetter:
    """The letter in hand: whose it is, and the three ways to let go of it."""

    def __init__(self, letter: LetterInHand, publisher: Publisher) -> None:
        self._letter = letter
        self._publisher = publisher
        self._is_settled = False
        self._broker_made = _broker_reading(letter.delivery)

    @property
    def delivery(self) -> Delivery:
        return self._letter.delivery

    @property
    def broker_made(self) -> Envelope | None:
        """Who a request is that the broker gave up as its producer had sent it.

        ``None`` for a letter or a copy of ours, which carries its own headers.
        """
        return None if self._broker_made is None else self._broker_made.envelope

    @property
    def reading(self) -> Reading:
        """What the letter asks for, read as a worker would read its replayed copy."""
        return self._broker_made or read(replace(self.delivery, source=Source.REPLAY))

    @property
    def operation_id(self) -> UUID | None:
        """Whose letter it is; ``None`` where it does not say."""
        if self.broker_made is not None:
            return self.broker_made.operation_id
        return read_guid(self.delivery.header(headers.PAYMENT_ID) or "")

    @property
    def sequence(self) -> int:
        """The decision it belongs to; 0 where it does not say."""
        if self.broker_made is not None:
            return self.broker_made.sequence
        return _number(self.delivery, headers.SEQUENCE)

    @property
    def replay_count(self) -> int:
        """How often it was put back to work before."""
        return _number(self.delivery, headers.REPLAY_COUNT)

    @property
    def is_unanswered(self) -> bool:
        """Whether the broker gave it up: nobody has decided anything about this delivery."""
        return self._broker_made is not None or self.delivery.header(headers.ERROR_CODE) is None

    @property
    def message_name(self) -> str | None:
        """What its producer called it, where that is a GUID: any other may name a person."""
        name = read_guid(self.delivery.message_id or "")
        return None if name is None else str(name)

    @property
    def is_settled(self) -> bool:
        """Whether it was let go."""
        return self._is_settled

    async def keep(self) -> None:
        """Put it at the end of the dead letters; raises ``NotConfirmedError``."""
        await self.send(rotated_copy(self.delivery, envelope=self.broker_made))

    async def send(self, copy: OutgoingMessage) -> None:
        """Publish a copy and let go of the letter; raises ``NotConfirmedError``."""
        if await self._publisher.publish(copy) is not Publication.CONFIRMED:
            await self.give_back()
            raise NotConfirmedError
        await self.remove()

    async def remove(self) -> None:
        """Let go of it: what it asks for is over, or its copy is confirmed."""
        await self._letter.acknowledge()
        self._is_settled = True

    async def give_back(self) -> None:
        """Return it to the front of the queue, unless it was let go already."""
        if not self._is_settled:
            self._is_settled = True
            await self._letter.give_back()


class Walk:
    """Every letter that was there at the start, one after the other; see ``walking``.

    A letter that the loop's body leaves as it is goes back to the front of the queue.
    """

    def __init__(self, queue: LetterQueue, publisher: Publisher, hold: QueueHold) -> None:
        self._queue = queue
        self._publisher = publisher
        self._hold = hold
        self._left: int | None = None
        self._in_hand: WalkedLetter | None = None

    @property
    def is_complete(self) -> bool:
        """Whether every letter was met; not so where somebody else took one."""
        return self._left == 0

    @property
    def lock(self) -> QueueLock:
        """The walk's lock, as others see it."""
        return self._hold.lock

    async def depth(self) -> int:
        """Letters that the walk has still to meet."""
        if self._left is None:
            self._left = await self._queue.depth()
        return self._left

    async def hold(self) -> None:
        """Keep the queue locked while waiting; raises ``QueueLockLostError``."""
        await self._hold.renew()

    async def leave(self) -> None:
        """Give back what is in hand."""
        if self._in_hand is not None:
            await self._in_hand.give_back()
            self._in_hand = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> WalkedLetter:
        await self.leave()
        left = await self.depth()
        if left == 0:
            raise StopAsyncIteration
        await self._hold.renew()
        letter = await self._queue.take()
        if letter is None:
            raise StopAsyncIteration
        self._left = left - 1
        self._in_hand = WalkedLetter(letter, self._publisher)
        return self._in_hand


@asynccontextmanager
async def walking(
    *,
    queue: LetterQueue,
    publisher: Publisher,
    ledger: Ledger,
    name: str,
    actor: str,
    purpose: str,
    notes_denial: bool = True,
) -> AsyncIterator[Walk]:
    """Hold the lock ``name`` and walk the queue; ``purpose`` is what others are told.

    Where somebody else holds it, that is noted as a denied act, but of who waits and asks again.

    Raises ``QueueLockedError``, ``StoreUnavailableError``. After an error the letter in hand
    comes back by itself, when the connection closes.
    """
    async with AsyncExitStack() as stack:
        try:
            hold = await stack.enter_async_context(
                holding(ledger, name, actor=actor, purpose=purpose)
            )
        except QueueLockedError as locked:
            if notes_denial:
                await _note_denial(ledger, locked, actor=actor, purpose=purpose)
            raise
        walk = Walk(queue, publisher, hold)
        yield walk
        await walk.leave()


async def _note_denial(
    ledger: Ledger, locked: QueueLockedError, *, actor: str, purpose: str
) -> None:
    holder = locked.holder
    await ledger.acts.note_act(
        None,
        actor=actor,
        action="queue_walk",
        detail=f"{purpose}: {holder.actor} holds {holder.queue} ({holder.purpose})",
        is_denied=True,
    )


def _broker_reading(letter: Delivery) -> Reading | None:
    """A request that the broker gave up as the producer had sent it.

    ``None`` for a letter or a copy of ours, which carries its own headers. On a producer's message
    headers of those names are the producer's: believed, they would name another payment or get
    round the origin check (contract section 2, Identity).
    """
    key = last_death(letter).routing_key
    if key is None:
        if letter.header(headers.PAYMENT_ID) is not None:
            return None
    elif not key.startswith((INITIATE_PREFIX, CANCEL_PREFIX)):
        return None  # one of our copies: those come under the internal exchanges' own key
    return read_broker_letter(letter, origin_routing_key=key or "")


def _number(letter: Delivery, name: str) -> int:
    text = letter.header(name) or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < _DIGITS else 0
