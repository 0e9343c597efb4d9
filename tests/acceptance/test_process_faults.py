"""The running worker stopped or killed in mid-work, and started on what it must not work with."""

import os
import signal
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.erp import basket_order, connected_erp, order
from tests.acceptance.fault_site import (
    SHORT,
    SLOW,
    answers_of,
    fault_site,
    is_calm,
    nothing_is_left,
    one_event_each,
    remaining_answers,
    running,
)
from tests.acceptance.installation import Installation
from tests.acceptance.worker_process import started
from tests.broker import Broker

pytestmark = pytest.mark.broker

CONFIGURATION = 78


# --- told to stop ------------------------------------------------------------------------------


async def test_a_call_under_way_is_finished_and_answered_before_the_end(
    broker: Broker, tmp_path: Path
) -> None:
    async with (
        fault_site(broker, tmp_path) as site,
        running(site.installation) as worker,
    ):
        await worker.is_ready()
        async with connected_erp(broker, site.installation.prefix) as erp:
            sent = [await erp.send(make(email=SLOW)) for make in (order, basket_order)]
            await site.holds(2)
            worker.signal(signal.SIGTERM)
            stopping = await worker.tells("worker.stopping")
            assert stopping["labels.in_flight"] == 2
            site.release()
            assert await worker.ends() == 0
            for each in sent:
                (event,) = erp.answers(each)
                assert (event.status, event["attempts"]) == ("succeeded", 1)
            assert site.simulator.applied.total == 2
            await nothing_is_left(erp)
        is_calm(worker)


async def test_what_was_fetched_and_not_started_is_handed_back_unharmed(
    broker: Broker, tmp_path: Path
) -> None:
    """It is back before the call under way has ended, so that another worker may have it."""

    def change(installation: Installation) -> None:
        installation.table("broker").update(concurrency=1, prefetch=10)

    async with (
        fault_site(broker, tmp_path, change=change) as site,
        running(site.installation) as first,
    ):
        await first.is_ready()
        async with connected_erp(broker, site.installation.prefix) as erp:
            slow = await erp.send(order(email=SLOW))
            await site.holds(1)
            others = [await erp.send(order()) for _ in range(6)]
            await erp.has_depth("work", 0)  # all of them are in the worker's hands
            first.signal(signal.SIGTERM)
            await erp.has_depth("work", len(others))
            assert first.process.returncode is None
            site.release()
            assert await first.ends() == 0
            assert len(erp.answers(slow)) == 1
            async with started(site.installation):
                for each in others:
                    event = await erp.answer(each)
                    assert (event.status, event["attempts"]) == ("succeeded", 1)
            assert site.simulator.applied.total == len(others) + 1
            await nothing_is_left(erp)
        is_calm(first)


async def test_a_second_signal_ends_it_at_once_and_safely(broker: Broker, tmp_path: Path) -> None:
    """Nobody can say whether the item under way was added, so nobody adds it again."""
    async with fault_site(broker, tmp_path) as site, running(site.installation) as first:
        await first.is_ready()
        async with connected_erp(broker, site.installation.prefix) as erp:
            sent = await erp.send(basket_order(email=SLOW))
            await site.holds(1)
            first.signal(signal.SIGTERM)
            await first.tells("worker.stopping")
            first.signal(signal.SIGTERM)
            assert await first.ends(seconds=10) == 0
            assert erp.answers(sent) == []
            site.release()
            async with started(site.installation):
                event = await erp.answer(sent)
            assert (event.status, event["code"]) == ("in_doubt", "outcome_unknown")
            assert site.simulator.applied.total == 1
            assert len(erp.answers(sent)) == 1
        is_calm(first)


# --- killed ------------------------------------------------------------------------------------


