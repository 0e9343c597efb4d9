"""Dead letters that the broker made, and letters that an operator sets aside, as commands."""

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.acceptance.erp import Erp, Sent, order
from tests.acceptance.installation import Finished
from tests.acceptance.shared_site import Site, site_of
from tests.broker import Broker
from worker.adapters.clock import SystemClock

PERSON = "sim+refuse-once@example.org"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """One site whose worker has stopped, with one decided letter in its queue."""
    async with site_of(broker, tmp_path_factory.mktemp("acts"), ends_well=False) as site:
        sent = await site.erp.send(order(id_societe="6", email=PERSON))
        await site.erp.answer(sent)
        await site.erp.letter(sent)
        assert await site.worker.stop() == 0
        yield site


pytestmark = [
    pytest.mark.broker,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.time_limit(180),  # a dozen commands each, and every one imports the product
]


async def asked_of(site: Site, *words: str, code: int = 0) -> Finished:
    done = await site.installation.run("dead-letters", *words, "--json")
    assert done.code == code, done.complaint
    return done


async def given_up(erp: Erp, **fields: str) -> Sent:
    """A request that the broker itself dead-letters: rejected once, as past its limit."""
    sent = await erp.send(order(**fields))
    queue = await erp.channel.get_queue(erp.prefix + "work", ensure=False)
    while (message := await queue.get(fail=False, timeout=10)) is None:
        await SystemClock().sleep(0.05)
    assert message.message_id == sent.message_id
    await message.reject(requeue=False)
    return sent


async def test_letters_of_the_brokers_own_come_into_the_index_and_leave_it(site: Site) -> None:
    for company in ("1", "2"):
        await given_up(site.erp, id_societe=company)
    await site.erp.has_depth("dlq", 3)
    assert len((await asked_of(site, "list")).rows) == 1
    done = await asked_of(site, "sync")
    assert done.data == {
        "walked": 3,
        "unanswered": 2,
        "added": 2,
        "gone": 0,
        "overtaken": 0,
        "nameless": 0,
        "complete": True,
    }
    first, second = (await asked_of(site)).rows
    assert (first["code"], first["count"], first["safe"]) == ("unanswered", 2, 2)
    assert (second["code"], second["count"]) == ("company_not_configured", 1)
    # The broker tells the second in which they died, so the ids decide their order.
    rows = sorted(
        (await asked_of(site, "list", "--code", "unanswered")).rows,
        key=lambda row: str(row["company"]),
    )
    assert [(row["state"], row["company"], row["verdict"]) for row in rows] == [
        (None, "1", "safe"),
        (None, "2", "safe"),
    ]
    (one,) = (await asked_of(site, "--company", "2")).rows
    assert (one["code"], one["count"]) == ("unanswered", 1)
    (named,) = (await asked_of(site, "list", "--text", "REJECTED", "--company", "2")).rows
    assert named["payment_id"] == rows[1]["payment_id"]
    report = await site.installation.run("payments", "report", "--json")
    assert report.code == 1
    assert sorted(each["id"] for each in report.data["exceptions"]) == sorted(
        str(row["payment_id"]) for row in rows
    )
    assert {each["flaw"] for each in report.data["exceptions"]} == {"unanswered"}
    assert report.data["queue"]["in_ledger"] == 3
    await site.erp.take("dlq")
    people = await site.installation.run("dead-letters", "sync", "-o", "human")
    assert people.code == 0
    assert "2 letters walked, " in people.output
    assert PERSON not in people.output + people.complaint


async def test_a_filter_before_a_commands_name_is_refused_and_a_wrong_code_is_named(
    site: Site,
) -> None:
    misplaced = await site.installation.run("dead-letters", "--code", "unanswered", "list")
    assert misplaced.code == 64
    assert "behind the command's name" in misplaced.complaint
    wrong = await site.installation.run("dead-letters", "list", "--code", "unansered")
    assert wrong.code == 64
    assert "Did you mean unanswered?" in wrong.complaint


