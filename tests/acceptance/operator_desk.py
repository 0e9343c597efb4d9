"""An operator's terminal on the machine of a worker, for the commands that the runbook prints.

The machine is a directory: what the page calls /etc/payment-worker lies in it. Broker, worker,
ledger, providers and the product's commands are real; ``sudo``, ``systemctl``, ``journalctl`` and
``curl`` are stand-ins that do the one thing the page asks of them, to this worker.
"""

import asyncio
import fcntl
import os
import pty
import shlex
import signal
import sqlite3
import struct
import sys
import termios
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from tests.acceptance.erp import EVERY_TAP, Erp, connected_erp
from tests.acceptance.installation import CHECKOUT, LINK_HOST, Installation, installed
from tests.acceptance.runbook_page import Section, unprinted
from tests.acceptance.worker_process import WorkerProcess
from tests.broker import Broker, free_port
from tests.waiting import until
from worker.adapters.clock import SystemClock
from worker.adapters.encryption import generate_key
from worker.cli.actor import operating_system_account
from worker.simulator.server import Simulator

SETTINGS = "/etc/payment-worker"
"""Where the page's commands find settings and secrets."""

PROBES = "127.0.0.1:9464"
"""Where they find the worker's own port."""

WORKER, OPERATOR = "payworker", "ops-replay"
PASSWORDS: Mapping[str, str] = {WORKER: "worker-secret", OPERATOR: "operator-secret"}

_ROWS, _COLUMNS = 50, 120
_QUESTION = "[y/N] "
_WHO = "E-mail: "