async def test_a_basket_item_whose_worker_was_killed_ends_in_doubt(
    broker: Broker, tmp_path: Path
) -> None:
    """Class E: the next worker waits until the claim has run out, and never asks again."""
    async with fault_site(broker, tmp_path, timing=SHORT) as site:
        await site.hurry_ladder()
        async with running(site.installation) as first:
            await first.is_ready()
            async with connected_erp(broker, site.installation.prefix) as erp:
                sent = await erp.send(basket_order(email=SLOW))
                await site.holds(1)
                await first.kill()
                site.release()
                async with started(site.installation):
                    event = await erp.answer(sent)
                    assert set(erp.rungs(sent)) <= {"30s"}  # none where the claim has run out
                    assert (event.status, event["code"]) == ("in_doubt", "outcome_unknown")
                    assert (event["attempts"], event["sequence"]) == (1, 1)
                    assert event["error"]["retryable"] is False
                letter = await erp.letter(sent)
                assert letter.headers["error-code"] == "outcome_unknown"
                assert list(site.simulator.applied.items.values()) == [1]
                assert {each["event_id"] for each in erp.answers(sent)} == {event["event_id"]}


async def test_a_link_whose_worker_was_killed_is_asked_for_once_more(
    broker: Broker, tmp_path: Path
) -> None:
    """Class D: the link nobody received may be orphaned, and one link only is handed out."""
    async with fault_site(broker, tmp_path, timing=SHORT) as site:
        await site.hurry_ladder()
        async with running(site.installation) as first:
            await first.is_ready()
            async with connected_erp(broker, site.installation.prefix) as erp:
                sent = await erp.send(order(email=SLOW))
                await site.holds(1)
                await first.kill()
                site.release()
                async with started(site.installation):
                    event = await erp.answer(sent)
                    assert (event.status, event["attempts"]) == ("succeeded", 2)
                answers = await answers_of(erp, [sent]) + await remaining_answers(erp)
                one_event_each(answers)
                assert {each["link"] for each in answers} == {event["link"]}
                assert list(site.simulator.applied.links.values()) == [1, 1]
                assert event["provider_reference"] == list(site.simulator.applied.links)[1]
                await nothing_is_left(erp)


# --- a ledger it must not work with ------------------------------------------------------------


def remove(ledger: Path) -> None:
    ledger.unlink()


def protect(ledger: Path) -> None:
    ledger.chmod(0o400)


def overwrite(ledger: Path) -> None:
    ledger.write_bytes(b"amount;email\r\n" * 400)


def date_ahead(ledger: Path) -> None:
    with closing(sqlite3.connect(ledger)) as connection:
        connection.execute("PRAGMA user_version = 999")


def without_override() -> tuple[str, ...]:
    """Take root's right to write anywhere away from a command; others never had it."""
    if os.geteuid() != 0:
        return ()
    return ("setpriv", "--bounding-set=-dac_override,-dac_read_search")


@pytest.mark.parametrize(
    ("spoil", "sentence", "fix"),
    [
        pytest.param(remove, "there is no ledger at", "ledger init", id="missing"),
        pytest.param(protect, "cannot be written by this process", "writable", id="read-only"),
        pytest.param(overwrite, "is not a payment-worker ledger", "correct the path", id="other"),
        pytest.param(date_ahead, "has schema version 999", "a later one", id="newer"),
    ],
)
async def test_a_ledger_that_cannot_be_used_ends_the_start(
    broker: Broker, tmp_path: Path, spoil: Callable[[Path], None], sentence: str, fix: str
) -> None:
    async with fault_site(broker, tmp_path) as site:
        spoil(site.installation.ledger)
        async with running(site.installation, prelude=without_override()) as worker:
            assert await worker.ends() == CONFIGURATION
            said, remedy = worker.complaint.read_text("utf-8").splitlines()
            assert said.startswith("error: ledger.path: ")
            assert sentence in said
            assert str(site.installation.ledger) in said
            assert remedy.startswith("  fix: ")
            assert fix in remedy
            assert worker.told("broker.connected") == []
        if spoil is remove:
            assert not site.installation.ledger.exists()


# --- settings it must not work with ------------------------------------------------------------


