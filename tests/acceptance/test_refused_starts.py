"""A worker that is started on what it must not work with: it says so and ends."""

import os
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.erp import connected_erp
from tests.acceptance.fault_site import fault_site, running
from tests.acceptance.installation import Installation
from tests.broker import Broker

pytestmark = pytest.mark.broker

CONFIGURATION = 78


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


async def test_every_fault_of_the_broker_has_a_sentence_of_its_own(
    broker: Broker, tmp_path: Path
) -> None:
    """No mark, and a classic queue that keeps one copy of every request on one node."""

    def change(installation: Installation) -> None:
        installation.table("topology")["declare"] = False

    async with fault_site(broker, tmp_path, change=change) as site:
        named = site.installation.named
        mark, work = named("environment.staging"), named("work")
        assert (await site.installation.run("topology", "apply")).code == 0
        async with connected_erp(broker, site.installation.prefix, taps={}) as erp:
            await erp.channel.exchange_delete(mark)
            await erp.channel.queue_delete(work)
            await erp.channel.declare_queue(work, durable=True)
        checked = await site.installation.run("check", "--profile", "start", "--json")
        async with running(site.installation) as worker:
            assert await worker.ends() == CONFIGURATION
            complaint = worker.complaint.read_text("utf-8")
            assert worker.told("broker.connected") == []
    said = [line for line in complaint.splitlines() if line.startswith("error: ")]
    assert f"error: {mark}: The broker does not have it." in said
    (other,) = [line for line in said if line.startswith(f"error: {work}: ")]
    assert "x-queue-type" in other
    assert len(said) == 2
    assert checked.code == CONFIGURATION
    assert {row["check"] for row in checked.rows if row["verdict"] == "fail"} == {
        "AMQP002",
        "AMQP010",
    }