_PRODUCT = """#!/bin/sh
exec {python} -m worker "$@"
"""
_SUDO = """#!/bin/sh
# sudo -u USER COMMAND...: this terminal is that user's already.
if [ "$1" = -u ]; then shift 2; fi
if [ "$1" = bash ]; then exit 0; fi
exec "$@"
"""
_SYSTEMCTL = """#!/bin/sh
# systemctl start|stop|restart|is-active payment-worker, done by the test.
exec {python} -c 'import socket, sys
door = socket.create_connection(("127.0.0.1", {door}))
door.sendall(sys.argv[1].encode() + b"\\n")
said = door.makefile().read()
print(said.rpartition("\\n")[0], end="\\n" if "\\n" in said else "")
sys.exit(int(said.rpartition("\\n")[2]))' "$1"
"""
_JOURNALCTL = """#!/bin/sh
# journalctl -u payment-worker ...: everything every worker of this machine has written.
cat {directory}/worker-*.log
"""
_CURL = """#!/bin/sh
# curl -s http://{probes}/PATH
exec {python} -c 'import sys, urllib.error, urllib.request
try:
    answer = urllib.request.urlopen(sys.argv[1])
except urllib.error.HTTPError as error:
    answer = error
except urllib.error.URLError:
    sys.exit(7)
print(answer.read().decode())' "$(printf %s "$2" | sed s/{probes}/127.0.0.1:{port}/)"
"""
_RABBITMQCTL = """#!/bin/sh
exec {node} ctl {broker} "$@"
"""
_SHELL = """
command=$DESK_COMMAND
if [ -f "$DESK_STATE" ]; then . "$DESK_STATE"; cd "$PWD"; fi
eval "$command"
code=$?
export -p >"$DESK_STATE"
exit $code
"""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a command put on the terminal before it ended."""

    code: int
    text: str


@dataclass(slots=True, kw_only=True)
class Machine:
    """A machine with one worker, and everything around it."""

    installation: Installation
    simulator: Simulator
    erp: Erp
    broker: Broker
    directory: Path
    prelude: tuple[str, ...] = ()
    worker: WorkerProcess | None = None

    async def has_letters(self, count: int) -> None:
        """Wait for so many dead letters, each noted as confirmed.

        A worker notes that with a commit which nobody waits for, within a second.
        """
        await self.erp.has_depth("dlq", count)
        await until(lambda: _noted_letters(self.installation.ledger) >= count, 20.0)

    async def provider_goes_down(self) -> None:
        """Nobody listens at the providers' address any more."""
        await self.simulator.stop()

    async def provider_comes_back(self) -> None:
        """Somebody listens there again, and counts from nothing."""
        self.simulator = Simulator(
            port=urlsplit(self.simulator.base_url).port or 0,
            clock=SystemClock(),
            link_host=LINK_HOST,
        )
        await self.simulator.start()

    @property
    def running(self) -> WorkerProcess:
        """The worker, which must have been started."""
        assert self.worker is not None
        return self.worker

    @property
    def home(self) -> Path:
        """What the page calls /etc/payment-worker."""
        return self.directory / SETTINGS[1:]

    def put_secret(self, name: str, text: str) -> None:
        """Write a secret file of the worker, and the operator's link to it."""
        link = self.home / "operator" / self.secret_file(name).name
        _write_secret(self.secret_file(name), text)
        if not link.is_symlink():
            link.symlink_to(self.secret_file(name))

    def secret_file(self, name: str) -> Path:
        """The file of one of the worker's secrets."""
        return self.home / "secrets" / f"payment_worker_{name}"

    async def start(self) -> None:
        """Start the worker and wait until it is ready, unless it is paused or refuses."""
        assert self.worker is None or self.worker.process.returncode is not None
        self.worker = await WorkerProcess.start(
            self.installation,
            prelude=("env", f"CREDENTIALS_DIRECTORY={self.home / 'secrets'}", *self.prelude),
        )
        await self.worker.is_ready()

    async def stop(self) -> None:
        """Stop the worker as the system does."""
        if self.worker is not None:
            assert await self.worker.stop() == 0, self.worker.complaint.read_text("utf-8")

    async def restart(self) -> None:
        """Stop it and start it again, under the settings and secrets there are now."""
        await self.stop()
        await self.start()

    async def answer_door(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Do what ``systemctl`` was asked for."""
        said, code = "", 0
        match (await reader.readline()).decode().strip():
            case "start":
                await self.start()
            case "stop":
                await self.stop()
            case "restart":
                await self.restart()
            case "is-active":
                is_up = self.worker is not None and self.worker.process.returncode is None
                said, code = ("active\n", 0) if is_up else ("inactive\n", 3)
            case other:
                raise AssertionError(other)
        writer.write(f"{said}{code}".encode())
        writer.close()


@asynccontextmanager
async def machine(
    broker: Broker,
    directory: Path,
    *,
    change: Callable[[Installation], None] = lambda _installation: None,
    prelude: tuple[str, ...] = (),
    secrets: Mapping[str, str] = MappingProxyType({}),
    taps: Mapping[str, tuple[str, ...]] = EVERY_TAP,
) -> AsyncIterator[Machine]:
    """A machine whose worker is running; the broker has the shipped definitions and users.

    ``secrets`` take the place of the right ones, by the names of their files.
    """
    home = directory / SETTINGS[1:]
    for each in (home, home / "secrets", home / "operator", directory / "bin"):
        each.mkdir(parents=True, exist_ok=True)
    async with (
        Simulator(clock=SystemClock(), link_host=LINK_HOST) as simulator,
        installed(
            broker, home, link_url=simulator.link_base_url, basket_url=simulator.base_url
        ) as installation,
    ):
        settings = installation.table("broker")
        settings |= {"prefix": "payments.", "user": WORKER}
        del settings["password"]
        installation.table("topology")["declare"] = False
        installation.table("results")["subscribers"] = {"dcp": ["dcp"]}
        del installation.table("ledger")["keys"]
        installation.table("probes")["port"] = free_port()
        for account in ("safedebit", "combo"):
            del installation.table("accounts", account, "test")["password"]
        change(installation)
        installation.write()
        installation.create_ledger()
        async with connected_erp(broker, "payments.", taps=taps) as erp:
            site = Machine(
                installation=installation,
                simulator=simulator,
                erp=erp,
                broker=broker,
                directory=directory,
                prelude=prelude,
            )
            site.put_secret("ledger__keys", generate_key().reveal())
            for account in installation.table("accounts"):
                site.put_secret(f"accounts__{account}__test__password", "demo")
            for name, text in secrets.items():
                site.put_secret(name, text)
            _write_secret(site.secret_file("broker__password"), PASSWORDS[WORKER])
            for name, text in {"user": OPERATOR, "password": PASSWORDS[OPERATOR]}.items():
                _write_secret(home / "operator" / f"payment_worker_broker__{name}", text)
            door = await asyncio.start_server(site.answer_door, "127.0.0.1", 0)
            _furnish(site, door=door.sockets[0].getsockname()[1])
            try:
                await site.start()
                yield site
                await site.stop()
            finally:
                if site.worker is not None:
                    await site.worker.kill()
                door.close()
                await site.simulator.stop()
                await _empty_queues(erp)


@dataclass(slots=True)
class Walkthrough:
    """One section of the page, command after command, as an operator types them."""

    section: Section
    site: Machine
    names: dict[str, str] = field(default_factory=dict)
    _next: int = 0
    _seen: list[str] = field(default_factory=list)

    async def types(
        self,
        beginning: str,
        *,
        code: int = 0,
        answer: str | None = None,
        email: str | None = None,
        **names: str,
    ) -> Shown:
        """Type the next command of the section, which begins so, and compare what it shows.

        ``names`` are what stands for the page's words in capitals from here on; ``answer`` is
        typed at a question, ``email`` where one is asked for.
        """
        self.names |= names
        printed = self.section.commands[self._next]
        assert printed.command.startswith(beginning), (printed, beginning)
        self._next += 1
        command = printed.command
        for name, value in self.names.items():
            command = command.replace(name, value)
        shown = await typed(self.site.directory, command, answer=answer, email=email)
        told = f"line {printed.line}: {command}\n{shown.text}"
        assert shown.code == code, told
        self._seen.append(shown.text)
        missing = unprinted(printed.output, shown.text, actor=operating_system_account())
        assert missing is None, f"{told}\nnever printed: {missing}"
        return shown

    def sees(self, shown: Shown) -> None:
        """Take note of what a command showed that the page does not have an operator type."""
        self._seen.append(shown.text)

    def ends(self) -> None:
        """Every command of the section was typed, and what it quotes besides was shown."""
        assert [each.command for each in self.section.commands[self._next :]] == []
        seen = "\n".join(self._seen)
        assert unprinted(self.section.quoted, seen, actor=operating_system_account()) is None


async def typed(
    directory: Path,
    command: str,
    *,
    answer: str | None = None,
    email: str | None = None,
    state: str = "state",
) -> Shown:
    """Type one command into the operator's shell and read the terminal until it has ended.

    ``state`` is the file of what that shell has exported: another one is another terminal.
    """
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, _COLUMNS, 0, 0))
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", _SHELL),
        cwd=directory / "work",
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=_environment(directory, command) | {"DESK_STATE": str(directory / state)},
        start_new_session=True,
    )
    os.close(slave)
    screen = bytearray()
    ended = asyncio.Event()

    def read() -> None:
        nonlocal answer, email
        try:
            piece = os.read(master, 65536)
        except OSError:  # how a terminal says that nobody is left at its other end
            piece = b""
        if not piece:
            asyncio.get_running_loop().remove_reader(master)
            ended.set()
        screen.extend(piece)
        if answer is not None and screen.endswith(_QUESTION.encode()):
            os.write(master, f"{answer}\n".encode())
            answer = None
        if email is not None and screen.endswith(_WHO.encode()):
            os.write(master, f"{email}\n".encode())
            email = None

    asyncio.get_running_loop().add_reader(master, read)
    try:
        async with asyncio.timeout(40):
            await ended.wait()
            code = await process.wait()
    finally:
        asyncio.get_running_loop().remove_reader(master)
        os.close(master)
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    text = screen.decode().replace("\r\n", "\n").replace(str(directory / SETTINGS[1:]), SETTINGS)
    return Shown(code, text)


def _environment(directory: Path, command: str) -> dict[str, str]:
    return {
        "PATH": f"{directory / 'bin'}:/usr/bin:/bin",
        "HOME": str(directory / "work"),
        "TMPDIR": str(directory),
        "TERM": "xterm",
        "NO_COLOR": "1",
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(CHECKOUT),
        "PAYMENT_WORKER_CONFIG": str(directory / SETTINGS[1:] / "settings.toml"),
        "DESK_COMMAND": command.replace(SETTINGS, str(directory / SETTINGS[1:])),
    }


def _furnish(site: Machine, *, door: int) -> None:
    """Put the commands of this machine on its path."""
    (site.directory / "work").mkdir()
    facts = {
        "python": shlex.quote(sys.executable),
        "door": door,
        "directory": shlex.quote(str(site.installation.directory)),
        "probes": PROBES,
        "node": CHECKOUT / "deploy" / "rabbitmq" / "private-node",
        "broker": site.broker.directory,
        "port": site.installation.table("probes")["port"],
    }
    for name, text in {
        "payment-worker": _PRODUCT,
        "sudo": _SUDO,
        "systemctl": _SYSTEMCTL,
        "journalctl": _JOURNALCTL,
        "curl": _CURL,
        "rabbitmqctl": _RABBITMQCTL,
    }.items():
        file = site.directory / "bin" / name
        file.write_text(text.format(**facts), encoding="utf-8")
        file.chmod(0o755)


def _write_secret(file: Path, text: str) -> None:
    file.touch(mode=0o600)
    file.write_text(text, encoding="utf-8")


async def _empty_queues(erp: Erp) -> None:
    rungs = ("5s", "30s", "2m", "10m", "1h")
    kept = ("work", "dlq", "parking", "unrouted", "unclaimed", "results.dcp")
    for suffix in (*kept, *(f"retry.v1.{rung}" for rung in rungs)):
        queue = await erp.channel.get_queue(f"payments.{suffix}", ensure=False)
        await queue.purge()


def _noted_letters(ledger: Path) -> int:
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as connection:
        (count,) = connection.execute(
            "SELECT count(*) FROM answers WHERE letter_code IS NOT NULL AND letter_confirmed = 1"
        ).fetchone()
    return int(count)
