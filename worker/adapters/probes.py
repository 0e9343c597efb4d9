"""One small port for the supervisor and the metrics scraper, and nothing else.

Liveness says that the event loop ticks and never asks about the broker: a restart cannot mend
an outage, it only redelivers what was prefetched. Readiness may say no for as long as it likes.
Metrics name the business, so the port listens on loopback unless told otherwise.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Self

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder


@dataclass(frozen=True, slots=True)
class HoldsBut:
    """It holds, and somebody who looks should know something about it."""

    text: str


Readiness = Callable[[], Mapping[str, str | bool | HoldsBut]]
"""Names what must hold: ``True`` holds; ``False``, or a text saying why, does not."""


class ProbeServer:
    """Serves ``/healthz``, ``/readyz`` and ``/metrics``.

    ``port`` 0 takes a free one; after ``start`` it is the one listened on.
    ``is_alive`` and ``readiness`` are asked on every request: they look, they never wait.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        is_alive: Callable[[], bool],
        readiness: Readiness,
        registry: CollectorRegistry,
    ) -> None:
        self._host = host
        self.port = port
        self._is_alive = is_alive
        self._readiness = readiness
        self._registry = registry
        application = web.Application()
        application.router.add_get("/healthz", self._healthz)
        application.router.add_get("/readyz", self._readyz)
        application.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(application, access_log=None)

    async def start(self) -> None:
        """Listen; raises ``OSError`` when the port is taken."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self.port).start()
        except OSError:
            await self._runner.cleanup()
            raise
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close the port and the connections to it."""
        await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def _healthz(self, _request: web.Request) -> web.Response:
        alive = self._is_alive()
        return web.json_response({"alive": alive}, status=_status(ok=alive))

    async def _readyz(self, _request: web.Request) -> web.Response:
        checks = dict(self._readiness())
        ready = all(check is True or isinstance(check, HoldsBut) for check in checks.values())
        shown = {
            name: check.text if isinstance(check, HoldsBut) else check
            for name, check in checks.items()
        }
        return web.json_response({"ready": ready, "checks": shown}, status=_status(ok=ready))

    async def _metrics(self, request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(self._registry), headers={"Content-Type": content_type})


def _status(*, ok: bool) -> HTTPStatus:
    return HTTPStatus.OK if ok else HTTPStatus.SERVICE_UNAVAILABLE
