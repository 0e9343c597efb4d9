"""Replay runs as processes against a broker: killed, resumed, stopped, and two of them at once."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGKILL, Signals
from typing import Any

import pytest
import pytest_asyncio

from tests.acceptance.erp import Answer, basket_order, order
from tests.acceptance.installation import CHECKOUT, Finished
from tests.acceptance.provider_cases import applied_for
from tests.acceptance.shared_site import Site, site_of
from tests.broker import Broker
from tests.waiting import until, until_true

MANY = 200
REFUSED_ONCE = "sim+refuse-once@example.org"
NOBODY = "6"
"""A company that nobody has configured: its payments fail without a call, again and again."""

pytestmark = [
    pytest.mark.broker,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.time_limit(180),
]


@pytest_asyncio.fixture(loop_scope="module")
async def site(broker: Broker, tmp_path: Path) -> AsyncIterator[Site]:
    async with site_of(broker, tmp_path, ends_well=False) as site:
        yield site


@dataclass(slots=True)
class Replay:
    """A replay that is under way; ``lines`` are the outcomes it has told so far."""

    process: asyncio.subprocess.Process
    lines: list[dict[str, Any]] = field(default_factory=list)
    said: str = ""

    @property
    def run(self) -> str:
        return str(self.lines[0]["run"])

    @property
    def outcomes(self) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == "outcome"]

    async def listen(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(json.loads(line))

    async def listen_to_words(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.said += line.decode()

    async def tells(self, count: int) -> None:
        """Wait for so many outcomes."""
        await until(lambda: len(self.outcomes) >= count or self.process.returncode is not None)
        assert len(self.outcomes) >= count, self.said

    def send(self, number: Signals) -> None:
        self.process.send_signal(number)

    async def ended(self) -> int:
        async with asyncio.timeout(60):
            return await self.process.wait()


@asynccontextmanager
async def replaying(site: Site, *words: str) -> AsyncIterator[Replay]:
    """Run a command that replays, beside everything else."""
    process = await asyncio.create_subprocess_exec(
        *site.installation.command("dead-letters", *words, "--json"),
        cwd=CHECKOUT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    replay = Replay(process)
    async with asyncio.TaskGroup() as listening:
        listening.create_task(replay.listen())
        listening.create_task(replay.listen_to_words())
        try:
            yield replay
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def failed(site: Site, *asked: dict[str, object]) -> list[Answer]:
    """Dead letters for these requests, all of them in the queue and known to be there."""
    sent = [await site.erp.send(each) for each in asked]
    answers = [await site.erp.answer(each) for each in sent]
    await site.erp.has_depth("dlq", len(asked))

    async def is_known() -> bool:
        done = await site.installation.run("dead-letters", "--json")
        return all(row["count"] == row["in_queue"] for row in done.rows)

    await until_true(is_known)
    return answers


async def planned(site: Site) -> str:
    plan = site.installation.directory / "plan.json"
    done = await site.installation.run("dead-letters", "plan", "--all", "-o", str(plan), "--json")
    assert done.code == 0, done.complaint
    return str(plan)


def end_leases(site: Site) -> None:
    """Let the time pass that a dead process's lock would still hold."""
    with closing(sqlite3.connect(site.installation.ledger)) as ledger, ledger:
        ledger.execute("UPDATE queue_locks SET until = 0")


def paid(site: Site, answers: Sequence[Answer]) -> list[int]:
    """How often each was paid, by the provider's own count."""
    return [applied_for(answer, site.simulator.applied) for answer in answers]


async def status(site: Site, run: str) -> dict[str, Any]:
    done = await site.installation.run("dead-letters", "status", run, "--json")
    assert done.code == 0, done.complaint
    return done.data


