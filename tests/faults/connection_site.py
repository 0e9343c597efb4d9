"""Where connections are broken: one worker behind a proxy, and payments that flow."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

from tests.acceptance.fault_site import running
from tests.acceptance.installation import LINK_HOST, Installation, installed
from tests.acceptance.worker_process import WorkerProcess
from tests.broker import Broker
from tests.faults.soak_client import Place
from tests.faults.soak_site import TIMING, open_accounts
from tests.faults.traffic import Traffic
from tests.proxy import Proxy, proxy_to
from tests.waiting import until
from worker.adapters.clock import SystemClock
from worker.simulator.server import Knobs, Simulator

USER = "rotating"
"""The worker's user at the broker, whose password is changed."""

ROLES = ("consume", "publish")

_LATENCY = 0.05
_SECRET = "payment_worker_broker__password"  # noqa: S105 (a file's name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """How a worker is set: ``None`` and nothing are the product's own defaults.

    ``rate`` is payments in a second; ``rung`` the length of every rung of the ladder in
    milliseconds; ``patience`` bounds each wait, and ``pause`` is a fault too short to be noticed,
    both in seconds.
    """

    rate: float = 10.0
    heartbeat: int | None = None
    timing: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    rung: int | None = None
    patience: float = 300.0
    pause: float = 10.0


DEFAULTS = Conditions()

SHORTENED = Conditions(heartbeat=1, timing=TIMING, rung=300, rate=15.0, patience=40.0, pause=1.5)
"""The shortest heartbeat there is: a half-open connection is noticed after 6 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """One worker that takes payments, everything around it, and the means to break it."""

    conditions: Conditions
    broker: Broker
    proxy: Proxy
    installation: Installation
    traffic: Traffic
    worker: WorkerProcess

    async def notices(
        self, roles: tuple[str, ...], since: datetime, trouble: str | None
    ) -> datetime:
        """Wait until each of these connections was told lost since then, and say when the last."""

        def lines() -> list[datetime]:
            told = {
                line["labels.role"]: datetime.fromisoformat(line["@timestamp"])
                for line in reversed(self.worker.told("broker.disconnected"))
                if datetime.fromisoformat(line["@timestamp"]) >= since
                and trouble in {None, line["labels.trouble"]}
            }
            return [told[role] for role in roles if role in told]

        await until(lambda: len(lines()) == len(roles), self.conditions.patience)
        return max(lines())

    def write_password(self, password: str) -> None:
        """Put it into the worker's secret file."""
        _write_secret(self.installation, password)


@asynccontextmanager
async def ground(
    broker: Broker, directory: Path, conditions: Conditions, *, seed: int
) -> AsyncIterator[Ground]:
    """A worker under load; nothing of it is left afterwards."""
    knobs = Knobs(latency=_LATENCY)
    async with (
        Simulator(clock=SystemClock(), link_host=LINK_HOST, knobs=knobs) as simulator,
        proxy_to(broker.port) as proxy,
        installed(
            broker, directory, link_url=simulator.link_base_url, basket_url=simulator.base_url
        ) as installation,
    ):
        _bend(installation, simulator, proxy, conditions)
        installation.write()
        installation.create_ledger()
        await _admit(broker)
        _write_secret(installation, "first")
        async with running(installation, prelude=with_secrets(installation)) as worker:
            await worker.is_ready()
            if conditions.rung is not None:
                await _hurry(installation, conditions.rung)
            # What was declared seconds before a crash comes back without a leader and confirms
            # nothing, until these tables are on disk (measured, RabbitMQ 3.10.8).
            await broker.evaluate("[dets:sync(Table) || Table <- dets:all()].")
            traffic = Traffic(
                [Place(broker.port, installation.prefix)],
                simulator,
                seed=seed,
                rate=conditions.rate,
            )
            async with traffic.connected():
                traffic.flow()
                yield Ground(
                    conditions=conditions,
                    broker=broker,
                    proxy=proxy,
                    installation=installation,
                    traffic=traffic,
                    worker=worker,
                )


def with_secrets(installation: Installation) -> tuple[str, ...]:
    """How a command of the product is run that needs the worker's password."""
    return ("env", f"CREDENTIALS_DIRECTORY={_secrets(installation)}")


def _bend(
    installation: Installation, simulator: Simulator, proxy: Proxy, conditions: Conditions
) -> None:
    broker = installation.table("broker")
    broker.update(port=proxy.port, user=USER)
    del broker["password"], broker["heartbeat"]
    if conditions.heartbeat is not None:
        broker["heartbeat"] = conditions.heartbeat
    installation.settings["timing"] = dict(conditions.timing)
    open_accounts(installation, simulator)


async def _admit(broker: Broker) -> None:
    """Make the worker's user, or set it back."""
    await broker.evaluate(
        f'catch rabbit_auth_backend_internal:add_user(<<"{USER}">>, <<"first">>, <<"test">>), '
        f'rabbit_auth_backend_internal:change_password(<<"{USER}">>, <<"first">>, <<"test">>), '
        f'rabbit_auth_backend_internal:set_permissions(<<"{USER}">>, <<"payments">>, '
        '<<".*">>, <<".*">>, <<".*">>, <<"test">>).'
    )


async def _hurry(installation: Installation, milliseconds: int) -> None:
    """Let every rung of the ladder last a moment: the shorter of argument and policy counts."""
    pattern = f"^{installation.prefix}retry[.]v1".replace(
        ".", "[.]", installation.prefix.count(".")
    )
    await installation.broker.control(
        *("set_policy", "-p", "payments", "--apply-to", "queues"),
        f"{installation.prefix}hurry",
        pattern,
        json.dumps({"message-ttl": milliseconds}),
    )


def _secrets(installation: Installation) -> Path:
    return installation.directory / "secrets"


def _write_secret(installation: Installation, password: str) -> None:
    directory = _secrets(installation)
    directory.mkdir(mode=0o700, exist_ok=True)
    written = directory / "new"
    written.touch(mode=0o600)
    written.write_text(password, encoding="utf-8")
    written.rename(directory / _SECRET)  # whole or not at all, as Kubernetes does it
