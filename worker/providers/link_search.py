"""``search_payment``: what the link provider knows under a reference of ours, by a read.

Documented are the arguments, the beginning of the answer (``result``, ``datas``) and the name
``payment_reference`` within a record; the rest of a record is not. So a record counts only with our
exact reference and an amount that can be read, and whatever else comes is a read that failed.
Whether a link that is not yet paid is listed at all is unknown: an empty list proves nothing.
Source: the provider's search_payment page.
"""

import base64
import re
from collections.abc import Mapping
from datetime import date
from http import HTTPStatus
from urllib.parse import quote

from worker.calls import HttpReply, HttpRequest
from worker.look_ups import (
    Listed,
    ListedOtherwise,
    LookUpQuestion,
    LookUpReading,
    NotListed,
    ReadFailed,
)
from worker.model import Cents, Endpoint, Secret
from worker.outcomes import clean_provider_code
from worker.providers.answers import is_listed, read_object, storable

_CENTS = re.compile(r"[1-9][0-9]{0,11}", re.ASCII)
# The provider writes euros with a point elsewhere (cancel_order): two decimals leave no doubt.
_EUROS = re.compile(r"(0|[1-9][0-9]{0,9})\.([0-9]{2})", re.ASCII)


def basic_login(endpoint: Endpoint) -> str:
    """Value of the ``Authorization`` header: RFC 7617, in UTF-8."""
    credentials = f"{endpoint.login}:{endpoint.password.reveal()}".encode()
    return f"Basic {base64.b64encode(credentials).decode('ascii')}"


def search(asked: LookUpQuestion, endpoint: Endpoint) -> HttpRequest:
    """Build the GET; the slashes of its dates are percent-encoded, as the page shows them."""
    arguments = {
        "payment_reference": asked.reference,
        "creation_date_min": _day(asked.since),
        "creation_date_max": _day(asked.until),
    }
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in arguments.items())
    return HttpRequest(
        url=f"{endpoint.base_url.rstrip('/')}/search_payment?{query}",
        headers=(("Authorization", basic_login(endpoint)), ("Accept", "application/json")),
        body=b"",
        method="GET",
    )


def read_search(reply: HttpReply, asked: LookUpQuestion, endpoint: Endpoint) -> LookUpReading:
    """Return what the answer says about our reference and amount."""
    answer = read_object(reply.body)
    if reply.status != HTTPStatus.OK or (answer is not None and answer.get("result") is False):
        code = clean_provider_code(answer.get("code")) if answer is not None else None
        return ReadFailed(reason="refused", http_status=reply.status, provider_code=code)
    records = answer.get("datas") if answer is not None and answer.get("result") is True else None
    if not isinstance(records, list) or not all(isinstance(each, dict) for each in records):
        return ReadFailed(reason="unreadable", http_status=reply.status)
    ours = [each for each in records if each.get("payment_reference") == asked.reference]
    if records and not ours:
        # An answer about other payments is none to our question.
        return ReadFailed(reason="other_references", http_status=reply.status)
    if not ours:
        return NotListed(http_status=reply.status)
    return _read_records(ours, reply.status, asked, endpoint)


def _read_records(
    ours: list[Mapping[str, object]], status: int, asked: LookUpQuestion, endpoint: Endpoint
) -> LookUpReading:
    """Of several records under one reference every amount must be ours."""
    amounts = [_amount(each.get("amount")) for each in ours]
    for amount in amounts:
        if amount is not None and amount != asked.amount:
            return ListedOtherwise(http_status=status, amount=amount)
    if None in amounts:
        return ReadFailed(reason="no_amount", http_status=status)
    links = [link for each in ours if isinstance(link := each.get("link"), str) and link.strip()]
    usable = [link for link in links if is_listed(link, endpoint)]
    if usable:
        return Listed(http_status=status, link=Secret(usable[0]))
    kept = Secret(storable(links[0])) if links else None
    return Listed(http_status=status, unlisted_link=kept)


def _amount(value: object) -> Cents | None:
    """Cents as every request of this provider writes them, or euros with two decimals."""
    if isinstance(value, int) and not isinstance(value, bool):
        return Cents(value) if 0 < value < 10**12 else None
    if not isinstance(value, str):
        return None
    if _CENTS.fullmatch(value):
        return Cents(int(value))
    euros = _EUROS.fullmatch(value)
    return Cents(int(euros[1]) * 100 + int(euros[2])) if euros else None


def _day(day: date) -> str:
    return f"{day:%d/%m/%Y}"
