"""Erasing a person: what the ledger has of him, and his dead letters, whose bodies hold it all.

Letters go first. A decided letter is marked as seen to, so its payment can never be replayed, and
taken out of the queue; one that the broker gave up is decided by that and answered, as ``resolve``
does. Then the rows lose e-mail, mark and link, and the fingerprint with them once nothing is judged
by it any more: a second request for the same, or a replay, must still be known for one. A young one
goes with the next erasure, or by age. Amounts, numbers and outcome stay, and a repeat of the
request gets the stored answer and never calls a provider.

Nothing is done by halves: what is open, in doubt, or not yet published keeps all it has, letter
included, and is listed with the reason. Doing it again later erases the rest.
"""

import json
import re
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum, unique
from typing import assert_never
from uuid import UUID

from worker.contract.copies import parked, rotated_copy
from worker.ledger import Ledger
from worker.lifecycle.aside import AsideWish, LeftAlone, SetAside, UnansweredInHand
from worker.model import Initiation, Secret
from worker.operator_ports import LetterQueue, Retention
from worker.operators.parking import PARKING
from worker.operators.walks import DEAD_LETTERS, NotConfirmedError, WalkedLetter, walking
from worker.ports import Publisher
from worker.records import Answer, Record, State
from worker.searches import FoundPayment, PaymentFilter

PAGE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Who is meant: an e-mail, or a customer number, of one company or of all."""

    email: Secret | None = None
    client: str | None = None
    company: str | None = None

    def filter_in(self, ledger: Ledger) -> PaymentFilter:
        """The same as a search of the ledger."""
        marks = None if self.email is None else ledger.payments.email_marks(self.email)
        return PaymentFilter(client=self.client, company=self.company, email_marks=marks)

    def is_in(self, letter: WalkedLetter) -> bool:
        """Whether a letter is about this person, as far as it can be read.

        An e-mail is looked for in the whole body, so that in a request that was refused unread it
        is found too.
        """
        if self.email is not None:
            return _mentions(letter.delivery.body, self.email)
        reading = letter.reading
        if not isinstance(reading, Initiation):
            return False
        is_company = self.company in {None, reading.request.id_societe}
        return is_company and reading.request.id_client == self.client


@unique
class Standing(StrEnum):
    """Whether one operation can lose its person now; every other word says why not."""

    ERASABLE = "erasable"
    ERASED = "erased"
    OPEN = "open"
    IN_DOUBT = "in_doubt"
    UNPUBLISHED = "unpublished"
    BEING_CANCELLED = "being_cancelled"
    LETTER_WAITS = "letter_waits"
    LETTER_OWED = "letter_owed"

    @property
    def is_held(self) -> bool:
        """Whether something has to happen first."""
        return self not in {Standing.ERASABLE, Standing.ERASED, Standing.LETTER_WAITS}


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonsOperation:
    """One operation about the person, and how it stands."""

    payment: FoundPayment
    standing: Standing


@dataclass(slots=True, kw_only=True)
class LettersRemoved:
    """What the walks did: letters removed by operation, those left with the reason, the others.

    ``nameless`` are about the person and do not say whose operation they are: they stay.
    """

    removed: set[UUID] = field(default_factory=set)
    left: dict[UUID, str] = field(default_factory=dict)
    nameless: int = 0
    is_complete: bool = True


async def operations_of(ledger: Ledger, person: Person) -> AsyncIterator[PersonsOperation]:
    """Every operation about the person, the oldest first, and whether it can be erased now."""
    wanted = person.filter_in(ledger)
    async for payment in ledger.payments.search(wanted, limit=_MOST, newest_first=False):
        standing = await _standing_of(ledger, payment.operation_id)
        yield PersonsOperation(payment=payment, standing=standing)


_MOST = 10**9


class Eraser:
    """Erases rows; raises ``StoreUnavailableError``."""

    def __init__(self, *, ledger: Ledger, retention: Retention, actor: str, reason: str) -> None:
        self._ledger = ledger
        self._retention = retention
        self._actor = actor
        self._reason = reason

    async def erase(self, operations: Collection[UUID]) -> set[UUID]:
        """Erase what can be erased of these; which it was. Each is noted in the audit first."""
        pages, erased = sorted(operations), set[UUID]()
        while pages:
            page, pages = pages[:PAGE], pages[PAGE:]
            for operation_id in page:
                await self._ledger.acts.note_act(
                    operation_id, actor=self._actor, action="erase", detail=self._reason
                )
            needed_since = self._ledger.payments.contents_needed_since
            erased.update(await self._retention.erase_people(page, decided_before=needed_since))
        return erased


class LetterEraser:
    """Removes a person's letters from the dead letters and the parking queue.

    Raises ``QueueLockedError``, ``QueueLockLostError`` and ``StoreUnavailableError``.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        dead_letters: LetterQueue,
        parking: LetterQueue,
        publisher: Publisher,
        actor: str,
        reason: str,
    ) -> None:
        self._ledger = ledger
        self._dead_letters = dead_letters
        self._parking = parking
        self._publisher = publisher
        self._actor = actor
        self._reason = reason

    async def remove(
        self, person: Person, operations: Collection[UUID], *, on_progress: Callable[[int], None]
    ) -> LettersRemoved:
        """Walk both queues once round; ``operations`` are those the ledger knows as his.

        Cut short, the rest is as it was, and the same again goes on.
        """
        done = LettersRemoved()
        for queue, name in ((self._dead_letters, DEAD_LETTERS), (self._parking, PARKING)):
            async with walking(
                queue=queue,
                publisher=self._publisher,
                ledger=self._ledger,
                name=name,
                actor=self._actor,
                purpose="erase",
            ) as walk:
                try:
                    async for letter in walk:
                        is_theirs = letter.operation_id in operations or person.is_in(letter)
                        if not is_theirs or not await self._is_removed(letter, done):
                            await _keep(letter, name)
                        on_progress(1)
                except NotConfirmedError:
                    done.is_complete = False
                else:
                    done.is_complete = done.is_complete and walk.is_complete
        return done

    async def _is_removed(self, letter: WalkedLetter, done: LettersRemoved) -> bool:
        operation_id = letter.operation_id
        if operation_id is None:
            done.nameless += 1
            return False
        found = await self._ledger.find(operation_id)
        state = None if found is None else found[0].state
        if state is not None and (state.is_open or state is State.IN_DOUBT):
            done.left[operation_id] = f"it is {state.replace('_', ' ')}"
            return False
        in_hand = None
        if letter.is_unanswered:
            in_hand = UnansweredInHand(reading=letter.reading, delivery=letter.delivery)
        wish = AsideWish(
            operation_id=operation_id,
            actor=self._actor,
            reason=f"to be erased: {self._reason}",
            unanswered=in_hand,
        )
        match await self._ledger.letters.set_aside(wish):
            case LeftAlone(reason=reason) if found is None:
                done.left[operation_id] = reason
                return False
            case SetAside() | LeftAlone():
                pass  # left alone although decided: its letter is stale, and nobody's
            case other:
                assert_never(other)
        if letter.is_unanswered:
            # Before it goes: a list that names it still would never be told that it has left.
            await self._ledger.letters.forget_unanswered(operation_id)
        await letter.remove()
        done.removed.add(operation_id)
        return True


