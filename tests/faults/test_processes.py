"""Failure cases 4, 25, 31, 32 and 38: workers that are stopped, killed, or in each other's way.

The worker is a process on a real broker; providers hold their answers until a test lets them go,
so that calls are under way when it ends.
"""

import json
import signal
from pathlib import Path

import aio_pika
import pytest

from tests.acceptance.erp import Erp, Sent, basket_order, connected_erp, order, payment_id_of
from tests.acceptance.fault_site import (
    SHORT,
    SLOW,
    answers_of,
    fault_site,
    hand_back,
    is_calm,
    nothing_is_left,
    one_event_each,
    remaining_answers,
    running,
    settled,
)
from tests.acceptance.installation import Installation
from tests.acceptance.worker_process import started
from tests.broker import Broker
from tests.waiting import until
from worker.adapters.clock import SystemClock

pytestmark = pytest.mark.broker

LIMIT = 100
"""Deliveries after which a request without a ledger row is given up (contract section 3)."""

_clock = SystemClock()


# --- told to stop ------------------------------------------------------------------------------


async def test_case_31_a_call_under_way_is_finished_and_answered_before_the_end(
    broker: Broker, tmp_path: Path
) -> None:
    async with (
        fault_site(broker, tmp_path) as site,
        running(site.installation) as worker,
    ):
        await worker.is_ready()
        async with connected_erp(broker, site.installation.prefix) as erp:
            sent = [await erp.send(make(email=SLOW)) for make in (order, basket_order)]
            await site.holds(2)
            worker.signal(signal.SIGTERM)
            stopping = await worker.tells("worker.stopping")
            assert stopping["labels.in_flight"] == 2
            site.release()
            assert await worker.ends() == 0
            for each in sent:
                (event,) = erp.answers(each)
                assert (event.status, event["attempts"]) == ("succeeded", 1)
            assert site.simulator.applied.total == 2
            await nothing_is_left(erp)
        is_calm(worker)


async def test_case_31_what_was_fetched_and_not_started_is_handed_back_unharmed(
    broker: Broker, tmp_path: Path
) -> None:
    """It is back before the call under way has ended, so that another worker may have it."""

    def change(installation: Installation) -> None:
        installation.table("broker").update(concurrency=1, prefetch=10)

    async with (
        fault_site(broker, tmp_path, change=change) as site,
        running(site.installation) as first,
    ):
        await first.is_ready()
        async with connected_erp(broker, site.installation.prefix) as erp:
            slow = await erp.send(order(email=SLOW))
            await site.holds(1)
            others = [await erp.send(order()) for _ in range(6)]
            await erp.has_depth("work", 0)  # all of them are in the worker's hands
            first.signal(signal.SIGTERM)
            await erp.has_depth("work", len(others))
            assert first.process.returncode is None
            site.release()
            assert await first.ends() == 0
            assert len(erp.answers(slow)) == 1
            async with started(site.installation):
                for each in others:
                    event = await erp.answer(each)
                    assert (event.status, event["attempts"]) == ("succeeded", 1)
            assert site.simulator.applied.total == len(others) + 1
            await nothing_is_left(erp)
        is_calm(first)


async def test_case_31_a_second_signal_ends_it_at_once_and_safely(
    broker: Broker, tmp_path: Path
) -> None:
    """Nobody can say whether the item under way was added, so nobody adds it again."""
    async with fault_site(broker, tmp_path) as site, running(site.installation) as first:
        await first.is_ready()
        async with connected_erp(broker, site.installation.prefix) as erp:
            sent = await erp.send(basket_order(email=SLOW))
            await site.holds(1)
            first.signal(signal.SIGTERM)
            await first.tells("worker.stopping")
            first.signal(signal.SIGTERM)
            assert await first.ends(seconds=10) == 0
            assert erp.answers(sent) == []
            site.release()
            async with started(site.installation):
                event = await erp.answer(sent)
            assert (event.status, event["code"]) == ("in_doubt", "outcome_unknown")
            assert site.simulator.applied.total == 1
            assert len(erp.answers(sent)) == 1
        is_calm(first)


# --- killed ------------------------------------------------------------------------------------


