"""Dead letters: looking them up in the ledger, and putting one back to work.

A queue gives its hundredth letter only after ninety-nine others, and a letter held while an
operator thinks is invisible to everybody else. So looking reads the ledger's index, and acting
walks the queue once round, with one letter in hand: the wanted one is published to be replayed,
any other is put back at the end, and each is acknowledged only after its copy is confirmed. A
crash leaves a duplicate, never a gap (rabbitmq, "Replay").
"""

import json
from dataclasses import dataclass, replace
from enum import StrEnum, unique
from typing import assert_never
from uuid import UUID

from worker.contract import headers
from worker.contract.copies import replay_copy, rotated_copy
from worker.contract.fields import read_guid
from worker.contract.reading import CANCEL_PREFIX, INITIATE_PREFIX, read_broker_letter
from worker.ledger import Ledger
from worker.lifecycle.reopen import NotReopened, Reopened
from worker.messages import OutgoingMessage, Publication
from worker.model import Delivery, Envelope
from worker.ports import LetterInHand, LetterQueue, Publisher
from worker.records import Answer, Record

_DIGITS = 10


@unique
class Replayed(StrEnum):
    """How the replay of one letter ended."""

    REPLAYED = "replayed"
    NOT_REOPENED = "not_reopened"
    NOT_FOUND = "not_found"
    NOT_CONFIRMED = "not_confirmed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Who replays, in which run, and why: kept in the audit and on the replayed copy."""

    actor: str
    run: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayReport:
    """What a walk did: ``rotated`` letters kept, ``stale`` ones removed as overtaken."""

    result: Replayed
    sequence: int | None = None
    reason: str | None = None
    rotated: int = 0
    stale: int = 0


@dataclass(frozen=True, slots=True)
class LetterSeen:
    """One letter of the queue: whose it is, or what its producer called it."""

    operation_id: UUID | None
    message_id: str | None


@dataclass(frozen=True, slots=True)
class Sight:
    """What a walk saw; incomplete where somebody else walks too, or the broker stayed silent."""

    letters: tuple[LetterSeen, ...]
    is_complete: bool