async def _keep(letter: WalkedLetter, queue: str) -> None:
    if queue == DEAD_LETTERS:
        await letter.keep()
    else:
        await letter.send(parked(rotated_copy(letter.delivery, envelope=letter.broker_made)))


async def _standing_of(ledger: Ledger, operation_id: UUID) -> Standing:
    found = await ledger.find(operation_id)
    if found is None:
        return Standing.ERASED  # removed since it was found
    record, answer = found
    cancellations = await ledger.payments.cancellations(operation_id)
    if record.state.is_open:
        return Standing.OPEN
    if record.state is State.IN_DOUBT:
        return Standing.IN_DOUBT
    if any(each.state.is_open or each.state is State.IN_DOUBT for each in cancellations):
        return Standing.BEING_CANCELLED
    if answer is None or not answer.event_confirmed:
        return Standing.UNPUBLISHED
    if await ledger.letters.unanswered(operation_id) is not None:
        return Standing.LETTER_WAITS
    return _letter_standing(record, answer, ledger.payments.contents_needed_since)


def _letter_standing(record: Record, answer: Answer, needed_since: datetime) -> Standing:
    if answer.letter is not None and record.state is State.FAILED and not answer.letter_resolved:
        return Standing.LETTER_WAITS if answer.letter_confirmed else Standing.LETTER_OWED
    is_needed = record.decided_at is not None and record.decided_at >= needed_since
    personal = (record.email, record.email_mark, record.link)
    is_bare = personal == (None,) * 3 and (record.fingerprint is None or is_needed)
    return Standing.ERASED if is_bare else Standing.ERASABLE


_PART = r"[\w!#$%&'*+/=?^`{|}~.-]"
"""What an e-mail goes on with: RFC 5322 section 3.2.3, and letters of every language."""

_BEHIND = r"\.?[\w-]"
"""What a domain goes on with; a full stop alone ends a sentence."""

_BREAK = re.compile(r"\\[nrtbf]")
"""A break as JSON writes it: its letter is no part of the word behind it."""


def _mentions(body: bytes, email: Secret) -> bool:
    """Whether a body holds the e-mail, in any spelling of its letters and of JSON's.

    The whole of it: another customer's may end or begin with the same characters.
    """
    text = body.decode("utf-8", "replace")
    with suppress(ValueError, RecursionError):
        text += f" {json.dumps(json.loads(body), ensure_ascii=False)}"
    wanted = re.escape(email.reveal().strip().lower())
    whole = rf"(?<!{_PART}){wanted}(?!{_BEHIND})"
    return re.search(whole, _BREAK.sub(" ", text.lower())) is not None
