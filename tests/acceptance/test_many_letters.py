"""Ten thousand dead letters, put back to work by tools that are killed, doubled and run again."""

import asyncio
import json
import signal
from functools import partial
from pathlib import Path

import aio_pika
import pytest

from tests.acceptance.erp import Erp, basket_order, new_key, order
from tests.acceptance.installation import CHECKOUT, Finished, Installation
from tests.acceptance.shared_site import Site, site_of
from tests.acceptance.worker_process import started
from tests.broker import Broker
from tests.waiting import until

LETTERS = 10_000
AT_ONCE = 500
NEW_COMPANY = "2"

pytestmark = [pytest.mark.broker, pytest.mark.asyncio]


async def ask_for_many(erp: Erp) -> None:
    """Ask for payments of a company that nobody has set up, links and basket items by turns."""
    exchange = await erp.channel.get_exchange(f"{erp.prefix}requests", ensure=False)

    async def ask(number: int) -> None:
        make = basket_order if number % 2 else order
        message = aio_pika.Message(
            json.dumps(make(id_societe=NEW_COMPANY)).encode(),
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            message_id=new_key(),
        )
        await exchange.publish(message, "payment.initiate.dcp")

    for start in range(0, LETTERS, AT_ONCE):
        await asyncio.gather(*(ask(number) for number in range(start, start + AT_ONCE)))


def set_up_company(installation: Installation) -> None:
    """What an operator does about ``company_not_configured``."""
    for account in ("safedebit", "combo"):
        companies = installation.table("accounts", account, "test", "companies")
        companies[NEW_COMPANY] = companies["1"]
    installation.write()


class Replay:
    """A replay that goes on while others do something about it; what it says is in files."""

    def __init__(self, process: asyncio.subprocess.Process, output: Path) -> None:
        self.process = process
        self._output = output

    @classmethod
    async def start(cls, installation: Installation, *words: str) -> "Replay":
        number = len(list(installation.directory.glob("replay-*.jsonl"))) + 1
        output = installation.directory / f"replay-{number}.jsonl"
        with output.open("wb") as lines, output.with_suffix(".err").open("wb") as complaint:
            process = await asyncio.create_subprocess_exec(
                *installation.command("dead-letters", *words, "--json"),
                cwd=CHECKOUT,
                stdout=lines,
                stderr=complaint,
            )
        return cls(process, output)

    @property
    def lines(self) -> list[dict[str, object]]:
        """Every whole line so far."""
        whole, _, _ = self._output.read_bytes().rpartition(b"\n")
        return [json.loads(line) for line in whole.splitlines()]

    @property
    def run(self) -> str:
        return str(self.lines[0]["run"])

    @property
    def outcomes(self) -> list[dict[str, object]]:
        return [line for line in self.lines if line.get("event") == "outcome"]

    @property
    def end(self) -> dict[str, object]:
        """What the run came to; the last line."""
        assert self.lines[-1]["event"] == "end", self._output.with_suffix(".err").read_text()
        return self.lines[-1]

    async def ends(self, seconds: float) -> int:
        async with asyncio.timeout(seconds):
            return await self.process.wait()


async def planned(site: Site) -> Path:
    """A plan of every letter, all of them safe."""
    file = site.installation.directory / "plan.jsonl"
    done = await site.installation.run(
        *("dead-letters", "plan", "--code", "company_not_configured"),
        *("--output", str(file), "--json"),
        seconds=120,
    )
    assert done.code == 0, done.complaint
    return file


def quick(plan: Path) -> tuple[str, ...]:
    """A replay as fast as this machine goes."""
    why = "company 2 was set up"
    return (
        "replay",
        str(plan),
        "--yes",
        "--rate",
        "10000/s",
        "--in-flight",
        "400",
        "--reason",
        why,
    )


def applied_at(site: Site) -> int:
    return site.simulator.applied.total


@pytest.mark.time_limit(600.0)
async def test_ten_thousand_letters_are_paid_once_whatever_happens_to_the_tool(
    broker: Broker, tmp_path: Path
) -> None:
    async with site_of(broker, tmp_path, taps={}) as site:
        installation, applied = site.installation, partial(applied_at, site)
        await ask_for_many(site.erp)
        await site.erp.has_depth("dlq", LETTERS, seconds=240)
        assert applied() == 0
        assert await site.worker.stop() == 0
        set_up_company(installation)
        async with started(installation):
            plan = await planned(site)
            first = await Replay.start(installation, *quick(plan))
            await until(lambda: applied() > LETTERS / 4, 120)
            # A second operator, at the same moment and with the same plan.
            second = await installation.run("dead-letters", *quick(plan), "--json")
            assert second.code == 69
            assert first.run in second.complaint
            await until(lambda: applied() > LETTERS / 2, 120)
            first.process.send_signal(signal.SIGKILL)
            assert await first.ends(10) == -signal.SIGKILL
            assert applied() < LETTERS
            # It goes on as soon as the dead one's lock has run out, and says so.
            resumed = await Replay.start(installation, "resume", first.run)
            assert await resumed.ends(300) == 0, resumed.lines[-3:]
            await one_each(site)
            assert resumed.end["state"] == "finished"
            assert resumed.end["results"] == {"settled": LETTERS}
            told = [line["payment_id"] for line in resumed.outcomes]
            assert len(told) == len(set(told)) < LETTERS
            await nothing_is_left(site)
            # And the whole plan once more, by somebody who was late.
            late = await Replay.start(installation, *quick(plan))
            assert await late.ends(120) in {0, 1, 3}
            assert late.end["results"] == {"skipped": LETTERS}
            await one_each(site)


async def one_each(site: Site) -> None:
    """The provider's own count: each payment was applied once."""
    made = site.simulator.applied
    assert (len(made.links), len(made.items)) == (LETTERS / 2, LETTERS / 2)
    assert {*made.links.values(), *made.items.values()} == {1}


async def nothing_is_left(site: Site) -> None:
    await site.erp.has_depth("dlq", 0)
    groups = await site.installation.run("dead-letters", "--json")
    assert (groups.code, groups.rows) == (0, [])
    report = await reported(site)
    assert report.code == 0, report.output


async def reported(site: Site) -> Finished:
    return await site.installation.run("payments", "report", "--json")
