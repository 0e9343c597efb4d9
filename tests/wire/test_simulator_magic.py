"""Every magic name, played to its end: simulator, real transport, real providers.

The loop below is the one rule that matters here (payment rules R4): not sent and not applied are
tried again, an unknown initiation is sent once more for a link and never for a basket item.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import assert_never

import pytest
from typing_extensions import override

from tests.fakes_clock import FakeClock
from tests.provider_examples import (
    BASKET_REQUEST,
    BASKET_ROUTE,
    CANCEL,
    LINK_ROUTE,
    REMOVAL_ROUTE,
    REQUEST,
)
from worker.adapters.http import HttpTransport
from worker.calls import (
    Declined,
    HttpReply,
    HttpRequest,
    Misconfigured,
    NoReply,
    NotApplied,
    NotSent,
    Outcome,
    Succeeded,
    Unknown,
)
from worker.model import Cents, Endpoint, PaymentRequest, Route, Secret
from worker.outcomes import of_silence
from worker.providers.basket import BasketProvider
from worker.providers.link import LinkProvider
from worker.records import Status
from worker.simulator.expected import Decided, Expected, Magic
from worker.simulator.magic import EVERY_MAGIC
from worker.simulator.server import Simulator

TRIES = 3
"""Calls within one delivery; a later success came through the ladder."""

MOST_CALLS = 6
"""Where this test gives up asking again."""

LINK_HOST = "pay.simulator.example"

HANGING = {"timeout", "timeout-before", "slow-60s", "remove-timeout"}


class SleepyClock(FakeClock):
    """Short waits pass at once; a wait past every limit of the worker never ends."""

    @override
    async def sleep(self, seconds: float) -> None:
        if seconds >= 60:
            await asyncio.get_running_loop().create_future()
        await super().sleep(seconds)


@dataclass(frozen=True, slots=True)
class Bench:
    """One simulator with a worker's outer half in front of it."""

    simulator: Simulator
    transport: HttpTransport
    clock: FakeClock
    magic: Magic

    @property
    def email(self) -> Secret:
        return Secret(f"sim+{self.magic.name}@example.org")

    def request(self, request: PaymentRequest) -> PaymentRequest:
        return replace(request, email=self.email)

    def route(self, route: Route) -> Route:
        is_basket = route.account == BASKET_ROUTE.account
        base_url = self.simulator.base_url if is_basket else self.simulator.link_base_url
        endpoint = Endpoint(
            base_url=base_url,
            login="demo.example" if is_basket else "demo",
            password=Secret("demo"),
            link_hosts=frozenset({LINK_HOST}),
        )
        return replace(route, endpoint=endpoint)

    async def send(self, request: HttpRequest) -> HttpReply | NoReply:
        seconds = 0.5 if self.magic.name in HANGING else 10.0
        return await self.transport.send(request, fresh_connection=True, seconds=seconds)

    async def ask_for_link(self, number: int) -> Outcome:
        provider, route = LinkProvider(), self.route(LINK_ROUTE)
        request = provider.initiate(self.request(REQUEST), route, f"{number:032x}", self.clock)
        fact = await self.send(request)
        if isinstance(fact, NoReply):
            return of_silence(fact)
        return provider.read_initiation(fact, route)

    async def add_item(self, number: int) -> Outcome:
        provider, route = BasketProvider(), self.route(BASKET_ROUTE)
        request = provider.initiate(
            self.request(BASKET_REQUEST), route, f"{number:032x}", self.clock
        )
        fact = await self.send(request)
        if isinstance(fact, NoReply):
            return of_silence(fact)
        return provider.read_initiation(fact, route)

    async def remove_item(self, item_id: str) -> Outcome:
        provider, route = BasketProvider(), self.route(REMOVAL_ROUTE)
        request = provider.cancel(CANCEL, item_id, self.email, route, self.clock)
        fact = await self.send(request)
        if isinstance(fact, NoReply):
            return of_silence(fact)
        return provider.read_cancellation(fact, route)


@contextlib.asynccontextmanager
async def bench_for(magic: Magic) -> AsyncIterator[Bench]:
    clock = SleepyClock()
    async with (
        asyncio.timeout(20),
        Simulator(clock=clock, link_host=LINK_HOST) as simulator,
        HttpTransport(clock=clock) as transport,
    ):
        yield Bench(simulator, transport, clock, magic)


def by_name(magic: Magic) -> str:
    return magic.name


