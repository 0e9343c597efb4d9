"""``search_payment`` on real sockets: the bytes that leave, what comes back, and reads alone."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date, timedelta

import pytest

from tests.fakes_clock import START, FakeClock
from tests.provider_examples import LINK_COMPANY, LINK_ROUTE, REFERENCE, REQUEST
from tests.servers import Connection, RawServer, answer
from worker.adapters.clock import SystemClock
from worker.adapters.http import BODY_CAP, HttpTransport
from worker.calls import HttpReply, NoReply, Silence
from worker.look_ups import (
    Listed,
    ListedOtherwise,
    LookUpQuestion,
    LookUpReading,
    NotListed,
    ReadFailed,
)
from worker.model import Cents, Endpoint, Secret
from worker.providers.link import LinkProvider
from worker.simulator.server import Simulator

LINK_HOST = "pay.simulator.example"
ASKED = LookUpQuestion(
    reference=REFERENCE,
    amount=REQUEST.amount,
    since=START.date() - timedelta(days=1),
    until=START.date() + timedelta(days=1),
)


@pytest.fixture
async def transport() -> AsyncIterator[HttpTransport]:
    async with HttpTransport(clock=SystemClock()) as transport:
        yield transport


def endpoint(url: str) -> Endpoint:
    return Endpoint(
        base_url=url,
        login="demo",
        password=Secret("demo"),
        link_hosts=frozenset({LINK_HOST}),
    )


async def look_up(
    transport: HttpTransport, place: Endpoint, asked: LookUpQuestion = ASKED
) -> LookUpReading | NoReply:
    """Ask as the reconciler does, on a connection of its own."""
    provider = LinkProvider()
    reply = await transport.send(provider.look_up(asked, place), fresh_connection=True, seconds=5.0)
    if isinstance(reply, NoReply):
        return reply
    return provider.read_look_up(reply, asked, place)


# --- the bytes ---------------------------------------------------------------------------------


async def test_what_leaves_is_the_documented_get_and_not_a_byte_of_body(
    transport: HttpTransport,
) -> None:
    async def nothing_found(connection: Connection) -> None:
        await connection.request()
        await connection.write(answer("200 OK", b'{"result": true, "datas": []}'))

    asked = replace(ASKED, since=date(2020, 1, 2), until=date(2020, 11, 30))
    async with RawServer(nothing_found) as server:
        reading = await look_up(transport, endpoint(server.url("/ssp")), asked)
        (received,) = server.received
    assert reading == NotListed(http_status=200)
    assert received.head.split(b"\r\n")[0] == (
        b"GET /ssp/search_payment?payment_reference=" + REFERENCE.encode() + b"&creation_date_min="
        b"02%2F01%2F2020&creation_date_max=30%2F11%2F2020 HTTP/1.1"
    )
    assert received.header("authorization") == "Basic ZGVtbzpkZW1v"
    assert received.header("accept") == "application/json"
    assert received.header("connection") == "close"
    assert received.header("content-type") is None
    assert received.header("content-length") in {None, "0"}
    assert received.body == b""


async def test_a_page_without_an_end_is_read_up_to_the_limit_and_is_no_answer(
    transport: HttpTransport,
) -> None:
    async def endless(connection: Connection) -> None:
        await connection.request()
        body = b'{"result": true, "datas": [' + b" " * BODY_CAP + b"]}"
        await connection.write(answer("200 OK", body))

    async with RawServer(endless) as server:
        reading = await look_up(transport, endpoint(server.url("/ssp")))
    assert reading == ReadFailed(reason="unreadable", http_status=200)


async def test_a_redirect_is_not_followed_with_our_password(transport: HttpTransport) -> None:
    async def elsewhere(connection: Connection) -> None:
        await connection.request()
        head = (("Location", "https://elsewhere.invalid/"),)
        await connection.write(answer("307 Temporary Redirect", headers=head))

    async with RawServer(elsewhere) as server:
        reading = await look_up(transport, endpoint(server.url("/ssp")))
        assert len(server.received) == 1
    assert reading == ReadFailed(reason="refused", http_status=307)


async def test_silence_is_a_fact_and_no_exception(transport: HttpTransport) -> None:
    async def silent(connection: Connection) -> None:
        await connection.request()
        await connection.gone()

    async with RawServer(silent) as server:
        request = LinkProvider().look_up(ASKED, endpoint(server.url("/ssp")))
        fact = await transport.send(request, fresh_connection=True, seconds=0.3)
    assert fact == NoReply(may_have_arrived=True, silence=Silence.TIMEOUT)


# --- the simulator -----------------------------------------------------------------------------


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(clock=FakeClock(), link_host=LINK_HOST) as simulator:
        yield simulator


async def paid(simulator: Simulator, transport: HttpTransport, magic: str) -> Endpoint:
    """Have a payment applied whose answer is lost; where it was."""
    place = endpoint(simulator.link_base_url)
    route = replace(LINK_ROUTE, endpoint=place, company=LINK_COMPANY)
    request = replace(REQUEST, email=Secret(f"sim+{magic}@example.org"))
    asked = LinkProvider().initiate(request, route, REFERENCE, FakeClock())
    reply = await transport.send(asked, fresh_connection=True, seconds=5.0)
    assert isinstance(reply, HttpReply)
    assert reply.status == 500
    assert simulator.applied.links == {REFERENCE: 1}
    return place


@pytest.mark.parametrize("magic", ["http-500-after", "search-slow"])
async def test_the_simulator_lists_what_was_applied_with_its_link(
    simulator: Simulator, transport: HttpTransport, magic: str
) -> None:
    place = await paid(simulator, transport, magic)
    (link,) = simulator.book.links[REFERENCE]
    for _ in range(2):
        assert await look_up(transport, place) == Listed(http_status=200, link=Secret(link))
    assert simulator.applied.total == 1, "a read applies nothing"
    assert simulator.book.searches == {REFERENCE: 2}


@pytest.mark.parametrize(
    ("magic", "readings"),
    [
        ("search-other-amount", [ListedOtherwise(http_status=200, amount=Cents(1006))] * 2),
        ("search-no-link", [Listed(http_status=200)] * 2),
        ("search-failing", [ReadFailed(reason="refused", http_status=500)] * 2),
    ],
)
async def test_the_simulator_misbehaves_as_its_magic_says(
    simulator: Simulator, transport: HttpTransport, magic: str, readings: list[LookUpReading]
) -> None:
    place = await paid(simulator, transport, magic)
    assert [await look_up(transport, place) for _ in readings] == readings
    assert simulator.applied.total == 1


async def test_the_simulator_finds_nothing_twice_and_then_the_payment(
    simulator: Simulator, transport: HttpTransport
) -> None:
    place = await paid(simulator, transport, "search-empty-2")
    found = [type(await look_up(transport, place)) for _ in range(3)]
    assert found == [NotListed, NotListed, Listed]


async def test_the_simulator_heeds_reference_days_and_password(
    simulator: Simulator, transport: HttpTransport
) -> None:
    place = await paid(simulator, transport, "http-500-after")
    other = replace(ASKED, reference="0" * 32)
    assert await look_up(transport, place, other) == NotListed(http_status=200)
    early = replace(ASKED, until=ASKED.since)
    assert await look_up(transport, place, early) == NotListed(http_status=200)
    wrong = replace(place, password=Secret("wrong"))
    refused = ReadFailed(reason="refused", http_status=200, provider_code="AUTH_002")
    assert await look_up(transport, wrong) == refused


@pytest.mark.parametrize(
    "query", ["", "payment_reference=", "payment_reference=1&creation_date_min=2026-11-21"]
)
async def test_the_simulator_refuses_a_question_that_its_page_does_not_know(
    simulator: Simulator, transport: HttpTransport, query: str
) -> None:
    place = endpoint(simulator.link_base_url)
    asked = LinkProvider().look_up(ASKED, place)
    url = f"{simulator.link_base_url}/search_payment?{query}"
    reply = await transport.send(replace(asked, url=url), fresh_connection=True, seconds=5.0)
    assert isinstance(reply, HttpReply)
    assert reply.body is not None
    assert json.loads(reply.body) == {"result": False, "code": "SIM_FIELD"}
    assert simulator.book.searches == {}
