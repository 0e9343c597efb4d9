"""What meets a payment that is being called, or that does not exist, waits for it uncounted.

The rungs of the ladder last a moment here; elsewhere they last what they say.
"""

import re
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.acceptance.erp import Erp, Sent, basket_order, new_key, order, payment_id_of
from tests.acceptance.provider_cases import applied_for
from tests.acceptance.shared_site import Site
from tests.waiting import until

pytestmark = [pytest.mark.broker, pytest.mark.asyncio(loop_scope="module")]

BURST = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """Everything that was begun."""

    erp: Erp
    slow: Sent
    duplicate: Sent
    slow_item: Sent
    cancelling: Sent
    cancelling_nothing: Sent
    burst: tuple[Sent, ...]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def waits(site: Site) -> Waits:
    """Ask for payments that are called for five seconds, and meet each of them meanwhile."""
    rungs = f"^{re.escape(site.installation.named('retry.v1.'))}"
    await site.installation.broker.control(
        *("set_policy", "-p", "payments", "--apply-to", "queues", site.installation.prefix),
        *(rungs, '{"message-ttl": 300}'),  # the shorter of argument and policy counts
    )
    erp, email = site.erp, "sim+slow-5s@example.org"
    asked, asked_item = order(email=email), basket_order(email=email)
    slow = await erp.send(asked)
    slow_item = await erp.send(asked_item)
    repeated, key = basket_order(email=email), new_key()
    burst = [await erp.send(repeated, message_id=key) for _ in range(BURST)]
    await until(lambda: site.simulator.applied.total == 3)
    return Waits(
        erp=erp,
        slow=slow,
        duplicate=await erp.send(asked),
        slow_item=slow_item,
        cancelling=await erp.cancel(payment_id=payment_id_of("dcp", slow_item.message_id)),
        cancelling_nothing=await erp.cancel(payment_id=new_key()),
        burst=tuple(burst),
    )


async def test_a_duplicate_of_what_is_being_called_waits_uncounted_and_gets_its_answer(
    waits: Waits, site: Site
) -> None:
    erp = waits.erp
    first = await erp.answer(waits.slow)
    copy = await erp.rung(waits.duplicate, "30s")
    assert (copy.headers["attempts"], copy.headers["retry-reason"]) == (0, "its duplicate is open")
    event = await erp.answer(waits.duplicate)
    assert (event.status, event["duplicate_of"]) == ("succeeded", first["payment_id"])
    assert event["link"] == first["link"]
    assert applied_for(first, site.simulator.applied) == 1
    assert applied_for(event, site.simulator.applied) == 0


async def test_a_cancellation_of_what_is_being_called_waits_and_takes_it_back(
    waits: Waits, site: Site
) -> None:
    erp = waits.erp
    payment = await erp.answer(waits.slow_item)
    copy = await erp.rung(waits.cancelling, "30s")
    assert (copy.headers["attempts"], copy.headers["retry-reason"]) == (0, "payment being called")
    event = await erp.answer(waits.cancelling)
    assert (event.status, event["payment_status"]) == ("cancelled", "cancelled")
    assert site.simulator.applied.removals == {payment["basket_item_id"]: 1}


async def test_a_burst_of_one_message_gets_one_event_and_pays_once(
    waits: Waits, site: Site
) -> None:
    erp = waits.erp
    events = [await erp.answer(sent) for sent in waits.burst]
    assert len({event["event_id"] for event in events}) == 1
    assert {event.status for event in events} == {"succeeded"}
    assert applied_for(events[0], site.simulator.applied) == 1
    assert sum(set(erp.rungs(sent)) == {"30s"} for sent in waits.burst) == BURST - 1


async def test_a_cancellation_of_nothing_climbs_the_ladder_before_it_gives_up(
    waits: Waits,
) -> None:
    """Its end, a tombstone after two and a half minutes, is proved in the unit tests."""
    erp = waits.erp

    def steps() -> list[str | None]:
        return [
            each.routing_key
            for each in erp.copies(waits.cancelling_nothing)
            if each.headers["retry-reason"] == "payment unknown so far"
        ]

    await until(lambda: len(steps()) == 2)
    assert steps() == ["5s", "30s"]
    assert erp.answers(waits.cancelling_nothing) == []
