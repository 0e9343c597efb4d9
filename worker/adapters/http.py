"""One HTTP exchange over aiohttp, reported as a fact by phase.

Whether a request may have arrived is told by one signal alone: aiohttp's trace hook
``on_request_headers_sent`` runs before the head is handed to the socket. Not fired means that
nothing left this machine; fired means that it may have arrived. The class of the exception
cannot tell: the same classes occur on both sides of that moment (measured on aiohttp 3.14.5,
payment rules section 1), so here it only chooses the word for the log.
"""

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, SimpleNamespace, TracebackType
from typing import Final, Self

import aiohttp
import structlog
from yarl import URL

from worker import __version__
from worker.calls import Departure, HttpReply, HttpRequest, NoReply, Silence
from worker.ports import Clock

BODY_CAP: Final = 64 * 1024
"""Bytes of a decoded answer that are read; documented answers are below 1 KiB (rule R7)."""

IDLE_SECONDS: Final = 2.0
"""A connection idle for longer is not used again: the peer may be closing it right now."""

_HEADERS_KEPT: Final = ("retry-after", "content-type", "x-error-code", "date")
_NO_LINES: Final[Sequence[str]] = ()
_OWN_HEADERS: Final = {
    "User-Agent": f"payment-worker/{__version__}",
    "Accept-Encoding": "identity",  # answers are tiny; a coded one is read all the same
}

_logger = structlog.get_logger()


class HttpTransport:
    """Implements ``ports.Transport``: one exchange on a fresh or a recently used connection.

    ``connect_seconds`` covers name, TCP and TLS; ``read_seconds`` is the longest silence while
    reading; ``idle_seconds`` the age up to which an idle connection is used again; the deadline
    of the whole call comes with each call. ``ca_file`` adds trusted certificates to the
    system's; verification is always on. Proxies named in the environment are ignored, cookies
    are not kept. Build it inside a running loop, close it at the end.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        ca_file: Path | None = None,
        connect_seconds: float = 5.0,
        read_seconds: float = 30.0,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._clock = clock
        trust = ssl.create_default_context()
        if ca_file is not None:
            trust.load_verify_locations(cafile=ca_file)
        timeout = aiohttp.ClientTimeout(
            total=None,  # ours, in `send`: aiohttp rounds long ones up to whole seconds
            connect=connect_seconds,
            sock_connect=connect_seconds,
            sock_read=read_seconds,
        )
        # No pool limit (0): accounts have their own bulkheads, and a shared limit would let
        # one dead provider take every connection of the others.
        self._fresh = _session(aiohttp.TCPConnector(ssl=trust, limit=0, force_close=True), timeout)
        self._reused = _session(
            aiohttp.TCPConnector(ssl=trust, limit=0, keepalive_timeout=idle_seconds), timeout
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection; calls under way end as broken."""
        await self._fresh.close()
        await self._reused.close()

    async def send(
        self,
        request: HttpRequest,
        *,
        fresh_connection: bool,
        seconds: float,
        departure: Departure | None = None,
    ) -> HttpReply | NoReply:
        """Send within ``seconds`` overall, name resolution and the whole answer included.

        Never follows a redirect, never repeats a POST, never raises for a failed call. (A GET on
        a connection that breaks aiohttp sends once more by itself: it only reads.) A cancellation
        propagates; ``departure`` tells its phase.
        """
        session = self._fresh if fresh_connection else self._reused
        departure = departure or Departure()
        try:
            async with asyncio.timeout(seconds):
                return await self._exchange(session, request, departure)
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            return NoReply(departure.has_left, silence_of(error, sent=departure.has_left))
        except Exception as error:  # noqa: BLE001  payment rules section 2: an unexpected exception after sending is unknown, never an internal error
            facts = {"event.action": "transport.surprise", "error.type": type(error).__name__}
            # Not `exception`: a traceback shows the signed address and the body.
            _logger.error("A call failed in a way nobody foresaw", **facts)  # noqa: TRY400
            return NoReply(departure.has_left, silence_of(error, sent=departure.has_left))

    async def _exchange(
        self, session: aiohttp.ClientSession, request: HttpRequest, departure: Departure
    ) -> HttpReply:
        response = await session.request(
            request.method,
            URL(request.url, encoded=True),  # a re-quoted address breaks its signature
            data=request.body if request.method == "POST" else None,
            headers=list(request.headers),
            allow_redirects=False,  # a followed 307 repeats the payment elsewhere
            trace_request_ctx=departure,
        )
        try:
            body = await _read_capped(response)
            received_at = self._clock.now()
        except BaseException:
            response.close()
            raise
        if body is None:
            response.close()  # the rest is not worth reading, so nobody may reuse this one
        else:
            response.release()
        return HttpReply(
            status=response.status,
            headers=_kept_headers(response),
            body=body,
            received_at=received_at,
        )


def silence_of(error: Exception, *, sent: bool) -> Silence:
    """Name a failure; whether the request may have arrived is decided by ``sent`` alone."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return Silence.BROKEN if sent else Silence.CERTIFICATE
    if isinstance(error, TimeoutError):
        return Silence.TIMEOUT
    return Silence.BROKEN if sent else Silence.CONNECT


def _session(
    connector: aiohttp.TCPConnector, timeout: aiohttp.ClientTimeout
) -> aiohttp.ClientSession:
    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(_note_sent)
    return aiohttp.ClientSession(
        connector=connector,
        timeout=timeout,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=_OWN_HEADERS,
        trace_configs=[trace],
        trust_env=False,
    )


async def _note_sent(
    _session: aiohttp.ClientSession,
    context: SimpleNamespace,
    _params: aiohttp.TraceRequestHeadersSentParams,
) -> None:
    departure: Departure = context.trace_request_ctx
    departure.has_left = True


async def _read_capped(response: aiohttp.ClientResponse) -> bytes | None:
    """Read a decoded body to its end; ``None`` as soon as it exceeds the cap.

    aiohttp decodes a compressed body in bounded pieces and stops reading the socket while a
    piece waits, so a small body that unpacks to gigabytes is never unpacked whole.
    """
    body = bytearray()
    while piece := await response.content.readany():  # empty at the end alone
        body += piece
        if len(body) > BODY_CAP:
            return None
    return bytes(body)


def _kept_headers(response: aiohttp.ClientResponse) -> Mapping[str, str]:
    """Keep the few headers the core reads; repeated lines are one list (RFC 9110 section 5.3)."""
    headers = response.headers
    return MappingProxyType(
        {
            name: ", ".join(lines)
            for name in _HEADERS_KEPT
            if (lines := headers.getall(name, _NO_LINES))
        }
    )
