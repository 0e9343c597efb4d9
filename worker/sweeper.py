"""Decisions without a delivery in hand: answers nobody confirmed, claims nobody came back for.

The un-acknowledged request is the outbox of the normal path. What has no request in hand (a
settled doubt, a late answer, a decision whose confirm was lost) is published from here, and a
claim whose message never came back is brought into doubt. Dead letters are not sent from here:
their body travels with the message only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from worker.announcer import Announcement, Announcer
from worker.ledger import Ledger
from worker.ports import StoreUnavailableError
from worker.records import Answer

INTERVAL = 30.0
"""Seconds between two sweeps."""

UNPUBLISHED_AGE = timedelta(minutes=2)
"""Longer than a delivery takes to publish by itself, so that nothing is sent twice for nothing."""

EXPIRED_AGE = timedelta(hours=2)
"""Longer than any step of the ladder: a copy that waited would have come back by now."""

BATCH = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What one sweep did: events confirmed, set aside, still owed, and claims in doubt."""

    announced: int
    unclaimed: int
    unsent: int
    doubted: int


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
        doubted = 0
        for operation_id in await self._ledger.expired_claims(older_than=EXPIRED_AGE, limit=BATCH):
            try:
                if await self._ledger.expire(operation_id, older_than=EXPIRED_AGE) is not None:
                    doubted += 1
            except StoreUnavailableError:
                raise
            except Exception as error:  # noqa: BLE001 - one bad claim must not keep the others
                self._on_surprise(error)
        taken = await self._ledger.take_unpublished(older_than=UNPUBLISHED_AGE, limit=BATCH)
        said = await self._announce(taken)
        return Sweep(
            announced=said.count(Announcement.CONFIRMED),
            unclaimed=said.count(Announcement.UNCLAIMED),
            unsent=len(taken) - sum(each.is_safe for each in said),
            doubted=doubted,
        )

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
