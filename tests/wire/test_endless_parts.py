"""A worker ends with the first of its parts that ends, and does not live on half."""

import asyncio
from pathlib import Path

import pytest
import structlog
from prometheus_client import CollectorRegistry
from structlog.testing import LogCapture

from tests.broker import Broker
from tests.settings_sample import SAMPLE, load_sample
from worker.adapters.clock import SystemClock
from worker.adapters.store_sqlite import initialise
from worker.app import PartEndedError, Worker
from worker.ports import BrokerDirectory
from worker.rules import BrokerAddress
from worker.settings import Role
from worker.telemetry import Telemetry

pytestmark = pytest.mark.broker


class Defective:
    """A directory of the broker that fails in a way nobody foresaw."""

    def addresses(self) -> tuple[BrokerAddress, ...]:
        raise LookupError


@pytest.mark.parametrize(("role", "part"), [("consume", "consumer"), ("publish", "publisher")])
async def test_a_worker_whose_connection_is_kept_no_longer_ends(
    broker: Broker, tmp_path: Path, role: Role, part: str
) -> None:
    """It would answer its probes and take no message until somebody restarted it."""
    initialise(tmp_path / "ledger.sqlite3")
    address = broker.address
    variables = {
        "BROKER__HOST": address.host,
        "BROKER__PORT": str(address.port),
        "BROKER__USER": address.user,
        "BROKER__PASSWORD": address.password.reveal(),
        "BROKER__PREFIX": broker.topology().prefix,
        "TOPOLOGY__DECLARE": "true",
        "LEDGER__PATH": str(tmp_path / "ledger.sqlite3"),
        "PROBES__PORT": "0",
    }
    without = ("PAYMENT_WORKER_BROKER__PASSWORD",)
    text = SAMPLE.replace('user = "payworker"', "")
    loaded = load_sample(tmp_path, text, without=without, variables=variables)
    capture = LogCapture()

    def directory(asked: Role) -> BrokerDirectory:
        return Defective() if asked == role else loaded.broker(asked)

    registry, clock = CollectorRegistry(), SystemClock()
    worker = Worker(
        loaded.settings,
        broker=directory,
        telemetry=Telemetry(
            logger=structlog.wrap_logger(None, processors=[capture]),
            registry=registry,
            clock=clock,
            version="1",
        ),
        registry=registry,
        clock=clock,
    )
    with pytest.raises(PartEndedError) as ended:
        await worker.run(asyncio.Event(), asyncio.Event())
    assert ended.value.part == part
    (line,) = [each for each in capture.entries if each["event.action"] == "part.ended"]
    assert (line["labels.role"], line["error.type"]) == (part, "LookupError")
