"""RabbitMQ's management API, asked for a picture of one virtual host; nothing is ever changed.

AMQP shows neither bindings nor policies, and arguments only to who may configure (rabbitmq
section 3.3). Only fields that 3.10 and later have are read.
"""

import asyncio
import json
import ssl
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar
from urllib.parse import quote

import aiohttp
from yarl import URL

from worker import __version__
from worker.adapters.connection import system_text
from worker.rules import ManagementAddress
from worker.topology.picture import (
    Facts,
    Picture,
    PicturedBinding,
    PicturedExchange,
    PicturedQueue,
)

SECONDS = 5.0
"""The whole look, from the name to the last byte."""

_BODY_CAP = 16 * 1024 * 1024  # some 40,000 queues in the columns that are asked for
_HEADERS = {"User-Agent": f"payment-worker/{__version__}"}
_OK, _UNAUTHORISED, _FORBIDDEN, _NOT_FOUND = 200, 401, 403, 404
_COLUMNS = MappingProxyType(
    {
        "queues": "name,type,durable,arguments,effective_policy_definition",
        "exchanges": "name,type,durable,internal,arguments,policy",
        "bindings": "source,destination,destination_type,routing_key",
        "policies": "name,definition",
    }
)
_SET_URL = "Correct broker.management.url: RabbitMQ's own is http://HOST:15672, without /api."
_TRUST = "Correct broker.management.ca_file."
_LET_IN = (
    "Correct broker.management.user and its password; the user needs the tag `management` and a"
    " permission on the virtual host, ^$ three times is enough."
)

Found = TypeVar("Found", str, bool, dict[str, object])


class ManagementError(Exception):
    """The management API shows nothing; ``reason`` says why and never quotes what it answered."""

    def __init__(self, reason: str, fix: str = _SET_URL) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fix = fix


async def look_at(address: ManagementAddress, *, seconds: float = SECONDS) -> Picture:
    """Take the picture of a virtual host within ``seconds``; raises ``ManagementError``.

    No redirect is followed: the login would go along. Proxies of the environment are not used.
    """
    try:
        trust = ssl.create_default_context(cafile=address.ca_file)
    except OSError as error:
        reason = f"broker.management.ca_file cannot be read: {error.strerror}"
        raise ManagementError(reason, _TRUST) from error
    try:
        async with asyncio.timeout(seconds), _session(address, trust) as session:
            queues = await _listed(session, address, "queues")
            exchanges = await _listed(session, address, "exchanges")
            bindings = await _listed(session, address, "bindings")
            policies = await _listed(session, address, "policies")
    except TimeoutError as error:
        reason = f"no answer within {seconds:g} s"
        raise ManagementError(reason) from error
    except aiohttp.ClientConnectorCertificateError as error:
        reason = "its certificate is not accepted"
        raise ManagementError(reason, _TRUST) from error
    except aiohttp.ClientConnectorError as error:
        reason = f"it cannot be reached: {system_text(error.os_error)}"
        raise ManagementError(reason) from error
    except (aiohttp.ClientError, OSError) as error:
        reason = f"the exchange broke off: {type(error).__name__}"
        raise ManagementError(reason) from error
    return Picture(
        queues={each.name: each for each in map(_queue, queues)},
        exchanges={each.name: each for each in map(_exchange, exchanges)},
        bindings=tuple(map(_binding, bindings)),
        policies={_of(each, "name", str): _of(each, "definition", dict) for each in policies},
    )


def _session(address: ManagementAddress, trust: ssl.SSLContext) -> aiohttp.ClientSession:
    login = aiohttp.encode_basic_auth(address.user, address.password.reveal())
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=trust, force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={**_HEADERS, "Authorization": login},
        trust_env=False,
    )


async def _listed(
    session: aiohttp.ClientSession, address: ManagementAddress, kind: str
) -> list[dict[str, object]]:
    virtual_host = quote(address.virtual_host, safe="")
    url = f"{address.url}/api/{kind}/{virtual_host}?columns={_COLUMNS[kind]}"
    async with session.get(URL(url, encoded=True), allow_redirects=False) as response:
        _refuse(response.status, address)
        return _rows(await _read(response))


def _refuse(status: int, address: ManagementAddress) -> None:
    """Say what a status means other than the one that is wanted."""
    if status in {_UNAUTHORISED, _FORBIDDEN}:
        reason = f"it does not let {address.user} see the virtual host {address.virtual_host}"
        raise ManagementError(reason, _LET_IN)
    if status == _NOT_FOUND:
        reason = f"it knows no virtual host {address.virtual_host}, or is no management API"
        raise ManagementError(reason)
    if status != _OK:
        reason = f"it answers HTTP {status}"
        raise ManagementError(reason)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > _BODY_CAP:
            reason = "its answer is too long to be read"
            raise ManagementError(reason)
    return bytes(body)


def _rows(body: bytes) -> list[dict[str, object]]:
    try:
        rows = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _ForeignError from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise _ForeignError
    return rows


class _ForeignError(ManagementError):
    """The answer of somebody else."""

    def __init__(self) -> None:
        super().__init__("what it answers is not what a management API answers")


def _queue(row: dict[str, object]) -> PicturedQueue:
    return PicturedQueue(
        name=_of(row, "name", str),
        type=_of(row, "type", str) if "type" in row else "",
        is_durable=_of(row, "durable", bool),
        arguments=_facts(row.get("arguments")) or {},
        policy=_facts(row.get("effective_policy_definition")),
    )


def _exchange(row: dict[str, object]) -> PicturedExchange:
    policy = row.get("policy")
    return PicturedExchange(
        name=_of(row, "name", str),
        type=_of(row, "type", str),
        is_durable=_of(row, "durable", bool),
        is_internal=_of(row, "internal", bool),
        arguments=_facts(row.get("arguments")) or {},
        policy=policy if isinstance(policy, str) and policy else None,
    )


def _binding(row: dict[str, object]) -> PicturedBinding:
    return PicturedBinding(
        source=_of(row, "source", str),
        destination=_of(row, "destination", str),
        is_to_queue=_of(row, "destination_type", str) == "queue",
        routing_key=_of(row, "routing_key", str),
    )


def _of(row: Mapping[str, object], name: str, kind: type[Found]) -> Found:
    value = row.get(name)
    if not isinstance(value, kind):
        raise _ForeignError
    return value


def _facts(value: object) -> Facts | None:
    """A table of facts; an empty one is an empty list in some versions, a missing one ``None``."""
    if isinstance(value, dict):
        return value
    return {} if value == [] else None
