"""A whole site for tests to share: simulated providers, one worker, an ERP beside it."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.erp import EVERY_TAP, Erp, connected_erp
from tests.acceptance.installation import LINK_HOST, Installation, installed
from tests.acceptance.worker_process import WorkerProcess, started
from tests.broker import Broker
from worker.adapters.clock import SystemClock
from worker.simulator.server import Simulator

Change = Callable[[Installation], None]


def as_it_is(_installation: Installation) -> None:
    """Change nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One worker and everything around it."""

    installation: Installation
    simulator: Simulator
    worker: WorkerProcess
    erp: Erp


@asynccontextmanager
async def site_of(
    broker: Broker,
    directory: Path,
    change: Change = as_it_is,
    *,
    ends_well: bool = True,
    taps: Mapping[str, tuple[str, ...]] = EVERY_TAP,
) -> AsyncIterator[Site]:
    """A running site; ``change`` may bend its settings first.

    At the end its worker is stopped and must end in order, unless the tests have done away with it.
    """
    async with (
        Simulator(clock=SystemClock(), link_host=LINK_HOST) as simulator,
        installed(
            broker,
            directory,
            link_url=simulator.link_base_url,
            basket_url=simulator.base_url,
        ) as installation,
    ):
        change(installation)
        installation.write()
        installation.create_ledger()
        async with (
            started(installation, ends_well=ends_well) as worker,
            connected_erp(broker, installation.prefix, taps=taps) as erp,
        ):
            yield Site(installation=installation, simulator=simulator, worker=worker, erp=erp)