async def test_case_04_a_basket_item_whose_worker_was_killed_ends_in_doubt(
    broker: Broker, tmp_path: Path
) -> None:
    """Class E: the next worker waits until the claim has run out, and never asks again."""
    async with fault_site(broker, tmp_path, timing=SHORT) as site:
        await site.hurry_ladder()
        async with running(site.installation) as first:
            await first.is_ready()
            async with connected_erp(broker, site.installation.prefix) as erp:
                sent = await erp.send(basket_order(email=SLOW))
                await site.holds(1)
                await first.kill()
                site.release()
                async with started(site.installation):
                    event = await erp.answer(sent)
                    assert set(erp.rungs(sent)) <= {"30s"}  # none where the claim has run out
                    assert (event.status, event["code"]) == ("in_doubt", "outcome_unknown")
                    assert (event["attempts"], event["sequence"]) == (1, 1)
                    assert event["error"]["retryable"] is False
                letter = await erp.letter(sent)
                assert letter.headers["error-code"] == "outcome_unknown"
                assert list(site.simulator.applied.items.values()) == [1]
                assert {each["event_id"] for each in erp.answers(sent)} == {event["event_id"]}


async def test_case_04_a_link_whose_worker_was_killed_is_asked_for_once_more(
    broker: Broker, tmp_path: Path
) -> None:
    """Class D: the link nobody received may be orphaned, and one link only is handed out."""
    async with fault_site(broker, tmp_path, timing=SHORT) as site:
        await site.hurry_ladder()
        async with running(site.installation) as first:
            await first.is_ready()
            async with connected_erp(broker, site.installation.prefix) as erp:
                sent = await erp.send(order(email=SLOW))
                await site.holds(1)
                await first.kill()
                site.release()
                async with started(site.installation):
                    event = await erp.answer(sent)
                    assert (event.status, event["attempts"]) == ("succeeded", 2)
                answers = await answers_of(erp, [sent]) + await remaining_answers(erp)
                one_event_each(answers)
                assert {each["link"] for each in answers} == {event["link"]}
                assert list(site.simulator.applied.links.values()) == [1, 1]
                assert event["provider_reference"] == list(site.simulator.applied.links)[1]
                await nothing_is_left(erp)


async def test_case_32_killed_under_load_every_request_still_ends_in_one_event(
    broker: Broker, tmp_path: Path
) -> None:
    """Some are being called, some are in its hands and not started, some are not fetched."""

    def change(installation: Installation) -> None:
        installation.table("broker").update(concurrency=6, prefetch=9)

    async with fault_site(broker, tmp_path, timing=SHORT, change=change) as site:
        await site.hurry_ladder()
        async with running(site.installation) as first:
            await first.is_ready()
            async with connected_erp(broker, site.installation.prefix) as erp:
                links = [await erp.send(order(email=SLOW)) for _ in range(3)]
                items = [await erp.send(basket_order(email=SLOW)) for _ in range(3)]
                await site.holds(6)
                rest = [await erp.send(basket_order()) for _ in range(6)]
                await erp.has_depth("work", 3)
                await first.kill()
                site.release()
                async with started(site.installation):
                    answers = await answers_of(erp, [*links, *items, *rest])
                answers += await remaining_answers(erp)
                one_event_each(answers)
                last = {each.message.correlation_id: each for each in answers}
                for sent in links:
                    event = last[sent.correlation_id]
                    assert (event.status, event["attempts"]) == ("succeeded", 2)
                for sent in items:
                    event = last[sent.correlation_id]
                    assert (event.status, event["code"]) == ("in_doubt", "outcome_unknown")
                for sent in rest:
                    assert last[sent.correlation_id].status == "succeeded"
                applied = site.simulator.applied
                assert list(applied.items.values()) == [1] * (len(items) + len(rest))
                assert list(applied.links.values()) == [1] * (2 * len(links))
                assert await erp.depth("work") == 0
                assert await erp.depth("dlq") == len(items)


# --- a request that ends nothing well ----------------------------------------------------------


async def test_case_25_a_request_delivered_a_hundred_times_is_given_up_and_answered(
    broker: Broker, tmp_path: Path
) -> None:
    """The ledger knows nothing of it: each worker before died earlier than its first write."""
    async with fault_site(broker, tmp_path) as site:
        assert (await site.installation.run("topology", "apply")).code == 0
        async with connected_erp(broker, site.installation.prefix) as erp:
            sent = await erp.send(order())
            queue = await erp.channel.get_queue(site.installation.named("work"), ensure=False)
            await hand_back(queue, LIMIT)
            async with started(site.installation) as worker:
                event = await erp.answer(sent)
                assert (event.status, event["code"]) == ("failed", "delivery_limit_reached")
                assert (event["error"]["category"], event["attempts"]) == ("internal", 0)
                line = await worker.tells("delivery.answered", message_id=sent.message_id)
                assert line["log.level"] == "warning"
            letter = await erp.letter(sent)
            assert letter.headers["error-code"] == "delivery_limit_reached"
            assert site.simulator.applied.total == 0
            assert await erp.depth("work") == 0


