"""A worker that cannot do its work says why in one clear sentence, and ends with 78."""

import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.acceptance.installation import Installation, installed
from tests.acceptance.shared_site import site_of
from tests.acceptance.worker_process import started
from tests.broker import Broker
from worker.adapters.encryption import generate_key

pytestmark = pytest.mark.broker

CONFIGURATION = 78
NOWHERE = "http://127.0.0.1:9"

WITHOUT_OVERRIDE = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--")
"""Root may write anywhere; without these capabilities it may not."""


@pytest_asyncio.fixture
async def installation(broker: Broker, tmp_path: Path) -> AsyncIterator[Installation]:
    """Sound settings and a fresh ledger; no worker runs."""
    async with installed(broker, tmp_path, link_url=NOWHERE, basket_url=NOWHERE) as fresh:
        fresh.write()
        fresh.create_ledger()
        yield fresh


async def refused(installation: Installation, *, prelude: tuple[str, ...] = ()) -> str:
    """Start a worker that must end by itself; returns what it complained about."""
    done = await installation.run("run", prelude=prelude)
    assert done.code == CONFIGURATION, (done.output, done.complaint)
    assert done.complaint.startswith("error: ")
    for text in (done.complaint, done.output):
        assert "Traceback" not in text
        assert not re.search(r"\b\w+Error\b", text), text
        assert "guest" not in text
    return done.complaint


async def test_a_folder_that_cannot_be_written_is_named(installation: Installation) -> None:
    """SQLite writes beside the ledger too."""
    installation.directory.chmod(0o500)
    prelude = WITHOUT_OVERRIDE if os.geteuid() == 0 else ()
    complaint = await refused(installation, prelude=prelude)
    installation.directory.chmod(0o700)
    assert f"{installation.directory} cannot be written by this process" in complaint


async def test_a_ledger_sealed_under_another_key_is_named(broker: Broker, tmp_path: Path) -> None:
    async with site_of(broker, tmp_path) as site:
        await site.erp.is_answered()
    installation = site.installation
    installation.table("ledger")["keys"] = [generate_key().reveal()]
    installation.write()
    complaint = await refused(installation)
    assert "was written with encryption keys that are not supplied" in complaint


async def test_time_limits_that_do_not_nest_are_refused(installation: Installation) -> None:
    installation.table("timing")["lease_seconds"] = 9
    installation.write()
    complaint = await refused(installation)
    assert "tries_seconds + call_seconds < lease_seconds" in complaint


async def test_settings_that_are_not_there_are_named(installation: Installation) -> None:
    installation.config.unlink()
    complaint = await refused(installation)
    assert str(installation.config) in complaint


async def test_a_broker_without_our_objects_is_refused_where_we_may_not_create_them(
    installation: Installation,
) -> None:
    installation.table("topology")["declare"] = False
    installation.write()
    complaint = await refused(installation)
    for suffix in ("work", "requests", "retry.v1.5s", "dlq", "environment.staging"):
        assert f"{installation.named(suffix)}: The broker does not have it." in complaint
    assert "topology apply" in complaint


async def test_the_topology_commands_agree_with_the_worker(installation: Installation) -> None:
    missing = await installation.run("topology", "verify")
    assert missing.code == CONFIGURATION
    applied = await installation.run("topology", "apply")
    assert applied.code == 0, applied.complaint
    verified = await installation.run("topology", "verify", "--json")
    assert verified.code == 0
    assert {each["verdict"] for each in verified.rows} == {"ok", "skip"}
    installation.table("topology")["declare"] = False
    installation.write()
    async with started(installation) as worker:
        assert (await worker.asks("/readyz"))[0] == 200


async def test_the_ledger_command_creates_once_and_never_overwrites(
    installation: Installation,
) -> None:
    before = installation.ledger.stat()
    again = await installation.run("ledger", "init")
    assert again.code == 0
    assert "is up to date" in again.complaint
    assert installation.ledger.stat().st_ino == before.st_ino
    installation.ledger.unlink()
    created = await installation.run("ledger", "init")
    assert created.code == 0
    assert installation.ledger.stat().st_mode & 0o777 == 0o600
