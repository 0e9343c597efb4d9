"""A customer asks to be erased: real worker and commands, both ledgers, both providers.

He has paid, has been refused, has letters in two queues, and one payment is in doubt. Erasing does
what can be done and says what cannot yet; settled and erased again, nothing of him is found.
"""

import asyncio
import json
import sqlite3
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
import pytest_asyncio

from tests.acceptance.erp import Answer, Erp, Sent, basket_order, connected_erp, order
from tests.acceptance.installation import LINK_HOST, Finished, Installation, installed
from tests.acceptance.provider_cases import applied_for
from tests.acceptance.worker_process import WorkerProcess, started
from tests.broker import Broker
from tests.postgres import PostgresServer
from tests.waiting import until
from worker.adapters.clock import SystemClock
from worker.adapters.store_postgres.sessions import connect
from worker.model import Secret
from worker.rules import PostgresAddress
from worker.simulator.server import Credentials, Simulator

pytestmark = [pytest.mark.broker, pytest.mark.time_limit(180)]

PERSON = "zoe.planted@private.example"
DOUBTFUL = "sim+http-500-after@private.example"
COMMENT = "planted comment, card 4111111111111111"
PASSWORDS = ("planted-link-password", "planted-signing-key")
CLIENT = "77001"
FORTY_DAYS = 40 * 86_400 * 1_000_000
QUICK_SWEEPER = (sys.executable, "-m", "tests.acceptance.quick_sweeper")
REASON = ("--reason", "data-protection request 4711", "--yes", "--json")


@dataclass(slots=True, kw_only=True)
class Desk:
    """The site, and an operator who works at it."""

    installation: Installation
    simulator: Simulator
    worker: WorkerProcess
    erp: Erp
    address: PostgresAddress | None

    async def has_sent(self, body: Mapping[str, object]) -> tuple[Sent, Answer]:
        sent = await self.erp.send({**body, "commentaire": COMMENT})
        return sent, await self.erp.answer(sent)

    async def runs(self, *words: str, code: int = 0) -> Finished:
        done = await self.installation.run(*words)
        assert done.code == code, (done.output, done.complaint)
        return done

    async def erased(self, *words: str, code: int = 0) -> dict[str, str]:
        """Erase; what became of each operation, by its id."""
        done = await self.runs("payments", "erase", *words, *REASON, code=code)
        return {row["payment_id"]: row["result"] for row in done.lines}

    async def ledger(self) -> dict[str, bytes]:
        """Everything the ledger holds: the bytes of its files, or every row as text."""
        if self.address is None:
            files = self.installation.ledger.parent.glob(f"{self.installation.ledger.name}*")
            return {file.name: file.read_bytes() for file in files}
        connection = await connect(self.address)
        try:
            names = await connection.fetch(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'payment_worker'"
            )
            return {
                name: repr(
                    [tuple(row) for row in await connection.fetch(f"SELECT * FROM {name}")]  # noqa: S608 - our own names
                ).encode()
                for (name,) in names
            }
        finally:
            connection.terminate()

    async def neighbour_grows_old(self) -> None:
        """Have the neighbour's payment be forty days old."""
        aged = (
            f"UPDATE operations SET created_at = created_at - {FORTY_DAYS},"  # noqa: S608 - a number
            f" decided_at = decided_at - {FORTY_DAYS} WHERE id_client = '1'"
        )
        if self.address is None:
            with closing(sqlite3.connect(self.installation.ledger, timeout=5)) as file:
                file.execute(aged)
                file.commit()
            return
        connection = await connect(self.address)
        try:
            await connection.execute(aged)
        finally:
            connection.terminate()

    async def sealed(self) -> int:
        """Values that are encrypted, and marks that e-mails are found by."""
        (key,) = json.loads((await self.runs("ledger", "keys", "--json")).output)
        return int(key["values"]) + int(key["marks"])


@pytest_asyncio.fixture(params=["sqlite", "postgres"])
async def desk(
    request: pytest.FixtureRequest, broker: Broker, tmp_path: Path
) -> AsyncIterator[Desk]:
    if request.param == "sqlite":
        async with at_desk(broker, tmp_path, None) as ready:
            yield ready
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    with server.database() as address:
        async with at_desk(broker, tmp_path, address) as ready:
            yield ready


