"""Payments in doubt are settled by what their provider lists, and by reads alone."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.acceptance.erp import Erp, Sent, connected_erp, order, payment_id_of
from tests.acceptance.installation import LINK_HOST, Installation, installed
from tests.acceptance.worker_process import WorkerProcess, started
from tests.broker import Broker
from tests.postgres import PostgresServer
from tests.waiting import until
from worker.adapters.clock import SystemClock
from worker.identity import payment_reference
from worker.simulator.server import Simulator

pytestmark = pytest.mark.broker

LOOKED_UP = "looked_up"
QUICK = (sys.executable, "-m", "tests.acceptance.quick_sweeper")
MAGIC = ("http-500-after", "search-other-amount", "search-no-link", "search-empty-2")


@dataclass(frozen=True, slots=True)
class Scene:
    """Two workers on one ledger, and the provider that they share."""

    installation: Installation
    simulator: Simulator
    workers: tuple[WorkerProcess, WorkerProcess]
    erp: Erp

    def reads_of(self, sent: Sent) -> int:
        """How often one payment was looked up, on the provider's own counter."""
        reference = payment_reference(self.id_of(sent), 0)
        return self.simulator.book.searches.get(reference, 0)

    def id_of(self, sent: Sent) -> UUID:
        return UUID(payment_id_of("dcp", sent.message_id))

    async def counted(self, name: str, **labels: str) -> float:
        """A metric of both workers together."""
        return sum([await each.counted(name, **labels) for each in self.workers])

    async def shown(self, sent: Sent) -> dict[str, Any]:
        shown = await self.installation.run("payments", "show", str(self.id_of(sent)), "--json")
        assert shown.code == 0, shown.complaint
        return shown.data


@pytest.fixture
async def scene(
    request: pytest.FixtureRequest, broker: Broker, tmp_path: Path
) -> AsyncIterator[Scene]:
    """Workers whose link account sends its links itself, so that a lost answer is a doubt."""
    async with AsyncExitStack() as stack:
        simulator = await stack.enter_async_context(
            Simulator(clock=SystemClock(), link_host=LINK_HOST)
        )
        installation = await stack.enter_async_context(
            installed(
                broker, tmp_path, link_url=simulator.link_base_url, basket_url=simulator.base_url
            )
        )
        if request.param == "postgresql":
            server: PostgresServer = request.getfixturevalue("postgres")
            installation.use_postgres(stack.enter_context(server.database()))
        account = installation.table("accounts", "safedebit")
        account["look_up"] = True
        account["fields"] = {"email_option": "1"}
        installation.write()
        installation.create_ledger()
        first = await stack.enter_async_context(started(installation, prelude=QUICK))
        second = await stack.enter_async_context(started(installation, prelude=QUICK))
        erp = await stack.enter_async_context(connected_erp(broker, installation.prefix))
        yield Scene(installation, simulator, (first, second), erp)


@pytest.mark.parametrize("scene", ["sqlite", "postgresql"], indirect=True)
async def test_doubts_are_settled_by_what_the_provider_lists(scene: Scene) -> None:
    sent = {magic: await scene.erp.send(order(email=f"sim+{magic}@example.org")) for magic in MAGIC}
    for each in sent.values():
        doubt = await scene.erp.answer(each)
        assert (doubt.status, doubt["code"], doubt["sequence"]) == (
            "in_doubt",
            "outcome_unknown",
            1,
        )
    found, other, linkless, late = (sent[magic] for magic in MAGIC)

    for each in (found, late):
        event = await scene.erp.answer(each, number=2)
        assert (event.status, event["sequence"], event["code"]) == ("succeeded", 2, None)
        (link,) = scene.simulator.book.links[event["provider_reference"]]
        assert event["link"] == link
    lost = await scene.erp.answer(linkless, number=2)
    assert (lost.status, lost["sequence"], lost["code"]) == ("in_doubt", 2, "link_lost")

    await until(lambda: scene.reads_of(other) == 1)
    assert (scene.reads_of(found), scene.reads_of(late), scene.reads_of(linkless)) == (1, 3, 1)
    assert scene.simulator.applied.total == len(MAGIC), "nothing was sent twice"
    assert [len(scene.erp.answers(each)) for each in sent.values()] == [2, 1, 2, 2]
    await the_break_is_visible(scene, other)
    await the_history_shows_the_reads(scene, late)
    letters = await scene.installation.run("dead-letters", "list", "--json")
    listed = {each["payment_id"] for each in letters.rows}
    assert listed == {str(scene.id_of(each)) for each in (other, linkless)}
    nothing_secret_was_told(scene)


async def the_break_is_visible(scene: Scene, other: Sent) -> None:
    """In the metrics of every worker, in one warning, in the history, and to the doctor."""
    lines = [line for each in scene.workers for line in each.told("look_up.done", state="break")]
    assert [line["log.level"] for line in lines] == ["warning"]
    assert lines[0]["labels.payment_id"] == str(scene.id_of(other))
    for worker in scene.workers:
        async with asyncio.timeout(20):
            while await worker.counted("breaks", provider="safedebit") != 1:
                await SystemClock().sleep(0.1)
    assert await scene.counted("look_ups_total", finding="other_amount") == 1
    (read,) = [each for each in (await scene.shown(other))["timeline"] if each["what"] == LOOKED_UP]
    assert (read["finding"], read["amount_cents"]) == ("other_amount", 1251)


async def the_history_shows_the_reads(scene: Scene, late: Sent) -> None:
    shown = await scene.shown(late)
    reads = [each for each in shown["timeline"] if each["what"] == LOOKED_UP]
    assert [each["finding"] for each in reads] == ["not_found", "not_found", "found"]
    assert [each["step"] for each in reads] == [1, 2, 3]
    assert "reconcile" in {each.get("action") for each in shown["timeline"]}


def nothing_secret_was_told(scene: Scene) -> None:
    links = [link for made in scene.simulator.book.links.values() for link in made]
    assert any(worker.told("look_up.done") for worker in scene.workers)
    for worker in scene.workers:
        told = worker.log.read_bytes()
        for secret in (*links, "sim+", "ZGVtbzpkZW1v"):
            assert secret.encode() not in told


@pytest.mark.parametrize("scene", ["sqlite"], indirect=True)
async def test_a_slow_and_a_failing_look_up_change_nothing_and_payments_go_on(scene: Scene) -> None:
    """The doubt is looked up again with the next step."""
    sent = [
        await scene.erp.send(order(email=f"sim+{magic}@example.org"))
        for magic in ("search-failing", "search-slow")
    ]
    for each in sent:
        assert (await scene.erp.answer(each)).status == "in_doubt"
    await until(lambda: all(scene.reads_of(each) >= 1 for each in sent), 20.0)
    paid = [await scene.erp.send(order()) for _ in range(20)]
    for each in paid:
        assert (await scene.erp.answer(each)).status == "succeeded"
    await until(lambda: scene.reads_of(sent[0]) >= 2, 30.0)
    assert [len(scene.erp.answers(each)) for each in sent] == [1, 1]
    assert scene.simulator.applied.total == 22
    assert await scene.counted("breaker_changes_total") == 0
