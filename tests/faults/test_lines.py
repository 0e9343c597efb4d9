"""Failure cases 3, 5, 6 and 39: the line breaks between a publish and its acknowledgement.

The worker is a process whose line to the broker goes through a proxy, half of which may be dark:
towards the broker, so that nothing it publishes arrives, or back, so that no confirm does.
"""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import aio_pika.exceptions
import pytest

from tests.acceptance.erp import Erp, basket_order, connected_erp, order
from tests.acceptance.fault_site import (
    SHORT,
    SLOW,
    FaultSite,
    answers_of,
    fault_site,
    nothing_is_left,
    one_event_each,
    remaining_answers,
    running,
    settled,
)
from tests.acceptance.installation import Installation
from tests.acceptance.shared_site import Change
from tests.acceptance.worker_process import started
from tests.broker import Broker
from tests.core import ANSWERS, TOO_MANY
from tests.crash.laws import breaches
from tests.crash.runs import INTENTS, Intent, kill_run
from tests.proxy import Proxy, Way, proxy_to
from tests.servers import Connection, RawServer, answer
from tests.waiting import until

pytestmark = pytest.mark.broker

FULL: Final = {"max-length": 1, "overflow": "reject-publish"}
"""A policy under which a rung takes a message or two, and refuses the others."""
FILLER: Final = b"{}"


def through(proxy: Proxy) -> Change:
    """Settings under which the worker reaches its broker through the proxy."""

    def change(installation: Installation) -> None:
        installation.table("broker")["port"] = proxy.port

    return change


def states(site: FaultSite) -> list[str]:
    """State of every operation, as the ledger's file holds it."""
    place = f"file:{site.installation.ledger}?mode=ro"
    with closing(sqlite3.connect(place, uri=True)) as ledger:
        return [state for (state,) in ledger.execute("SELECT state FROM operations")]


def port_of(url: str) -> int:
    """Port of a simulated provider."""
    port = urlsplit(url).port
    assert port is not None
    return port


def moved(url: str, port: int) -> str:
    """The same address on another port."""
    return urlsplit(url)._replace(netloc=f"127.0.0.1:{port}").geturl()


def break_line(proxy: Proxy) -> None:
    """Reset what is open, forget what was held back, and let new connections pass."""
    proxy.cut()
    proxy.light_up()


# --- the answer is stored ----------------------------------------------------------------------


@pytest.mark.parametrize("way", [Way.THERE, Way.BACK], ids=["not-published", "not-confirmed"])
async def test_case_03_killed_with_its_answers_stored_the_next_worker_sends_them(
    broker: Broker, tmp_path: Path, way: Way
) -> None:
    """The redelivered request is the outbox: the dead letter that is owed, then the event."""
    async with (
        proxy_to(broker.port) as proxy,
        fault_site(broker, tmp_path, change=through(proxy)) as site,
        running(site.installation) as first,
    ):
        await first.is_ready()
        async with connected_erp(broker, site.installation.prefix) as erp:
            paid = [await erp.send(make(email=SLOW)) for make in (order, basket_order)]
            await site.holds(len(paid))
            proxy.go_dark(way)
            refused = await erp.send(order(id_societe="6"))  # is owed a dead letter too
            site.release()
            decided = ["succeeded"] * len(paid)
            if way is Way.THERE:
                decided.append("failed")
            await until(lambda: sorted(states(site), reverse=True) == decided)
            if way is Way.BACK:
                await until(lambda: all(erp.answers(each) for each in paid))
            await first.kill()
            break_line(proxy)
            assert way is Way.BACK or erp.heard == []
            sent = [*paid, refused]
            async with started(site.installation) as second:
                answers = await answers_of(erp, sent)
                repeated = {each.message_id for each in paid}
                await until(lambda: settled(second, "delivery.repeated") >= repeated)
            answers += await remaining_answers(erp)
            one_event_each(answers)
            assert {each.status for each in answers} == {"succeeded", "failed"}
            assert {each["attempts"] for each in answers if each.status == "succeeded"} == {1}
            assert len(answers) <= 2 * len(sent)
            assert site.simulator.applied.total == len(paid)
            about = [each for each in erp.heard if each.correlation_id == refused.correlation_id]
            assert about[0].exchange == site.installation.named("dlx")
            letters = erp.letters(refused)
            assert {letter.headers["sequence"] for letter in letters} == {1}
            assert await erp.depth("work") == 0
            assert await erp.depth("dlq") == len(letters) == 1


async def test_case_39_an_answer_whose_confirm_was_lost_is_sent_again_under_the_same_id(
    broker: Broker, tmp_path: Path
) -> None:
    """A subscriber drops the second by its ``event_id``: it is the same, byte for byte."""
    async with (
        proxy_to(broker.port) as proxy,
        fault_site(broker, tmp_path, change=through(proxy)) as site,
        started(site.installation) as worker,
        connected_erp(broker, site.installation.prefix) as erp,
    ):
        sent = [await erp.send(make(email=SLOW)) for make in (order, basket_order)]
        await site.holds(len(sent))
        proxy.go_dark(Way.BACK)
        site.release()
        await until(lambda: all(erp.answers(each) for each in sent))
        break_line(proxy)
        messages = {each.message_id for each in sent}
        await until(lambda: settled(worker, "delivery.repeated") >= messages)
        for each in sent:
            events = erp.answers(each)
            assert 2 <= len(events) <= 4
            assert len({event.message.body for event in events}) == 1
            assert {event["event_id"] for event in events} == {events[0].message.message_id}
        assert site.simulator.applied.total == len(sent)
        assert await worker.stop() == 0
        await nothing_is_left(erp)


# --- the copy on the ladder --------------------------------------------------------------------


