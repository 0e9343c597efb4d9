"""What a ledger of some size asks of a payment, of the sweeper and of an operator."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from time import perf_counter, process_time
from uuid import UUID

from tests.bench.ledger_growth.stories import customer, fingerprint_of, operation_of
from tests.bench.throughput.figures import percentile
from tests.core import initiation
from tests.provider_examples import STAGING
from tests.rows import claim_wish, reading
from worker.adapters.ledgers import LedgerStore
from worker.calls import Succeeded, Try
from worker.ledger import Ledger
from worker.letters import EVERY_LETTER
from worker.lifecycle.settle import Settlement
from worker.lifecycle.wishes import Claim, Decided, Won
from worker.model import Fingerprint, Route, Secret
from worker.ports import Clock, View
from worker.records import Change, Needs
from worker.routing import route
from worker.rules import Rules
from worker.searches import PaymentFilter

AT_ONCE = 50
"""Payments at the same time, as the product's default has it; they share their commits."""

_NEW = 100_000_000
"""Numbers of new payments, beyond those that the ledger was filled with."""

ASKED = 200
_LINK = "https://pay.example.org/paypage?n=%012d"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pay:
    """Payments through the ledger: each claimed and decided, both durable, and then confirmed.

    ``rate`` in payments per second; ``claim`` and ``settle`` in milliseconds, median and 99th
    percentile, waiting for the commit included; ``processor`` the microseconds of this process.
    """

    rate: float
    processor: float
    claim: tuple[float, float]
    settle: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reads:
    """Milliseconds of what is read beside the payments, by name: median and 99th percentile."""

    by_name: dict[str, tuple[float, float]]
    letters: int


async def pay(store: LedgerStore, *, numbers: range, at_once: int = AT_ONCE) -> Pay:
    """Run so many new payments through the ledger; the numbers must not have been used."""
    ledger = Ledger(store=store, rules=Rules(), clock=store.clock)
    wishes = iter([_wish(number, store.clock) for number in numbers])
    claims: list[float] = []
    settles: list[float] = []

    async def work() -> None:
        for number, wish in wishes:
            began = perf_counter()
            won = await ledger.claim(wish)
            claimed = perf_counter()
            if not isinstance(won, Won):
                raise TypeError(type(won))
            decided = await ledger.settle(_success(won, number, store.clock))
            settles.append(perf_counter() - claimed)
            claims.append(claimed - began)
            if not isinstance(decided, Decided):
                raise TypeError(type(decided))
            ledger.confirmed(decided.answer, event=True)

    began, spent = perf_counter(), process_time()
    await asyncio.gather(*(work() for _ in range(at_once)))
    await store.ping()  # the marks are written
    seconds, spent = perf_counter() - began, process_time() - spent
    return Pay(
        rate=len(numbers) / seconds,
        processor=spent / len(numbers) * 1e6,
        claim=_figures(claims),
        settle=_figures(settles),
    )


async def read(store: LedgerStore, *, filled: int, asked: int = ASKED) -> Reads:
    """Ask for what the sweeper, a repeated request and an operator ask for, one at a time.

    ``filled`` payments are there by their numbers from 0; of an empty ledger nothing is found.
    ``asked`` is for how many payments.
    """
    ledger = Ledger(store=store, rules=Rules(), clock=store.clock)
    known = [number * 7919 % max(1, filled) for number in range(asked)]
    owned = [Fingerprint(fingerprint_of(each)) for each in known]
    times = _Times()
    hours = timedelta(hours=2)
    for number, fingerprint in zip(known, owned, strict=True):
        with times.of("find"):
            await ledger.find(operation_of(number))
        with times.of("look up an owner"):
            await store.transact(Needs((), fingerprint), _looking_up(fingerprint))
    for number in known[: asked // 10]:
        with times.of("history"):
            await ledger.history(operation_of(number))
        whose = customer(number)
        with times.of("search: a client"):
            await _search(store, PaymentFilter(client=whose["id_client"]))
        with times.of("search: an order"):
            await _search(store, PaymentFilter(order=whose["id_commande"]))
    letters = 0
    for _ in range(5):
        with times.of("sweep: unpublished"):
            await ledger.take_unpublished(older_than=timedelta(minutes=2), limit=100)
        with times.of("sweep: expired claims"):
            await ledger.expired_claims(older_than=hours, limit=100)
        with times.of("sweep: overdue waits"):
            await ledger.overdue_waits(older_than=hours, limit=100)
        with times.of("metrics"):
            await ledger.standing()
        with times.of("letters: first page"):
            await ledger.letters.page(limit=100)
        with times.of("letters: groups"):
            groups = await ledger.letters.groups(EVERY_LETTER)
        letters = sum(group.count for group in groups)
    return Reads(by_name=times.figures(), letters=letters)


async def _search(store: LedgerStore, wanted: PaymentFilter) -> None:
    await store.payments.search(wanted, after=None, limit=100, newest_first=True)


class _Times:
    def __init__(self) -> None:
        self._seconds: dict[str, list[float]] = {}

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        began = perf_counter()
        yield
        self._seconds.setdefault(name, []).append(perf_counter() - began)

    def figures(self) -> dict[str, tuple[float, float]]:
        return {name: _figures(each) for name, each in self._seconds.items()}


def _figures(seconds: Sequence[float]) -> tuple[float, float]:
    return percentile(seconds, 0.5) * 1e3, percentile(seconds, 0.99) * 1e3


def _wish(number: int, clock: Clock) -> tuple[int, Claim]:
    now = clock.now()
    whose = customer(_NEW + number)
    delivery = initiation(
        str(clock.new_id()),
        received_at=now,
        correlation_id=str(clock.new_id()),
        id_client=whose["id_client"],
        id_commande=whose["id_commande"],
    )
    asked = reading(delivery)
    plan = route(asked.request, asked.envelope, STAGING, now)
    if not isinstance(plan, Route):
        raise TypeError(type(plan))
    return number, claim_wish(plan, delivery=delivery, token=clock.new_id())


def _success(won: Won, number: int, clock: Clock) -> Settlement:
    now = clock.now()
    outcome = Succeeded(link=Secret(_LINK % number), http_status=200)
    return Settlement(
        operation_id=won.record.operation_id,
        payment_id=won.record.payment_id,
        token=won.token,
        outcome=outcome,
        tries=(Try(started_at=now, ended_at=now, outcome=outcome),),
    )


def _looking_up(fingerprint: Fingerprint) -> Callable[[View], Change[UUID | None]]:
    def look(view: View) -> Change[UUID | None]:
        owner = view.owner(fingerprint)
        return Change(result=None if owner is None else owner.operation_id)

    return look
