"""Failure cases 34 and 35: a provider is down, clocks disagree."""

from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.acceptance.erp import basket_order, connected_erp, order
from tests.acceptance.fault_site import fault_site
from tests.acceptance.installation import Installation
from tests.acceptance.worker_process import started
from tests.broker import Broker
from tests.core import ANSWERS, RESET_AFTER, Behaviour, World, basket, initiation, make_core
from tests.crash.laws import breaches
from tests.crash.runs import INTENTS, Intent, kill_run, pause_run
from tests.fakes_clock import FakeClock
from tests.servers import refused_port
from tests.waiting import until
from worker.calls import Departure, HttpReply, HttpRequest, NoReply, Silence
from worker.messages import Disposition
from worker.ports import Transport

HOUR = timedelta(hours=1).total_seconds()


# --- a provider --------------------------------------------------------------------------------


@pytest.mark.broker
async def test_case_34_beside_a_dead_account_the_other_one_goes_on(
    broker: Broker, tmp_path: Path
) -> None:
    """Its breaker opens, and whatever comes for it then waits on the ladder, uncounted."""
    with refused_port() as port:

        def change(installation: Installation) -> None:
            account = installation.table("accounts", "safedebit", "test")
            account["base_url"] = f"http://127.0.0.1:{port}"

        async with (
            fault_site(broker, tmp_path, change=change) as site,
            started(site.installation) as worker,
            connected_erp(broker, site.installation.prefix) as erp,
        ):
            doomed = [await erp.send(order()) for _ in range(5)]
            opened = await worker.tells("breaker.changed", breaker="open")
            assert (opened["labels.provider"], opened["log.level"]) == ("safedebit", "warning")
            paid = [await erp.send(basket_order()) for _ in range(5)]
            late = await erp.send(order())
            for each in paid:
                assert (await erp.answer(each)).status == "succeeded"
            copy = await erp.rung(late, "30s")
            assert copy.headers["attempts"] == 0
            assert await worker.counted("breaker_open", provider="safedebit") == 1
            assert await worker.counted("breaker_open", provider="combo") == 0
            assert (await worker.asks("/readyz"))[0] == 200
            await until(lambda: all(erp.copies(each) for each in doomed))
            assert not any(erp.answers(each) for each in (*doomed, late))
            assert site.simulator.applied.total == len(paid)


@dataclass(slots=True)
class LinksDown:
    """Implements ``ports.Transport``: the link provider refuses connections until it is back."""

    inner: Transport
    is_back: bool = False
    refused: int = 0

    async def send(
        self,
        request: HttpRequest,
        *,
        fresh_connection: bool,
        seconds: float,
        departure: Departure | None = None,
    ) -> HttpReply | NoReply:
        if "get_link_payment" in request.url and not self.is_back:
            self.refused += 1
            return NoReply(False, Silence.CONNECT)  # noqa: FBT003 - positional in the port
        return await self.inner.send(
            request, fresh_connection=fresh_connection, seconds=seconds, departure=departure
        )


async def test_case_34_what_waited_for_a_dead_account_is_paid_once_when_it_is_back() -> None:
    """In the core, over an hour: few calls meet the dead account, few attempts are counted."""
    world = World()
    transport = LinksDown(world.providers)
    worker = make_core(
        store=world.store, publisher=world.broker, transport=transport, clock=world.clock
    )
    links = [initiation(f"link-{number}", id_commande=f"1{number}") for number in range(12)]
    items = [replace(basket(f"item-{number}")) for number in range(6)]
    world.broker.ready.extend(each for pair in zip(links, items * 2, strict=True) for each in pair)
    began = world.clock.now()
    while world.clock.now() < began + timedelta(hours=1):
        delivery = world.broker.take()
        assert delivery is not None
        handled = await worker.processor.handle(delivery)
        assert handled.disposition is Disposition.ACKNOWLEDGE
    paid_meanwhile = {str(event["provider"]) for event in world.broker.events}
    assert paid_meanwhile == {"combo"}
    # The calls that opened the breaker, and a probe for each of its pauses.
    assert transport.refused <= 5 + 3 + HOUR / 30
    transport.is_back = True
    while (delivery := world.broker.take()) is not None:
        await worker.processor.handle(delivery)
    events = {str(event["payment_id"]): event for event in world.broker.events}
    assert {str(event["event_type"]) for event in events.values()} == {
        "payment.initiation.succeeded"
    }
    assert set(world.providers.applied.values()) == {1}
    assert len(world.providers.applied) == len(events)
    waited = [event for event in events.values() if event["provider"] == "safedebit"]
    assert len(waited) == len(links)
    assert sum(event["attempts"] == 1 for event in waited) >= len(links) - 5


# --- clocks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("skew", [-HOUR, HOUR], ids=["behind", "ahead"])
@pytest.mark.parametrize("intent", INTENTS, ids=lambda intent: intent.name)
@pytest.mark.parametrize("behaviours", [(ANSWERS,), (RESET_AFTER,)], ids=["answers", "reset"])
async def test_case_35_a_worker_whose_clock_is_an_hour_off_pays_nothing_twice(
    intent: Intent, behaviours: tuple[Behaviour, ...], skew: float
) -> None:
    """In the core, frozen at each boundary: a claim that looks expired becomes a doubt at worst."""
    unhurt = await kill_run(intent, behaviours, 0)
    for at in range(1, len(unhurt.boundaries) + 1):
        run = await pause_run(intent, behaviours, at, deliveries=1, wait=0.0, skew=skew)
        assert breaches(run) == [], (at, run.boundaries[at - 1 :][:1], run.world.broker.steps)


@dataclass(frozen=True, slots=True)
class ClockSetting:
    """Implements ``ports.Transport``: a time server sets the wall clock while a call is made."""

    inner: Transport
    clock: FakeClock
    shift: float

    async def send(
        self,
        request: HttpRequest,
        *,
        fresh_connection: bool,
        seconds: float,
        departure: Departure | None = None,
    ) -> HttpReply | NoReply:
        self.clock.shift_wall(self.shift)
        return await self.inner.send(
            request, fresh_connection=fresh_connection, seconds=seconds, departure=departure
        )


@pytest.mark.parametrize("seconds", [-HOUR, HOUR], ids=["back", "forward"])
async def test_case_35_a_clock_that_is_set_during_a_call_cuts_no_call_short(seconds: float) -> None:
    """In the core: deadlines count on the monotonic clock, from the claim on."""
    world = World()

    worker = make_core(
        store=world.store,
        publisher=world.broker,
        transport=ClockSetting(world.providers, world.clock, seconds),
        clock=world.clock,
    )
    handled = await worker.processor.handle(basket())
    assert handled.disposition is Disposition.ACKNOWLEDGE
    (event,) = world.broker.events
    assert (event["result"], event["attempts"]) == (True, 1)
    assert set(world.providers.applied.values()) == {1}


async def test_case_35_a_producers_clock_is_not_believed() -> None:
    """In the core: a request's age counts from its receipt, whatever its ``timestamp`` says."""
    world = World()
    stale = replace(initiation(), timestamp=world.clock.now() - timedelta(days=900))
    await world.worker().processor.handle(stale)
    (event,) = world.broker.events
    assert event["result"] is True
