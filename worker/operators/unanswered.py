"""Finding the dead letters that the broker made: what the index cannot know by itself.

A decided letter is indexed with its decision. One that the broker gave up was never decided, and
only its queue has it. So the queue is walked once round, and what can be read of each such letter
is noted, its body not. A later look reads the ledger alone.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import assert_never
from uuid import UUID

from worker.contract import headers
from worker.contract.deaths import last_death
from worker.contract.times import read_time
from worker.identity import UNKNOWN_ORIGIN
from worker.inventory import PAGE
from worker.ledger import Ledger
from worker.letters import LetterFilter, UnansweredLetter
from worker.lifecycle.prospects import is_overtaken
from worker.model import Cancellation, Facts, Initiation, Unreadable
from worker.operator_ports import LetterQueue
from worker.operators.walks import DEAD_LETTERS, NotConfirmedError, WalkedLetter, walking
from worker.ports import Publisher
from worker.records import Kind

UNANSWERED_ONES = LetterFilter(codes=frozenset({None}))


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncReport:
    """What a walk met: ``walked`` letters, ``unanswered`` ones of them, by operation.

    ``added`` of these the index did not have; ``gone`` are those it had and the queue has no more.
    ``overtaken`` letters were let go: a newer decision of their operation needs none of them.
    ``nameless`` letters say of no operation whose they are. Incomplete, the walk ended early, and
    nothing was taken out of the index.
    """

    walked: int
    unanswered: int
    added: int
    gone: int
    nameless: int
    is_complete: bool
    overtaken: int = 0


@dataclass(slots=True)
class _Met:
    walked: int = 0
    overtaken: int = 0
    nameless: int = 0
    ids: set[UUID] = field(default_factory=set)
    noted: list[UnansweredLetter] = field(default_factory=list)


async def synchronise(
    *,
    ledger: Ledger,
    queue: LetterQueue,
    publisher: Publisher,
    actor: str,
    on_letter: Callable[[], None] = lambda: None,
) -> SyncReport:
    """Walk the dead letters once round and make the index agree about the unanswered ones.

    Every letter is published once again, to the end of its queue, but for those that a newer
    decision has overtaken: these are let go. Doing it again after a crash is safe. Raises
    ``QueueLockedError``, ``QueueLockLostError``, ``StoreUnavailableError``.
    """
    async with walking(
        queue=queue,
        publisher=publisher,
        ledger=ledger,
        name=DEAD_LETTERS,
        actor=actor,
        purpose="sync",
    ) as walk:
        began, before = ledger.clock.now(), await _indexed(ledger)
        met = _Met()
        is_complete = True
        try:
            async for letter in walk:
                _note(met, letter, began)
                if await _is_overtaken(ledger, letter):
                    met.overtaken += 1
                    await letter.remove()
                else:
                    await letter.keep()
                on_letter()
                if len(met.noted) >= PAGE:
                    await ledger.letters.keep_unanswered(met.noted)
                    met.noted = []
            is_complete = walk.is_complete
        except NotConfirmedError:
            is_complete = False
        await ledger.letters.keep_unanswered(met.noted)
        # Only a whole walk proves that a letter is gone.
        gone = await ledger.letters.forget_unfound(found_before=began) if is_complete else 0
        return SyncReport(
            walked=met.walked,
            unanswered=len(met.ids),
            added=await _indexed(ledger) - before + gone,
            gone=gone,
            nameless=met.nameless,
            is_complete=is_complete,
            overtaken=met.overtaken,
        )


async def _is_overtaken(ledger: Ledger, letter: WalkedLetter) -> bool:
    """Whether it is the letter of a decision that a newer one has replaced, as a settled doubt's.

    What the broker gave up besides was never decided, whatever has become of its operation.
    """
    if letter.operation_id is None or letter.is_unanswered:
        return False
    found = await ledger.find(letter.operation_id)
    return found is not None and is_overtaken(letter.sequence, *found)


def unanswered_letter(letter: WalkedLetter, found_at: datetime) -> UnansweredLetter | None:
    """What can be read of an unanswered letter; ``None`` where it names no operation."""
    operation_id = letter.operation_id
    if operation_id is None:
        return None
    reading, death = letter.reading, last_death(letter.delivery)
    envelope = reading.envelope
    failed_at, cause = death.at, death.cause
    if letter.broker_made is None:  # once rotated it says so in our words
        failed_at = failed_at or read_time(letter.delivery.header(headers.FAILED_AT) or "")
        cause = cause or letter.delivery.header(headers.ERROR_DETAIL)
    found = UnansweredLetter(
        operation_id=operation_id,
        kind=Kind.REFUSAL,
        payment_id=operation_id,
        sequence=envelope.sequence,
        origin=UNKNOWN_ORIGIN,
        fingerprint=None,
        facts=Facts(),
        first_seen=envelope.first_seen,
        not_after=envelope.not_after,
        failed_at=failed_at or envelope.first_seen,
        cause=cause,
        found_at=found_at,
    )
    match reading:
        case Initiation(request=asked):
            about = replace(found, origin=asked.origin, facts=asked.facts)
            return replace(about, kind=Kind.INITIATION, fingerprint=asked.fingerprint)
        case Cancellation(request=asked_back):
            about = replace(found, origin=asked_back.origin, payment_id=asked_back.payment_id)
            return replace(about, kind=Kind.CANCELLATION)
        case Unreadable():
            return replace(found, origin=reading.origin, facts=reading.facts)
        case other:
            assert_never(other)


def _note(met: _Met, letter: WalkedLetter, found_at: datetime) -> None:
    met.walked += 1
    if not letter.is_unanswered:
        return
    found = unanswered_letter(letter, found_at)
    if found is None:
        met.nameless += 1
    else:
        met.ids.add(found.operation_id)
        met.noted.append(found)


async def _indexed(ledger: Ledger) -> int:
    groups = await ledger.letters.groups(UNANSWERED_ONES)
    return sum(group.count for group in groups)
