"""Several endpoints of one broker, and what is read anew for every connection."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from aio_pika.abc import AbstractConnection

from tests.amqp import QUICK, Troubles, declared
from tests.broker import Broker, free_port
from tests.certificates import make_certificate
from tests.fakes_clock import FakeClock
from tests.proxy import proxy_to
from tests.waiting import until
from worker.adapters.clock import SystemClock
from worker.adapters.connection import (
    BrokerTroubleError,
    TroubleKind,
    connect,
    connect_to_any,
    connected,
)
from worker.adapters.publisher import AmqpPublisher
from worker.adapters.sessions import Sessions
from worker.messages import Exchange, OutgoingMessage, Publication
from worker.model import Secret
from worker.rules import BrokerAddress

pytestmark = pytest.mark.broker


def led_to(broker: Broker, *ports: int) -> BrokerAddress:
    """The broker under these ports, in this order."""
    first, *others = ports
    return replace(broker.address, port=first, others=tuple(("127.0.0.1", port) for port in others))


@asynccontextmanager
async def serving(
    sessions: Sessions, serve: Callable[[AbstractConnection], None]
) -> AsyncIterator[None]:
    """Sessions that go on until the block is left."""

    async def stay(connection: AbstractConnection) -> None:
        serve(connection)
        await asyncio.get_running_loop().create_future()

    running = asyncio.create_task(sessions.run(stay))
    try:
        yield
    finally:
        running.cancel()
        await asyncio.wait({running})


async def test_a_short_connection_takes_the_first_endpoint_that_answers(broker: Broker) -> None:
    async with connected(led_to(broker, free_port(), broker.port), role="test") as connection:
        assert not connection.is_closed


async def test_when_no_endpoint_answers_each_is_named(broker: Broker) -> None:
    """A refusal says more than an outage, so the whole counts as one."""
    away = free_port()
    address = replace(led_to(broker, away, broker.port), password=Secret("wrong"))
    with pytest.raises(BrokerTroubleError) as caught:
        await connect_to_any(address, role="test")
    assert caught.value.kind is TroubleKind.REFUSED
    assert f"127.0.0.1:{away} cannot be reached" in caught.value.reason
    assert f"127.0.0.1:{broker.port} refuses this user" in caught.value.reason


async def test_a_session_that_breaks_goes_on_at_the_next_endpoint_at_once(broker: Broker) -> None:
    """An endpoint that is away is passed over; after the round, the first is tried again."""
    troubles = Troubles()
    places: list[str | None] = []
    async with proxy_to(broker.port) as one, proxy_to(broker.port) as two:
        away = free_port()
        sessions = Sessions(
            led_to(broker, one.port, away, two.port),
            role="turns",
            clock=FakeClock(fractions=[0.0]),
            on_trouble=troubles.note,
            pace=QUICK,
        )
        async with serving(sessions, lambda _: places.append(sessions.place)):
            await until(lambda: len(places) == 1)
            one.cut()
            await until(lambda: len(places) == 2)
            two.cut()
            await until(lambda: len(places) == 3)
    assert places == [f"127.0.0.1:{port}" for port in (one.port, two.port, one.port)]
    assert [each.kind for each in troubles.seen] == [
        TroubleKind.LOST,
        TroubleKind.UNREACHABLE,
        TroubleKind.LOST,
    ]


async def test_a_publisher_confirms_again_through_another_endpoint(broker: Broker) -> None:
    request = OutgoingMessage(
        exchange=Exchange.REQUESTS, routing_key="payment.initiate.dcp", body=b"{}", message_id="m"
    )
    troubles = Troubles()
    async with (
        declared(broker) as (topology, _),
        proxy_to(broker.port) as one,
        proxy_to(broker.port) as two,
        AmqpPublisher(
            led_to(broker, one.port, two.port),
            topology,
            clock=SystemClock(),
            on_trouble=troubles.note,
            pace=QUICK,
        ) as publisher,
    ):
        assert await publisher.publish(request) is Publication.CONFIRMED
        first = publisher.place
        (one if first == f"127.0.0.1:{one.port}" else two).cut()
        await until(lambda: publisher.is_ready and publisher.place != first)
        assert await publisher.publish(request) is Publication.CONFIRMED


async def test_the_name_in_the_certificate_must_be_the_endpoints_own(
    broker: Broker, tmp_path: Path
) -> None:
    """Each endpoint is verified under the name it was given, never under the first one's."""
    named = make_certificate(tmp_path / "named", host="localhost")
    numbered = make_certificate(tmp_path / "numbered", host="127.0.0.1")
    authorities = tmp_path / "authorities.pem"
    authorities.write_bytes(named.certificate.read_bytes() + numbered.certificate.read_bytes())
    async with (
        proxy_to(broker.port, tls=named.server_context()) as one,
        proxy_to(broker.port, tls=numbered.server_context()) as two,
    ):
        address = replace(
            broker.address,
            host="localhost",
            port=one.port,
            others=(("127.0.0.1", two.port), ("localhost", two.port)),
            tls=True,
            ca_file=str(authorities),
        )
        first, second, wrong = address.addresses()
        for each in (first, second):
            async with connected(each, role="test") as connection:
                assert not connection.is_closed
        with pytest.raises(BrokerTroubleError) as caught:
            await connect(wrong, role="test")
        assert caught.value.kind is TroubleKind.CERTIFICATE
        assert "localhost" in caught.value.reason


async def test_a_client_certificate_that_was_renewed_is_used_by_the_next_connection(
    broker: Broker, tmp_path: Path
) -> None:
    """The file names stay; the files are read for every connection (failure case 37)."""
    server = make_certificate(tmp_path / "server")
    old, new = (make_certificate(tmp_path / name) for name in ("old", "new"))
    ours = make_certificate(tmp_path / "ours")
    shutil.copy(old.certificate, ours.certificate)
    shutil.copy(old.key, ours.key)
    async with proxy_to(broker.port, tls=server.server_context(clients=new.certificate)) as proxy:
        address = replace(
            broker.address,
            port=proxy.port,
            tls=True,
            ca_file=str(server.certificate),
            certificate_file=str(ours.certificate),
            key_file=str(ours.key),
        )
        with pytest.raises(BrokerTroubleError):
            await connect(address, role="test")
        shutil.copy(new.certificate, ours.certificate)
        shutil.copy(new.key, ours.key)
        async with connected(address, role="test") as connection:
            assert not connection.is_closed


@dataclass
class Rotated:
    """A directory whose password changes, as a secret file does."""

    address: BrokerAddress

    def addresses(self) -> tuple[BrokerAddress, ...]:
        return self.address.addresses()


async def test_a_refused_login_is_tried_with_the_password_as_it_is_then(broker: Broker) -> None:
    troubles = Troubles()
    begun: list[str | None] = []
    directory = Rotated(replace(broker.address, password=Secret("stale")))
    sessions = Sessions(
        directory, role="login", clock=SystemClock(), on_trouble=troubles.note, pace=QUICK
    )
    async with serving(sessions, lambda _: begun.append(sessions.place)):
        await until(lambda: len(troubles.seen) >= 2)
        directory.address = broker.address
        await until(lambda: len(begun) == 1)
    assert {each.kind for each in troubles.seen} == {TroubleKind.REFUSED}
