"""Commands of a machine that knows only the broker, run as processes."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from worker.cli import build_application
from worker.cli.commands import Listed
from worker.rules import BrokerAddress
from worker.topology import Topology

CHECKOUT = Path(__file__).parents[1]


def whole_application() -> Any:  # noqa: ANN401 - the library vendors its own classes and names none
    """The command line with every command imported, as somebody sees it who uses them all."""
    return _whole(get_command(build_application(is_drawn=False)))


def _whole(command: Any) -> Any:  # noqa: ANN401 - as above
    command = command.loaded() if isinstance(command, Listed) else command
    commands = getattr(command, "commands", {})
    commands.update({name: _whole(each) for name, each in commands.items()})
    return command


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str

    @property
    def records(self) -> list[dict[str, Any]]:
        """Standard output as JSON Lines."""
        return [json.loads(line) for line in self.out.splitlines()]


class Command:
    """One run of the product; what it tells people is read while it runs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._told = ""

    async def tells(self, words: str, *, seconds: float = 20.0) -> None:
        """Wait until it has said these words on standard error."""
        assert self._process.stderr is not None
        try:
            async with asyncio.timeout(seconds):
                while words not in self._told:
                    line = await self._process.stderr.readline()
                    assert line, f"ended without saying {words!r}: {self._told}"
                    self._told += line.decode()
        except TimeoutError:
            pytest.fail(f"did not say {words!r}: {self._told}")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    async def ended(self, *, seconds: float = 40.0) -> Ended:
        """Wait for its end."""
        async with asyncio.timeout(seconds):
            out, err = await self._process.communicate()
        return Ended(self._process.returncode or 0, out.decode(), self._told + err.decode())


def client_settings(directory: Path, address: BrokerAddress, topology: Topology) -> Path:
    """Write settings that name the broker and nothing else."""
    file = directory / "client.toml"
    file.touch(mode=0o600)
    lines = {
        "host": address.host,
        "port": address.port,
        "virtual_host": address.virtual_host,
        "user": address.user,
        "password": address.password.reveal(),
        "prefix": topology.prefix,
    }
    text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in lines.items())
    file.write_text(f"[broker]\n{text}", encoding="utf-8")
    return file


@asynccontextmanager
async def started(settings: Path, *arguments: str) -> AsyncIterator[Command]:
    """Start a command; it does not outlive the block."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker", "--config", str(settings), *arguments),
        cwd=CHECKOUT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Command(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def run(settings: Path, *arguments: str) -> Ended:
    """Run a command to its end."""
    async with started(settings, *arguments) as command:
        return await command.ended()