async def test_case_05_killed_after_its_copy_was_kept_the_request_is_copied_again_uncounted(
    broker: Broker, tmp_path: Path
) -> None:
    """Two copies: none is acknowledged without a confirmed one, and one attempt stays one."""
    gate = asyncio.Event()

    async def busy(connection: Connection) -> None:
        await connection.request()
        await gate.wait()
        await connection.write(
            answer(
                "429 Too Many Requests", headers=(("Retry-After", "60"), ("Connection", "close"))
            )
        )

    async with (
        RawServer(busy) as provider,
        proxy_to(broker.port) as proxy,
        fault_site(broker, tmp_path, change=through(proxy)) as site,
    ):
        site.installation.table("accounts", "combo", "test")["base_url"] = provider.url("")
        site.installation.write()
        async with running(site.installation) as first:
            await first.is_ready()
            async with connected_erp(broker, site.installation.prefix) as erp:
                sent = await erp.send(basket_order())
                await until(lambda: provider.posts == 1)
                proxy.go_dark(Way.BACK)
                gate.set()
                await erp.rung(sent, "2m")
                await first.kill()
                break_line(proxy)
                kept = len(erp.copies(sent))
                async with started(site.installation) as second:
                    line = await second.tells("delivery.waiting", message_id=sent.message_id)
                    assert line["labels.reason"] == "not due"
                assert erp.rungs(sent) == ["2m"] * (kept + 1)
                assert {copy.headers["attempts"] for copy in erp.copies(sent)} == {1}
                assert await erp.depth("work") == 0
                assert await erp.depth("retry.v1.2m") == kept + 1
                assert erp.answers(sent) == []
                assert provider.posts == 1


@pytest.mark.parametrize("intent", INTENTS, ids=lambda intent: intent.name)
async def test_case_05_both_copies_come_back_and_the_ledgers_attempts_decide(
    intent: Intent,
) -> None:
    """In the core: killed after each publish to the ladder, it calls as often as if unhurt."""
    behaviours = (TOO_MANY, TOO_MANY, ANSWERS)
    unhurt = await kill_run(intent, behaviours, 0)
    places = [
        number
        for number, name in enumerate(unhurt.boundaries, start=1)
        if name.endswith("confirm of the ladder copy")
    ]
    assert len(places) == 4
    for at in places:
        run = await kill_run(intent, behaviours, at)
        assert breaches(run) == []
        assert len(run.world.broker.steps) > len(unhurt.world.broker.steps)
        assert len(run.world.providers.requests) == len(unhurt.world.providers.requests)
        assert run.world.broker.events[-1]["attempts"] == unhurt.world.broker.events[-1]["attempts"]


@pytest.mark.parametrize("answer_lost", [False, True], ids=["refused", "not-confirmed"])
async def test_case_06_without_a_confirmed_copy_the_request_goes_back_once_and_consuming_pauses(
    broker: Broker, tmp_path: Path, *, answer_lost: bool
) -> None:
    """A copy that timed out may have been kept: what it costs is a duplicate."""
    async with (
        proxy_to(broker.port) as proxy,
        fault_site(broker, tmp_path, timing=SHORT, change=through(proxy)) as site,
        proxy_to(port_of(site.simulator.link_base_url)) as provider,
    ):
        account = site.installation.table("accounts", "safedebit", "test")
        account["base_url"] = moved(site.simulator.link_base_url, provider.port)
        site.installation.write()
        async with (
            started(site.installation) as worker,
            connected_erp(broker, site.installation.prefix) as erp,
        ):
            if not answer_lost:
                await fill_ladder(site, erp)
            provider.go_dark()
            sent = await erp.send(order(email="sim+flaky-4@example.org"))
            await until(lambda: provider.accepted == 1)
            if answer_lost:
                proxy.go_dark(Way.BACK)
            provider.light_up()
            line = await worker.tells("delivery.returned", message_id=sent.message_id)
            assert line["labels.reason"] == f"ladder copy {'unknown' if answer_lost else 'refused'}"
            assert line["log.level"] == "warning"
            assert (await worker.asks("/readyz"))[0] == 503
            assert erp.answers(sent) == []
            assert {copy.headers["attempts"] for copy in erp.copies(sent)} <= {1}
            if answer_lost:
                await site.hurry_ladder()
                proxy.light_up()
            else:
                await empty_ladder(site, erp)
            event = await erp.answer(sent)
            assert event.status == "succeeded"
            assert 2 <= event["attempts"] <= 3
            assert len({each["event_id"] for each in erp.answers(sent)}) == 1
            assert site.simulator.applied.total == 1
            assert len(worker.told("delivery.returned")) <= 4


async def fill_ladder(site: FaultSite, erp: Erp) -> None:
    """Let every rung refuse what is published to it."""
    await site.set_policy("ladder", r"retry\.v1\.", FULL)
    for rung in ("5s", "30s", "2m"):
        for _ in range(8):  # a limit of a quorum queue takes effect a message or two later
            try:
                await erp.send(FILLER, exchange="retry", routing_key=rung)
            except aio_pika.exceptions.DeliveryError:
                break
        else:
            raise AssertionError(rung)


async def empty_ladder(site: FaultSite, erp: Erp) -> None:
    """Take the fillers off the rungs, and let what comes after them wait a moment only.

    One by one: on a slow machine the first have expired, and a copy of the request lies there.
    """
    await site.set_policy("ladder", r"retry\.v1\.", FULL | {"message-ttl": 300})
    for rung in ("5s", "30s", "2m"):
        queue = await erp.channel.get_queue(site.installation.named(f"retry.v1.{rung}"))
        while message := await queue.get(fail=False):
            if message.body != FILLER:
                await message.reject(requeue=True)
                break
            await message.ack()