async def test_every_wrong_setting_is_named_at_once_with_its_source(
    broker: Broker, tmp_path: Path
) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    secret = secrets / "PAYMENT_WORKER_LEDGER__KEYS"
    secret.write_text("n0t-a-key", encoding="utf-8")
    secret.chmod(0o400)
    values = ("s3ven-thousand", "n0t-a-key", "l0ud", "n0where", "0.125")

    def change(installation: Installation) -> None:
        installation.table("log")["level"] = "l0ud"
        installation.table("broker")["hots"] = "n0where"
        installation.table("timing")["lease_seconds"] = 0.125

    async with fault_site(broker, tmp_path, change=change) as site:
        prelude = (
            "env",
            f"CREDENTIALS_DIRECTORY={secrets}",
            "PAYMENT_WORKER_BROKER__PORT=s3ven-thousand",
        )
        async with running(site.installation, prelude=prelude) as worker:
            assert await worker.ends() == CONFIGURATION
            complaint = worker.complaint.read_text("utf-8")
            config = site.installation.config
            for name, source in (
                ("broker.port", "PAYMENT_WORKER_BROKER__PORT"),
                ("ledger.keys.0", str(secret)),
                ("log.level", f"{config}, log.level"),
                ("broker.hots", f"{config}, broker.hots"),
                ("timing.lease_seconds", f"{config}, timing.lease_seconds"),
            ):
                (line,) = [
                    each for each in complaint.splitlines() if each.startswith(f"error: {name}: ")
                ]
                assert f"({source}" in line
            assert complaint.count("error: ") == 5
            assert [value for value in values if value in complaint] == []
            assert "Traceback" not in complaint
            assert worker.log.read_text("utf-8") == ""


async def test_a_probe_port_that_is_taken_is_named(broker: Broker, tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]

        def change(installation: Installation) -> None:
            installation.table("probes")["port"] = port

        async with (
            fault_site(broker, tmp_path, change=change) as site,
            running(site.installation) as worker,
        ):
            assert await worker.ends() == 1
            said, remedy = worker.complaint.read_text("utf-8").splitlines()
            assert said == (
                "error: probes.port: The port of the probes cannot be opened: "
                f"127.0.0.1:{port}: Address already in use."
            )
            assert remedy.startswith("  fix: ")


# --- a broker it must not work with ------------------------------------------------------------


@pytest.mark.parametrize("declares", [True, False], ids=["declares", "verifies"])
async def test_a_queue_of_another_kind_ends_the_start(
    broker: Broker, tmp_path: Path, *, declares: bool
) -> None:
    def change(installation: Installation) -> None:
        installation.table("topology")["declare"] = declares

    async with fault_site(broker, tmp_path, change=change) as site:
        named = site.installation.named
        async with connected_erp(broker, site.installation.prefix, taps={}) as erp:
            await erp.channel.declare_queue(named("work"), durable=True)
        async with running(site.installation) as worker:
            assert await worker.ends() == CONFIGURATION
            complaint = worker.complaint.read_text("utf-8")
            assert f"{named('work')}: " in complaint
            assert "inequivalent arg" in complaint
            assert "  fix: See `payment-worker topology verify`" in complaint
            assert "Traceback" not in complaint


@pytest.mark.parametrize("declares", [True, False], ids=["declares", "verifies"])
async def test_a_broker_of_the_other_environment_ends_the_start(
    broker: Broker, tmp_path: Path, *, declares: bool
) -> None:
    """A staging worker never consumes what production's broker holds."""

    def change(installation: Installation) -> None:
        installation.table("topology")["declare"] = declares

    async with fault_site(broker, tmp_path, change=change) as site:
        foreign = site.installation.named("environment.production")
        if not declares:
            assert (await site.installation.run("topology", "apply")).code == 0
        async with connected_erp(broker, site.installation.prefix, taps={}) as erp:
            await erp.channel.declare_exchange(foreign, "fanout", durable=True)
        async with running(site.installation) as worker:
            assert await worker.ends() == CONFIGURATION
            said, _ = worker.complaint.read_text("utf-8").splitlines()
            assert f"{foreign}: " in said
            assert "this broker belongs to the other environment" in said
            assert worker.told("broker.connected") == []
