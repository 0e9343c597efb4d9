"""Failure cases 22 and 23: limits of the broker that we meet when we start, or hold too long."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.acceptance.erp import basket_order, connected_erp, order
from tests.acceptance.fault_site import (
    SLOW,
    fault_site,
    is_calm,
    is_connected,
    nothing_is_left,
    running,
    settled,
)
from tests.acceptance.installation import Installation
from tests.acceptance.worker_process import started
from tests.broker import Broker
from tests.waiting import until

pytestmark = pytest.mark.broker

CONFIGURATION = 78


@pytest.mark.parametrize("declares", [True, False], ids=["declares", "verifies"])
async def test_case_23_a_queue_of_another_kind_ends_the_start(
    broker: Broker, tmp_path: Path, *, declares: bool
) -> None:
    def change(installation: Installation) -> None:
        installation.table("topology")["declare"] = declares

    async with fault_site(broker, tmp_path, change=change) as site:
        named = site.installation.named
        async with connected_erp(broker, site.installation.prefix, taps={}) as erp:
            await erp.channel.declare_queue(named("work"), durable=True)
        async with running(site.installation) as worker:
            assert await worker.ends() == CONFIGURATION
            complaint = worker.complaint.read_text("utf-8")
            assert f"{named('work')}: " in complaint
            assert "inequivalent arg" in complaint
            assert "  fix: See `payment-worker check --only AMQP`" in complaint
            assert "Traceback" not in complaint


async def test_case_23_a_user_without_a_right_is_told_and_served_once_it_has_it(
    broker: Broker, tmp_path: Path
) -> None:
    """What may be looked at is there; consuming is refused (403), now and then, never in a loop."""
    user = "unread"
    may = (
        'rabbit_auth_backend_internal:set_permissions(<<"{user}">>, <<"payments">>, '
        '<<"^$">>, <<".*">>, <<"{read}">>, <<"test">>)'
    )
    await broker.evaluate(
        f'rabbit_auth_backend_internal:add_user(<<"{user}">>, <<"secret">>, <<"test">>), '
        + may.format(user=user, read="^$")
        + "."
    )

    def change(installation: Installation) -> None:
        installation.table("topology")["declare"] = False

    async with fault_site(broker, tmp_path, change=change) as site:
        assert (await site.installation.run("topology", "apply")).code == 0
        site.installation.table("broker").update(user=user, password="secret")  # noqa: S106 - this node's
        site.installation.write()
        async with (
            running(site.installation) as worker,
            connected_erp(broker, site.installation.prefix) as erp,
        ):
            refused = await worker.tells("broker.disconnected", role="consume")
            assert "ACCESS_REFUSED" in refused["labels.reason"]
            assert (await worker.asks("/healthz"))[0] == 200
            assert (await worker.asks("/readyz"))[0] == 503
            await until(lambda: len(worker.told("broker.disconnected", role="consume")) == 2)
            await broker.evaluate(may.format(user=user, read=".*") + ".")
            await worker.is_ready()
            await erp.is_answered()
            assert await worker.stop() == 0
            assert len(worker.told("broker.disconnected")) < 10


async def test_case_22_a_call_longer_than_the_broker_waits_is_a_lost_connection(
    broker: Broker, tmp_path: Path
) -> None:
    """It takes its message back (406) and delivers it again; the provider is called once."""
    async with held_for(broker, 3000), fault_site(broker, tmp_path) as site:
        await site.hurry_ladder()
        async with (
            started(site.installation) as worker,
            connected_erp(broker, site.installation.prefix) as erp,
        ):
            sent = [await erp.send(make(email=SLOW)) for make in (order, basket_order)]
            await site.holds(len(sent))
            lost = await worker.tells("broker.disconnected", role="consume")
            assert "PRECONDITION_FAILED" in lost["labels.reason"]
            await until(lambda: is_connected(worker))
            for each in sent:
                await worker.tells("delivery.waiting", reason="being called")
                assert erp.answers(each) == []
            site.release()
            for each in sent:
                event = await erp.answer(each)
                assert (event.status, event["attempts"]) == ("succeeded", 1)
            assert site.simulator.applied.total == len(sent)
            assert len(worker.told("broker.disconnected", role="consume")) < 4
            # The first delivery's acknowledgement found its channel closed: a copy repeats it.
            messages = {each.message_id for each in sent}
            await until(lambda: settled(worker, "delivery.repeated") == messages)
            assert await worker.stop() == 0
            for each in sent:
                assert len({event["event_id"] for event in erp.answers(each)}) == 1
            await nothing_is_left(erp)
        is_calm(worker)


async def test_case_22_settings_under_which_it_could_happen_are_refused(
    broker: Broker, tmp_path: Path
) -> None:
    """A message in hand must be done before the broker takes it back."""

    def change(installation: Installation) -> None:
        installation.table("broker")["consumer_timeout_seconds"] = 50

    async with (
        fault_site(broker, tmp_path, change=change) as site,
        running(site.installation) as worker,
    ):
        assert await worker.ends() == CONFIGURATION
        assert "before the broker takes it back" in worker.complaint.read_text("utf-8")


@asynccontextmanager
async def held_for(broker: Broker, milliseconds: int) -> AsyncIterator[None]:
    """The broker lets a delivery be held so long on channels opened meanwhile, and looks often."""
    before = await broker.evaluate(
        "[application:get_env(rabbit, Name) || Name <- [consumer_timeout, channel_tick_interval]]."
    )
    waits, looks = (int(each) for each in re.findall(r"{ok,(\d+)}", before))
    await set_limits(broker, milliseconds, 1000)
    try:
        yield
    finally:
        await set_limits(broker, waits, looks)


async def set_limits(broker: Broker, waits: int, looks: int) -> None:
    await broker.evaluate(
        f"application:set_env(rabbit, consumer_timeout, {waits}), "
        f"application:set_env(rabbit, channel_tick_interval, {looks})."
    )
