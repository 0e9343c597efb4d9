"""Keeping what must be kept and no more: erasing by age, stretch by stretch, beside the payments.

E-mails go first, with what contains them; then the links of what has lost its e-mail; then the
rows, when nobody can ask for them any more. Each stretch is one brief write, and between two of
them the ledger is left to the payments (see ``strides``). Cut off anywhere, the next run goes on:
what is done is not looked at again.

A payment whose fingerprint is erased keeps its key: a request under it gets the stored answer,
whatever it asks for by then, and the provider is not called (contract section 2).
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from worker.inventory import Erased, Stretch
from worker.ledger import Ledger
from worker.letters import LetterFilter, LetterGroup
from worker.operator_ports import Retention
from worker.operators.strides import LEAVE, Stride
from worker.operators.walks import QueueHold, holding
from worker.rules import Periods

RETENTION = "retention"
"""The name of the lock: one run at a time, whoever starts it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What a run erased, and how much was due by its age and had to stay.

    ``held`` is open or in doubt, unpublished, or has a dead letter that nobody has seen to.
    ``overdue_letters`` are dead letters that are older than a person should let them grow.
    """

    emails: int = 0
    links: int = 0
    rows: int = 0
    runs: int = 0
    tombstones: int = 0
    held: int = 0
    overdue_letters: int = 0

    @property
    def is_nothing(self) -> bool:
        """Whether nothing was due."""
        return not (self.emails or self.links or self.rows or self.runs or self.tombstones)


class Keeper:
    """Runs retention once; raises ``QueueLockedError`` and ``StoreUnavailableError``."""

    def __init__(
        self, *, ledger: Ledger, retention: Retention, periods: Periods, actor: str, page: int = 200
    ) -> None:
        self._ledger = ledger
        self._retention = retention
        self._periods = periods
        self._actor = actor
        self._page = page

    async def maintain(self) -> Kept:
        """Erase everything that is due, alone; noted in the audit where there was anything."""
        async with holding(self._ledger, RETENTION, actor=self._actor, purpose="maintain") as hold:
            kept = await self._all(hold)
        if not kept.is_nothing:
            await self._ledger.acts.note_act(
                None, actor=self._actor, action="maintain", detail=_told(kept)
            )
        return kept

    async def look(self) -> Kept:
        """Count what is due, and write nothing."""
        return await self._all(None)

    async def _all(self, hold: QueueHold | None) -> Kept:
        now, is_dry = self._ledger.clock.now(), hold is None
        emails = await self._each(self._retention.erase_emails, now - self._periods.emails, hold)
        links = await self._each(self._retention.erase_links, now - self._periods.links, hold)
        rows = await self._each(self._retention.remove_operations, now - self._periods.rows, hold)
        runs = await self._each(self._retention.remove_runs, now - self._periods.rows, hold)
        stones = await self._retention.remove_tombstones(until=now, is_dry=is_dry)
        return Kept(
            emails=emails.erased,
            links=links.erased,
            rows=rows.erased,
            runs=runs.erased,
            tombstones=stones,
            held=emails.kept + links.kept + rows.kept,
            overdue_letters=sum(group.count for group in await self._letters_before(now)),
        )

    async def _letters_before(self, now: datetime) -> Sequence[LetterGroup]:
        wanted = LetterFilter(until=now - self._periods.letters)
        return await self._ledger.letters.groups(wanted)

    async def _each(
        self,
        erase: Callable[[Stretch], Awaitable[Erased]],
        before: datetime,
        hold: QueueHold | None,
    ) -> Erased:
        """Stretch after stretch; in a dry run also what an erasure would bring up first."""
        is_dry = hold is None
        found = await self._run(erase, Stretch(before=before, is_dry=is_dry), hold)
        if is_dry and erase not in (self._retention.erase_emails, self._retention.remove_runs):
            unerased = Stretch(before=before, is_dry=True, is_unerased=True)
            more = await self._run(erase, unerased, hold)
            found = replace(found, erased=found.erased + more.erased)
        return found

    async def _run(
        self,
        erase: Callable[[Stretch], Awaitable[Erased]],
        stretch: Stretch,
        hold: QueueHold | None,
    ) -> Erased:
        clock, total = self._ledger.clock, Erased(erased=0, kept=0, after=None)
        stride = Stride(most=self._page)
        while True:
            if hold is not None:
                await hold.renew()
            begun = clock.monotonic()
            done = await erase(replace(stretch, limit=stride.limit))
            total = replace(total, erased=total.erased + done.erased, kept=total.kept + done.kept)
            if done.after is None:
                return total
            stride.judge(done.held_seconds)
            await clock.sleep(LEAVE * (clock.monotonic() - begun))
            stretch = replace(stretch, after=done.after)


def _told(kept: Kept) -> str:
    return (
        f"e-mails {kept.emails}, links {kept.links}, rows {kept.rows}, replay runs {kept.runs},"
        f" tombstones {kept.tombstones}"
    )
