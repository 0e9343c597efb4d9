"""``payment-worker run`` as a process, seen from outside: its log, its port, its end."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.installation import CHECKOUT, Installation
from tests.waiting import until
from worker.adapters.clock import SystemClock

START_SECONDS = 30.0

_clock = SystemClock()


@dataclass(slots=True)
class WorkerProcess:
    """One run of the worker; ``log`` and ``complaint`` are what it wrote to its two outputs."""

    installation: Installation
    process: asyncio.subprocess.Process
    log: Path
    complaint: Path
    _lines: list[dict[str, Any]] = field(default_factory=list)
    _read: int = 0

    @classmethod
    async def start(cls, installation: Installation, *, prelude: Sequence[str] = ()) -> Self:
        """Start it; ``prelude`` are the words of a command that runs another one."""
        number = len(list(installation.directory.glob("worker-*.log"))) + 1
        log = installation.directory / f"worker-{number}.log"
        complaint = log.with_suffix(".err")
        with log.open("wb") as output, complaint.open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                *prelude, *installation.command("run"), cwd=CHECKOUT, stdout=output, stderr=errors
            )
        return cls(installation, process, log, complaint)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Every whole line of the log so far, each one JSON object."""
        with self.log.open("rb") as log:
            log.seek(self._read)
            fresh, newline, _ = log.read().rpartition(b"\n")
        self._read += len(fresh) + len(newline)
        self._lines += [json.loads(line) for line in fresh.splitlines()]
        return self._lines

    def told(self, action: str, **labels: object) -> list[dict[str, Any]]:
        """Lines about one kind of fact that carry these labels."""
        return [
            line
            for line in self.lines
            if line.get("event.action") == action
            and all(line.get(f"labels.{name}") == value for name, value in labels.items())
        ]

    async def tells(
        self, action: str, *, seconds: float = 20.0, **labels: object
    ) -> dict[str, Any]:
        """Wait for the first such line."""
        await self._until(lambda: bool(self.told(action, **labels)), seconds)
        return self.told(action, **labels)[0]

    async def tells_of(self, message_id: str) -> dict[str, Any]:
        """Wait for the first line about one message."""

        def about() -> list[dict[str, Any]]:
            return [line for line in self.lines if line.get("labels.message_id") == message_id]

        await self._until(lambda: bool(about()), 20.0)
        return about()[0]

    async def port(self) -> int:
        """Port of its probes."""
        line = await self.tells("probes.started", seconds=START_SECONDS)
        return int(line["labels.port"])

    async def asks(self, path: str) -> tuple[int, str]:
        """Status and body of one of its three addresses."""
        url = f"http://127.0.0.1:{await self.port()}{path}"
        async with aiohttp.ClientSession() as session, session.get(url) as reply:
            return reply.status, await reply.text()

    async def counted(self, name: str, **labels: str) -> float:
        """Sum of a metric's samples that carry these labels; ``name`` without our prefix."""
        _, text = await self.asks("/metrics")
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == f"payment_worker_{name}" and labels.items() <= sample.labels.items()
        )

    async def is_ready(self) -> Self:
        """Wait until it says that it takes payments."""
        async with asyncio.timeout(START_SECONDS):
            while (await self.asks("/readyz"))[0] != 200:
                self._must_run()
                await _clock.sleep(0.05)
        return self

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ends(self, *, seconds: float = 40.0) -> int:
        """Wait for its end and return its exit code, negative for a signal."""
        async with asyncio.timeout(seconds):
            return await self.process.wait()

    async def stop(self) -> int:
        """Ask it to stop, as a supervisor does."""
        if self.process.returncode is None:
            self.signal(signal.SIGTERM)
        return await self.ends()

    async def kill(self) -> None:
        """End it without leave to do anything."""
        if self.process.returncode is None:
            self.signal(signal.SIGKILL)
        await self.ends()

    def _must_run(self) -> None:
        if self.process.returncode is not None:
            raise AssertionError(self.process.returncode, self.complaint.read_text("utf-8"))

    async def _until(self, condition: Callable[[], bool], seconds: float) -> None:
        def holds() -> bool:
            if condition():
                return True
            self._must_run()
            return False

        await until(holds, seconds)


@asynccontextmanager
async def started(
    installation: Installation, *, ends_well: bool = True, prelude: Sequence[str] = ()
) -> AsyncIterator[WorkerProcess]:
    """A worker that takes payments; whatever became of it, it is gone at the end."""
    worker = await WorkerProcess.start(installation, prelude=prelude)
    try:
        yield await worker.is_ready()
        if ends_well:
            assert await worker.stop() == 0, worker.complaint.read_text("utf-8")
            assert worker.complaint.read_bytes() == b""
    finally:
        await worker.kill()
