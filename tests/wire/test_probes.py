"""The probe port, asked over HTTP as a supervisor and a scraper ask it."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter

from worker.adapters.probes import HoldsBut, ProbeServer


class Worker:
    """What the probes look at."""

    def __init__(self) -> None:
        self.alive = True
        self.checks: dict[str, str | bool | HoldsBut] = {"consumer": True, "ledger": True}
        self.registry = CollectorRegistry()


@pytest.fixture
def worker() -> Worker:
    return Worker()


@pytest.fixture
async def server(worker: Worker) -> AsyncIterator[ProbeServer]:
    async with ProbeServer(
        is_alive=lambda: worker.alive,
        readiness=lambda: worker.checks,
        registry=worker.registry,
    ) as started:
        yield started


@pytest.fixture
async def client(server: ProbeServer) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:
        yield session


async def test_liveness_follows_the_worker(worker: Worker, client: aiohttp.ClientSession) -> None:
    for alive, status in ((True, 200), (False, 503)):
        worker.alive = alive
        async with client.get("/healthz") as answer:
            assert answer.status == status
            assert await answer.json() == {"alive": alive}


async def test_liveness_does_not_ask_for_readiness(
    worker: Worker, client: aiohttp.ClientSession
) -> None:
    worker.checks["consumer"] = "the broker is away"
    async with client.get("/healthz") as answer:
        assert answer.status == 200


async def test_readiness_is_every_check_holding(client: aiohttp.ClientSession) -> None:
    async with client.get("/readyz") as answer:
        assert answer.status == 200
        assert await answer.json() == {"ready": True, "checks": {"consumer": True, "ledger": True}}


@pytest.mark.parametrize("reason", [False, "the broker is away", ""])
async def test_one_check_that_does_not_hold_is_named(
    worker: Worker, client: aiohttp.ClientSession, *, reason: str | bool
) -> None:
    worker.checks["consumer"] = reason
    async with client.get("/readyz") as answer:
        assert answer.status == 503
        assert await answer.json() == {
            "ready": False,
            "checks": {"consumer": reason, "ledger": True},
        }


async def test_what_holds_and_should_be_known_is_told_and_is_ready(
    worker: Worker, client: aiohttp.ClientSession
) -> None:
    worker.checks["consumer"] = HoldsBut("paused by operators")
    async with client.get("/readyz") as answer:
        assert answer.status == 200
        assert await answer.json() == {
            "ready": True,
            "checks": {"consumer": "paused by operators", "ledger": True},
        }


async def test_metrics_come_from_the_registry_given(
    worker: Worker, client: aiohttp.ClientSession
) -> None:
    Counter("payment_worker_tests", "Tests that ran.", registry=worker.registry).inc(3)
    async with client.get("/metrics") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain")
        assert "payment_worker_tests_total 3.0" in await answer.text()


async def test_metrics_speak_openmetrics_when_asked(
    worker: Worker, client: aiohttp.ClientSession
) -> None:
    Counter("payment_worker_tests", "Tests that ran.", registry=worker.registry)
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    async with client.get("/metrics", headers=accept) as answer:
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        assert (await answer.text()).endswith("# EOF\n")


async def test_there_is_nothing_else(client: aiohttp.ClientSession) -> None:
    async with client.get("/") as answer:
        assert answer.status == 404
    async with client.post("/healthz") as answer:
        assert answer.status == 405


async def test_a_taken_port_is_an_error_at_start(worker: Worker, server: ProbeServer) -> None:
    second = ProbeServer(
        port=server.port,
        is_alive=lambda: True,
        readiness=dict,
        registry=worker.registry,
    )
    with pytest.raises(OSError, match="address already in use"):
        await second.start()


async def test_a_stopped_server_refuses_connections(worker: Worker) -> None:
    server = ProbeServer(is_alive=lambda: True, readiness=dict, registry=worker.registry)
    await server.start()
    await server.stop()
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(f"http://127.0.0.1:{server.port}/healthz")
