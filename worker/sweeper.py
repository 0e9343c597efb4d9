"""Decisions without a delivery in hand: answers nobody confirmed, claims nobody came back for.

The un-acknowledged request is the outbox of the normal path. What has no request in hand (a
settled doubt, a late answer, a decision whose confirm was lost) is published from here, and a
claim whose message never came back is brought into doubt; a wait whose message never came back
is decided once it is too old for another attempt; a duplicate that was answered with a doubt gets
what became of it. Dead letters are not sent from here:
their body travels with the message only.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from worker.announcer import Announcement, Announcer
from worker.ledger import Ledger
from worker.lifecycle.wishes import Decided
from worker.ports import StoreUnavailableError
from worker.records import Answer

INTERVAL = 30.0
"""Seconds between two sweeps."""

UNPUBLISHED_AGE = timedelta(minutes=2)
"""Longer than a delivery takes to publish by itself, so that nothing is sent twice for nothing."""

EXPIRED_AGE = timedelta(hours=2)
"""Longer than any step of the ladder: a copy that waited would have come back by now."""

BATCH = 100

LONGEST = 20.0
"""Seconds after which a sweep takes no further page, however many answers wait.

Thousands that an operator asked for again go out page after page, one at a time beside the work;
claims and waits must still be looked at now and then.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What one sweep did: events confirmed, set aside, still owed, claims in doubt, waits ended.

    ``overdue`` counts waits whose message should have come back long ago (at most ``BATCH``),
    ``followed`` duplicates that were answered as the payment they repeat.
    """

    announced: int
    unclaimed: int
    unsent: int
    doubted: int
    overdue: int = 0
    abandoned: int = 0
    followed: int = 0


class Sweeper:
    """Publishes owed answers and ends abandoned claims; any number of workers may run one.

    ``on_surprise`` is told an exception that nobody foresaw about one claim or one answer: the
    others are swept all the same, and this one is tried again with a later sweep.
    """

    def __init__(
        self, *, ledger: Ledger, announcer: Announcer, on_surprise: Callable[[Exception], None]
    ) -> None:
        self._ledger = ledger
        self._announcer = announcer
        self._on_surprise = on_surprise

    async def sweep(self) -> Sweep:
        """Do everything that is due once; raises ``StoreUnavailableError``."""
        expired = await self._ledger.expired_claims(older_than=EXPIRED_AGE, limit=BATCH)
        overdue = await self._ledger.overdue_waits(older_than=EXPIRED_AGE, limit=BATCH)
        doubted = await self._each(
            expired, lambda each: self._ledger.expire(each, older_than=EXPIRED_AGE)
        )
        abandoned = await self._each(
            overdue, lambda each: self._ledger.abandon(each, older_than=EXPIRED_AGE)
        )
        followed = await self._each(
            await self._ledger.adopted_doubts(limit=BATCH), self._ledger.follow
        )
        taken, said = await self._publish_owed()
        return Sweep(
            announced=said[Announcement.CONFIRMED],
            unclaimed=said[Announcement.UNCLAIMED],
            unsent=taken - sum(count for each, count in said.items() if each.is_safe),
            doubted=doubted,
            overdue=len(overdue),
            abandoned=abandoned,
            followed=followed,
        )

    async def _publish_owed(self) -> tuple[int, Counter[Announcement]]:
        """Send page after page; how many were taken, and what became of those that were tried.

        No page is taken before the last one is through: what is taken, no other worker sends.
        """
        clock = self._ledger.clock
        ends = clock.monotonic() + LONGEST
        taken, said = 0, Counter[Announcement]()
        while True:
            page = await self._ledger.take_unpublished(older_than=UNPUBLISHED_AGE, limit=BATCH)
            taken += len(page)
            said.update(await self._announce(page))
            is_silent = said[Announcement.UNKNOWN] > 0
            if len(page) < BATCH or is_silent or clock.monotonic() >= ends:
                return taken, said

    async def _each(
        self, operations: Sequence[UUID], decide: Callable[[UUID], Awaitable[Decided | None]]
    ) -> int:
        """Decide one after another; how many were decided."""
        count = 0
        for operation_id in operations:
            try:
                count += await decide(operation_id) is not None
            except StoreUnavailableError:
                raise
            except Exception as error:  # noqa: BLE001 - one bad row must not keep the others
                self._on_surprise(error)
        return count

    async def _announce(self, answers: Sequence[Answer]) -> list[Announcement]:
        """Send one after another and stop at the first that nobody confirmed."""
        said: list[Announcement] = []
        for answer in answers:
            try:
                announced = await self._announcer.announce(
                    answer,
                    correlation_id=answer.correlation_id,
                    traceparent=answer.traceparent,
                )
            except Exception as error:  # noqa: BLE001 - one bad answer must not keep the others
                self._on_surprise(error)
                continue
            said.append(announced)
            if announced.is_safe:
                self._ledger.confirmed(answer, event=True)
            if announced is Announcement.UNKNOWN:
                break
        return said
