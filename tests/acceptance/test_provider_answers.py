"""Every row of the payment rules for one attempt, on real sockets, ends in the right event."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.acceptance.erp import Answer, Erp, Sent, checked_letter, order, payment_id_of
from tests.acceptance.installation import Installation, basket_account, link_account
from tests.acceptance.provider_cases import (
    Asked,
    Case,
    Place,
    applied_for,
    magic_cases,
    owes_letter,
    shared_out,
    status_cases,
    unreachable_cases,
)
from tests.acceptance.shared_site import Change, Site, site_of
from tests.broker import Broker
from tests.certificates import make_certificate
from tests.proxy import proxy_to
from tests.servers import Connection, RawServer, answer, refused_port
from worker.simulator.expected import Decided

pytestmark = [pytest.mark.broker, pytest.mark.asyncio(loop_scope="module")]

NOWHERE = "http://nowhere.invalid"
"""Stands for addresses that are known only once their servers run."""

CASES = (
    *magic_cases(),
    *status_cases(NOWHERE),
    *unreachable_cases(refused=NOWHERE, untrusted=NOWHERE),
)
FOLLOWED = "link-http-401"
"""The case behind which a sound request is sent to the same account."""


@dataclass(frozen=True, slots=True)
class Inquiry:
    """Everything that was asked, and the sites it was asked at."""

    asked: Mapping[str, Asked]
    sites: Mapping[str, Site]
    follower: Sent

    def erp(self, case: Case) -> Erp:
        return self.sites[case.id].erp

    async def answer(self, name: str) -> Answer:
        asked = self.asked[name]
        return await self.erp(asked.case).answer(asked.sent, seconds=55)


async def say_status(connection: Connection) -> None:
    """Answer the status that the path begins with."""
    request = await connection.request()
    status = request.target.split("/")[1]
    await connection.write(answer(f"{status} Whatever", headers=(("Connection", "close"),)))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def inquiry(
    broker: Broker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Inquiry]:
    """Ask for every case at once: half a minute on the ladder passes once and for all."""
    async with AsyncExitStack() as stack:
        statuses = await stack.enter_async_context(RawServer(say_status))
        certificate = make_certificate(tmp_path_factory.mktemp("certificate"))
        untrusted = await stack.enter_async_context(
            proxy_to(statuses.port, tls=certificate.server_context())
        )
        refused = stack.enter_context(refused_port())
        cases = [
            *magic_cases(),
            *status_cases(statuses.url("")),
            *unreachable_cases(
                refused=f"http://127.0.0.1:{refused}",
                untrusted=f"https://127.0.0.1:{untrusted.port}",
            ),
        ]
        asked: dict[str, Asked] = {}
        sites: dict[str, Site] = {}
        for places in shared_out(cases):
            directory = tmp_path_factory.mktemp("site")
            site = await stack.enter_async_context(site_of(broker, directory, accounts_of(places)))
            for place, case in cases_of(places):
                sent = await site.erp.send(order_at(place, email=case.email))
                asked[case.id] = Asked(case, place, sent)
                sites[case.id] = site
        first = asked[FOLLOWED]
        await sites[FOLLOWED].erp.answer(first.sent)
        follower = await sites[FOLLOWED].erp.send(order_at(first.place))
        yield Inquiry(asked, sites, follower)


def accounts_of(places: list[Place]) -> Change:
    """Settings with one account for each place, and the route to it."""

    def change(installation: Installation) -> None:
        accounts = installation.table("accounts")
        urls = {
            False: installation.table("accounts", "safedebit", "test")["base_url"],
            True: installation.table("accounts", "combo", "test")["base_url"],
        }
        accounts.clear()
        for place in places:
            make = basket_account if place.is_basket else link_account
            accounts[place.account] = make(place.url or str(urls[place.is_basket]))
        installation.settings["routes"] = [
            {"target": place.target, "type": place.payment_type, "account": place.account}
            for place in places
        ]

    return change


def cases_of(places: list[Place]) -> list[tuple[Place, Case]]:
    """Every case with its account."""
    return [(place, case) for place in places for case in place.cases]


def order_at(place: Place, **changes: object) -> dict[str, object]:
    """A request that is routed to one account."""
    return order(payment_target=place.target, payment_type=place.payment_type, **changes)


def of_ids(*, used_up: bool) -> list[str]:
    """Cases by when they are decided: within this test, or only after hours on the ladder."""
    known = {each.id: each.expected for each in CASES}
    return [name for name in known if (known[name].decided is Decided.USED_UP) is used_up]


@pytest.mark.parametrize("name", of_ids(used_up=False))
async def test_what_a_provider_answers_becomes_the_right_event(inquiry: Inquiry, name: str) -> None:
    asked, site = inquiry.asked[name], inquiry.sites[name]
    expected = asked.case.expected
    event = await inquiry.answer(name)
    assert (event.status, event["code"]) == (expected.status, expected.code)
    assert event["payment_id"] == payment_id_of("dcp", asked.sent.message_id)
    assert event["provider"] == asked.place.account
    assert event["livemode"] is False
    assert applied_for(event, site.simulator.applied) == expected.applied
    letters = site.erp.letters(asked.sent)
    if event["error"] is None:
        assert event["result"] is True
        assert (event["basket_item_id"] is not None) == asked.case.is_basket
        assert asked.case.is_basket or event["link"].startswith("https://pay.simulator.example/")
        assert letters == []
        return
    assert (event["result"], event["link"], event["basket_item_id"]) == (False, None, None)
    assert event["error"]["retryable"] is False
    if owes_letter(event["code"], event["error"]["category"]):
        assert len(letters) == 1
        checked_letter(letters[0], event)
    else:
        assert letters == []


@pytest.mark.parametrize("name", of_ids(used_up=True))
async def test_what_may_pass_waits_on_the_ladder_and_is_not_answered(
    inquiry: Inquiry, name: str
) -> None:
    """The rest of the ladder takes hours: its end is decided in the unit tests.

    A host that refuses connections opens the breaker with its second attempt; the third is a probe,
    which reaches nobody and is not counted.
    """
    asked, site = inquiry.asked[name], inquiry.sites[name]
    most = 2 if name.endswith("connection-refused") else 3
    for number, step in enumerate(("5s", "30s", "2m"), start=1):
        copy = await site.erp.rung(asked.sent, step)
        assert copy.headers["attempts"] == min(number, most)
        assert copy.headers["sequence"] == 1
        assert copy.headers["payment-id"] == payment_id_of("dcp", asked.sent.message_id)
        assert copy.headers["identity"] == f"dcp\u001f{asked.sent.message_id}"
        assert copy.headers["origin-routing-key"] == "payment.initiate.dcp"
        assert copy.headers["retry-reason"] == asked.case.expected.code
        assert copy.message_id == asked.sent.message_id
    assert await site.erp.depth("retry.v1.2m") > 0
    assert site.erp.answers(asked.sent) == []
    assert site.erp.letters(asked.sent) == []
    assert applied_for(payment_id_of("dcp", asked.sent.message_id), site.simulator.applied) == 0


@pytest.mark.parametrize("name", ["link-timeout", "link-http-500", "link-no-link"])
async def test_a_link_nobody_received_is_asked_for_once_more_under_another_reference(
    inquiry: Inquiry, name: str
) -> None:
    asked, site = inquiry.asked[name], inquiry.sites[name]
    event = await inquiry.answer(name)
    assert site.erp.rungs(asked.sent) == ["30s"]
    assert event["attempts"] == 2
    assert (await site.erp.rung(asked.sent, "30s")).headers["attempts"] == 1


@pytest.mark.parametrize("name", ["basket-timeout", "basket-http-500-after", "basket-status-302"])
async def test_a_basket_item_is_never_asked_for_again(inquiry: Inquiry, name: str) -> None:
    asked, site = inquiry.asked[name], inquiry.sites[name]
    event = await inquiry.answer(name)
    assert (event["attempts"], site.erp.rungs(asked.sent)) == (1, [])


async def test_behind_a_configuration_fault_requests_wait_uncounted_until_it_is_mended(
    inquiry: Inquiry,
) -> None:
    """One account's open breaker fails nothing, and lets one request probe after its pause."""
    asked, site = inquiry.asked[FOLLOWED], inquiry.sites[FOLLOWED]
    copy = await site.erp.rung(inquiry.follower, "30s")
    assert copy.headers["attempts"] == 0
    opened = await site.worker.tells(
        "breaker.changed", provider=asked.place.account, breaker="open"
    )
    assert opened["labels.reason"] == "provider_credentials"
    event = await site.erp.answer(inquiry.follower, seconds=55)
    assert (event.status, event["attempts"]) == ("succeeded", 1)


async def test_every_site_still_answers(inquiry: Inquiry) -> None:
    """An account that does well is not slowed down by those that do not."""
    healthy = inquiry.asked["link-success"]
    sent = await inquiry.erp(healthy.case).send(order_at(healthy.place))
    assert (await inquiry.erp(healthy.case).answer(sent)).status == "succeeded"
