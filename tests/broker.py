"""A private RabbitMQ node for the tests, and plain means to look at it and to break it."""

import asyncio
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from worker.model import Environment, Origin
from worker.rules import BrokerAddress, Subscriber
from worker.topology import Topology

_SCRIPT = Path(__file__).parents[1] / "deploy" / "rabbitmq" / "private-node"
_prefixes = itertools.count(1)


def free_port() -> int:
    """A local port nobody listens on, below the range of outgoing connections."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """So many different ones."""
    found: list[int] = []
    # Far apart for neighbouring processes: a node that is being restarted has let go of its port.
    for port in range(5800 + os.getpid() * 97 % 13000, 20000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError


@dataclass(frozen=True, slots=True)
class Broker:
    """One running node; ``control`` is rabbitmqctl on it."""

    directory: Path
    port: int

    @property
    def address(self) -> BrokerAddress:
        """Where it is: the administrator ``guest`` on the virtual host ``payments``."""
        return BrokerAddress(host="127.0.0.1", port=self.port, heartbeat=10)

    @property
    def management_url(self) -> str:
        """Where its management API is; only of a node that was started with ``--management``."""
        return f"http://127.0.0.1:{(self.directory / 'management.port').read_text().strip()}"

    def topology(self, *subscribers: str) -> Topology:
        """A topology under a prefix no other test uses; each subscriber has its own origin."""
        return Topology(
            environment=Environment.STAGING,
            prefix=f"t{os.getpid()}x{next(_prefixes)}.",
            subscribers=tuple(
                Subscriber(name=name, origins=(Origin(name),)) for name in subscribers
            ),
        )

    async def control(self, *arguments: str) -> str:
        """Run rabbitmqctl; raises ``RuntimeError`` with its words when it fails."""
        process = await asyncio.create_subprocess_exec(
            _SCRIPT,
            "ctl",
            self.directory,
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # an interrupt typed at a run is for the run
        )
        output, _ = await process.communicate()
        if process.returncode:
            raise RuntimeError(output.decode())
        return output.decode()

    async def evaluate(self, expression: str) -> str:
        """Evaluate an Erlang expression on the node: quicker and finer than a command."""
        return await self.control("eval", expression)

    async def drop_connections(self, role: str, reason: str = "test") -> None:
        """Close a role's connections from the broker's side (320 CONNECTION_FORCED)."""
        await self.evaluate(
            f'[rabbit_networking:close_connection(Pid, <<"{reason}">>) '
            "|| [{pid, Pid}, {client_properties, Properties}] "
            "<- rabbit_networking:connection_info_all([pid, client_properties]), "
            '{<<"connection_name">>, _, Name} <- Properties, '
            f'binary:longest_common_suffix([Name, <<":{role}">>]) =:= {len(role) + 1}].'
        )

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the node's process: SIGSTOP freezes it, SIGKILL crashes it."""
        os.kill(int((self.directory / "node.pid").read_text()), number)

    def start(self, *options: str) -> None:
        """Start the node, with its data if it ran before."""
        _run("start", *options, str(self.directory), str(self.port))

    def stop(self) -> None:
        """Stop the node and keep its data."""
        _run("stop", str(self.directory))


@contextmanager
def private_broker(*options: str) -> Iterator[Broker]:
    """A node of its own for as long as the block lasts."""
    directory = Path(tempfile.mkdtemp(prefix="payment-worker-broker-"))
    broker = Broker(directory, free_port())
    try:
        broker.start(*options)
        yield broker
    finally:
        broker.stop()
        shutil.rmtree(directory, ignore_errors=True)


def _run(*arguments: str) -> None:
    """Output goes to a file: a pipe would stay open as long as the node that inherited it."""
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(  # noqa: S603 (our own script, arguments made here)
            [_SCRIPT, *arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=150,
            start_new_session=True,
        )
        output.seek(0)
        if done.returncode:
            raise RuntimeError(output.read().decode(errors="replace"))
