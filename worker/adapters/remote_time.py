"""What time it is at somebody else's, told by the ``Date`` of a web server (RFC 9110, 6.6.1).

A signed request is refused by a clock that differs from ours by 30 seconds, and nothing in the
refusal says so.
"""

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from worker import __version__
from worker.ports import Clock

_SECONDS = 5.0
_HALF_A_SECOND = timedelta(seconds=0.5)  # the header tells whole seconds, cut off
_HEADERS = {"User-Agent": f"payment-worker/{__version__}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteTime:
    """How far another clock is before ours, true within ``margin``."""

    ahead: timedelta
    margin: timedelta


def compare(header: str, *, asked: datetime, answered: datetime) -> RemoteTime | None:
    """Compare a ``Date`` that was written between two moments of ours; ``None``: it is none."""
    try:
        told = parsedate_to_datetime(header)
    except ValueError:
        return None
    if told.tzinfo is None:  # "-0000": an unknown zone, which by RFC 9110 can only be UTC
        told = told.replace(tzinfo=UTC)
    travel = max(answered - asked, timedelta())
    return RemoteTime(
        ahead=told + _HALF_A_SECOND - (asked + travel / 2), margin=_HALF_A_SECOND + travel / 2
    )


async def remote_times(
    urls: Sequence[str], *, clock: Clock, trusted: Path | None = None
) -> list[RemoteTime | None]:
    """Ask the host of each URL, all at once; ``None`` where no time was told.

    It is asked for nothing but the head of its first page: no path of an interface, no
    credential, no redirect followed. ``trusted`` adds to the system's authorities.
    """
    trust = ssl.create_default_context()
    if trusted is not None:
        trust.load_verify_locations(cafile=trusted)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=trust, force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=_HEADERS,
        trust_env=False,
    ) as session:
        return list(await asyncio.gather(*(_ask(session, url, clock) for url in urls)))


async def _ask(session: aiohttp.ClientSession, url: str, clock: Clock) -> RemoteTime | None:
    parts = urlsplit(url)
    asked = clock.now()
    try:
        async with (
            asyncio.timeout(_SECONDS),
            session.head(f"{parts.scheme}://{parts.netloc}/", allow_redirects=False) as response,
        ):
            return compare(response.headers.get("date", ""), asked=asked, answered=clock.now())
    except (aiohttp.ClientError, OSError):  # TimeoutError is one; PRV001 says what is wrong
        return None
