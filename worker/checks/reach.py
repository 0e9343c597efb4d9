"""Whether somebody answers at an address: name, TCP, TLS. Nothing is ever asked of them."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

_SECONDS = 5.0
_TLS_PORT = 443
_PLAIN_PORT = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """One try: ``trouble`` says what went wrong; ``expires`` when the certificate does."""

    place: str
    trouble: str | None = None
    expires: datetime | None = None

    @property
    def is_secured(self) -> bool:
        """Whether TLS was established and verified."""
        return self.expires is not None


async def reach_all(base_urls: Sequence[str], trusted: Path | None = None) -> list[Reached]:
    """Connect to the host of each URL, all at once, and hang up.

    Verifies as the worker's transport does: by the system's authorities, and those in the file
    ``trusted``. Proxies are not used, for the worker uses none.
    """
    context = ssl.create_default_context()
    if trusted is not None:
        context.load_verify_locations(cafile=trusted)
    tries = []
    for base_url in base_urls:
        parts = urlsplit(base_url)
        is_secured = parts.scheme == "https"
        tries.append(
            reach(
                parts.hostname or "",
                parts.port or (_TLS_PORT if is_secured else _PLAIN_PORT),
                context if is_secured else None,
            )
        )
    return list(await asyncio.gather(*tries))


async def reach(
    host: str, port: int, context: ssl.SSLContext | None, *, seconds: float = _SECONDS
) -> Reached:
    """Resolve the name, connect, verify the certificate where there is a context, hang up."""
    place = f"{host}:{port}"
    try:
        async with asyncio.timeout(seconds):
            await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
            return await _connected(host, port, context)
    except socket.gaierror as error:
        trouble = f"its name cannot be resolved: {error.strerror}"
    except ssl.SSLCertVerificationError as error:
        trouble = f"its certificate is not accepted: {error.verify_message}"
    except ssl.SSLError as error:
        trouble = f"TLS failed: {error.reason}"
    except TimeoutError:
        trouble = f"no answer within {seconds:.0f} s"
    except ConnectionRefusedError:
        trouble = "the connection is refused"
    except OSError as error:
        trouble = f"it cannot be reached: {error.strerror or type(error).__name__}"
    return Reached(place=place, trouble=trouble)


async def _connected(host: str, port: int, context: ssl.SSLContext | None) -> Reached:
    _, writer = await asyncio.open_connection(host, port, ssl=context)
    certificate = writer.get_extra_info("peercert") or {}
    writer.close()
    with contextlib.suppress(OSError, ssl.SSLError):  # how it hangs up is no concern of ours
        await writer.wait_closed()
    end = certificate.get("notAfter")
    expires = None if end is None else datetime.fromtimestamp(ssl.cert_time_to_seconds(end), UTC)
    return Reached(place=f"{host}:{port}", expires=expires)
