"""Connecting to a broker that is there, that is not, and that does not want us."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from tests.amqp import QUICK, Troubles
from tests.broker import Broker, free_port
from tests.certificates import make_certificate
from tests.fakes_clock import FakeClock
from tests.proxy import proxy_to
from tests.waiting import until
from worker.adapters.clock import SystemClock
from worker.adapters.connection import (
    BrokerTroubleError,
    Pace,
    TroubleKind,
    connect,
    connected,
)
from worker.adapters.endpoints import connect_patiently
from worker.adapters.sessions import Sessions
from worker.model import Secret
from worker.rules import BrokerAddress

pytestmark = pytest.mark.broker
_PASSWORD = "hunter2-do-not-show"  # noqa: S105 (a wrong one, on purpose)


async def _refusal(address: BrokerAddress, seconds: float = 10.0) -> BrokerTroubleError:
    with pytest.raises(BrokerTroubleError) as caught:
        await connect(address, role="test", seconds=seconds)
    return caught.value


async def test_a_broker_that_is_not_there_is_unreachable_in_one_line() -> None:
    address = BrokerAddress(host="127.0.0.1", port=free_port(), password=Secret(_PASSWORD))
    trouble = await _refusal(address)
    assert trouble.kind is TroubleKind.UNREACHABLE
    place = f"127.0.0.1:{address.port}"
    assert trouble.reason == f"{place} cannot be reached: Connection refused"
    assert "\n" not in trouble.reason
    assert _PASSWORD not in f"{trouble!r} {trouble}"


async def test_an_unknown_host_is_unreachable() -> None:
    trouble = await _refusal(BrokerAddress(host="no-such-host.invalid"))
    assert trouble.kind is TroubleKind.UNREACHABLE
    assert " -" not in trouble.reason, "the resolver's number says nothing to people"


async def test_a_wrong_password_is_a_refusal_and_not_an_outage(broker: Broker) -> None:
    trouble = await _refusal(replace(broker.address, password=Secret(_PASSWORD)))
    assert trouble.kind is TroubleKind.REFUSED
    assert "ACCESS_REFUSED" in trouble.reason
    assert _PASSWORD not in f"{trouble!r} {trouble}"


async def test_a_missing_virtual_host_is_named(broker: Broker) -> None:
    trouble = await _refusal(replace(broker.address, virtual_host="elsewhere"))
    assert trouble.kind is TroubleKind.REFUSED
    assert "virtual host 'elsewhere'" in trouble.reason


async def test_a_broker_that_does_not_answer_is_given_up_in_time(broker: Broker) -> None:
    async with proxy_to(broker.port) as proxy:
        proxy.go_dark()
        trouble = await _refusal(replace(broker.address, port=proxy.port), seconds=0.3)
    assert trouble.kind is TroubleKind.UNREACHABLE
    assert "does not answer" in trouble.reason


async def test_tls_to_a_port_without_tls_fails_and_says_so(broker: Broker) -> None:
    trouble = await _refusal(replace(broker.address, tls=True))
    assert "TLS failed" in trouble.reason


async def test_a_missing_certificate_file_is_named(broker: Broker, tmp_path: Path) -> None:
    missing = str(tmp_path / "ca.pem")
    trouble = await _refusal(replace(broker.address, tls=True, ca_file=missing))
    assert trouble.reason == f"no such file: {missing}"


async def test_a_connection_carries_its_name_and_role(broker: Broker) -> None:
    address = replace(broker.address, connection_name="worker-7")
    async with connected(address, role="publisher"):
        listed = await broker.evaluate(
            '[proplists:get_value(<<"connection_name">>, [{K, V} || {K, _, V} <- '
            "proplists:get_value(client_properties, P)]) "
            "|| P <- rabbit_networking:connection_info_all([client_properties])]."
        )
    assert "worker-7:publisher" in listed


async def test_a_broker_that_is_late_is_waited_for_with_a_line_for_each_try(broker: Broker) -> None:
    """The delays grow; each is announced before it is waited for."""
    clock = FakeClock(fractions=[0.0])
    troubles = Troubles()
    pace = Pace(first=1.0, most=8.0)
    late = replace(broker.address, port=free_port())

    def note(trouble: BrokerTroubleError, delay: float) -> None:
        troubles.note(trouble, delay)
        if len(troubles.seen) == 6:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await connect_patiently(late, role="test", clock=clock, on_trouble=note, pace=pace)
    assert clock.sleeps == [1.0, 2.0, 4.0, 8.0, 8.0]
    assert {trouble.kind for trouble in troubles.seen} == {TroubleKind.UNREACHABLE}


async def test_a_session_begins_again_after_the_broker_closed_its_connection(
    broker: Broker,
) -> None:
    """A plain connection still calls itself open then; its close callback is what counts."""
    async with proxy_to(broker.port) as proxy:
        address = replace(broker.address, port=proxy.port)
        troubles = Troubles()
        begun = 0
        sessions = Sessions(
            address, role="session", clock=SystemClock(), on_trouble=troubles.note, pace=QUICK
        )

        async def serve(_: object) -> None:
            nonlocal begun
            begun += 1
            await asyncio.get_running_loop().create_future()

        running = asyncio.create_task(sessions.run(serve))
        await until(lambda: begun == 1)
        await broker.drop_connections("session", "maintenance")
        await until(lambda: begun == 2)
        proxy.cut()
        await until(lambda: begun == 3)
        running.cancel()
        await asyncio.wait({running})
    assert [trouble.kind for trouble in troubles.seen] == [TroubleKind.LOST, TroubleKind.LOST]
    assert "CONNECTION_FORCED - maintenance" in troubles.seen[0].reason


async def test_a_session_ends_the_loop_by_returning(broker: Broker) -> None:
    troubles = Troubles()
    sessions = Sessions(
        broker.address, role="test", clock=SystemClock(), on_trouble=troubles.note, pace=QUICK
    )

    async def serve(_: object) -> None:
        return

    await sessions.run(serve)
    assert not troubles.seen


async def test_a_fault_of_ours_in_a_session_is_reported_and_not_fatal(broker: Broker) -> None:
    troubles = Troubles()
    sessions = Sessions(
        broker.address, role="test", clock=SystemClock(), on_trouble=troubles.note, pace=QUICK
    )

    async def serve(_: object) -> None:
        if not troubles.seen:
            raise ZeroDivisionError

    await sessions.run(serve)
    assert "ZeroDivisionError" in troubles.seen[0].reason


async def test_an_untrusted_certificate_is_never_accepted(broker: Broker, tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    async with proxy_to(broker.port, tls=certificate.server_context()) as proxy:
        address = replace(broker.address, port=proxy.port, tls=True)
        trouble = await _refusal(address)
        trusting = replace(address, ca_file=str(certificate.certificate))
        async with connected(trusting, role="test") as connection:
            assert not connection.is_closed
    assert trouble.kind is TroubleKind.CERTIFICATE
    assert "self-signed certificate" in trouble.reason