async def test_two_hundred_letters_are_paid_once_though_the_run_is_killed_half_way(
    site: Site,
) -> None:
    answers = await failed(site, *(basket_order(email=REFUSED_ONCE) for _ in range(MANY)))
    plan = await planned(site)
    async with replaying(site, "replay", plan, "--rate", "100/s", "--yes") as first:
        await first.tells(MANY // 4)
        rival = await site.installation.run("dead-letters", "replay", plan, "--yes", "--json")
        assert rival.code == 69
        assert f"replay {first.run}" in rival.complaint
        await until(lambda: site.simulator.applied.total >= MANY // 2)
        first.send(SIGKILL)
        assert await first.ended() == -SIGKILL
    assert 0 < await site.erp.depth("dlq") < MANY
    assert (await status(site, first.run))["state"] == "running"
    async with replaying(site, "resume", first.run) as second:
        await until(lambda: "waiting until it is clear" in second.said)
        end_leases(site)
        assert await second.ended() == 0, second.said
    assert second.lines[-1]["results"] == {"settled": MANY}
    assert paid(site, answers) == [1] * MANY
    await site.erp.has_depth("dlq", 0)
    again = await site.installation.run("dead-letters", "replay", plan, "--yes", "--json")
    assert again.code == 1
    assert again.lines[-1]["results"] == {"skipped": MANY}
    assert paid(site, answers) == [1] * MANY
    history = await site.installation.run("dead-letters", "history", "--json")
    assert [row["state"] for row in history.rows] == ["finished", "finished"]
    each = await site.installation.run("dead-letters", "status", first.run, "--letters", "--json")
    came_to = {line["payment_id"]: line["result"] for line in each.lines}
    assert came_to == {answer["payment_id"]: "settled" for answer in answers}


async def test_of_two_runs_started_at_once_one_replays_and_what_is_not_safe_must_be_named(
    site: Site,
) -> None:
    """A letter without an order is not safe: its producer may have asked again under a new key."""
    unsafe = basket_order(email=REFUSED_ONCE, id_commande="0")
    safe = (basket_order(email=REFUSED_ONCE) for _ in range(6))
    left_out, *answers = await failed(site, unsafe, *safe)
    plan = await planned(site)
    words = ("dead-letters", "replay", plan, "--yes", "--json", "--rate", "100/s")
    both: list[Finished] = await asyncio.gather(*(site.installation.run(*words) for _ in range(2)))
    assert min(done.code for done in both) == 0
    assert paid(site, answers) == [1] * 6
    counts = [answer["sequence"] for answer in site.erp.heard_of(answers[0]["payment_id"])]
    assert counts == [1, 2]
    assert paid(site, [left_out]) == [0]
    named = ("--include", left_out["payment_id"])
    without = await site.installation.run(*words, *named)
    assert (without.code, "--reason" in without.complaint) == (64, True)
    done = await site.installation.run(*words, *named, "--reason", "its producer was asked")
    assert (done.code, done.lines[-1]["results"]) == (3, {"settled": 1, "skipped": 6})
    assert paid(site, [left_out, *answers]) == [1] * 7
    empty = ("dead-letters", "replay", await planned(site), "--fail-if-empty")
    assert (await site.installation.run(*empty)).code == 5
    asked = await site.installation.run("dead-letters", "replay", left_out["payment_id"])
    assert (asked.code, "Nobody is there to confirm" in asked.complaint) == (64, True)


async def test_a_canary_that_fails_stops_the_run_and_leaves_the_rest_alone(site: Site) -> None:
    answers = await failed(site, *(order(id_societe=NOBODY) for _ in range(8)))
    plan = await planned(site)
    done = await site.installation.run(
        *("dead-letters", "replay", plan, "--canary", "2", "--rate", "100/s", "--yes", "--json")
    )
    assert done.code == 2, done.complaint
    end = done.lines[-1]
    assert (end["state"], end["why"]) == (
        "stopped",
        "a canary letter came to company_not_configured",
    )
    assert (end["results"], end["remaining"]) == ({"failed_same_code": 2}, 6)
    assert f"dead-letters resume {end['run']}" in done.complaint
    assert paid(site, answers) == [0] * 8
    await site.erp.has_depth("dlq", 8)


async def test_a_run_is_stopped_by_another_command_or_by_its_person_and_resumed(
    site: Site,
) -> None:
    answers = await failed(site, *(basket_order(email=REFUSED_ONCE) for _ in range(8)))
    plan = await planned(site)
    slowly = ("--canary", "1", "--rate", "30/m", "--yes")
    async with replaying(site, "replay", plan, *slowly) as first:
        await first.tells(1)
        stopped = await site.installation.run("dead-letters", "stop", first.run, "--json")
        assert (stopped.code, stopped.data["state"]) == (0, "stopped")
        assert await first.ended() == 2
        assert "asked for it" in first.said
    async with replaying(site, "resume", first.run) as second:
        await second.tells(1)
        second.send(SIGHUP)  # the terminal was closed
        assert await second.ended() == 2
    async with replaying(site, "resume", first.run) as second:
        await second.tells(1)
        second.send(SIGINT)
        assert await second.ended() == 2
        assert "it was interrupted" in second.said
    last = await site.installation.run("dead-letters", "resume", first.run, "--json")
    assert last.code == 0, last.complaint
    assert last.lines[-1]["results"] == {"settled": 8}
    assert paid(site, answers) == [1] * 8
    unknown = await site.installation.run("dead-letters", "resume", "R-0")
    assert unknown.code == 1
