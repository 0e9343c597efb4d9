"""The books, answers sent again, and a ledger that came back from a backup, as commands."""

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

pytestmark = pytest.mark.broker

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
            for each in await store.unpublished(
                decided_before=SystemClock().now(), after=None, limit=100
            )
            if str(each.event.event_id) == event_id
        ]
    finally:
        await store.close()
    (answer,) = found
    return answer


async def test_the_books_of_a_day_balance_and_name_a_letter_that_vanished(
    broker: Broker, tmp_path: Path
) -> None:
    async with site_of(broker, tmp_path) as site:
        erp, since = site.erp, time_text(SystemClock().now())  # a day may end under a test
        assert (await erp.answer(await erp.send(order()))).status == "succeeded"
        failures = [await erp.send(order(id_societe="6")) for _ in range(2)]
        events = [await erp.answer(sent) for sent in failures]
        await erp.has_depth("dlq", 2)
        # The broker's confirmation of a letter is marked a second later.
        whole = await report(site, "--since", since)
        assert (whole.code, flaws(whole)) == (0, []), whole.complaint
        assert whole.data["received"] == 3
        assert whole.data["balance"] == {"initiation": {"succeeded": 1, "failed": 2}}
        assert whole.data["dead_letters"] == {"company_not_configured": 2}
        assert whole.data["queue"]["walked"] == (whole.data["queue"]["in_ledger"] != 2)
        walked = await report(site, "--walk")
        assert (walked.code, walked.data["queue"]["leftover"]) == (0, 0)
        taken = await erp.take("dlq")
        lost = await report(site)
        assert lost.code == 1
        (gone,) = [
            each["payment_id"]
            for each in events
            if each["payment_id"] == taken.headers["payment-id"]
        ]
        assert flaws(lost) == [("letter_not_in_queue", gone)]
        alone = await report(site, "--no-broker")
        assert (alone.code, alone.data["queue"]) == (0, None)
        assert len(alone.data["not_looked_at"]) == 1
        people = await site.installation.run("payments", "report", "-o", "human")
        assert people.code == 1
        assert gone in people.output
        assert (await report(site, "--since", "yesterday")).code == 64
        assert (await report(site, "--no-broker", "--walk")).code == 64
        broker_away = site.installation.table("broker")
        broker_away["port"] = 1
        site.installation.write()
        assert (await report(site)).code == 69


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
        again = await site.installation.run(*resend, "--unclaimed")
        assert (again.code, again.data["marked"]) == (0, 0)
        await site.erp.send(order())
        event = checked(await site.erp.take("results.erp"))
        one = await site.installation.run(*resend, "--payment", event["payment_id"])
        assert (one.code, one.data["result"]) == (0, "marked")
        assert (await stored(site, event["event_id"])).resends == 1
        unknown = await site.installation.run(*resend, "--payment", event["event_id"])
        assert (unknown.code, unknown.data["result"]) == (1, "unknown")
        assert (await site.installation.run(*resend)).code == 64


async def test_a_restoration_is_said_once_with_the_workers_stopped_and_shown_while_in_force(
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
        assert (await site.installation.run(*restored, "2999-01-01T00:00:00Z")).code == 64
        assert (await site.installation.run(*restored, "yesterday")).code == 64
        unasked = await site.installation.run("ledger", "restored", "--at", now)
        assert unasked.code == 64, "nobody is there to confirm"
        done = await site.installation.run(*restored, now)
        assert (done.code, done.data["recorded"], done.data["in_doubt"]) == (0, True, 0)
        again = await site.installation.run(*restored, now)
        assert (again.code, again.data["recorded"]) == (0, False)
        assert again.data["restored_at"] == done.data["restored_at"]
        checks = await site.installation.run("check", "--only", "LED", "--json")
        assert "came back from a backup" in checks.output
        async with (
            started(site.installation) as worker,
            connected_erp(broker, site.installation.prefix) as erp,
        ):
            line = await worker.tells("ledger.restored")
            assert line["labels.known_until"] == now
            await erp.is_answered()