@asynccontextmanager
async def at_desk(
    broker: Broker, directory: Path, address: PostgresAddress | None
) -> AsyncIterator[Desk]:
    credentials = Credentials(password=Secret(PASSWORDS[0]), secret=Secret(PASSWORDS[1]))
    async with (
        Simulator(clock=SystemClock(), link_host=LINK_HOST, credentials=credentials) as simulator,
        installed(
            broker, directory, link_url=simulator.link_base_url, basket_url=simulator.base_url
        ) as installation,
    ):
        for account, password in zip(("safedebit", "combo"), PASSWORDS, strict=True):
            installation.table("accounts", account, "test")["password"] = password
        installation.settings["log"] = {"level": "debug"}
        installation.settings["retention"] = {"every": "1s"}
        if address is not None:
            installation.use_postgres(address)
        installation.write()
        installation.create_ledger()
        async with (
            started(installation, prelude=QUICK_SWEEPER) as worker,
            connected_erp(broker, installation.prefix) as erp,
        ):
            yield Desk(
                installation=installation,
                simulator=simulator,
                worker=worker,
                erp=erp,
                address=address,
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """All that the customer has been through, and a neighbour with a letter of his own."""

    asked: Mapping[str, object]
    paid: Sent
    link: Answer
    item: Answer
    refused: Answer
    aside: Answer
    unread: Answer
    doubt: Answer
    neighbour: Answer


async def lived(desk: Desk) -> Life:
    asked = his(order(email=PERSON))
    paid, link = await desk.has_sent(asked)
    _, item = await desk.has_sent(his(basket_order(email=PERSON.upper())))
    _, refused = await desk.has_sent(his(order(email=PERSON, id_societe="6")))
    _, aside = await desk.has_sent(his(order(email=PERSON, id_societe="6")))
    _, unread = await desk.has_sent(his(order(email=PERSON, amount="0")))
    _, doubt = await desk.has_sent(his(basket_order(email=DOUBTFUL)))
    _, neighbour = await desk.has_sent(order(id_client="1", id_societe="6"))
    await desk.erp.has_depth("dlq", 5)
    await desk.runs("dead-letters", "resolve", aside["payment_id"], "--reason", "seen to")
    await desk.erp.has_depth("parking", 1)
    return Life(
        asked=asked,
        paid=paid,
        link=link,
        item=item,
        refused=refused,
        aside=aside,
        unread=unread,
        doubt=doubt,
        neighbour=neighbour,
    )


def his(body: Mapping[str, object]) -> dict[str, object]:
    return {**body, "id_client": CLIENT}


def ids(*answers: Answer) -> set[str]:
    return {str(each["payment_id"]) for each in answers}


async def test_a_customer_is_erased_and_nothing_of_him_is_found(desk: Desk, tmp_path: Path) -> None:
    life = await lived(desk)
    await what_is_kept_is_told(desk, life, tmp_path / "kept.jsonl")
    await what_is_over_is_erased(desk, life)
    await what_is_in_doubt_is_erased_once_it_is_settled(desk, life)
    await the_outcome_stays(desk, life)
    await what_is_past_its_time_is_erased_by_the_worker(desk)
    await nothing_is_found(desk, life)


async def what_is_kept_is_told(desk: Desk, life: Life, export: Path) -> None:
    found = await desk.runs("payments", "find", "--email", f" {PERSON} ", "--json")
    assert {row["payment_id"] for row in found.lines} == ids(
        life.link, life.item, life.refused, life.aside
    )
    await desk.runs("payments", "export", "--client", CLIENT, "--output", str(export))
    text = of_a_private_file(export)
    kept = [json.loads(line) for line in text.splitlines()]
    assert {each["email"] for each in kept} == {None, PERSON.upper(), DOUBTFUL}
    assert {each["payment_id"] for each in kept} == ids(
        life.link, life.item, life.refused, life.aside, life.unread, life.doubt
    )
    assert str(life.link["link"]) not in text
    again = ("payments", "export", "--client", CLIENT, "--output", str(export))
    assert (await desk.runs(*again, code=64)).output == ""
    of_a_private_file(export, is_done_with=True)


def of_a_private_file(path: Path, *, is_done_with: bool = False) -> str:
    assert path.stat().st_mode & 0o777 == 0o600
    text = path.read_text("utf-8")
    if is_done_with:
        path.unlink()
    return text


async def what_is_over_is_erased(desk: Desk, life: Life) -> None:
    """An e-mail finds what a customer number does not, and the other way round: do both."""
    looked = await desk.runs(
        *("payments", "erase", "--email", PERSON, "--reason", "a look", "--dry-run", "--json")
    )
    assert len(looked.lines) == 4
    erased = await desk.erased("--email", PERSON)
    alone, with_letter = ids(life.link, life.item), ids(life.refused, life.aside, life.unread)
    assert erased == dict.fromkeys(alone, "erased") | dict.fromkeys(
        with_letter, "erased_with_letter"
    )
    await desk.erp.has_depth("parking", 0)
    await desk.erp.has_depth("dlq", 2)


async def what_is_in_doubt_is_erased_once_it_is_settled(desk: Desk, life: Life) -> None:
    doubt = str(life.doubt["payment_id"])
    left = await desk.erased("--client", CLIENT, code=3)
    assert left[doubt] == "left"
    await desk.runs(*("payments", "settle", doubt, "--failed", "--reason", "not there", "--yes"))
    await until(lambda: len(desk.erp.heard_of(doubt)) == 2, 20.0)
    async with asyncio.timeout(60):  # a worker notes it as published a moment later
        while (await tried(desk)).get(doubt) == "left":
            pass
    await desk.erp.has_depth("dlq", 1)
    letter = await desk.erp.take("dlq")
    assert letter.headers["payment-id"] == life.neighbour["payment_id"]


async def tried(desk: Desk) -> dict[str, str]:
    done = await desk.installation.run("payments", "erase", "--client", CLIENT, *REASON)
    assert done.code in {0, 3}, done.complaint
    return {row["payment_id"]: row["result"] for row in done.lines}


async def the_outcome_stays(desk: Desk, life: Life) -> None:
    """A repeat is answered from the ledger, and nobody is called."""
    again = await desk.erp.send(life.asked, message_id=life.paid.message_id)
    repeated = await desk.erp.answer(again)
    assert repeated["event_id"] == life.link["event_id"]
    assert (repeated["code"], repeated["link"], repeated["result"]) == ("link_erased", None, True)
    applied = desk.simulator.applied
    assert [applied_for(each, applied) for each in (life.link, life.item, life.doubt)] == [1, 1, 1]
    assert applied.total == 3
    shown = await desk.runs("payments", "show", str(life.item["payment_id"]), "--json")
    assert (shown.data["state"], shown.data["amount_cents"]) == ("succeeded", 1250)
    acts = [each["action"] for each in shown.data["timeline"] if each["what"] == "acted_on"]
    assert acts == ["erase"]


async def what_is_past_its_time_is_erased_by_the_worker(desk: Desk) -> None:
    assert await desk.sealed() == 1  # the neighbour's mark
    await desk.neighbour_grows_old()
    await desk.worker.tells("retention.done")
    assert await desk.sealed() == 0
    done = await desk.runs("ledger", "maintain", "--dry-run", "--json")
    assert done.data["held"] == 0


async def nothing_is_found(desk: Desk, life: Life) -> None:
    plan = desk.installation.directory / "all.plan"
    await desk.runs("dead-letters", "plan", "--all", "--output", str(plan))
    exported = await desk.runs("audit", "export", "--output", "-")
    _, metrics = await desk.worker.asks("/metrics")
    traces = {
        **await desk.ledger(),
        "log": desk.worker.log.read_bytes(),
        "complaint": desk.worker.complaint.read_bytes(),
        "metrics": metrics.encode(),
        "plan": plan.read_bytes(),
        "audit": exported.output.encode(),
    }
    for number, message in enumerate(desk.erp.heard):
        about = (message.headers, message.correlation_id, message.type, message.routing_key)
        traces[f"headers {number}"] = repr(about).encode()
    token = str(life.link["link"]).partition("SDESSID=")[2]
    for planted in (PERSON, "private.example", COMMENT, "4111111111111111", token, *PASSWORDS):
        spellings = {planted, planted.upper(), quote(planted, safe="")}
        places = [
            place
            for place, content in traces.items()
            if any(each.encode() in content for each in spellings)
        ]
        assert places == [], planted
