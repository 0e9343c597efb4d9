"""Provider and transport together, from the request's bytes to the outcome, without a socket."""

import pytest
from aioresponses import aioresponses

from tests.fakes_clock import FakeClock
from tests.mocked_http import MockedResponse
from tests.provider_examples import (
    BASKET_REQUEST,
    BASKET_ROUTE,
    LINK_ROUTE,
    REFERENCE,
    REQUEST,
)
from worker.adapters.http import HttpTransport
from worker.calls import (
    Declined,
    HttpReply,
    Misconfigured,
    NotApplied,
    Outcome,
    Succeeded,
    Unknown,
)
from worker.codes import Code
from worker.providers import PROVIDERS

LINK_HOST = min(LINK_ROUTE.endpoint.link_hosts)
LINK = f"https://{LINK_HOST}/paypage?SDESSID=a"

LINK_ANSWERS: list[tuple[int, bytes, type[Outcome], Code | None]] = [
    (200, b'{"result": true, "link": "%s"}' % LINK.encode(), Succeeded, None),
    (200, b'{"result": false, "code": "NOK_001"}', Declined, Code.DECLINED),
    (200, b'{"result": false, "code": "ZZZ_999"}', Declined, Code.PROVIDER_REFUSED),
    (200, b"<!doctype html>", Unknown, Code.OUTCOME_UNKNOWN),
    (401, b"", Misconfigured, Code.PROVIDER_CREDENTIALS),
    (429, b"", NotApplied, Code.PROVIDER_RATE_LIMITED),
    (500, b"", Unknown, Code.OUTCOME_UNKNOWN),
]
BASKET_ANSWERS: list[tuple[int, bytes, type[Outcome], Code | None]] = [
    (200, b'{"result": "succes", "id": 12}', Succeeded, None),
    (200, b'{"err": 1, "err_desc": "no"}', Declined, Code.PROVIDER_REFUSED),
    (503, b"", Unknown, Code.OUTCOME_UNKNOWN),
]


def code_of(outcome: Outcome) -> Code | None:
    return None if isinstance(outcome, Succeeded) else outcome.code


@pytest.mark.parametrize(("status", "body", "kind", "code"), LINK_ANSWERS)
async def test_every_answer_of_the_link_provider_becomes_its_outcome(
    status: int, body: bytes, kind: type[Outcome], code: Code | None
) -> None:
    provider = PROVIDERS[LINK_ROUTE.account.provider]
    async with HttpTransport(clock=FakeClock()) as transport:
        with aioresponses() as web:
            request = provider.initiate(REQUEST, LINK_ROUTE, REFERENCE, FakeClock())
            web.post(request.url, status=status, body=body, response_class=MockedResponse)
            reply = await transport.send(request, fresh_connection=False, seconds=5)
    assert isinstance(reply, HttpReply)
    outcome = provider.read_initiation(reply, LINK_ROUTE)
    assert (type(outcome), code_of(outcome)) == (kind, code)


@pytest.mark.parametrize(("status", "body", "kind", "code"), BASKET_ANSWERS)
async def test_every_answer_of_the_basket_provider_becomes_its_outcome(
    status: int, body: bytes, kind: type[Outcome], code: Code | None
) -> None:
    provider = PROVIDERS[BASKET_ROUTE.account.provider]
    async with HttpTransport(clock=FakeClock()) as transport:
        with aioresponses() as web:
            request = provider.initiate(BASKET_REQUEST, BASKET_ROUTE, REFERENCE, FakeClock())
            web.post(request.url, status=status, body=body, response_class=MockedResponse)
            reply = await transport.send(request, fresh_connection=True, seconds=5)
    assert isinstance(reply, HttpReply)
    outcome = provider.read_initiation(reply, BASKET_ROUTE)
    assert (type(outcome), code_of(outcome)) == (kind, code)
