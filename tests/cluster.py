"""Three RabbitMQ nodes on this machine that form a cluster, and plain means to look at it."""

import asyncio
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.broker import Broker, free_ports
from worker.adapters.clock import SystemClock

SIZE = 3
VIRTUAL_HOST = "payments"

_LOOK_SECONDS = 0.5
_MEMBERS = frozenset({"leader", "follower"})

_clock = SystemClock()


@dataclass(frozen=True, slots=True)
class Member:
    """One node; ``name`` is what the others call it."""

    broker: Broker
    name: str
    epmd: int

    @property
    def place(self) -> str:
        """Its endpoint, as ``host:port``."""
        return f"127.0.0.1:{self.broker.port}"

    async def start(self) -> None:
        """Start it, with its data if it ran before; the others take it in again."""
        await asyncio.to_thread(self.broker.start, "--epmd", str(self.epmd))

    async def stop(self) -> None:
        """Stop it in order and keep its data."""
        await asyncio.to_thread(self.broker.stop)

    def signal(self, number: signal.Signals) -> None:
        """SIGKILL crashes it, SIGSTOP freezes it."""
        self.broker.signal(number)


@dataclass(frozen=True, slots=True)
class Cluster:
    """Its members, whether they run or not."""

    members: tuple[Member, ...]

    @property
    def ports(self) -> tuple[int, ...]:
        return tuple(member.broker.port for member in self.members)

    def named(self, name: str) -> Member:
        """The member of that name."""
        return next(member for member in self.members if member.name == name)

    def at(self, place: str) -> Member:
        """The member at an endpoint."""
        return next(member for member in self.members if member.place == place)

    async def quorums(self, asked: Member) -> Mapping[str, Mapping[str, str]]:
        """State of every queue's replica on every node, as ``quorum_status`` tells it."""
        told = await asked.broker.evaluate(
            "[begin {resource, _, _, Name} = amqqueue:get_name(Queue), "
            '[io:format("~s ~s ~p~n", [Name, proplists:get_value(<<"Node Name">>, Row), '
            'proplists:get_value(<<"Raft State">>, Row)]) '
            f'|| Row <- rabbit_quorum_queue:status(<<"{VIRTUAL_HOST}">>, Name)] end '
            f'|| Queue <- rabbit_amqqueue:list(<<"{VIRTUAL_HOST}">>)], ok.'
        )
        states: dict[str, dict[str, str]] = {}
        for line in told.splitlines():
            words = line.split(maxsplit=2)
            if len(words) == SIZE:
                queue, node, state = words
                states.setdefault(queue, {})[node] = state
        return states

    async def leader_of(self, queue: str) -> Member:
        """The member that leads a queue now."""
        states = (await self.quorums(self.members[0]))[queue]
        return self.named(next(node for node, state in states.items() if state == "leader"))

    async def is_whole(self) -> bool:
        """Whether every queue has a leader, and a member that takes part on every node."""
        for member in self.members:
            try:
                queues = await self.quorums(member)
            except RuntimeError:  # it does not run, or is paused
                return False
            for states in queues.values():
                members = sum(state in _MEMBERS for state in states.values())
                if members != SIZE or "leader" not in states.values():
                    return False
        return True

    async def becomes_whole(self, seconds: float = 180.0) -> None:
        """Wait until it is; raises ``TimeoutError``."""
        async with asyncio.timeout(seconds):
            while not await self.is_whole():
                await _clock.sleep(_LOOK_SECONDS)


@asynccontextmanager
async def private_cluster() -> AsyncIterator[Cluster]:
    """Three nodes of their own for as long as the block lasts, without any object yet.

    Queues are declared after it stands: one that was declared on a lone node has one replica, and
    none is added when others join. The nodes know each other by their configuration, because
    joining with ``stop_app`` and ``start_app`` may break declaring (measured, RabbitMQ 3.10.8).
    """
    root = Path(tempfile.mkdtemp(prefix="payment-worker-cluster-"))
    epmd, *ports = free_ports(SIZE + 1)
    run = secrets.token_hex(4)
    names = [f"member-{run}-{number}" for number in range(1, SIZE + 1)]
    cookie = secrets.token_hex(16)
    members = []
    for name, port in zip(names, ports, strict=True):
        directory = root / name
        _prepare(directory, name, names, cookie)
        members.append(Member(Broker(directory, port), f"{name}@localhost", epmd))
    try:
        for member in members:  # one after another: who comes later finds those before
            await member.start()
        yield Cluster(tuple(members))
    finally:
        for member in members:
            with suppress(OSError, ValueError):  # it may be down, or frozen
                member.signal(signal.SIGKILL)
        for member in members:
            await member.stop()
        _end_epmd(epmd)
        shutil.rmtree(root, ignore_errors=True)


def _prepare(directory: Path, name: str, names: list[str], cookie: str) -> None:
    (directory / "conf.d").mkdir(parents=True)
    (directory / "node.name").write_text(name, encoding="utf-8")
    cookie_file = directory / ".erlang.cookie"
    cookie_file.write_text(cookie, encoding="utf-8")
    cookie_file.chmod(0o400)
    lines = [
        "cluster_partition_handling = pause_minority",
        "cluster_formation.peer_discovery_backend = classic_config",
        *(
            f"cluster_formation.classic_config.nodes.{number} = {each}@localhost"
            for number, each in enumerate(names, 1)
        ),
    ]
    (directory / "conf.d" / "cluster.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _end_epmd(port: int) -> None:
    subprocess.run(  # noqa: S603 (arguments made here)
        ["env", "ERL_EPMD_ADDRESS=127.0.0.1", "epmd", "-port", str(port), "-kill"],  # noqa: S607
        check=False,
        capture_output=True,
    )
