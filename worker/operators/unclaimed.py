"""Sending again what no subscriber was bound for.

The ledger holds every answer, so nothing is taken out of the queue and sent on: each copy's
answer is marked unpublished, durably, and only then the copy goes. The sweeper publishes it, and
if still nobody is bound puts it back. A crash in between costs a duplicate.
"""

from dataclasses import dataclass, replace
from enum import StrEnum, unique
from typing import assert_never
from uuid import UUID

from worker.contract.copies import kept_event
from worker.ledger import Ledger
from worker.lifecycle.resend import Resending, ResendWish
from worker.messages import Publication
from worker.operator_ports import LetterInHand, LetterQueue
from worker.ports import Publisher


@unique
class KeptBecause(StrEnum):
    """Why a copy stays in the queue."""

    NO_ROW = "no_row"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Kept:
    """An event that stays where it is, by its id."""

    event_id: str | None
    reason: KeptBecause


@dataclass(frozen=True, slots=True, kw_only=True)
class ResendReport:
    """What a walk did: events marked for sending, copies overtaken by a newer answer, copies kept.

    ``is_complete`` is false where the broker confirmed a kept copy no longer.
    """

    marked: int = 0
    overtaken: int = 0
    kept: tuple[Kept, ...] = ()
    is_complete: bool = True


class UnclaimedEvents:
    """Walks the queue of unclaimed events once round; one copy in hand at a time."""

    def __init__(self, *, ledger: Ledger, queue: LetterQueue, publisher: Publisher) -> None:
        self._ledger = ledger
        self._queue = queue
        self._publisher = publisher

    async def resend(self, *, actor: str, reason: str) -> ResendReport:
        """Mark the answer of every copy that was there at the start, and let the copy go.

        Any number may walk at once, and again after a crash. Raises ``StoreUnavailableError``.
        """
        report = ResendReport()
        for _ in range(await self._queue.depth()):
            copy = await self._queue.take()
            if copy is None:
                break
            report = await self._handle(copy, report, actor=actor, reason=reason)
            if not report.is_complete:
                break
        return report

    async def _handle(
        self, copy: LetterInHand, report: ResendReport, *, actor: str, reason: str
    ) -> ResendReport:
        event_id = _event_id(copy.delivery.message_id)
        operation_id = (
            None if event_id is None else await self._ledger.payments.operation_of(event_id)
        )
        if event_id is None or operation_id is None:
            return await self._keep(copy, report, KeptBecause.NO_ROW)
        wish = ResendWish(operation_id=operation_id, event_id=event_id, actor=actor, reason=reason)
        match await self._ledger.payments.resend(wish):
            case Resending.MARKED:
                await copy.acknowledge()
                return replace(report, marked=report.marked + 1)
            case Resending.OVERTAKEN:
                # The newer answer is with the broker, or the sweeper sends it: this one is never.
                await copy.acknowledge()
                return replace(report, overtaken=report.overtaken + 1)
            case Resending.OPEN:
                # Reopened: until it is decided again this copy is the only answer there is.
                return await self._keep(copy, report, KeptBecause.OPEN)
            case Resending.UNKNOWN:
                return await self._keep(copy, report, KeptBecause.NO_ROW)
            case other:
                assert_never(other)

    async def _keep(
        self, copy: LetterInHand, report: ResendReport, why: KeptBecause
    ) -> ResendReport:
        """Put a copy at the end of its queue; given back it would be the next one again."""
        if await self._publisher.publish(kept_event(copy.delivery)) is Publication.CONFIRMED:
            await copy.acknowledge()
            return replace(report, kept=(*report.kept, Kept(copy.delivery.message_id, why)))
        await copy.give_back()
        return replace(report, is_complete=False)


def _event_id(message_id: str | None) -> UUID | None:
    try:
        return UUID(message_id or "")
    except ValueError:
        return None
