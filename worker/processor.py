"""The story of one delivery: read, route, permit, claim, call, settle, publish.

The processor decides and publishes; it returns a disposition, and the consumer alone touches
the delivery. Nothing here knows AMQP, HTTP or a database.
"""

from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar, assert_never

from worker.caller import Called, Caller
from worker.contract.reading import read
from worker.contract.suspicions import suspicions_of
from worker.ledger import Ledger
from worker.lifecycle.cancel import CancelWish
from worker.lifecycle.wishes import Claim, Decided, Held, Kept, Waiting, Won
from worker.messages import Action, Handled, Story
from worker.model import (
    Cancellation,
    Delivery,
    Environment,
    Initiation,
    PaymentRequest,
    Reading,
    Refusal,
    Route,
    Unreadable,
)
from worker.ports import Clock, Permit, Permits, StoreUnavailableError
from worker.replies import Replies, returned
from worker.routing import route, route_cancellation, was_forced
from worker.rules import RECORDING_SECONDS, RouteBook, Rules
from worker.shield import finish

Leave = AbstractAsyncContextManager[Permit | float | None]

Claimable = TypeVar("Claimable", bound=Won | Held | Decided | Waiting)


class Processor:
    """Turns deliveries into answers; safe to call concurrently and again for the same message."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        book: RouteBook,
        permits: Permits,
        caller: Caller,
        replies: Replies,
        clock: Clock,
        rules: Rules,
    ) -> None:
        self._ledger = ledger
        self._book = book
        self._permits = permits
        self._caller = caller
        self._replies = replies
        self._clock = clock
        self._rules = rules

    async def handle(self, delivery: Delivery) -> Handled:
        """Handle one delivery to its end.

        An exception is one that nobody foresaw, or the cancellation of its task: the delivery
        is then not answered, and the consumer returns it.
        """
        reading = read(delivery)
        try:
            match reading:
                case Initiation():
                    return await self._initiate(delivery, reading)
                case Cancellation():
                    return await self._cancel(delivery, reading)
                case Unreadable():
                    refused = Called(await self._ledger.refuse(reading, delivery))
                    return await self._reply(refused, delivery, reading)
                case other:
                    assert_never(other)
        except StoreUnavailableError:
            return returned(_opening(reading, delivery), "ledger unavailable")

    async def _initiate(self, delivery: Delivery, asked: Initiation) -> Handled:
        called = await self._pay(delivery, asked, kept=None)
        if isinstance(called, Kept):
            # The settings have changed since its first attempt, and it stays where it was.
            called = await self._pay(delivery, asked, kept=called)
        if not isinstance(called, Called):
            raise TypeError(type(called))
        return await self._reply(called, delivery, asked)

    async def _pay(
        self, delivery: Delivery, asked: Initiation, *, kept: Kept | None
    ) -> Called | Kept:
        plan = route(asked.request, asked.envelope, self._book, self._clock.now(), kept=kept)
        async with self._leave(plan) as permit:
            claimed = await self._claim(delivery, asked, plan, permit, kept)
            match claimed:
                case Won():
                    called = await self._caller.pay(claimed, plan, asked.request, permit)
                    # Every use is told, not only audited (payment rules M4).
                    is_forced = self._is_forced(asked.request, plan)
                    return _placed(called, plan, is_forced=is_forced)
                case Held() | Decided():
                    return _placed(Called(claimed), plan)
                case Kept():
                    return claimed
                case other:
                    assert_never(other)

    async def _cancel(self, delivery: Delivery, asked: Cancellation) -> Handled:
        found = await self._ledger.find(asked.request.payment_id)
        plan = None
        if found is not None:
            plan = route_cancellation(
                found[0], asked.request, asked.envelope, self._book, self._clock.now()
            )
        async with self._leave(plan) as permit:
            claimed = await self._claim_cancellation(delivery, asked, plan, permit)
            if isinstance(claimed, Won):
                called = await self._caller.remove(claimed, plan, asked.request, permit)
                called = _placed(called, plan, is_forced=self._reaches_live(plan))
            else:
                called = _placed(Called(claimed), plan)
        return await self._reply(called, delivery, asked)

    def _is_forced(self, asked: PaymentRequest, plan: Route | Refusal) -> bool:
        """Whether the mode reaches beyond the deployment; in production it equals LIVE."""
        return self._reaches_live(plan) and isinstance(plan, Route) and was_forced(asked, plan)

    def _reaches_live(self, plan: Route | Refusal | None) -> bool:
        is_staging = self._book.environment is Environment.STAGING
        return is_staging and isinstance(plan, Route) and plan.live

    def _leave(self, plan: Route | Refusal | None) -> Leave:
        """Ask the account for leave; a refusal needs none."""
        if isinstance(plan, Route):
            return self._permits.take(plan.account.name, within=self._rules.permit_seconds)
        return nullcontext(None)

    async def _claim(
        self,
        delivery: Delivery,
        asked: Initiation,
        plan: Route | Refusal,
        permit: Permit | float | None,
        kept: Kept | None,
    ) -> Won | Held | Decided | Kept:
        wish = Claim(
            envelope=asked.envelope,
            request=asked.request,
            plan=plan,
            token=self._clock.new_id(),
            may_call=await self._may_call(permit),
            delivery=delivery,
            kept=kept,
            is_forced=self._is_forced(asked.request, plan),
        )
        started = self._clock.monotonic()
        claimed = await finish(
            self._ledger.claim(wish),
            seconds=RECORDING_SECONDS,
            when_cancelled=self._give_back,
        )
        return claimed if isinstance(claimed, Kept) else self._timed(claimed, permit, started)

    async def _claim_cancellation(
        self,
        delivery: Delivery,
        asked: Cancellation,
        plan: Route | Refusal | None,
        permit: Permit | float | None,
    ) -> Won | Held | Decided | Waiting:
        wish = CancelWish(
            envelope=asked.envelope,
            request=asked.request,
            plan=plan,
            token=self._clock.new_id(),
            may_call=await self._may_call(permit),
            delivery=delivery,
            is_forced=self._reaches_live(plan),
        )
        started = self._clock.monotonic()
        claimed = await finish(
            self._ledger.claim_cancellation(wish),
            seconds=RECORDING_SECONDS,
            when_cancelled=self._give_back,
        )
        return self._timed(claimed, permit, started)

    async def _may_call(self, permit: Permit | float | None) -> bool:
        return not isinstance(permit, float) and await self._ledger.has_room()

    def _timed(
        self, claimed: Claimable, permit: Permit | float | None, started: float
    ) -> Claimable:
        """Note the lease's end on our own clock, or how long an account asks to wait."""
        if isinstance(claimed, Won):
            return replace(claimed, lease_ends=started + self._rules.lease_seconds)
        if isinstance(claimed, Held) and isinstance(permit, float):
            later = self._clock.now() + timedelta(seconds=permit)
            return replace(claimed, until=max(claimed.until, later))
        return claimed

    async def _give_back(self, claimed: object) -> None:
        if isinstance(claimed, Won):
            await self._ledger.release(
                claimed.record.operation_id, claimed.token, after=timedelta(0)
            )

    async def _reply(self, called: Called, delivery: Delivery, asked: Reading) -> Handled:
        story = _opening(asked, delivery, called)
        if isinstance(called.end, Decided):
            return await self._replies.answer(called.end, delivery, asked.envelope, story)
        return await self._replies.wait(called.end, delivery, asked.envelope, story)


def _opening(reading: Reading, delivery: Delivery, called: Called | None = None) -> Story:
    """What is known of a delivery before it is answered, and what is odd about it."""
    return Story(
        action=Action.RETURNED,
        operation_id=reading.envelope.operation_id,
        message_id=delivery.message_id,
        origin=reading.origin if isinstance(reading, Unreadable) else reading.request.origin,
        attempts=reading.envelope.attempts,
        sequence=reading.envelope.sequence,
        unknown_properties=() if isinstance(reading, Unreadable) else reading.unknown_properties,
        reply_to_ignored=delivery.reply_to is not None,
        suspicions=suspicions_of(delivery),
        tries=() if called is None else called.tries,
        livemode_forced=called is not None and called.is_forced,
        account=None if called is None else called.account,
        live=None if called is None else called.live,
    )


def _placed(called: Called, plan: Route | Refusal | None, *, is_forced: bool = False) -> Called:
    """Say at which account a delivery stands, also while it waits (payment rules M6)."""
    if not isinstance(plan, Route):
        return called
    return replace(called, account=plan.account.name, live=plan.live, is_forced=is_forced)
