"""Looks doubtful payments up at their provider when they are due, beside the payments.

By reads only, one at a time for each account, and never in the way of a payment: a look-up takes a
place that nobody else wants, gives up where an account is busy or down, and is tried again with a
later round. An account that does not answer is left alone until then. Its answer tells the circuit
breaker nothing: an account whose search is broken may well take payments.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from worker.calls import HttpReply, NoReply
from worker.ledger import Ledger
from worker.lifecycle.reconcile import Read, Reconciled, is_doubt_of, references_of
from worker.look_ups import LookUpPlan, LookUpQuestion, LookUpReading, ReadFailed
from worker.model import Cents, Endpoint, ProviderKind
from worker.ports import Provider, StoreUnavailableError, Transport
from worker.records import Record
from worker.routing import look_up_endpoint
from worker.rules import RECORDING_SECONDS, RouteBook
from worker.shield import attempt, finish

READ_SECONDS = 10.0
"""Of one read: it holds a place that a payment may soon want."""

TURN_SECONDS = 5.0
"""How long a look-up waits for its turn under an account's rate limit."""

PAUSE = 1.0
"""Seconds between two look-ups of an account: nothing about a doubt is that urgent."""

LONGEST = 60.0
"""Seconds after which a round ends, however many doubts are due: new ones must be planned too."""

LEASE = timedelta(minutes=3)
"""Longer than all reads of one payment take; of a worker that is gone another takes over then."""

_DAY = timedelta(days=1)


class SparePermits(Protocol):
    """Leave to call an account with what its payments leave over."""

    def take_spare(self, account: str, *, within: float) -> AbstractAsyncContextManager[bool]:
        """Yield whether there is a place to spare now."""


@dataclass(frozen=True, slots=True)
class LookedUp:
    """One concluded step, for whoever tells of it."""

    account: str
    operation_id: UUID
    reconciled: Reconciled


class Reconciler:
    """Goes round the doubts of an account; any number of workers may run one.

    ``on_surprise`` is told an exception that nobody foresaw about one payment, whose step counts as
    failed. ``on_look_up`` is told every step once it is written.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        book: RouteBook,
        permits: SparePermits,
        providers: Mapping[ProviderKind, Provider],
        transport: Transport,
        on_look_up: Callable[[LookedUp], None],
        on_surprise: Callable[[Exception], None],
    ) -> None:
        self._ledger = ledger
        self._book = book
        self._permits = permits
        self._providers = providers
        self._transport = transport
        self._on_look_up = on_look_up
        self._on_surprise = on_surprise

    @property
    def accounts(self) -> tuple[str, ...]:
        """The accounts whose doubts are looked up."""
        return tuple(name for name, account in self._book.accounts.items() if account.look_up)

    async def go_round(self, account: str) -> int:
        """Look up what is due at an account, one after another; how many steps were concluded.

        Raises ``StoreUnavailableError``.
        """
        clock = self._ledger.clock
        ends = clock.monotonic() + LONGEST
        await self._ledger.look_ups.plan(account)
        concluded = 0
        while clock.monotonic() < ends and (plan := await self._take(account)) is not None:
            reads = await self._read_or_give_back(plan)
            if reads is None:
                return concluded
            reconciled = await finish(
                self._ledger.look_ups.reconcile(plan, reads), seconds=RECORDING_SECONDS
            )
            concluded += 1
            if reconciled.finding is not None:
                self._on_look_up(LookedUp(account, plan.operation_id, reconciled))
            if any(isinstance(read.reading, ReadFailed) for read in reads):
                return concluded
            await clock.sleep(PAUSE)
        return concluded

    async def _take(self, account: str) -> LookUpPlan | None:
        """Take what is due; a stop that comes meanwhile gives it back."""

        async def give_back(plan: LookUpPlan | None) -> None:
            if plan is not None:
                await self._ledger.look_ups.give_back(plan)

        return await finish(
            self._ledger.look_ups.take(account, lease=LEASE),
            seconds=RECORDING_SECONDS,
            when_cancelled=give_back,
        )

    async def _read_or_give_back(self, plan: LookUpPlan) -> tuple[Read, ...] | None:
        """Read, or leave the step to a later round: for want of a place, or because of a stop."""
        try:
            reads = await self._read(plan)
        except asyncio.CancelledError:
            # What cannot be given back is free again when its lease ends.
            await attempt(self._ledger.look_ups.give_back(plan), seconds=RECORDING_SECONDS)
            raise
        if reads is None:
            await self._ledger.look_ups.give_back(plan)
        return reads

    async def _read(self, plan: LookUpPlan) -> tuple[Read, ...] | None:
        """Ask about every reference of the payment; ``None`` where there was no place for one."""
        history = await self._ledger.history(plan.operation_id)
        if history is None or not is_doubt_of(plan, history.record):
            return ()
        record, now = history.record, self._ledger.clock.now()
        endpoint = look_up_endpoint(record, self._book, now)
        amount = record.facts.amount
        reads: list[Read] = []
        for reference in references_of(record, history.attempts):
            if endpoint is None or amount is None:
                reading: LookUpReading | None = ReadFailed(reason="not_configured")
            else:
                reading = await self._ask(plan.account, endpoint, reference, amount, record)
            if reading is None:
                return None
            reads.append(Read(reference, self._ledger.clock.now(), reading))
        return tuple(reads)

    async def _ask(
        self, account: str, endpoint: Endpoint, reference: str, amount: Cents, record: Record
    ) -> LookUpReading | None:
        now = self._ledger.clock.now()
        # A day more at both ends: by which zone the provider dates its payments is not known.
        asked = LookUpQuestion(
            reference=reference,
            amount=amount,
            since=(record.first_seen - _DAY).date(),
            until=(now + _DAY).date(),
        )
        provider = self._providers[self._book.accounts[account].provider]
        async with self._permits.take_spare(account, within=TURN_SECONDS) as is_free:
            if not is_free:
                return None
            try:
                return await self._exchange(provider, asked, endpoint)
            except StoreUnavailableError:
                raise
            except Exception as error:  # noqa: BLE001 - one payment's surprise keeps no other
                self._on_surprise(error)
                return ReadFailed(reason="surprise")

    async def _exchange(
        self, provider: Provider, asked: LookUpQuestion, endpoint: Endpoint
    ) -> LookUpReading:
        answer = await self._transport.send(
            provider.look_up(asked, endpoint), fresh_connection=True, seconds=READ_SECONDS
        )
        match answer:
            case NoReply(silence=silence):
                return ReadFailed(reason=silence.value)
            case HttpReply():
                return provider.read_look_up(answer, asked, endpoint)
