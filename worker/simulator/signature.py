"""Checks a signed query as the basket provider's family does (w.c.s. verifier, measured).

Written apart from the worker's signer on purpose: what both agree on is the documented form and
not a shared mistake. The MAC is taken over the raw query, byte for byte, before ``&signature=``.
"""

import base64
import binascii
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import parse_qsl

from worker.model import Secret

WINDOW = timedelta(seconds=30)
"""How far a timestamp may be off, either way, the last second included."""

_ALGORITHMS = frozenset({"sha1", "sha256", "sha512"})
_TIMESTAMP = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z", re.ASCII)
_MARK = "&signature="


class SignatureRefusedError(Exception):
    """The query is not signed as it must be; the text says why, and never with a value."""


@dataclass(slots=True)
class SignatureCheck:
    """Knows one ``orig`` with its secret, and the nonces that were used."""

    orig: str
    secret: Secret
    _used: dict[str, datetime] = field(default_factory=dict)

    def verify(self, raw_query: str, now: datetime) -> Mapping[str, str]:
        """Return the signed parameters; raises ``SignatureRefusedError``.

        A nonce is used up by a valid signature only, so that nobody can spend another's.
        """
        signed, mark, signature = raw_query.rpartition(_MARK)
        _require(bool(mark), "not signed")
        _require("&" not in signature, "a parameter stands after the signature")
        pairs = parse_qsl(signed, keep_blank_values=True)
        parameters = dict(pairs)
        _require(len(parameters) == len(pairs), "a parameter stands twice")
        _require(parameters.get("orig") == self.orig, "unknown orig")
        algorithm = parameters.get("algo", "")
        _require(algorithm in _ALGORITHMS, "unknown algorithm")
        _require(_is_near(parameters.get("timestamp", ""), now), "timestamp missing or stale")
        expected = hmac.digest(
            self.secret.reveal().encode(), signed.encode("utf-8", "surrogateescape"), algorithm
        )
        _require(hmac.compare_digest(expected, _decoded(signature)), "wrong signature")
        self._use(parameters.get("nonce"), now)
        return parameters

    def _use(self, nonce: str | None, now: datetime) -> None:
        if nonce is None:
            return  # optional in the family's verifier
        # After twice the window the timestamp alone refuses a replay.
        self._used = {used: at for used, at in self._used.items() if now - at <= 2 * WINDOW}
        _require(nonce not in self._used, "nonce already used")
        self._used[nonce] = now


def _is_near(text: str, now: datetime) -> bool:
    if not _TIMESTAMP.fullmatch(text):
        return False
    try:
        stamped = datetime.fromisoformat(text)
    except ValueError:
        return False
    return abs(now.replace(microsecond=0) - stamped) <= WINDOW


def _decoded(signature: str) -> bytes:
    """Decode the percent-encoded Base64; a raw ``+`` is a space, hence never valid."""
    ((_, text),) = parse_qsl(f"signature={signature}", keep_blank_values=True)
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""


def _require(condition: bool, reason: str) -> None:  # noqa: FBT001  reads as an assertion
    if not condition:
        raise SignatureRefusedError(reason)
