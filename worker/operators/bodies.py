"""Looking at the body of one dead letter, which only its queue has.

The letter is looked for under the lock of its queue, each one on the way put back at the end, and
kept itself. Who looked is audited before anything is shown.
"""

from dataclasses import dataclass
from enum import StrEnum, unique
from uuid import UUID

from worker.contract.masking import MaskedBody, masked_body
from worker.ledger import Ledger
from worker.operator_ports import LetterQueue
from worker.operators.walks import DEAD_LETTERS, NotConfirmedError, walking
from worker.ports import Publisher


@unique
class NotSeen(StrEnum):
    """Why no body can be shown."""

    NOT_IN_QUEUE = "not_in_queue"
    CUT_SHORT = "cut_short"


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyWish:
    """Whose letter, on whose word."""

    operation_id: UUID
    actor: str


async def look_into(
    wish: BodyWish, *, ledger: Ledger, queue: LetterQueue, publisher: Publisher
) -> MaskedBody | NotSeen:
    """Find one letter and mask what its body holds of people; audited as an act.

    Raises ``QueueLockedError``, ``QueueLockLostError``, ``StoreUnavailableError``.
    """
    async with walking(
        queue=queue,
        publisher=publisher,
        ledger=ledger,
        name=DEAD_LETTERS,
        actor=wish.actor,
        purpose="show",
    ) as walk:
        try:
            async for letter in walk:
                body = None
                if letter.operation_id == wish.operation_id:
                    await ledger.acts.note_act(
                        wish.operation_id,
                        actor=wish.actor,
                        action="show_body",
                        detail=f"the masked body of its letter, sequence {letter.sequence}",
                    )
                    body = masked_body(letter.delivery.body)
                await letter.keep()
                if body is not None:
                    return body
        except NotConfirmedError:
            return NotSeen.CUT_SHORT
        return NotSeen.NOT_IN_QUEUE if walk.is_complete else NotSeen.CUT_SHORT
