"""The simulator's signature check behaves as the family's verifier was measured to."""

import base64
import hmac
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.model import Secret
from worker.providers.signature import encoded_query, signed_query
from worker.simulator.signature import SignatureCheck, SignatureRefusedError

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SECRET = Secret("k3y")
QUERY = "email=j.d%2Bx%40example.org&orig=orig.example"

VECTORS = [
    (
        "k3y",
        (
            "NameId=abc&regie_id=cantine&orig=orig.example&algo=sha256"
            "&timestamp=2026-01-02T03%3A04%3A05Z&nonce=deadbeef"
            "&signature=oELhMaOXcKbUsaB/vEq3rRnhaWJLKz0XTAUHwVa/QZA%3D"
        ),
    ),
    (
        "k3y",
        (
            "email=j.d%2Bx%40example.org&orig=orig.example&algo=sha256"
            "&timestamp=2026-01-02T03%3A04%3A05Z&nonce=0123456789abcdef0123456789abcdef"
            "&signature=TTwMi8ULvrLhmA0D5NcYjrFTihohGw1TiXNtxogYXB0%3D"
        ),
    ),
    (
        "sécret",
        (
            "email=%C3%A9l%C3%A9a%40example.org&orig=orig.example&algo=sha256"
            "&timestamp=2026-01-02T03%3A04%3A05Z&nonce=1"
            "&signature=2WJTxaVKX3GC9ldl41%2BUqBmIz0nhESiRgXDx5k40yiY%3D"
        ),
    ),
]


def check(secret: Secret = SECRET) -> SignatureCheck:
    return SignatureCheck("orig.example", secret)


def sign(unsigned: str, *, algorithm: str = "sha256", secret: Secret = SECRET) -> str:
    """Sign any text, valid or not, as the documentation describes."""
    mac = hmac.digest(secret.reveal().encode(), unsigned.encode(), algorithm)
    return f"{unsigned}&signature={quote(base64.b64encode(mac).decode())}"


def tail(
    *, algorithm: str = "sha256", timestamp: str = "2026-01-02T03%3A04%3A05Z", nonce: str = "1"
) -> str:
    return f"algo={algorithm}&timestamp={timestamp}&nonce={nonce}"


@pytest.mark.parametrize(("secret", "query"), VECTORS)
def test_the_published_vectors_are_accepted(secret: str, query: str) -> None:
    assert check(Secret(secret)).verify(query, NOW)["orig"] == "orig.example"


@pytest.mark.parametrize(
    "query",
    [
        sign(f"{QUERY}&{tail()}"),
        sign(f"{tail()}&{QUERY}"),
        sign(f"{QUERY}&{tail(timestamp='2026-01-02T03:04:05Z')}"),
        sign(f"{QUERY}&algo=sha256&timestamp=2026-01-02T03%3A04%3A05Z"),
        sign(f"{QUERY}&{tail(algorithm='sha1')}", algorithm="sha1"),
        sign(f"{QUERY}&{tail(algorithm='sha512')}", algorithm="sha512"),
    ],
    ids=["usual", "orig-last", "raw-colon", "no-nonce", "sha1", "sha512"],
)
def test_forms_that_are_accepted(query: str) -> None:
    assert check().verify(query, NOW)["email"] == "j.d+x@example.org"