async def test_a_letter_is_shown_with_its_reason_and_its_body_masked_on_request(
    site: Site,
) -> None:
    (row, *_) = (await asked_of(site, "list", "--code", "unanswered")).rows
    payment_id = str(row["payment_id"])
    before = await site.erp.depth("dlq")
    shown = (await asked_of(site, "show", payment_id)).data
    assert (shown["state"], shown["company"], shown["timeline"]) == (None, row["company"], [])
    letter = shown["letter"]
    assert (letter["code"], letter["detail"], letter["verdict"]) == (
        "unanswered",
        "rejected",
        "safe",
    )
    assert shown["verdict_reason"].startswith("Nothing was decided")
    assert "body" not in shown
    seen = await asked_of(site, "show", payment_id, "--body")
    assert (seen.data["body"]["email"], seen.data["body"]["id_societe"]) == (
        "c***@…",
        row["company"],
    )
    people = await site.installation.run(
        "dead-letters", "show", payment_id, "--body", "-o", "human"
    )
    assert people.code == 0
    assert "because          Nothing was decided about it" in people.output
    for done in (seen, people):
        assert "example.org" not in done.output + done.complaint
    await site.erp.has_depth("dlq", before)


async def test_letters_are_set_aside_with_a_reason_answered_and_brought_back(
    site: Site,
) -> None:
    """Last: a worker sends the answer that setting the broker's own letter aside decides."""
    sent = await given_up(site.erp, id_societe="9")
    await asked_of(site, "sync")
    listed = (await asked_of(site, "list")).rows
    ids = [str(row["payment_id"]) for row in listed]
    assert len(ids) > 1
    why = ("--reason", "paid by hand")
    bare = await site.installation.run("dead-letters", "resolve", *why)
    assert (bare.code, "ids, or a filter" in bare.complaint) == (64, True)
    unsaid = await site.installation.run("dead-letters", "resolve", ids[0])
    assert (unsaid.code, "--reason" in unsaid.complaint) == (64, True)
    asks = await site.installation.run("dead-letters", "resolve", *ids, *why)
    assert (asks.code, "--yes" in asks.complaint) == (64, True)
    (own,) = [row for row in listed if row["company"] == "9"]
    one = await asked_of(site, "resolve", str(own["payment_id"]), *why)
    assert one.data == {"payment_id": own["payment_id"], "result": "resolved", "reason": None}
    rest = await asked_of(site, "resolve", "--since", "1h", "--yes", *why)
    told = [json.loads(line) for line in rest.output.splitlines()]
    assert {row["payment_id"] for row in told} == set(ids) - {own["payment_id"]}
    # The letter that the other test took from the queue is gone; its payment is seen to now.
    assert [row["result"] for row in told].count("without_letter") == 1
    await site.erp.has_depth("dlq", 0)
    await site.erp.has_depth("parking", len(ids) - 1)
    assert (await asked_of(site, "list")).rows == []
    aside = (await asked_of(site, "list", "--resolved")).rows
    assert {str(row["payment_id"]) for row in aside} == set(ids)
    shown = (await asked_of(site, "show", str(own["payment_id"]))).data
    (act,) = [each for each in shown["timeline"] if each["what"] == "acted_on"]
    assert (act["action"], act["detail"]) == ("resolve", "it was unanswered: paid by hand")
    back = await site.installation.run(
        "dead-letters", "restore", str(own["payment_id"]), "--reason", "not paid", "-o", "human"
    )
    assert (back.code, f"{own['payment_id']}  restored" in back.output) == (0, True)
    await site.erp.has_depth("parking", len(ids) - 2)
    letter = await site.erp.take("dlq")
    assert letter.message_id == sent.message_id
    assert letter.headers["error-code"] == "delivery_limit_reached"
    (row,) = (await asked_of(site, "list")).rows
    assert (row["payment_id"], row["code"], row["verdict"]) == (
        own["payment_id"],
        "delivery_limit_reached",
        "safe",
    )
