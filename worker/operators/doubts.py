"""Doubts as a person decides them: what is known of each, what may be ruled, and on which proof.

A doubt is settled on what the provider says, never on a guess (payment rules, rule set 3): a link
by the link itself, on a host that the account lists, a basket item by its id.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum, unique
from typing import Final, assert_never
from uuid import UUID

from worker.calls import Unknown
from worker.ledger import Ledger
from worker.lifecycle.limits import is_expired
from worker.lifecycle.ruling import (
    MayBeReplayed,
    NotRuled,
    Ruling,
    RulingWish,
    Verdict,
    WasApplied,
    WasNotApplied,
    is_unlocked,
)
from worker.model import Account, Endpoint, ProviderKind, Secret
from worker.providers.answers import is_listed
from worker.providers.basket import fault_of_typed_item_id
from worker.records import AttemptEntry, History, Kind, Record, State
from worker.rules import RouteBook, Rules
from worker.searches import FoundPayment, PaymentFilter

STILL_AT_WORK: Final = timedelta(minutes=15)
"""How long after the last attempt what is not found at the provider may still appear there."""

_IN_DOUBT = frozenset({State.IN_DOUBT})
_MOST_COPIES = 100


@unique
class Word(StrEnum):
    """What a person may say of a doubt."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    RETRY = "retry"


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """One doubt with all that is remembered of it.

    ``account`` is where it was sent, as far as that is known, and ``endpoint`` its test or live
    one. ``words`` are those that may be said of it; none where it repeats another payment.
    ``has_kept_link`` where the provider's link was kept back for its host, ``link_is_listed``
    whether that host is listed by now.
    """

    history: History
    account: Account | None
    endpoint: Endpoint | None
    words: tuple[Word, ...]
    has_kept_link: bool
    link_is_listed: bool

    @property
    def record(self) -> Record:
        """Its row."""
        return self.history.record

    @property
    def since(self) -> datetime:
        """Since when it has been in doubt."""
        return self.record.decided_at or self.record.updated_at

    @property
    def is_unlocked(self) -> bool:
        """Whether its letter may be replayed as it is."""
        return is_unlocked(self.record)

    @property
    def last_attempt(self) -> AttemptEntry | None:
        """The attempt that ended last."""
        return self.history.attempts[-1] if self.history.attempts else None

    @property
    def references(self) -> tuple[str, ...]:
        """What it may be known as at the provider: of every attempt that ended unknown."""
        named = [
            entry.reference
            for entry in self.history.attempts
            if entry.reference is not None
            and (not entry.tries or any(isinstance(each.outcome, Unknown) for each in entry.tries))
        ]
        latest = [] if self.record.reference is None else [self.record.reference]
        return tuple(dict.fromkeys(named or latest))

    def ended_within(self, now: datetime) -> bool:
        """Whether its last attempt ended so lately that the provider may still be at work."""
        last = self.last_attempt
        ended = self.since if last is None else last.ended_at
        return now - ended < STILL_AT_WORK


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What a person says of a doubt, with the proof; ``uses_kept_link`` for the one kept back."""

    operation_id: UUID
    word: Word
    actor: str
    reason: str
    link: Secret | None = None
    item_id: str | None = None
    uses_kept_link: bool = False


class Doubts:
    """The doubts of a ledger; raises ``StoreUnavailableError``."""

    def __init__(self, *, ledger: Ledger, book: RouteBook, rules: Rules) -> None:
        self._ledger = ledger
        self._book = book
        self._rules = rules

    async def oldest(
        self, *, limit: int, account: str | None = None, company: str | None = None
    ) -> AsyncIterator[Doubt]:
        """What waits for a person: first what was asked for first."""
        wanted = PaymentFilter(states=_IN_DOUBT, account=account, company=company)
        async for found in self._ledger.payments.search(wanted, limit=limit, newest_first=False):
            doubt = await self.find(found.operation_id)
            if doubt is not None and doubt.record.state is State.IN_DOUBT:
                yield doubt

    async def find(self, operation_id: UUID) -> Doubt | None:
        """All about one operation, doubtful or not; ``None`` where there is no row of it."""
        history = await self._ledger.history(operation_id)
        if history is None:
            return None
        record = history.record
        account = self._account_of(record)
        endpoint = _endpoint_of(account, record)
        kept = record.link if not record.link_published else None
        return Doubt(
            history=history,
            account=account,
            endpoint=endpoint,
            words=self._words(record),
            has_kept_link=kept is not None,
            link_is_listed=kept is not None
            and endpoint is not None
            and is_listed(kept.reveal(), endpoint),
        )

    async def copies_of(self, operation_id: UUID) -> list[FoundPayment]:
        """Requests in doubt that repeat this one, and are answered along with it."""
        copies = await copies_of(self._ledger, operation_id)
        return [each for each in copies if each.state is State.IN_DOUBT]

    def objection(self, doubt: Doubt, said: Settlement) -> NotRuled | None:
        """Why the proof does not hold, before anybody is asked to confirm it."""
        ruling = _ruling(doubt, said)
        return ruling if isinstance(ruling, NotRuled) else None

    async def settle(self, doubt: Doubt, said: Settlement) -> Verdict:
        """Write what a person says of a doubt, if its proof holds; audited, see ``ruling``."""
        ruling = _ruling(doubt, said)
        if isinstance(ruling, NotRuled):
            return ruling
        return await self._ledger.payments.rule(
            RulingWish(
                record=doubt.record,
                ruling=ruling,
                actor=said.actor,
                reason=said.reason,
                account=None if doubt.account is None else doubt.account.name,
            )
        )

    def _account_of(self, record: Record) -> Account | None:
        """Where it was sent; what a lost ledger forgot, the routes still tell."""
        if record.account is not None:
            return self._book.accounts.get(record.account)
        target, payment_type = record.facts.payment_target, record.facts.payment_type
        if target is None or payment_type is None:
            return None
        name = self._book.routes.get((target, payment_type))
        return None if name is None else self._book.accounts.get(name)

    def _words(self, record: Record) -> tuple[Word, ...]:
        if record.state is not State.IN_DOUBT or record.duplicate_of is not None:
            return ()
        if record.kind is Kind.REFUSAL:
            return (Word.FAILED,)
        may_be_replayed = not is_expired(record, self._rules, self._ledger.clock.now())
        return (Word.SUCCEEDED, Word.FAILED, *([Word.RETRY] if may_be_replayed else []))


async def copies_of(ledger: Ledger, operation_id: UUID) -> list[FoundPayment]:
    """Requests of the same content that were answered with this one's answer, oldest first."""
    found = ledger.payments.search(
        PaymentFilter(payment_id=operation_id), limit=_MOST_COPIES, newest_first=False
    )
    return [each async for each in found if each.duplicate_of == operation_id]