async def decided_by(bench: Bench, *, is_basket: bool) -> Expected:
    """Ask until the rules decide; return the answer with the provider's own count."""
    unknowns = postponed = 0
    while True:
        outcome = await (bench.add_item(unknowns) if is_basket else bench.ask_for_link(unknowns))
        applied = bench.simulator.applied.total
        match outcome:
            case Succeeded():
                when = Decided.LATER if postponed >= TRIES else Decided.FIRST
                when = Decided.SENT_AGAIN if unknowns else when
                return Expected(Status.SUCCEEDED, None, applied, when)
            case Declined(code=code) | Misconfigured(code=code):
                assert not postponed
                assert not unknowns
                return Expected(Status.FAILED, code, applied)
            case NotApplied(code=code) | NotSent(code=code):
                postponed += 1
                if postponed == MOST_CALLS:
                    return Expected(Status.FAILED, code, applied, Decided.USED_UP)
            case Unknown(code=code, never_resend=never_resend):
                unknowns += 1
                if is_basket or never_resend or unknowns == 2:
                    when = Decided.FIRST if unknowns == 1 else Decided.SENT_AGAIN
                    return Expected(Status.IN_DOUBT, code, applied, when)
            case _:
                assert_never(outcome)


@pytest.mark.parametrize("magic", EVERY_MAGIC, ids=by_name)
async def test_a_link_ends_as_the_table_says(magic: Magic) -> None:
    async with bench_for(magic) as bench:
        assert await decided_by(bench, is_basket=False) == magic.link


@pytest.mark.parametrize("magic", EVERY_MAGIC, ids=by_name)
async def test_a_basket_item_ends_as_the_table_says(magic: Magic) -> None:
    async with bench_for(magic) as bench:
        assert await decided_by(bench, is_basket=True) == magic.basket


async def removed_by(bench: Bench) -> Expected:
    added = await bench.add_item(0)
    assert isinstance(added, Succeeded)
    assert added.item_id is not None
    for calls in range(1, MOST_CALLS + 1):
        outcome = await bench.remove_item(added.item_id)
        applied = sum(bench.simulator.applied.removals.values())
        last = calls == MOST_CALLS
        match outcome:
            case Succeeded():
                return Expected(Status.CANCELLED, None, applied)
            case Declined(code=code) | Misconfigured(code=code):
                return Expected(Status.CANCEL_FAILED, code, applied)
            case NotApplied(code=code) | NotSent(code=code):
                if last:
                    return Expected(Status.CANCEL_FAILED, code, applied, Decided.USED_UP)
            case Unknown(code=code):
                if last:
                    return Expected(Status.CANCEL_IN_DOUBT, code, applied, Decided.USED_UP)
            case _:
                assert_never(outcome)
    raise AssertionError


@pytest.mark.parametrize(
    "magic", [magic for magic in EVERY_MAGIC if magic.removal is not None], ids=by_name
)
async def test_a_removal_ends_as_the_table_says(magic: Magic) -> None:
    async with bench_for(magic) as bench:
        assert await removed_by(bench) == magic.removal


@pytest.mark.parametrize(
    "magic",
    [
        magic
        for magic in EVERY_MAGIC
        if magic.removal is None
        and magic.basket.status is Status.SUCCEEDED
        and magic.basket.decided is Decided.FIRST
        and not magic.name.startswith("flaky")
    ],
    ids=by_name,
)
async def test_an_item_that_could_be_added_can_be_removed(magic: Magic) -> None:
    """A name chosen for the initiation does not disturb the removal under the same e-mail."""
    async with bench_for(magic) as bench:
        assert await removed_by(bench) == Expected(Status.CANCELLED, None, 1)


async def test_a_flaky_name_starts_anew_after_its_success() -> None:
    """So that a demo can be run twice against one simulator."""
    magic = next(magic for magic in EVERY_MAGIC if magic.name == "flaky-2")
    async with bench_for(magic) as bench:
        for _ in range(2):
            outcomes = [type(await bench.ask_for_link(0)) for _ in range(3)]
            assert outcomes == [NotApplied, NotApplied, Succeeded]


async def test_payments_do_not_share_a_flaky_count() -> None:
    magic = next(magic for magic in EVERY_MAGIC if magic.name == "flaky-2")
    async with bench_for(magic) as bench:
        provider, route = LinkProvider(), bench.route(LINK_ROUTE)
        for amount in (1, 2):
            request = replace(bench.request(REQUEST), amount=Cents(amount))
            fact = await bench.send(provider.initiate(request, route, "0" * 32, bench.clock))
            assert isinstance(fact, HttpReply)
            assert fact.status == 429
