"""Replacing an encryption key: everything that an older one seals is sealed under the newest.

With the new key in front of the settings every worker seals under it and still opens what the old
one sealed. Once nothing is sealed under the old key any more it may leave the settings; until then
a start without it is refused. Marks that e-mails are found by are made anew where the e-mail is
stored. Others live no longer than ``retention.emails`` after the decision; without their key those
payments are found by their customer only.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from worker.inventory import SealPlace
from worker.ledger import Ledger
from worker.operator_ports import Seals
from worker.operators.retention import RETENTION
from worker.operators.strides import LEAVE
from worker.operators.walks import holding
from worker.ports import Clock

PAGE = 500
"""Rows on a page: opening and sealing takes about 0.1 ms for each value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUse:
    """What one key still seals: links and e-mails, and marks that e-mails are found by."""

    key_id: str
    is_first: bool
    values: int
    marks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Resealed:
    """How many rows were sealed anew, and what each key of the settings still seals."""

    renewed: int
    keys: Sequence[KeyUse]

    @property
    def unused(self) -> tuple[str, ...]:
        """Older keys that seal nothing any more."""
        return tuple(each.key_id for each in self.keys if not each.is_first and not each.values)


async def look_at_keys(seals: Seals, key_ids: Sequence[str], *, clock: Clock) -> Sequence[KeyUse]:
    """What each key seals; reads every row that may hold something sealed, page by page."""
    return (await _walked(seals, key_ids, clock, is_dry=True, between=_nothing)).keys


async def seal_again(
    ledger: Ledger, seals: Seals, key_ids: Sequence[str], *, actor: str
) -> Resealed:
    """Seal everything under the first key; audited. Cut off anywhere, the next run goes on.

    Every worker must have the first key by then: one that has not goes on sealing under its own.
    Raises ``QueueLockedError`` and ``StoreUnavailableError``.
    """
    async with holding(ledger, RETENTION, actor=actor, purpose="rekey") as hold:
        done = await _walked(seals, key_ids, ledger.clock, is_dry=False, between=hold.renew)
        await seals.forget_keys(done.unused)
    detail = f"rows sealed anew {done.renewed}, first key {key_ids[0]}"
    await ledger.acts.note_act(None, actor=actor, action="rekey", detail=detail)
    return done


async def _nothing() -> None:
    """Between the pages of a walk that holds no lock."""


async def _walked(
    seals: Seals,
    key_ids: Sequence[str],
    clock: Clock,
    *,
    is_dry: bool,
    between: Callable[[], Awaitable[None]],
) -> Resealed:
    values, marks, renewed = Counter[str](), Counter[str](), 0
    after: SealPlace | None = None
    while True:
        await between()
        begun = clock.monotonic()
        page = await seals.walk(after, limit=PAGE, is_dry=is_dry)
        values.update(page.values)
        marks.update(page.marks)
        renewed += page.renewed
        if page.after is None:
            return Resealed(renewed=renewed, keys=_uses(key_ids, values, marks))
        after = page.after
        await clock.sleep(LEAVE * (clock.monotonic() - begun))


def _uses(
    key_ids: Sequence[str], values: Mapping[str, int], marks: Mapping[str, int]
) -> Sequence[KeyUse]:
    """The keys of the settings in their order, then those that marks alone still name."""
    named = [*key_ids, *sorted((values.keys() | marks.keys()) - set(key_ids))]
    return [
        KeyUse(
            key_id=key_id,
            is_first=key_id == key_ids[0],
            values=values.get(key_id, 0),
            marks=marks.get(key_id, 0),
        )
        for key_id in named
    ]
