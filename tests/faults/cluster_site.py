"""A cluster, two workers that know all of it, producers on every node; nothing flows yet."""

import itertools
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import aio_pika
from aio_pika.abc import AbstractConnection
from typing_extensions import override

from tests.acceptance.installation import LINK_HOST, Installation, sound_settings
from tests.cluster import Cluster, Member, private_cluster
from tests.faults.soak_client import TROUBLES, Place
from tests.faults.soak_site import PREFIX, TIMING, open_accounts, provision
from tests.faults.soak_trouble import Fleet
from tests.faults.traffic import Traffic
from worker.adapters.clock import SystemClock
from worker.simulator.server import Knobs, Simulator

WORKERS = 2

_LATENCY = 0.1
_HEARTBEAT = 10
_CONNECT_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Everywhere(Place):
    """A broker under several ports, tried in turn; the first turn is the first port's."""

    ports: tuple[int, ...]
    turns: Iterator[int] = field(default_factory=itertools.count)

    @override
    async def connect(self) -> AbstractConnection:
        for left in reversed(range(len(self.ports))):
            try:
                return await aio_pika.connect(
                    host="127.0.0.1",
                    port=self.ports[next(self.turns) % len(self.ports)],
                    virtualhost="payments",
                    login="guest",
                    heartbeat=_HEARTBEAT,
                    timeout=_CONNECT_SECONDS,
                )
            except TROUBLES:
                if not left:
                    raise
        raise AssertionError(self.ports)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSite:
    """The running surroundings."""

    cluster: Cluster
    installation: Installation
    fleet: Fleet
    traffic: Traffic

    def attached(self, role: str | None = None) -> list[Member]:
        """The node of each connection of each worker, by their own word."""
        found: list[Member] = []
        for log in sorted(self.installation.directory.glob("worker-*.log")):
            places = {
                line["labels.role"]: line["labels.host"]
                for line in _lines(log)
                if line.get("event.action") == "broker.connected"
            }
            found += [
                self.cluster.at(place) for each, place in places.items() if role in {None, each}
            ]
        return found

    def worst_gap(self, since: datetime, until: datetime) -> float:
        """Longest time in which no worker had an answer confirmed, in seconds."""
        moments = sorted(
            moment
            for log in self.installation.directory.glob("worker-*.log")
            for line in _lines(log)
            if line.get("event.action") in {"delivery.answered", "delivery.repeated"}
            and since < (moment := datetime.fromisoformat(line["@timestamp"])) < until
        )
        return max(
            (later - earlier).total_seconds()
            for earlier, later in itertools.pairwise((since, *moments, until))
        )


@asynccontextmanager
async def cluster_site(directory: Path, *, seed: int, rate: float) -> AsyncIterator[ClusterSite]:
    """Set everything up in ``directory``, and leave nothing running."""
    knobs = Knobs(latency=_LATENCY)
    async with (
        private_cluster() as cluster,
        Simulator(clock=SystemClock(), link_host=LINK_HOST, knobs=knobs) as simulator,
    ):
        broker = cluster.members[0].broker
        installation = Installation(
            directory=directory,
            broker=broker,
            prefix=PREFIX,
            settings=sound_settings(
                broker,
                PREFIX,
                directory / "ledger.sqlite3",
                link_url=simulator.link_base_url,
                basket_url=simulator.base_url,
            ),
        )
        table = installation.table("broker")
        del table["host"], table["port"]
        table["endpoints"] = [member.place for member in cluster.members]
        installation.settings["timing"] = dict(TIMING)
        open_accounts(installation, simulator)
        installation.write()
        installation.create_ledger()
        await provision(installation)
        await cluster.becomes_whole()
        places = [
            Everywhere(port, PREFIX, cluster.ports, itertools.count(number))
            for number, port in enumerate(cluster.ports)
        ]
        yield ClusterSite(
            cluster=cluster,
            installation=installation,
            fleet=Fleet(installation, WORKERS),
            traffic=Traffic(places, simulator, seed=seed, rate=rate),
        )


def _lines(log: Path) -> Iterator[dict[str, str]]:
    """Every whole line of a log."""
    text, _, _ = log.read_text("utf-8").rpartition("\n")
    for line in text.splitlines():
        yield json.loads(line)