class DeadLetters:
    """Replays dead letters; every reopening is audited under the actor's name."""

    def __init__(self, *, ledger: Ledger, queue: LetterQueue, publisher: Publisher) -> None:
        self._ledger = ledger
        self._queue = queue
        self._publisher = publisher

    async def depth(self) -> int:
        """Letters in the queue now."""
        return await self._queue.depth()

    async def look(self) -> Sight:
        """Walk the queue once round and leave it as it was; each letter is published anew."""
        seen: list[LetterSeen] = []
        for _ in range(await self._queue.depth()):
            letter = await self._queue.take()
            if letter is None:
                return Sight(tuple(seen), is_complete=False)
            envelope = _broker_envelope(letter.delivery)
            seen.append(LetterSeen(_owner_of(letter.delivery, envelope), _name_of(letter)))
            if not await self._moved(letter, rotated_copy(letter.delivery, envelope=envelope)):
                return Sight(tuple(seen), is_complete=False)
        return Sight(tuple(seen), is_complete=True)

    async def replay(self, operation_id: UUID, act: Act) -> ReplayReport:
        """Walk the queue once round and replay the letter of one operation.

        Running it again after a crash is safe: an operation is reopened once per opening, and the
        ledger decides what a second copy may do. Raises ``StoreUnavailableError``.
        """
        report = ReplayReport(result=Replayed.NOT_FOUND)
        for _ in range(await self._queue.depth()):
            letter = await self._queue.take()
            if letter is None:
                break
            report = await self._handle(letter, operation_id, report, act)
            if report.result is Replayed.NOT_CONFIRMED:
                break
        return report

    async def _handle(
        self, letter: LetterInHand, wanted: UUID, report: ReplayReport, act: Act
    ) -> ReplayReport:
        broker_made = _broker_envelope(letter.delivery)
        own_id = (
            str(broker_made.operation_id)
            if broker_made is not None
            else letter.delivery.header(headers.PAYMENT_ID)
        )
        if own_id != str(wanted):
            return await self._rotate(letter, report, broker_made)
        found = await self._ledger.find(wanted)
        sequence = (
            broker_made.sequence if broker_made else _number(letter.delivery, headers.SEQUENCE)
        )
        is_unanswered = (
            broker_made is not None or letter.delivery.header(headers.ERROR_CODE) is None
        )
        if found is not None and 0 < sequence < _last_decided(found[0]) and _is_copied(found[1]):
            await letter.acknowledge()
            return replace(report, stale=report.stale + 1)
        if report.sequence is not None and (is_unanswered or sequence < report.sequence):
            # A second copy of what was just replayed: a crashed walk left it.
            await letter.acknowledge()
            return replace(report, stale=report.stale + 1)
        if is_unanswered:
            # The broker gave this delivery up, we decided nothing about it: there is nothing to
            # reopen, and the ledger says what the copy may do. A decided one repeats its event.
            return await self._replay(letter, sequence, report, act, broker_made)
        match await self._ledger.reopen(wanted, actor=act.actor, run=act.run, reason=act.reason):
            case Reopened(sequence=sequence):
                return await self._replay(letter, sequence, report, act)
            case NotReopened(reason=reason):
                refused = replace(report, result=Replayed.NOT_REOPENED, reason=reason)
                return await self._rotate(letter, refused, broker_made)
            case other:
                assert_never(other)

    async def _replay(
        self,
        letter: LetterInHand,
        sequence: int,
        report: ReplayReport,
        act: Act,
        envelope: Envelope | None = None,
    ) -> ReplayReport:
        copy = replay_copy(
            letter.delivery,
            sequence=sequence,
            replay_count=_number(letter.delivery, headers.REPLAY_COUNT) + 1,
            replay_run=act.run,
            replayed_by=act.actor,
            envelope=envelope,
        )
        if not await self._moved(letter, copy):
            return replace(report, result=Replayed.NOT_CONFIRMED, reason="replay not confirmed")
        return replace(report, result=Replayed.REPLAYED, sequence=sequence)

    async def _rotate(
        self, letter: LetterInHand, report: ReplayReport, envelope: Envelope | None
    ) -> ReplayReport:
        if not await self._moved(letter, rotated_copy(letter.delivery, envelope=envelope)):
            return replace(report, result=Replayed.NOT_CONFIRMED, reason="rotation not confirmed")
        return replace(report, rotated=report.rotated + 1)

    async def _moved(self, letter: LetterInHand, copy: OutgoingMessage) -> bool:
        """Publish, and only then let go; whatever is not confirmed stays where it is."""
        if await self._publisher.publish(copy) is Publication.CONFIRMED:
            await letter.acknowledge()
            return True
        await letter.give_back()
        return False


def _broker_envelope(letter: Delivery) -> Envelope | None:
    """Who a request is that the broker gave up as the producer had sent it.

    ``None`` for a letter or a copy of ours, which carries its own headers. On a producer's message
    headers of those names are the producer's: believed, they would name another payment or get
    round the origin check (contract section 2, Identity).
    """
    key = _last_routing_key(letter.header("x-death"))
    if key is None:
        if letter.header(headers.PAYMENT_ID) is not None:
            return None
    elif not key.startswith((INITIATE_PREFIX, CANCEL_PREFIX)):
        return None  # one of our copies: those come under the internal exchanges' own key
    return read_broker_letter(letter, origin_routing_key=key or "").envelope


def _owner_of(letter: Delivery, envelope: Envelope | None) -> UUID | None:
    if envelope is not None:
        return envelope.operation_id
    return read_guid(letter.header(headers.PAYMENT_ID) or "")


def _name_of(letter: LetterInHand) -> str | None:
    """A producer may call a message anything, also by a person's address."""
    name = read_guid(letter.delivery.message_id or "")
    return None if name is None else str(name)


def _last_routing_key(deaths: str | None) -> str | None:
    """Routing key of a message when it died last, from ``x-death`` as JSON, newest first.

    Older entries may be a producer's own invention: the broker adds its entry to what is there.
    """
    try:
        return str(json.loads(deaths or "[]")[0]["routing-keys"][0])
    except (ValueError, LookupError, TypeError):
        return None


def _number(letter: Delivery, name: str) -> int:
    text = letter.header(name) or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < _DIGITS else 0


def _is_copied(newest: Answer | None) -> bool:
    """Whether an older letter may go: the newest decision needs none, or has one of its own.

    A decision of the sweeper owes a letter that it cannot write; the older one is then the only
    place that holds the request.
    """
    return newest is None or newest.letter is None or newest.letter_confirmed


def _last_decided(record: Record) -> int:
    return record.sequence - 1 if record.state.is_open else record.sequence
