"""The probes' port: opened first and closed last, so that a supervisor can always ask."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry
from typing_extensions import override

from worker.adapters.probes import ProbeServer
from worker.app.pulse import Pulse
from worker.settings import Settings
from worker.telemetry import Telemetry


class ProbePortError(Exception):
    """The port of the probes cannot be listened on; ``reason`` is the system's word for why."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(host, port, reason)
        self.host = host
        self.port = port
        self.reason = reason

    @override
    def __str__(self) -> str:
        return f"{self.host}:{self.port}: {self.reason}"


@asynccontextmanager
async def probes(
    settings: Settings, *, pulse: Pulse, telemetry: Telemetry, registry: CollectorRegistry
) -> AsyncIterator[None]:
    """Answer for the worker's pulse while the block lasts; raises ``ProbePortError``."""
    asked = settings.probes
    if not asked.enabled:
        yield
        return
    server = ProbeServer(
        asked.host,
        asked.port,
        is_alive=lambda: pulse.is_alive,
        readiness=pulse.readiness,
        registry=registry,
    )
    try:
        await server.start()
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        raise ProbePortError(asked.host, asked.port, reason) from error
    try:
        telemetry.noted("Probes listen", "probes.started", port=server.port)
        yield
    finally:
        await server.stop()
