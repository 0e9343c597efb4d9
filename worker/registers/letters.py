"""The register of dead letters: who waits for a person, and what became of it."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from uuid import UUID

from worker.inventory import PAGE
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
from worker.lifecycle.prospects import groups_of
from worker.ports import Clock, Store, View
from worker.records import Change, Needs
from worker.rules import Rules


class Letters:
    """The dead-letter index, and setting a letter aside; raises ``StoreUnavailableError``."""

    def __init__(self, *, store: Store, rules: Rules, clock: Clock) -> None:
        self._store = store
        self._index = store.letters
        self._rules = rules
        self._clock = clock

    async def page(
        self,
        *,
        after: tuple[datetime, UUID] | None = None,
        limit: int = 100,
        wanted: LetterFilter = EVERY_LETTER,
    ) -> Sequence[LetterEntry]:
        """A page of the dead-letter index, oldest first."""
        now = self._clock.now()
        return await self._index.page(
            after=after,
            limit=limit,
            now=now,
            first_seen_before=now - self._rules.max_age,
            wanted=wanted,
        )

    async def listed(self, wanted: LetterFilter = EVERY_LETTER) -> AsyncIterator[LetterEntry]:
        """All of the dead-letter index that is wanted, oldest first, page by page."""
        after = None
        while page := await self.page(after=after, limit=PAGE, wanted=wanted):
            for entry in page:
                yield entry
            after = page[-1].failed_at, page[-1].operation_id

    async def groups(self, wanted: LetterFilter = EVERY_LETTER) -> Sequence[LetterGroup]:
        """The dead-letter index by code, the largest group first; see ``lifecycle.prospects``."""
        return groups_of(await self._tallies(wanted))

    async def _tallies(self, wanted: LetterFilter) -> Sequence[LetterTally]:
        now = self._clock.now()
        return await self._index.tallies(
            now=now, first_seen_before=now - self._rules.max_age, wanted=wanted
        )

    async def of(self, operation_id: UUID) -> LetterEntry | None:
        """The dead letter of one operation as the index lists it; ``None`` where none waits.

        Of two the decided one: what the broker gave up besides was decided with it.
        """
        wanted = LetterFilter(operation_id=operation_id)
        entries = await self.page(limit=2, wanted=wanted)
        return max(entries, key=lambda entry: entry.code is not None, default=None)

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

    async def unanswered(self, operation_id: UUID) -> UnansweredLetter | None:
        """The letter of an operation that the broker gave up, where the index has one."""
        return await self._index.unanswered(operation_id)

    async def keep_unanswered(self, found: Sequence[UnansweredLetter]) -> None:
        """Note unanswered letters that a walk has met."""
        await self._index.keep_unanswered(found)

    async def forget_unanswered(self, operation_id: UUID) -> None:
        """Take an unanswered letter out of the index, once it has left the queue."""
        await self._index.forget_unanswered(operation_id)

    async def forget_unfound(self, *, found_before: datetime) -> int:
        """Take out the unanswered letters that a whole walk has not met; how many."""
        return await self._index.forget_unfound(found_before=found_before)