async def test_case_25_what_the_broker_gives_up_is_kept_and_answered_when_it_is_replayed(
    broker: Broker, tmp_path: Path
) -> None:
    """Its own limit is a net only: nobody has been told until an operator puts it back."""
    async with fault_site(broker, tmp_path) as site:
        await site.set_policy("net", "work$", {"delivery-limit": 3})
        assert (await site.installation.run("topology", "apply")).code == 0
        async with connected_erp(broker, site.installation.prefix) as erp:
            sent = await erp.send(basket_order())
            queue = await erp.channel.get_queue(site.installation.named("work"), ensure=False)
            await hand_back(queue, 4)
            await erp.has_depth("dlq", 1)
            async with started(site.installation):
                assert erp.answers(sent) == []
                checked = await site.installation.run("check", "--only", "DLQ001", "--json")
                assert "1 waiting for a person" in checked.output
                done = await site.installation.run(
                    *("dead-letters", "replay", payment_id_of("dcp", sent.message_id)),
                    *("--yes", "--json"),
                )
                assert (done.code, done.outcome["result"]) == (0, "settled")
                event = await erp.answer(sent)
            assert (event.status, event["attempts"]) == ("succeeded", 1)
            assert site.simulator.applied.total == 1
            await nothing_is_left(erp)


async def test_case_25_a_link_that_kills_every_worker_ends_in_doubt_after_two_calls(
    broker: Broker, tmp_path: Path
) -> None:
    """An expired claim counts as an attempt of unknown end, so the payment runs out of them."""
    async with fault_site(broker, tmp_path, timing=SHORT) as site:
        await site.hurry_ladder()
        async with running(site.installation) as first:
            await first.is_ready()
            async with connected_erp(broker, site.installation.prefix) as erp:
                sent = await erp.send(order(email=SLOW))
                await site.holds(1)
                await first.kill()
                async with running(site.installation) as second:
                    await until(lambda: site.simulator.applied.total == 2, 40)
                    await second.kill()
                async with started(site.installation):
                    event = await erp.answer(sent)
                assert (event.status, event["code"]) == ("in_doubt", "outcome_unknown")
                assert (event["attempts"], event["link"]) == (2, None)
                assert (await erp.letter(sent)).headers["error-code"] == "outcome_unknown"
                assert list(site.simulator.applied.links.values()) == [1, 1]
                assert len({each["event_id"] for each in erp.answers(sent)}) == 1


# --- two workers -------------------------------------------------------------------------------


async def test_case_38_of_two_workers_with_one_payment_the_second_waits_uncounted(
    broker: Broker, tmp_path: Path
) -> None:
    """One has the request, the other a copy of it that an operator replayed."""

    def change(installation: Installation) -> None:
        installation.table("broker").update(concurrency=1, prefetch=1)

    async with (
        fault_site(broker, tmp_path, change=change) as site,
        started(site.installation) as first,
        connected_erp(broker, site.installation.prefix) as erp,
    ):
        asked = basket_order(email=SLOW)
        sent = await erp.send(asked)
        await site.holds(1)
        async with started(site.installation) as second:
            await replay_by_hand(erp, sent, asked)
            copy = await erp.rung(sent, "2m")  # the smallest step that outlasts a lease of 40 s
            assert copy.headers["retry-reason"] == "being called"
            assert copy.headers["attempts"] == 1
            await until(lambda: settled(second, "delivery.waiting") == {sent.message_id})
            assert await erp.depth("work") == 0
            assert first.told("delivery.waiting") == []
            assert erp.answers(sent) == []
            site.release()
            event = await erp.answer(sent)
            assert (event.status, event["attempts"], event["sequence"]) == ("succeeded", 1, 1)
            assert await erp.depth("retry.v1.2m") == 1  # it repeats the answer when it comes
        assert list(site.simulator.applied.items.values()) == [1]


async def replay_by_hand(erp: Erp, sent: Sent, asked: dict[str, object]) -> None:
    """Publish a copy of a request as an operator's tool does: believed, and with our headers."""
    exchange = await erp.channel.get_exchange(erp.prefix + "replay", ensure=False)
    message = aio_pika.Message(
        json.dumps(asked).encode(),
        message_id=sent.message_id,
        correlation_id=sent.correlation_id,
        delivery_mode=2,
        headers={
            "identity": f"dcp\u001f{sent.message_id}",
            "payment-id": payment_id_of("dcp", sent.message_id),
            "sequence": 1,
            "attempts": 0,
            "first-seen": _clock.now().isoformat(),
            "origin-routing-key": "payment.initiate.dcp",
        },
    )
    await exchange.publish(message, "work")
