"""The signed query: published vectors, and a verifier written apart from the signer."""

import base64
import binascii
import hashlib
import hmac
from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import parse_qs, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.model import Secret
from worker.providers.signature import encoded_query, signed_query

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

VECTORS = [
    (
        "k3y",
        [("NameId", "abc"), ("regie_id", "cantine"), ("orig", "orig.example")],
        "deadbeef",
        (
            "NameId=abc&regie_id=cantine&orig=orig.example&algo=sha256"
            "&timestamp=2026-01-02T03%3A04%3A05Z&nonce=deadbeef"
            "&signature=oELhMaOXcKbUsaB/vEq3rRnhaWJLKz0XTAUHwVa/QZA%3D"
        ),
    ),
    (
        "k3y",
        [("email", "j.d+x@example.org"), ("orig", "orig.example")],
        "0123456789abcdef0123456789abcdef",
        (
            "email=j.d%2Bx%40example.org&orig=orig.example&algo=sha256"
            "&timestamp=2026-01-02T03%3A04%3A05Z&nonce=0123456789abcdef0123456789abcdef"
            "&signature=TTwMi8ULvrLhmA0D5NcYjrFTihohGw1TiXNtxogYXB0%3D"
        ),
    ),
    (
        "sécret",
        [("email", "éléa@example.org"), ("orig", "orig.example")],
        "1",
        (
            "email=%C3%A9l%C3%A9a%40example.org&orig=orig.example&algo=sha256"
            "&timestamp=2026-01-02T03%3A04%3A05Z&nonce=1"
            "&signature=2WJTxaVKX3GC9ldl41%2BUqBmIz0nhESiRgXDx5k40yiY%3D"
        ),
    ),
]


@pytest.mark.parametrize(("secret", "parameters", "nonce", "signed"), VECTORS)
def test_the_published_vectors_are_met(
    secret: str, parameters: list[tuple[str, str]], nonce: str, signed: str
) -> None:
    query = encoded_query(parameters)
    assert signed_query(query, secret=Secret(secret), now=NOW, nonce=nonce) == signed


def test_an_empty_query_gets_no_leading_ampersand() -> None:
    signed = signed_query("", secret=Secret("k3y"), now=NOW, nonce="1")
    assert signed.startswith("algo=sha256&timestamp=2026-01-02T03%3A04%3A05Z&nonce=1&signature=")
    assert is_genuine(signed, "k3y")


def test_the_time_is_signed_as_whole_utc_seconds() -> None:
    local = NOW.astimezone(timezone(timedelta(hours=5, minutes=30))) + timedelta(microseconds=9)
    signed = signed_query("", secret=Secret("k"), now=local, nonce="1")
    assert "timestamp=2026-01-02T03%3A04%3A05Z&" in signed


def test_a_space_is_never_a_plus() -> None:
    assert encoded_query([("regie_id", "a b/c~é")]) == "regie_id=a%20b%2Fc~%C3%A9"


def test_values_come_back_as_they_were_and_the_signature_stands_last() -> None:
    parameters = [("email", "a+b&c=d@example.org"), ("orig", "o r/i%g")]
    signed = signed_query(encoded_query(parameters), secret=Secret("k"), now=NOW, nonce="n")
    read = parse_qs(signed, strict_parsing=True)
    assert read["email"] == ["a+b&c=d@example.org"]
    assert read["orig"] == ["o r/i%g"]
    assert list(read)[-1] == "signature"


def is_genuine(signed: str, secret: str) -> bool:
    """Verify as the receiving end does: over the raw text before ``&signature=``."""
    unsigned, separator, signature = signed.rpartition("&signature=")
    try:
        mac = base64.b64decode(unquote(signature, errors="strict"), validate=True)
    except (binascii.Error, ValueError):
        return False
    wanted = hmac.new(secret.encode(), unsigned.encode(), hashlib.sha256)
    return bool(separator) and hmac.compare_digest(wanted.digest(), mac)


TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
KEYS = TEXTS.filter(bool)


@given(parameters=st.lists(st.tuples(KEYS, TEXTS), max_size=4), secret=KEYS, data=st.data())
def test_what_we_sign_is_accepted_and_any_changed_byte_refused(
    parameters: list[tuple[str, str]], secret: str, data: st.DataObject
) -> None:
    signed = signed_query(encoded_query(parameters), secret=Secret(secret), now=NOW, nonce="0a1b2c")
    assert signed.isascii()
    assert is_genuine(signed, secret)
    at = data.draw(st.integers(0, len(signed) - 1))
    other = data.draw(st.characters(min_codepoint=33, max_codepoint=126))
    changed = signed[:at] + other + signed[at + 1 :]
    if same_signature(changed, signed):
        return
    assert not is_genuine(changed, secret)


def same_signature(changed: str, signed: str) -> bool:
    """Whether only the spelling of the signature changed, not its bytes: ``%3D`` and ``%3d``."""
    head, _, signature = changed.rpartition("&signature=")
    original, _, wanted = signed.rpartition("&signature=")
    if head != original:
        return False
    try:
        mac = base64.b64decode(unquote(signature), validate=True)
    except (binascii.Error, ValueError):
        return False
    return mac == base64.b64decode(unquote(wanted))


@pytest.mark.parametrize(("secret", "nonce"), [("k3y", "deadbeef"), ("sécret", "1")])
def test_every_single_changed_byte_of_the_signed_part_is_refused(secret: str, nonce: str) -> None:
    """The property again, exhaustively: each position before the signature, each other byte."""
    signed = signed_query("email=a%40b&orig=o", secret=Secret(secret), now=NOW, nonce=nonce)
    for at in range(signed.index("&signature=")):
        for byte in range(33, 127):
            changed = signed[:at] + chr(byte) + signed[at + 1 :]
            assert is_genuine(changed, secret) is (changed == signed)
