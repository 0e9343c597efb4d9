"""The books, answers sent again, and a ledger that came back from a backup, as commands."""

import sys
from pathlib import Path

import pytest

from tests.acceptance.erp import EVERY_TAP, checked, connected_erp, order
from tests.acceptance.installation import Finished
from tests.acceptance.shared_site import Site, site_of
from tests.acceptance.worker_process import started
from tests.broker import Broker
from worker.adapters.clock import SystemClock
from worker.adapters.encryption import Vault
from worker.adapters.store_sqlite import SqliteStore
from worker.contract.times import time_text
from worker.model import Secret
from worker.records import Answer

pytestmark = [pytest.mark.broker, pytest.mark.asyncio(loop_scope="module")]

NOBODY = "payment.initiate.nobody"


async def report(site: Site, *options: str) -> Finished:
    return await site.installation.run("payments", "report", *options, "--json")


def flaws(done: Finished) -> list[tuple[str, str]]:
    return [(each["flaw"], each["id"]) for each in done.data["exceptions"]]


async def stored(site: Site, event_id: str) -> Answer:
    """An answer as the ledger holds it."""
    keys = site.installation.table("ledger")["keys"]
    assert isinstance(keys, list)
    store = await SqliteStore.open(
        site.installation.ledger, vault=Vault([Secret(key) for key in keys]), clock=SystemClock()
    )
    try:
        found = [
            each
            for each in await store.payments.unpublished(
                decided_before=SystemClock().now(), after=None, limit=100
            )
            if str(each.event.event_id) == event_id
        ]
    finally:
        await store.close()
    (answer,) = found
    return answer


async def test_the_books_of_a_period_balance_and_a_walk_changes_nothing(site: Site) -> None:
    erp, since = site.erp, time_text(SystemClock().now())
    assert (await erp.answer(await erp.send(order()))).status == "succeeded"
    for sent in [await erp.send(order(id_societe="6")) for _ in range(2)]:
        await erp.answer(sent)
    await erp.has_depth("dlq", 2)
    done = await report(site, "--walk", "--since", since)
    assert (done.code, flaws(done)) == (0, []), done.complaint
    assert done.data["received"] == 3
    assert done.data["balance"] == {"initiation": {"succeeded": 1, "failed": 2}}
    assert done.data["dead_letters"] == {"company_not_configured": 2}
    assert (done.data["queue"]["walked"], done.data["queue"]["leftover"]) == (True, 0)
    await erp.has_depth("dlq", 2)


async def test_a_letter_that_vanished_is_named_and_without_the_broker_not_looked_for(
    site: Site,
) -> None:
    sent = await site.erp.send(order(id_societe="7"))
    event = await site.erp.answer(sent)
    await site.erp.letter(sent)
    while (taken := await site.erp.take("dlq")).message_id != sent.message_id:
        assert taken.message_id is not None  # the other test's: gone too, and named as well
    # The worker notes a confirmed letter with its next commit, which nobody waits for.
    named = ("letter_not_in_queue", event["payment_id"])
    while named not in flaws(done := await site.installation.run("payments", "report", "--json")):
        assert done.code == 1
    alone, people = [
        await site.installation.run("payments", "report", *options)
        for options in (("--json", "--no-broker"), ("-o", "human"))
    ]
    assert done.code == people.code == 1
    assert event["payment_id"] in people.output
    assert (alone.code, alone.data["queue"]) == (0, None)
    assert len(alone.data["not_looked_at"]) == 1


async def test_unclaimed_answers_are_marked_for_the_sweeper_and_let_go(
    broker: Broker, tmp_path: Path
) -> None:
    """The tap leaves the results alone: bound there, it would be a subscriber."""
    taps = {name: keys for name, keys in EVERY_TAP.items() if name != "results"}
    async with site_of(broker, tmp_path, taps=taps) as site:
        resend = ("results", "resend", "--json")
        await site.erp.send(order(id_origin="Nobody"), routing_key=NOBODY)
        await site.erp.has_depth("unclaimed", 1)
        done = await site.installation.run(*resend, "--unclaimed", "--reason", "bound now")
        assert (done.code, done.data["marked"], done.data["complete"]) == (0, 1, True)
        await site.erp.has_depth("unclaimed", 0)
        await site.erp.send(order())
        event = checked(await site.erp.take("results.erp"))
        one = await site.installation.run(*resend, "--payment", event["payment_id"])
        assert (one.code, one.data["result"]) == (0, "marked")
        assert (await stored(site, event["event_id"])).resends == 1


async def test_a_subscriber_whose_queue_was_deleted_gets_the_answers_of_the_last_hour_again(
    broker: Broker, tmp_path: Path
) -> None:
    """Those that DCP lost with its queue; nobody else's, and the same to the letter."""
    async with site_of(broker, tmp_path, ends_well=False) as site:
        name, erp = site.installation.named("results.dcp"), site.erp

        async def bound() -> None:
            queue = await erp.channel.declare_queue(name, exclusive=True)
            await queue.bind(site.installation.named("results"), "payment.result.dcp.*")

        await bound()
        asked = [order(), order(id_societe="6"), order(), order(id_origin="web")]
        keys = [f"payment.initiate.{each['id_origin']}" for each in asked]
        answers = [
            await erp.answer(await erp.send(each, routing_key=key))
            for each, key in zip(asked, keys, strict=True)
        ]
        assert await site.worker.stop() == 0
        await erp.channel.queue_delete(name)
        await bound()
        resend = ("results", "resend", "--origin", "DCP", "--since", "1h", "--json")
        asks = await site.installation.run(*resend)
        assert (asks.code, asks.output) == (64, ""), "nobody is there to confirm"
        done = await site.installation.run(*resend, "--yes", "--reason", "its queue was deleted")
        assert (done.code, done.data["found"], done.data["marked"]) == (0, 3, 3), done.complaint
        quick = (sys.executable, "-m", "tests.acceptance.quick_sweeper")
        async with started(site.installation, prelude=quick):
            again = [checked(await erp.take("results.dcp")) for _ in answers[:3]]
            assert await erp.depth("results.dcp") == 0
        first = {each["event_id"]: each for each in answers[:3]}
        assert {each["event_id"]: each.body for each in again} == {
            event_id: each.body for event_id, each in first.items()
        }
        assert {each.message.headers["resend"] for each in again} == {1}
        for each in again:
            before = first[each["event_id"]].message
            assert (each.message.correlation_id, each.message.routing_key) == (
                before.correlation_id,
                before.routing_key,
            )
        assert len(erp.heard_of(answers[3]["payment_id"])) == 1, "of another origin"
        before_all = await site.installation.run(*resend, "--until", "30m", "--yes")
        assert (before_all.code, before_all.data["found"]) == (0, 0)


async def test_a_restoration_is_said_with_the_workers_stopped_and_told_by_the_next_one(
    broker: Broker, tmp_path: Path
) -> None:
    async with site_of(broker, tmp_path, ends_well=False) as site:
        await site.erp.answer(await site.erp.send(order()))
        now = time_text(SystemClock().now())
        restored = ("ledger", "restored", "--json", "--yes", "--at")
        beside = await site.installation.run(*restored, now)
        assert beside.code == 1
        assert "worker_running" in beside.complaint
        assert await site.worker.stop() == 0
        done = await site.installation.run(*restored, now)
        assert (done.code, done.data["recorded"], done.data["in_doubt"]) == (0, True, 0)
        async with (
            started(site.installation) as worker,
            connected_erp(broker, site.installation.prefix) as erp,
        ):
            line = await worker.tells("ledger.restored")
            assert line["labels.known_until"] == now
            await erp.is_answered()
