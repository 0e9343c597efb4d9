"""No secret and nothing personal is anywhere but where it must be."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
import pytest_asyncio

from tests.acceptance.erp import Sent, basket_order, connected_erp, order
from tests.acceptance.installation import LINK_HOST, Installation, installed
from tests.acceptance.shared_site import Site
from tests.acceptance.worker_process import started
from tests.broker import Broker
from worker.adapters.clock import SystemClock
from worker.model import Secret
from worker.simulator.server import Credentials, Simulator

pytestmark = [pytest.mark.broker, pytest.mark.asyncio(loop_scope="module")]

PERSON = "zoe.planted"
COMMENT = "planted comment, card 4111111111111111"
PASSWORDS = ("planted-link-password", "planted-signing-key", "planted-broker-password")
BROKER_USER = "acceptance-secrets"

REQUESTS = {
    "link": order(email=f"{PERSON}@private.example"),
    "item": basket_order(email=f"{PERSON}@private.example"),
    "unreadable": order(email=f"{PERSON} @private.example"),
    "declined": order(email="sim+declined@private.example"),
    "refused": order(email="sim+refuse-once@private.example"),
    "doubtful": basket_order(email="sim+reset-after@private.example"),
    "waiting": order(email="sim+http-429@private.example"),
    "unlisted": order(email="sim+unlisted-host@private.example", payment_target="PAYBOX"),
}
"""One request for each way a story may go, each with a comment."""


@dataclass(frozen=True, slots=True)
class Run:
    """What was asked, and every byte that was left behind."""

    site: Site
    sent: dict[str, Sent]
    links: tuple[str, ...]
    left: dict[str, bytes]

    def places_of(self, planted: str) -> list[str]:
        """Where a text is found, as it is or as a URL spells it."""
        spellings = {planted, quote(planted, safe=""), quote(planted), planted.upper()}
        return [
            place
            for place, content in self.left.items()
            if any(spelling.encode() in content for spelling in spellings)
        ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def run(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Run]:
    """Let one worker at its most talkative live through everything, then look at its traces."""
    directory = tmp_path_factory.mktemp("secrets")
    credentials = Credentials(password=Secret(PASSWORDS[0]), secret=Secret(PASSWORDS[1]))
    async with (
        Simulator(clock=SystemClock(), link_host=LINK_HOST, credentials=credentials) as simulator,
        installed(
            broker, directory, link_url=simulator.link_base_url, basket_url=simulator.base_url
        ) as installation,
    ):
        await plant(installation)
        installation.write()
        installation.create_ledger()
        async with (
            started(installation) as worker,
            connected_erp(broker, installation.prefix) as erp,
        ):
            site = Site(installation=installation, simulator=simulator, worker=worker, erp=erp)
            sent = {
                name: await erp.send(asked | {"commentaire": COMMENT})
                for name, asked in REQUESTS.items()
            }
            answers = {
                name: await erp.answer(each) for name, each in sent.items() if name != "waiting"
            }
            await erp.rung(sent["waiting"], "5s")
            cancelling = await erp.cancel(payment_id=answers["item"]["payment_id"])
            await erp.answer(cancelling)
            replayed = await installation.run(
                "dead-letters", "replay", answers["refused"]["payment_id"], "--yes"
            )
            assert replayed.code == 0, replayed.complaint
            links = [(await erp.answer(sent["refused"], number=2))["link"]]
            links += [answers[name]["link"] for name in ("link", "item")]
            listed = await installation.run("dead-letters", "list", "--json")
            _, metrics = await worker.asks("/metrics")
            left = {path.name: path.read_bytes() for path in traces(directory)}
            left["metrics"] = metrics.encode()
            left["list"] = listed.output.encode() + listed.complaint.encode()
            for number, message in enumerate(erp.heard):
                left[f"headers {number} {message.exchange}"] = repr(
                    (message.headers, message.correlation_id, message.type, message.routing_key)
                ).encode()
        left |= {f"{path.name} at the end": path.read_bytes() for path in traces(directory)}
        yield Run(site, sent | {"cancelling": cancelling}, tuple(links), left)


async def plant(installation: Installation) -> None:
    """Give everything that takes a password one that can be searched for."""
    for account, password in zip(("safedebit", "combo"), PASSWORDS, strict=False):
        installation.table("accounts", account, "test")["password"] = password
    accounts = installation.table("accounts")
    accounts["unlisted"] = accounts["safedebit"]
    installation.settings["routes"] = [
        {"target": "LABANQUEPOSTALE", "account": "safedebit"},
        {"target": "PAYBOX", "account": "unlisted"},
        {"target": "MILLIET", "account": "combo"},
    ]
    installation.settings["log"] = {"level": "debug"}
    control = installation.broker.control
    await control("add_user", BROKER_USER, PASSWORDS[2])
    await control("set_permissions", "-p", "payments", BROKER_USER, ".*", ".*", ".*")
    installation.table("broker").update(user=BROKER_USER, password=PASSWORDS[2])


def traces(directory: Path) -> Iterator[Path]:
    """Every file of the worker but the settings it was given."""
    return (path for path in directory.iterdir() if path.name != "settings.toml")


async def test_every_way_left_its_traces(run: Run) -> None:
    """The search below would find nothing if there were nothing to search."""
    names = set(run.left)
    assert {"worker-1.log", "ledger.sqlite3", "metrics", "list"} <= names
    for exchange in ("results", "retry", "dlx", "replay"):
        assert any(name.endswith(f".{exchange}") for name in names), exchange
    assert run.places_of("payment.initiate.dcp")
    assert all(link.startswith(f"https://{LINK_HOST}/") for link in run.links)


@pytest.mark.parametrize(
    "planted", [PERSON, "private.example", "sim+", COMMENT, "4111111111111111"]
)
async def test_nothing_of_a_person_is_left_anywhere(run: Run, planted: str) -> None:
    assert run.places_of(planted) == []


@pytest.mark.parametrize("planted", PASSWORDS)
async def test_no_password_is_left_anywhere(run: Run, planted: str) -> None:
    assert run.places_of(planted) == []


async def test_no_key_of_the_ledger_is_left_anywhere(run: Run) -> None:
    keys = run.site.installation.table("ledger")["keys"]
    assert isinstance(keys, list)
    assert [run.places_of(key) for key in keys] == [[]]


async def test_no_link_is_left_anywhere_but_in_its_event(run: Run) -> None:
    for link in run.links:
        token = link.partition("SDESSID=")[2]
        assert len(token) >= 16
        assert run.places_of(token) == []
    assert run.places_of("unlisted.") == []  # the host of the link that was never handed out


async def test_no_event_tells_more_than_it_must(run: Run) -> None:
    results = [
        message.body
        for message in run.site.erp.heard
        if message.exchange == run.site.installation.named("results")
    ]
    assert results
    for planted in (PERSON, "private.example", COMMENT):
        assert not any(planted.encode() in body for body in results)


@pytest.mark.parametrize("name", [*REQUESTS, "cancelling"])
async def test_each_payment_has_one_line_with_its_ids_for_each_time_it_was_taken(
    run: Run, name: str
) -> None:
    lines = [
        line
        for line in run.site.worker.lines
        if line.get("labels.message_id") == run.sent[name].message_id
        and str(line["event.action"]).startswith("delivery.")
    ]
    told = [line["event.action"] for line in lines]
    if name == "waiting":
        assert set(told) == {"delivery.waiting"}
    else:
        assert told == ["delivery.answered"] * (2 if name == "refused" else 1)
    for line in lines:
        assert line["labels.operation_id"]
        assert line["labels.origin"] == "dcp"
        assert line["@timestamp"]
        if line["event.action"] == "delivery.answered":
            assert line["labels.payment_id"]
            assert line["labels.status"]
