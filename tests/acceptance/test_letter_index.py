"""Dead letters as an operator looks through them: from the ledger, with no queue touched."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.acceptance.erp import Answer, basket_order, order
from tests.acceptance.installation import Finished
from tests.acceptance.shared_site import Site, site_of
from tests.broker import Broker

REFUSED = "sim+refuse-once@example.org"
DOUBTFUL = "sim+http-500-after@example.org"
ASKED = (
    order(email=REFUSED, amount="4711"),
    order(id_societe="6"),
    order(id_societe="6", id_origin="Télévente"),
    order(id_societe="6", id_commande="0"),
    order(amount="0"),
    basket_order(email=DOUBTFUL),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """One site with six dead letters in its queue, five of them failed and one in doubt."""
    async with site_of(broker, tmp_path_factory.mktemp("letters"), ends_well=False) as site:
        yield site


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def answers(site: Site) -> list[Answer]:
    found = []
    for asked in ASKED:
        sent = await site.erp.send(asked)
        found.append(await site.erp.answer(sent))
        await site.erp.letter(sent)
    await site.erp.has_depth("dlq", len(ASKED))
    # The worker notes a confirmed letter with its next commit, which nobody waits for.
    while not is_all_in_queue(done := await asked_of(site)):
        assert done.rows
    return found


pytestmark = [pytest.mark.broker, pytest.mark.asyncio(loop_scope="module")]


async def asked_of(site: Site, *words: str) -> Finished:
    done = await site.installation.run("dead-letters", *words, "--json")
    assert done.code == 0, done.complaint
    return done


def is_all_in_queue(done: Finished) -> bool:
    return all(row["count"] == row["in_queue"] for row in done.rows)


def ids(done: Finished) -> list[object]:
    return [row["payment_id"] for row in done.rows]


async def test_dead_letters_are_grouped_by_code_with_what_a_replay_can_do(
    site: Site, answers: list[Answer]
) -> None:
    done = await asked_of(site)
    groups = {str(row["code"]): row for row in done.rows}
    assert next(iter(groups)) == "company_not_configured"
    assert {code: row["count"] for code, row in groups.items()} == {
        "company_not_configured": 3,
        "invalid_amount": 1,
        "outcome_unknown": 1,
        "provider_refused": 1,
    }
    companies = groups["company_not_configured"]
    assert (companies["category"], companies["advice"]) == ("config", "after_fix")
    assert (companies["safe"], companies["unknown"]) == (2, 1)  # one names no order
    assert str(companies["first"]) < str(companies["last"])
    assert (groups["provider_refused"]["safe"], groups["invalid_amount"]["needs_edit"]) == (1, 1)
    assert (groups["outcome_unknown"]["unknown"], groups["outcome_unknown"]["safe"]) == (1, 0)
    people = await site.installation.run("dead-letters", "-o", "human")
    assert people.code == 0
    assert "6 dead letters: 3 replayable, 1 to be corrected, 2 to be looked up" in people.output
    await site.erp.has_depth("dlq", len(answers))


async def test_the_list_is_filtered_and_goes_on_where_a_page_ended(
    site: Site, answers: list[Answer]
) -> None:
    refused, company, televente, _, invalid, doubt = (each["payment_id"] for each in answers)
    for words, found in (
        (("--code", "provider_refused", "--code", "invalid_amount"), [refused, invalid]),
        (("--category", "in_doubt"), [doubt]),
        (("--origin", "Télévente"), [televente]),
        (("--company", "6", "--limit", "1"), [company]),
        (("--since", "1h", "--target", "MILLIET", "--payment", doubt), [doubt]),
    ):
        assert ids(await asked_of(site, "list", *words)) == found, words
    (named,) = (await asked_of(site, "list", "--payment", refused)).rows
    assert (named["code"], named["verdict"]) == ("provider_refused", "safe")
    listed: list[object] = []
    place: tuple[str, ...] = ()
    while True:
        page = await asked_of(site, "list", "--limit", "4", *place)
        listed += ids(page)
        _, said, rest = page.complaint.partition("--after ")
        if not said:
            break
        place = ("--after", rest.split()[0])
    assert listed == [each["payment_id"] for each in answers]


async def test_the_whole_history_of_a_payment_is_shown_without_a_secret(
    site: Site, answers: list[Answer]
) -> None:
    """After the others: its replay takes it out of the index."""
    refused = answers[0]["payment_id"]
    before = await site.installation.run("dead-letters", "show", refused, "--json")
    assert before.data["verdict"] == "safe"
    replayed = await site.installation.run("dead-letters", "replay", refused, "--yes")
    assert replayed.code == 0, replayed.complaint
    done = await site.installation.run("payments", "show", refused, "--json")
    assert done.code == 0, done.complaint
    shown = done.data
    assert (shown["state"], shown["sequence"], shown["verdict"]) == ("succeeded", 2, None)
    assert (shown["amount_cents"], shown["has_link"]) == (4711, True)
    assert [each["what"] for each in shown["timeline"]] == [
        *("received", "called", "attempt_ended", "decided", "dead_lettered"),
        *("acted_on", "called", "attempt_ended", "decided"),
    ]
    decided = [each for each in shown["timeline"] if each["what"] == "decided"]
    assert [(each["sequence"], each["status"]) for each in decided] == [
        (1, "failed"),
        (2, "succeeded"),
    ]
    assert decided[0]["event_id"] == answers[0]["event_id"]
    people = await site.installation.run("payments", "show", refused, "-o", "human")
    assert people.code == 0
    for text in (done.output, people.output):
        assert REFUSED not in text
        assert "https://" not in text
    await site.erp.has_depth("dlq", len(answers) - 1)
