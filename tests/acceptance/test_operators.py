"""What an operator sees and does: health, dead letters, and putting them back to work."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.acceptance.erp import Answer, Sent, basket_order, connected_erp, new_key, order
from tests.acceptance.installation import Finished
from tests.acceptance.provider_cases import applied_for
from tests.acceptance.shared_site import Site, site_of
from tests.acceptance.worker_process import started
from tests.broker import Broker
from tests.waiting import until

REFUSED_ONCE = "sim+refuse-once@example.org"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """One site for everything here that leaves its worker alone."""
    async with site_of(broker, tmp_path_factory.mktemp("operators")) as site:
        yield site


pytestmark = [pytest.mark.broker, pytest.mark.asyncio(loop_scope="module")]


async def failed(site: Site, asked: dict[str, object]) -> tuple[Sent, Answer]:
    """Ask for a payment that fails and is dead-lettered."""
    sent = await site.erp.send(asked)
    event = await site.erp.answer(sent)
    assert event["result"] is False
    await site.erp.letter(sent)
    return sent, event


async def replay(site: Site, payment_id: str) -> Finished:
    return await site.installation.run(
        *("dead-letters", "replay", payment_id, "--reason", "cause mended", "--yes", "--json")
    )


async def listed(site: Site) -> dict[str, dict[str, object]]:
    """Dead letters as the command lists them, by payment id."""
    done = await site.installation.run("dead-letters", "list", "--json")
    assert done.code == 0, done.complaint
    return {str(row["payment_id"]): row for row in done.rows}


@pytest.mark.parametrize("make", [order, basket_order], ids=["link", "basket"])
async def test_a_dead_letter_is_listed_replayed_and_paid_once_the_cause_is_mended(
    shared: Site, make: type[dict[str, object]]
) -> None:
    asked = make(email=REFUSED_ONCE, amount="4711")
    sent, event = await failed(shared, asked)
    payment_id = event["payment_id"]
    row = (await listed(shared))[payment_id]
    assert (row["state"], row["code"], row["origin"]) == ("failed", "provider_refused", "dcp")
    assert (row["company"], row["order"]) == ("1", asked["id_commande"])
    assert (row["amount_cents"], row["sequence"]) == (4711, 1)
    done = await replay(shared, payment_id)
    assert (done.code, done.outcome["result"], done.outcome["sequence"]) == (0, "settled", 2)
    replayed = await shared.erp.answer(sent, number=2)
    assert (replayed.status, replayed["sequence"]) == ("succeeded", 2)
    assert replayed["payment_id"] == payment_id
    assert replayed["event_id"] != event["event_id"]
    assert applied_for(replayed, shared.simulator.applied) == 1
    assert payment_id not in await listed(shared)
    repeated = await shared.erp.answer(await shared.erp.send(asked, message_id=sent.message_id))
    assert repeated["event_id"] == replayed["event_id"]


async def test_two_replays_at_once_pay_once(shared: Site) -> None:
    sent, event = await failed(shared, basket_order(email=REFUSED_ONCE))
    done = await asyncio.gather(*(replay(shared, event["payment_id"]) for _ in range(2)))
    assert 0 in {each.code for each in done}
    replayed = await shared.erp.answer(sent, number=2)
    assert (replayed.status, replayed["sequence"]) == ("succeeded", 2)
    assert applied_for(event, shared.simulator.applied) == 1
    again = await replay(shared, event["payment_id"])
    assert (again.code, again.outcome["result"]) == (0, "already_done")
    assert {each["event_id"] for each in shared.erp.answers(sent)[1:]} == {replayed["event_id"]}
    assert applied_for(event, shared.simulator.applied) == 1


async def test_a_doubtful_basket_item_is_not_replayed(shared: Site) -> None:
    sent, event = await failed(shared, basket_order(email="sim+http-500-after@example.org"))
    before = await shared.erp.depth("dlq")
    done = await replay(shared, event["payment_id"])
    assert (done.code, done.outcome["result"]) == (1, "skipped")
    assert "may have been applied" in done.outcome["detail"]
    await shared.erp.has_depth("dlq", before)  # its letter is still there
    assert (await listed(shared))[event["payment_id"]]["state"] == "in_doubt"
    assert len(shared.erp.answers(sent)) == 1
    assert applied_for(event, shared.simulator.applied) == 1


async def test_a_refused_message_is_not_replayed_but_corrected(shared: Site) -> None:
    _, event = await failed(shared, order(amount="0"))
    done = await replay(shared, event["payment_id"])
    assert (done.code, done.outcome["result"]) == (1, "skipped")
    assert "corrected request" in done.outcome["detail"]


async def test_what_was_paid_meanwhile_under_another_key_is_not_replayed(shared: Site) -> None:
    """It would be decided superseded without a call: nobody needs to be told of that twice."""
    asked = order(email=REFUSED_ONCE)
    sent, event = await failed(shared, asked)
    paid = await shared.erp.answer(await shared.erp.send(asked))
    assert (paid.status, paid["duplicate_of"]) == ("succeeded", None)
    done = await replay(shared, event["payment_id"])
    assert (done.code, done.outcome["result"]) == (1, "skipped")
    assert "Another payment of the same content" in done.outcome["detail"]
    assert len(shared.erp.answers(sent)) == 1
    assert applied_for(event, shared.simulator.applied) == 0
    assert applied_for(paid, shared.simulator.applied) == 1


async def test_a_letter_that_is_not_there_is_said_so(shared: Site) -> None:
    done = await replay(shared, new_key())
    assert (done.code, done.outcome["detail"]) == (1, "not in the queue")
    wrong = await shared.installation.run("dead-letters", "replay", "12")
    assert wrong.code == 64


async def test_health_readiness_and_metrics_are_served_on_one_port(shared: Site) -> None:
    await shared.erp.is_answered()
    status, body = await shared.worker.asks("/healthz")
    assert (status, json.loads(body)) == (200, {"alive": True})
    status, body = await shared.worker.asks("/readyz")
    assert (status, json.loads(body)["ready"]) == (200, True)
    status, metrics = await shared.worker.asks("/metrics")
    assert status == 200
    samples = dict(re.findall(r"^(payment_worker_\S+) (\S+)$", metrics, re.MULTILINE))
    assert any(
        name.startswith("payment_worker_jobs_total{") and 'status="succeeded"' in name
        for name in samples
    )
    for name in (
        "payment_worker_job_age_seconds_count",
        "payment_worker_job_attempts_count",
        'payment_worker_amqp_connected{role="consume"}',
        'payment_worker_amqp_connected{role="publish"}',
    ):
        assert float(samples[name]) >= 1, name
    assert any(name.startswith("payment_worker_provider_") for name in samples)
    assert (await shared.worker.asks("/other"))[0] == 404


async def test_the_healthcheck_follows_the_worker(broker: Broker, tmp_path: Path) -> None:
    async with site_of(broker, tmp_path, ends_well=False) as site:
        alive = await site.installation.run("healthcheck", "--json")
        assert (alive.code, alive.data["alive"]) == (0, True)
        assert await site.worker.stop() == 0
        ended = await site.installation.run("healthcheck", "--json")
        assert (ended.code, ended.data["alive"]) == (1, False)
        none = await site.installation.run("dead-letters", "list", "--fail-if-empty")
        assert none.code == 5


async def test_a_company_that_was_missing_is_configured_and_its_letter_replayed(
    broker: Broker, tmp_path: Path
) -> None:
    async with site_of(broker, tmp_path, ends_well=False) as site:
        _, event = await failed(site, order(id_societe="6"))
        assert event["code"] == "company_not_configured"
        assert await site.worker.stop() == 0
        companies = site.installation.table("accounts", "safedebit", "test", "companies")
        companies["6"] = companies["1"]
        site.installation.write()
        async with (
            started(site.installation),
            connected_erp(broker, site.installation.prefix) as erp,
        ):
            done = await replay(site, event["payment_id"])
            assert (done.code, done.outcome["result"]) == (0, "settled")
            await until(lambda: erp.heard_of(event["payment_id"]))
        assert applied_for(event, site.simulator.applied) == 1
        assert await site.erp.depth("dlq") == 0
