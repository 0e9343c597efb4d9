"""TEST, LIVE and FORCE_LIVE each reach one endpoint only: the table of contract section 2."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from tests.acceptance.erp import basket_order, checked_letter, order
from tests.acceptance.installation import LINK_HOST, Installation, Table
from tests.acceptance.provider_cases import applied_for
from tests.acceptance.shared_site import Change, Site, site_of
from tests.broker import Broker
from worker.adapters.clock import SystemClock
from worker.model import Secret
from worker.simulator.server import Credentials, Simulator

pytestmark = [pytest.mark.broker, pytest.mark.asyncio(loop_scope="module")]

LIVE = Credentials(
    login="live", password=Secret("live-one"), orig="live.example", secret=Secret("live-two")
)
MOST = 100
"""Cents that staging may take from a live endpoint."""

Sites = dict[str, Site]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def live() -> AsyncIterator[Simulator]:
    """The live endpoints of both providers; they take other credentials than the test ones."""
    async with Simulator(clock=SystemClock(), link_host=LINK_HOST, credentials=LIVE) as simulator:
        yield simulator


def with_live(live: Simulator, **settings: object) -> Change:
    """Settings with live endpoints beside the test ones."""

    def change(installation: Installation) -> None:
        installation.settings.update(settings)
        for account, url, login, password in (
            ("safedebit", live.link_base_url, LIVE.login, LIVE.password),
            ("combo", live.base_url, LIVE.orig, LIVE.secret),
        ):
            table = installation.table("accounts", account)
            test = installation.table("accounts", account, "test")
            endpoint: Table = {"base_url": url, "login": login, "password": password.reveal()}
            table["live"] = test | endpoint

    return change


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sites(
    broker: Broker, tmp_path_factory: pytest.TempPathFactory, live: Simulator
) -> AsyncIterator[Sites]:
    """A production worker, and a staging one that has leave for small live payments of dcp."""
    until = (SystemClock().now() + timedelta(days=2)).date().isoformat()
    leave = {"until": until, "origins": ["dcp"], "max_amount": MOST}

    def folder(name: str) -> Path:
        return tmp_path_factory.mktemp(name)

    async with (
        site_of(broker, folder("production"), with_live(live, environment="production")) as first,
        site_of(broker, folder("staging"), with_live(live, force_live=leave)) as second,
    ):
        yield {"production": first, "staging": second}


@pytest.mark.parametrize("make", [order, basket_order], ids=["link", "basket"])
@pytest.mark.parametrize(
    ("environment", "mode", "is_live"),
    [
        ("production", "TEST", False),
        ("production", "LIVE", True),
        ("production", "FORCE_LIVE", True),
        ("staging", "TEST", False),
        ("staging", "FORCE_LIVE", True),
    ],
)
async def test_a_mode_reaches_its_own_endpoint_and_no_other(
    sites: Sites,
    live: Simulator,
    environment: str,
    mode: str,
    *,
    is_live: bool,
    make: type[dict[str, object]],
) -> None:
    site = sites[environment]
    sent = await site.erp.send(make(payment_run_mode=mode, amount=str(MOST)))
    event = await site.erp.answer(sent)
    assert (event.status, event["livemode"]) == ("succeeded", is_live)
    assert event["payment_run_mode"] == mode
    reached = {
        "live": applied_for(event, live.applied),
        "test": applied_for(event, site.simulator.applied),
    }
    assert reached == {"live": int(is_live), "test": int(not is_live)}
    line = await site.worker.tells("delivery.answered", message_id=sent.message_id)
    assert line["labels.livemode"] is is_live
    is_forced = environment == "staging" and is_live
    assert (line["log.level"], line.get("labels.livemode_forced")) == (
        ("warning", True) if is_forced else ("info", None)
    )


@pytest.mark.parametrize(
    ("environment", "changes", "routing_key"),
    [
        pytest.param("staging", {"payment_run_mode": "LIVE"}, "payment.initiate.dcp", id="live"),
        pytest.param(
            "staging",
            {"payment_run_mode": "FORCE_LIVE", "amount": str(MOST + 1)},
            "payment.initiate.dcp",
            id="too-much",
        ),
        pytest.param(
            "staging",
            {"payment_run_mode": "FORCE_LIVE", "id_origin": "web"},
            "payment.initiate.web",
            id="other-origin",
        ),
        pytest.param(
            "staging", {"payment_run_mode": "FORCE_LIVE"}, "payment.initiate.web", id="foreign-key"
        ),
        pytest.param(
            "production",
            {"payment_run_mode": "FORCE_LIVE"},
            "payment.initiate.web",
            id="foreign-key-in-production",
        ),
    ],
)
async def test_a_mode_that_is_not_allowed_reaches_nobody(
    sites: Sites, live: Simulator, environment: str, changes: dict[str, object], routing_key: str
) -> None:
    site = sites[environment]
    called = live.applied.total + site.simulator.applied.total
    asked = order(amount=str(MOST)) | changes
    sent = await site.erp.send(asked, routing_key=routing_key)
    event = await site.erp.answer(sent)
    assert (event.status, event["code"]) == ("failed", "mode_not_allowed")
    assert event["error"]["category"] == "config"
    checked_letter(await site.erp.letter(sent), event)
    assert live.applied.total + site.simulator.applied.total == called
