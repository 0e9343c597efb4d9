"""A worker process on each of its two event loops: it says which, pays, and stops when told to."""

import signal
from pathlib import Path

import pytest

from tests.acceptance.installation import Installation
from tests.acceptance.shared_site import site_of
from tests.broker import Broker

pytestmark = pytest.mark.broker


@pytest.mark.parametrize(
    ("choice", "name"), [("auto", "uvloop"), ("asyncio", "asyncio")], ids=("uvloop", "asyncio")
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=("sigterm", "sigint"))
async def test_a_worker_pays_and_stops_on_either_loop(
    broker: Broker, tmp_path: Path, choice: str, name: str, number: signal.Signals
) -> None:
    """The test environment has the extra installed, as the image has."""

    def chosen(installation: Installation) -> None:
        installation.settings["event_loop"] = choice

    async with site_of(broker, tmp_path, chosen) as site:
        start = await site.worker.tells("worker.starting")
        assert start["labels.event_loop"].partition(" ")[0] == name
        await site.erp.is_answered()
        site.worker.signal(number)
        assert await site.worker.ends() == 0
        assert site.worker.told("worker.stopped")
