"""The signed query string of the basket provider's family (Publik web services).

The MAC covers the encoded query byte for byte, from after ``?`` to before ``&signature=``:
neither path, host, method nor body, and nothing is sorted. The signature is therefore made
last, nothing is appended after it, and the finished text must be sent as it is: a client that
re-quotes ``%3A`` breaks it. A signed query lives 30 seconds and its nonce once, so every try
signs anew. Source: doc-publik.entrouvert.com, api-webservices/authentification.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import quote, urlencode

from worker.model import Secret


def encoded_query(parameters: Sequence[tuple[str, str]]) -> str:
    """Percent-encode parameters in their order; a space becomes ``%20``, never ``+``."""
    return urlencode(parameters, quote_via=quote, safe="")


def signed_query(query: str, *, secret: Secret, now: datetime, nonce: str) -> str:
    """Return an encoded query with algorithm, time, nonce and, last, its signature.

    ``query`` may be empty and already ends with ``orig`` where one is used; ``now`` is aware.
    """
    timestamp = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    tail = urlencode((("algo", "sha256"), ("timestamp", timestamp), ("nonce", nonce)))
    unsigned = f"{query}&{tail}" if query else tail
    key = secret.reveal().encode("utf-8")
    mac = hmac.new(key, unsigned.encode("utf-8"), hashlib.sha256).digest()
    return f"{unsigned}&signature={quote(base64.b64encode(mac).decode('ascii'))}"