GOOD = sign(f"{QUERY}&{tail()}")


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("", "not signed"),
        (f"{QUERY}&{tail()}", "not signed"),
        (f"{GOOD}&cancellable=no", "after the signature"),
        (sign(f"{QUERY}&orig=orig.example&{tail()}"), "twice"),
        (sign(f"email=x%40example.org&{tail()}"), "unknown orig"),
        (sign(f"email=x%40example.org&orig=other.example&{tail()}"), "unknown orig"),
        (sign(f"{QUERY}&{tail(algorithm='SHA256')}"), "unknown algorithm"),
        (sign(f"{QUERY}&timestamp=2026-01-02T03%3A04%3A05Z&nonce=1"), "unknown algorithm"),
        (sign(f"{QUERY}&algo=sha256&nonce=1"), "timestamp"),
        (sign(f"{QUERY}&{tail(timestamp='2026-01-02T03:04:05.000000Z')}"), "timestamp"),
        (sign(f"{QUERY}&{tail(timestamp='2026-01-02T03:04:05%2B00:00')}"), "timestamp"),
        (sign(f"{QUERY}&{tail(timestamp='1767323045')}"), "timestamp"),
        (sign(f"{QUERY}&{tail(timestamp='2026-13-02T03:04:05Z')}"), "timestamp"),
        (sign(f"{QUERY}&{tail()}", secret=Secret("wrong")), "wrong signature"),
        (GOOD.replace("%3A", ":", 1), "wrong signature"),
        (GOOD.replace("%3A", "%3a", 1), "wrong signature"),
        (GOOD.replace("email", "Email"), "wrong signature"),
        (f"{QUERY}&{tail()}&signature=", "wrong signature"),
        (f"{QUERY}&{tail()}&signature=%%%", "wrong signature"),
    ],
)
def test_forms_that_are_refused(query: str, reason: str) -> None:
    with pytest.raises(SignatureRefusedError, match=reason):
        check().verify(query, NOW)


def test_a_raw_plus_inside_the_signature_is_read_as_a_space() -> None:
    query = VECTORS[2][1].replace("%2B", "+")
    assert "+" in query.partition("&signature=")[2]
    with pytest.raises(SignatureRefusedError, match="wrong signature"):
        check(Secret("sécret")).verify(query, NOW)


@pytest.mark.parametrize(
    ("seconds", "accepted"), [(-31, False), (-30, True), (0, True), (30, True), (31, False)]
)
def test_the_window_is_thirty_seconds_either_way(seconds: int, *, accepted: bool) -> None:
    if accepted:
        check().verify(GOOD, NOW + timedelta(seconds=seconds))
    else:
        with pytest.raises(SignatureRefusedError, match="timestamp"):
            check().verify(GOOD, NOW + timedelta(seconds=seconds))


def test_a_nonce_is_used_once() -> None:
    once = check()
    once.verify(GOOD, NOW)
    with pytest.raises(SignatureRefusedError, match="nonce"):
        once.verify(GOOD, NOW + timedelta(seconds=30))


def test_a_refused_call_does_not_use_up_its_nonce() -> None:
    once = check()
    with pytest.raises(SignatureRefusedError):
        once.verify(sign(f"{QUERY}&{tail()}", secret=Secret("wrong")), NOW)
    once.verify(GOOD, NOW)


def test_a_nonce_is_forgotten_when_its_timestamp_is_stale_anyway() -> None:
    once = check()
    once.verify(GOOD, NOW)
    later = NOW + timedelta(seconds=61)
    stamp = quote_plus(later.strftime("%Y-%m-%dT%H:%M:%SZ"))
    once.verify(sign(f"{QUERY}&{tail(timestamp=stamp)}"), later)


@given(
    value=st.text(max_size=20),
    nonce=st.text(alphabet="0123456789abcdef", min_size=1, max_size=32),
    at=st.datetimes(min_value=datetime(2000, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001  hypothesis adds the zone
)
def test_what_the_worker_signs_is_accepted(value: str, nonce: str, at: datetime) -> None:
    query = encoded_query([("email", value), ("orig", "orig.example")])
    signed = signed_query(query, secret=SECRET, now=at, nonce=nonce)
    assert check().verify(signed, at)["email"] == value


SIGNED = GOOD.partition("&signature=")[0]


@given(place=st.integers(min_value=0, max_value=len(SIGNED) - 1), byte=st.integers(33, 126))
def test_any_other_byte_in_the_signed_part_is_refused(place: int, byte: int) -> None:
    changed = GOOD[:place] + chr(byte) + GOOD[place + 1 :]
    if changed == GOOD:
        check().verify(changed, NOW)
    else:
        with pytest.raises(SignatureRefusedError):
            check().verify(changed, NOW)
