"""Dead letters as they lie in their queue: how many, and a look at all of them."""

from dataclasses import dataclass
from uuid import UUID

from worker.ledger import Ledger
from worker.operator_ports import LetterQueue
from worker.operators.walks import DEAD_LETTERS, NotConfirmedError, walking
from worker.ports import Publisher


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
    """The queue itself, for those who hold it against the ledger's index."""

    def __init__(
        self, *, ledger: Ledger, queue: LetterQueue, publisher: Publisher, actor: str
    ) -> None:
        self._actor = actor
        self._ledger = ledger
        self._queue = queue
        self._publisher = publisher

    async def depth(self) -> int:
        """Letters in the queue now."""
        return await self._queue.depth()

    async def look(self) -> Sight:
        """Walk the queue once round and leave it as it was; each letter is published anew.

        Raises ``QueueLockedError``, ``StoreUnavailableError``.
        """
        seen: list[LetterSeen] = []
        async with walking(
            queue=self._queue,
            publisher=self._publisher,
            ledger=self._ledger,
            name=DEAD_LETTERS,
            actor=self._actor,
            purpose="report",
        ) as walk:
            try:
                async for letter in walk:
                    seen.append(LetterSeen(letter.operation_id, letter.message_name))
                    await letter.keep()
            except NotConfirmedError:
                return Sight(tuple(seen), is_complete=False)
            return Sight(tuple(seen), is_complete=walk.is_complete)
