"""Calling a provider under a claim and recording how it ended, whatever happens meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from worker.call import Call, Ended, Unused, cut_off
from worker.calls import HttpReply, HttpRequest, Outcome, Try, Unknown
from worker.ledger import Ledger
from worker.lifecycle.contradiction import contradicts
from worker.lifecycle.settle import Evidence, Settled, Settlement
from worker.lifecycle.wishes import Decided, Held, Waiting, Won, held
from worker.model import CancelRequest, PaymentRequest, ProviderKind, Refusal, Route
from worker.ports import Clock, Permit, Provider, Signing, StoreUnavailableError, Transport
from worker.records import Record
from worker.retry import backoff
from worker.rules import RECORDING_SECONDS, Rules
from worker.shield import attempt, finish


@dataclass(frozen=True, slots=True)
class Called:
    """Where an operation stands after its calls, if there were any, and at which account."""

    end: Decided | Waiting | Held
    tries: tuple[Try, ...] = ()
    is_forced: bool = False
    account: str | None = None
    live: bool | None = None


class Caller:
    """Makes the calls of a won claim; raises ``StoreUnavailableError`` if it cannot record.

    ``clock`` is the ledger's, for times that it keeps; ``signing`` this machine's, for requests.
    ``on_surprise`` is told an exception that nobody foresaw: its payment is in doubt, and
    somebody must mend the code. ``on_contradiction`` is told an operation that was applied after
    it had been told as something else: only a person can mend that.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        providers: Mapping[ProviderKind, Provider],
        transport: Transport,
        clock: Clock,
        signing: Signing,
        rules: Rules,
        on_surprise: Callable[[Exception], None],
        on_contradiction: Callable[[Record], None],
    ) -> None:
        self._on_surprise = on_surprise
        self._on_contradiction = on_contradiction
        self._ledger = ledger
        self._providers = providers
        self._transport = transport
        self._clock = clock
        self._signing = signing
        self._rules = rules

    async def pay(
        self,
        won: Won,
        plan: Route | Refusal,
        asked: PaymentRequest,
        permit: Permit | float | None,
    ) -> Called:
        """Ask the provider for the payment, and record what came of it."""
        if not isinstance(plan, Route) or permit is None or isinstance(permit, float):
            raise TypeError(type(plan))
        provider = self._providers[plan.account.provider]
        reference = won.record.reference or ""
        call = self._call(
            won,
            permit,
            build=lambda: provider.initiate(asked, plan, reference, self._signing),
            read=lambda reply: provider.read_initiation(reply, plan),
        )
        return await self._run(won, call)

    async def remove(
        self,
        won: Won,
        plan: Route | Refusal | None,
        asked: CancelRequest,
        permit: Permit | float | None,
    ) -> Called:
        """Ask the provider to take the payment's item back, and record what came of it."""
        if not isinstance(plan, Route) or permit is None or isinstance(permit, float):
            raise TypeError(type(plan))
        if won.payment is None or won.payment.item_id is None or won.payment.email is None:
            raise LookupError(won.record.operation_id)
        provider = self._providers[plan.account.provider]
        item_id, email = won.payment.item_id, won.payment.email
        call = self._call(
            won,
            permit,
            build=lambda: provider.cancel(asked, item_id, email, plan, self._signing),
            read=lambda reply: provider.read_cancellation(reply, plan),
        )
        return await self._run(won, call)

    def _call(
        self,
        won: Won,
        permit: Permit,
        *,
        build: Callable[[], HttpRequest],
        read: Callable[[HttpReply], Outcome],
    ) -> Call:
        return Call(
            won=won,
            permit=permit,
            build=build,
            read=read,
            transport=self._transport,
            clock=self._clock,
            rules=self._rules,
        )

    async def _run(self, won: Won, call: Call) -> Called:
        """Call, then record what came of it; a cancellation is recorded too, then goes on."""
        try:
            end = await call.run()
        except asyncio.CancelledError:
            # What cannot be recorded expires with its lease; the task stays cancelled.
            await attempt(self._record_cut(won, call), seconds=RECORDING_SECONDS)
            raise
        except Exception as error:  # noqa: BLE001 - while CALLING a surprise is an unknown outcome
            self._on_surprise(error)
            end = Ended(cut_off(call) or Unknown())
        if isinstance(end, Unused):
            return Called(await self._unused(won, end), call.tries)
        settled = await self._record(won, call, end)
        if isinstance(settled, Evidence):
            # Another worker took the claim over; the next delivery repeats what it decided.
            record = settled.record
            if contradicts(record, end.outcome):
                self._on_contradiction(record)
            return Called(held(record, self._clock.now(), "claim lost"), call.tries)
        return Called(settled, call.tries)

    async def _record(self, won: Won, call: Call, end: Ended) -> Settled:
        """Record an outcome, to its end although this task is cancelled meanwhile."""
        first: asyncio.Future[Settled] | None = None
        try:
            first = asyncio.ensure_future(self._ledger.settle(_settlement(won, call, end)))
            return await asyncio.shield(first)
        except StoreUnavailableError:
            again = self._settle(won, call, end, first)
            return await finish(again, seconds=RECORDING_SECONDS)
        except asyncio.CancelledError:
            await attempt(self._settle(won, call, end, first), seconds=RECORDING_SECONDS)
            raise

    async def _settle(
        self, won: Won, call: Call, end: Ended, first: Awaitable[Settled] | None = None
    ) -> Settled:
        """Record an outcome, again while the ledger is away: nobody else knows it.

        As long as the claim lasts nobody else may do anything about the payment, so giving up
        before would only turn what is known into a doubt, or into another link. ``first`` is a
        try that was begun already.
        """
        settlement = _settlement(won, call, end)
        ends = max(self._clock.monotonic() + RECORDING_SECONDS, won.lease_ends)
        tries = 1
        while True:
            try:
                return await (first or self._ledger.settle(settlement))
            except StoreUnavailableError:
                first = None
                pause = backoff(tries, self._clock.fraction())
                if self._clock.monotonic() + pause > ends:
                    raise
            await self._clock.sleep(pause)
            tries += 1

    async def _record_cut(self, won: Won, call: Call) -> None:
        outcome = cut_off(call)
        if outcome is None:
            await self._ledger.release(won.record.operation_id, won.token, after=timedelta(0))
        else:
            await self._settle(won, call, Ended(outcome))

    async def _unused(self, won: Won, end: Unused) -> Held:
        pause = timedelta(seconds=end.pause)
        released = await finish(
            self._ledger.release(won.record.operation_id, won.token, after=pause),
            seconds=RECORDING_SECONDS,
        )
        record = released or won.record
        return Held(
            until=self._clock.now() + pause,
            reason=end.reason,
            attempts=record.attempts,
            sequence=record.sequence,
        )


def _settlement(won: Won, call: Call, end: Ended) -> Settlement:
    return Settlement(
        operation_id=won.record.operation_id,
        payment_id=won.record.payment_id,
        token=won.token,
        outcome=end.outcome,
        tries=call.tries,
    )