def _endpoint_of(account: Account | None, record: Record) -> Endpoint | None:
    if account is None or record.live is None:
        return None
    return account.live if record.live else account.test


def _ruling(doubt: Doubt, said: Settlement) -> Ruling | NotRuled:
    """What is said as the ledger takes it, or why its proof does not hold."""
    match said.word:
        case Word.FAILED:
            return WasNotApplied()
        case Word.RETRY:
            return MayBeReplayed()
        case Word.SUCCEEDED if doubt.record.kind is Kind.CANCELLATION:
            if said.link is not None or said.item_id is not None or said.uses_kept_link:
                return NotRuled("a cancellation has no link and no item of its own")
            return WasApplied()
        case Word.SUCCEEDED:
            return _proved(doubt, said)
        case other:
            assert_never(other)


def _proved(doubt: Doubt, said: Settlement) -> WasApplied | NotRuled:
    account, endpoint = doubt.account, doubt.endpoint
    if account is None or endpoint is None:
        return NotRuled("the settings no longer know the account that it was sent to")
    link = said.link
    if said.uses_kept_link:
        link = doubt.record.link
        if link is None:
            return NotRuled("no link of it was kept")
    if link is not None and not is_listed(link.reveal(), endpoint):
        hosts = ", ".join(sorted(endpoint.link_hosts)) or "none"
        return NotRuled(
            "a link must be https, without a user name, on a host that the account lists"
            f" (link_hosts of {account.name}: {hosts})"
        )
    match account.provider:
        case ProviderKind.LINK if said.item_id is not None:
            return NotRuled(f"account {account.name} makes links, and no basket items")
        case ProviderKind.LINK if link is None:
            return NotRuled("a link that was made has to be given: its producer waits for it")
        case ProviderKind.LINK:
            return WasApplied(link=link)
        case ProviderKind.BASKET:
            if said.item_id is None:
                return NotRuled("an item that was added has to be named by its id")
            fault = fault_of_typed_item_id(said.item_id)
            if said.item_id in doubt.references:
                fault = "is our own reference, which its address ends in"
            if fault is not None:
                return NotRuled(f"what was given is no id of a basket item, such as 12: it {fault}")
            return WasApplied(
                link=link or Secret.maybe(account.basket_page_url), item_id=said.item_id
            )
        case other:
            assert_never(other)
