"""A doubt from its beginning to its end: made by a provider, listed, settled, told, paid once."""

import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Any

import pytest
import pytest_asyncio

from tests.acceptance.erp import Answer, Sent, basket_order, connected_erp, order, payment_id_of
from tests.acceptance.installation import LINK_HOST, Finished, installed
from tests.acceptance.provider_cases import applied_for
from tests.acceptance.shared_site import Site
from tests.acceptance.worker_process import started
from tests.broker import Broker
from tests.postgres import PostgresServer
from tests.waiting import until
from worker.adapters.clock import SystemClock
from worker.simulator.server import Simulator

QUICK_SWEEPER = (sys.executable, "-m", "tests.acceptance.quick_sweeper")
SAID = ("--reason", "seen in the portal", "--yes", "--json")
LINK = f"https://{LINK_HOST}/p/found-by-hand"

pytestmark = [
    pytest.mark.broker,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.time_limit(120),  # several commands each, and every one is a process
]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["sqlite", "postgres"])
async def site(
    request: pytest.FixtureRequest, broker: Broker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    """One worker that publishes at once what others decide; a link is never sent again."""
    directory = tmp_path_factory.mktemp("doubts")
    with ExitStack() as database:
        async with (
            Simulator(clock=SystemClock(), link_host=LINK_HOST) as simulator,
            installed(
                broker, directory, link_url=simulator.link_base_url, basket_url=simulator.base_url
            ) as installation,
        ):
            if request.param == "postgres":
                server: PostgresServer = request.getfixturevalue("postgres")
                installation.use_postgres(database.enter_context(server.database()))
            installation.table("accounts", "safedebit", "classes")["get_link_payment"] = {
                "operation_class": "E",
                "reason": "the provider sends the link itself",
            }
            installation.write()
            installation.create_ledger()
            async with (
                started(installation, prelude=QUICK_SWEEPER) as worker,
                connected_erp(broker, installation.prefix) as erp,
            ):
                yield Site(installation=installation, simulator=simulator, worker=worker, erp=erp)


async def in_doubt(site: Site, body: dict[str, object]) -> tuple[Sent, Answer]:
    """A payment that its provider left in doubt, with its dead letter."""
    sent = await site.erp.send(body)
    event = await site.erp.answer(sent)
    assert (event.status, event["code"]) == ("in_doubt", "outcome_unknown")
    await site.erp.letter(sent)
    return sent, event


async def settled(site: Site, sent: Sent, *words: str, code: int = 0) -> Finished:
    payment_id = payment_id_of("dcp", sent.message_id)
    done = await site.installation.run("payments", "settle", payment_id, *words, *SAID)
    assert done.code == code, done.complaint
    return done


async def doubts(site: Site) -> dict[str, dict[str, Any]]:
    done = await site.installation.run("payments", "doubtful", "--all", "--json")
    assert done.code == 0, done.complaint
    return {row["payment_id"]: row for row in done.lines}


async def listed_letters(site: Site) -> set[str]:
    done = await site.installation.run("dead-letters", "list", "--json")
    return {str(row["payment_id"]) for row in done.rows}


async def test_what_was_applied_is_listed_settled_and_told_with_its_copy(site: Site) -> None:
    """The copy is a second request of the same content, answered with the doubt."""
    body = order(email="sim+reset-after@example.org")
    sent, event = await in_doubt(site, body)
    copy = await site.erp.send(body)
    copied = await site.erp.answer(copy)
    assert (copied.status, copied["duplicate_of"]) == ("in_doubt", event["payment_id"])
    row = (await doubts(site))[event["payment_id"]]
    assert (row["account"], row["class"], row["amount_cents"]) == ("safedebit", "E", 1250)
    assert row["references"] == [event["provider_reference"]]
    assert row["attempts"][0]["calls"][0]["said"] == "no complete answer came"
    assert row["settle"] == ["succeeded", "failed", "retry"]
    refused = await settled(
        site, sent, "--succeeded", "--link", "https://elsewhere.example/p", code=1
    )
    assert "link_hosts of safedebit" in refused.complaint
    done = await settled(site, sent, "--succeeded", "--link", LINK)
    assert (done.data["result"], done.data["sequence"], done.data["copies"]) == ("settled", 2, 1)
    told = await site.erp.answer(sent, number=2)
    assert (told.status, told["sequence"], told["link"]) == ("succeeded", 2, LINK)
    assert told["payment_id"] == event["payment_id"]
    again = await site.erp.answer(copy, number=2)
    assert (again.status, again["sequence"], again["link"]) == ("succeeded", 2, LINK)
    assert again["duplicate_of"] == event["payment_id"]
    ids = {event["payment_id"], copied["payment_id"]}
    assert not ids & (await doubts(site)).keys()
    assert not ids & await listed_letters(site)
    assert applied_for(told, site.simulator.applied) == 1
    twice = await settled(site, sent, "--succeeded", "--link", LINK)
    assert twice.data["result"] == "settled_before"
    assert len(site.erp.answers(sent)) == 2
    shown = await site.installation.run("payments", "show", event["payment_id"], "--json")
    acts = [each for each in shown.data["timeline"] if each["what"] == "acted_on"]
    assert [each["action"] for each in acts] == ["settle"]
    assert LINK not in shown.output + done.output + done.complaint


async def test_what_was_not_applied_fails_and_may_be_asked_for_again(site: Site) -> None:
    body = basket_order(email="sim+reset-before@example.org")
    sent, event = await in_doubt(site, body)
    await settled(site, sent, "--failed")
    told = await site.erp.answer(sent, number=2)
    assert (told.status, told["sequence"], told["code"]) == ("failed", 2, "provider_unavailable")
    assert told["error"]["retryable"] is True
    assert event["payment_id"] not in await listed_letters(site)
    assert applied_for(told, site.simulator.applied) == 0
    nothing = await site.installation.run("payments", "cancel", event["payment_id"], *SAID)
    assert nothing.code == 1
    assert "it failed: there is nothing to cancel" in nothing.complaint
    changed = await settled(site, sent, "--succeeded", "--item", "17", code=1)
    assert "failed provider_unavailable" in changed.complaint
    fresh = await site.erp.answer(await site.erp.send(body | {"email": "client@example.org"}))
    assert fresh.status == "succeeded"


async def test_an_item_settles_a_basket_and_can_be_taken_back(site: Site) -> None:
    sent, event = await in_doubt(site, basket_order(email="sim+reset-after@example.org"))
    (item,) = [
        item_id
        for item_id, url in site.simulator.book.item_urls.items()
        if event["provider_reference"] in url
    ]
    await settled(site, sent, "--succeeded", "--item", item)
    told = await site.erp.answer(sent, number=2)
    assert (told.status, told["basket_item_id"]) == ("succeeded", item)
    cancel = ("payments", "cancel", event["payment_id"], *SAID)
    done = await site.installation.run(*cancel)
    assert (done.code, done.data["result"]) == (0, "cancelled"), done.complaint
    await until(lambda: len(site.erp.heard_of(event["payment_id"])) == 3)
    cancelled = site.erp.heard_of(event["payment_id"])[-1]
    assert (cancelled.status, cancelled["sequence"]) == ("cancelled", 3)
    again = await site.installation.run(*cancel)
    assert (again.code, again.data["cancellation_id"]) == (0, None)
    assert site.simulator.applied.removals == {item: 1}


async def test_an_unlocked_doubt_is_replayed_and_paid_once(site: Site) -> None:
    sent, event = await in_doubt(site, basket_order(email="sim+reset-before@example.org"))
    replay = ("dead-letters", "replay", event["payment_id"], *SAID[:3], "--json")
    barred = await site.installation.run(*replay)
    assert barred.code != 0
    done = await settled(site, sent, "--retry")
    assert (done.data["result"], done.data["state"]) == ("unlocked", "in_doubt")
    assert (await doubts(site))[event["payment_id"]]["unlocked"] is True
    listed = await site.installation.run("dead-letters", "list", "--json")
    (letter,) = [row for row in listed.rows if row["payment_id"] == event["payment_id"]]
    assert letter["verdict"] == "safe"
    site.simulator.stop_faults()
    run = await site.installation.run(*replay)
    assert run.code == 0, run.output
    told = await site.erp.answer(sent, number=2)
    assert (told.status, told["sequence"]) == ("succeeded", 2)
    assert applied_for(told, site.simulator.applied) == 1
    assert event["payment_id"] not in await listed_letters(site)
