"""Sending again what one subscriber missed: the answers of its origin, of a period.

Results are routed by the origin of the request, so those of one origin reach its own subscriber
and nobody else (operations 1.2). Each keeps its event id: whoever has it drops it. As with a
single one, the newest answer of an operation is marked unpublished, and the sweeper sends it.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from worker.ledger import Ledger
from worker.lifecycle.resend import Resending, ResendWish
from worker.model import Origin

LOOKED_AT = 2000
"""Rows per read: a million of them in SQLite take 3 s, none of the reads 40 ms (measured)."""

AT_ONCE = 100
"""Marks that are asked for together: they share a commit."""

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """Whose answers: all that were decided from ``since`` until before ``until``."""

    origin: Origin
    since: datetime
    until: datetime


class MissedAnswers:
    """Looks for the answers of an origin and marks them; raises ``StoreUnavailableError``.

    Every row of the ledger is looked at, once to count and once more to mark: no index leads to
    an origin's answers, for it would be paid for with every payment.
    """

    def __init__(self, ledger: Ledger, missed: Missed) -> None:
        self._ledger = ledger
        self._missed = missed

    async def count(self) -> int:
        """How many there are now."""
        count = 0
        async for page in self._pages():
            count += len(page)
        return count

    async def resend(
        self, *, actor: str, reason: str, on_progress: Progress
    ) -> Mapping[Resending, int]:
        """Mark every one, audited; how often each thing happened.

        Cut off, or run again, it marks some a second time: those are sent once for both wishes,
        or once more.
        """
        results = Counter[Resending]()
        async for page in self._pages():
            for start in range(0, len(page), AT_ONCE):
                some = page[start : start + AT_ONCE]
                results.update(await self._marked(some, actor=actor, reason=reason))
                on_progress(len(some))
        return results

    async def _marked(
        self, operations: Sequence[UUID], *, actor: str, reason: str
    ) -> Sequence[Resending]:
        return await asyncio.gather(
            *(
                self._ledger.payments.resend(
                    ResendWish(operation_id=each, actor=actor, reason=reason)
                )
                for each in operations
            )
        )

    async def _pages(self) -> AsyncIterator[Sequence[UUID]]:
        missed = self._missed
        after: UUID | None = None
        while True:
            page = await self._ledger.payments.decided_operations(
                origin=missed.origin,
                since=missed.since,
                until=missed.until,
                after=after,
                limit=LOOKED_AT,
            )
            yield page.operations
            if page.after is None:
                return
            after = page.after
