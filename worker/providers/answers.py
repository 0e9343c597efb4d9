"""Reading what a provider sent back: untrusted bytes to a JSON object, untrusted text to a link."""

import json
import re
from collections.abc import Mapping
from typing import NoReturn
from urllib.parse import urlsplit

from worker.model import Endpoint

LONGEST_LINK = 2048
"""Characters of a payment link; every browser takes that many."""

# RFC 3986 section 2: what a URL may hold. A backslash or a control character would be read
# differently by different clients, so the host we check might not be the host they open.
_URL_TEXT = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+", re.ASCII)
_DEFAULT_HTTPS_PORT = 443


def read_object(body: bytes | None) -> Mapping[str, object] | None:
    """Return the JSON object of a body; ``None`` when it is anything else.

    A duplicate key at any depth, NaN and Infinity make it unreadable: two readers could
    disagree about what was answered. A byte order mark is skipped, as RFC 8259 section 8.1 allows.
    """
    if body is None:
        return None
    try:
        value: object = json.loads(
            body.decode("utf-8-sig"), object_pairs_hook=_without_repeats, parse_constant=_refuse
        )
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def is_listed(link: str, endpoint: Endpoint) -> bool:
    """Whether a link is https, short, without userinfo, and on a host the endpoint lists.

    A port other than 443 must be listed with its host, as ``host:port``.
    """
    if len(link) > LONGEST_LINK or not _URL_TEXT.fullmatch(link):
        return False
    try:
        parts = urlsplit(link)
        host, port = parts.hostname, parts.port
    except ValueError:
        return False
    if parts.scheme != "https" or "@" in parts.netloc or not host:
        return False
    name = host if port in {None, _DEFAULT_HTTPS_PORT} else f"{host}:{port}"
    return name in endpoint.link_hosts


def storable(text: str) -> str:
    """Return a text that can be encoded: JSON escapes may hold half a surrogate pair."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("repeated")
    return members


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)
