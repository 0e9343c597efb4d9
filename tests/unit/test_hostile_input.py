"""Hostile input: the laws of every reader over generated input, and over everything once found.

The same laws are fuzzed by the million with ``python -m tests.faults.fuzz``; what that finds is
kept in ``tests/faults/findings`` and replayed here.
"""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import payment_body
from tests.faults.fuzz import FINDINGS, SHARES
from tests.faults.laws import HEADER_NAMES, LAWS

KEPT = sorted(file for file in FINDINGS.rglob("*") if file.is_file())

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=40)
    | st.sampled_from(["TEST", "LIVE", "SEPA", "0", "1250", "a@b", "https://pay.example.org/p"])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
around = st.binary(min_size=4, max_size=4)


def written(value: object) -> bytes:
    """JSON as a careless producer writes it: NaN and half surrogate pairs included."""
    return json.dumps(value).encode()


def members(*names: str) -> st.SearchStrategy[dict[str, object]]:
    """Objects that hold some of these names, and others."""
    return st.dictionaries(st.sampled_from(names) | st.text(max_size=12), values, max_size=12)


def test_every_reader_has_its_share_of_the_fuzzing() -> None:
    assert set(SHARES) == set(LAWS)
    assert sum(SHARES.values()) == 100


@pytest.mark.parametrize("file", KEPT, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_what_was_found_once_stays_mended(file: Path) -> None:
    LAWS[file.parent.name](file.read_bytes())


@given(around, st.builds(payment_body) | st.just({}), members(*payment_body(), "commentaire"))
def test_any_payment_body_is_read_and_answered(
    where: bytes, sound: dict[str, object], bent: dict[str, object]
) -> None:
    LAWS["request"](where + written(sound | bent))


@given(around, members("payment_id", "idempotency_key", "notify", "PaymentId"))
def test_any_cancellation_body_is_read_and_answered(where: bytes, body: dict[str, object]) -> None:
    LAWS["request"](where[:1] + b"\1" + where[2:] + written(body))


@given(around, st.binary())
def test_any_bytes_are_read_and_answered(where: bytes, body: bytes) -> None:
    LAWS["request"](where + body)


@given(st.binary(min_size=2, max_size=2), members("result", "link", "code", "message"))
def test_any_answer_of_the_link_provider_is_read(around: bytes, answer: dict[str, object]) -> None:
    LAWS["link-answer"](around + written(answer))


@given(
    st.binary(min_size=3, max_size=3),
    members("result", "id", "err", "err_desc", "payment_url", "payement_url"),
)
def test_any_answer_of_the_basket_provider_is_read(
    around: bytes, answer: dict[str, object]
) -> None:
    LAWS["basket-answer"](around + written(answer))


@given(
    st.binary(min_size=2, max_size=2),
    st.lists(
        st.tuples(
            st.integers(0, len(HEADER_NAMES) - 1),
            st.integers(0, 7),
            st.binary(max_size=255) | st.text(max_size=60).map(str.encode),
        ),
        max_size=8,
    ),
)
def test_any_headers_are_read_and_answered(
    where: bytes, table: list[tuple[int, int, bytes]]
) -> None:
    packed = b"".join(
        bytes([name, kind, min(len(raw), 255)]) + raw[:255] for name, kind, raw in table
    )
    LAWS["headers"](where + packed)


@given(st.binary())
def test_any_bytes_in_place_of_headers_are_refused_or_read(data: bytes) -> None:
    LAWS["header-bytes"](data)


@given(
    st.binary(min_size=1, max_size=1),
    st.lists(
        st.sampled_from(
            [
                "[broker]",
                "[ledger]",
                "[timing]",
                "[accounts.safedebit]",
                "[accounts.safedebit.test]",
                "[[accounts]]",
                'environment = "production"',
                "call_seconds = 1e400",
                "lease_seconds = -1",
                "keys = 7",
                'password = "broker-password"',
                "base_url = []",
                "port = 999999999999999999999",
                "\x00",
            ]
        )
        | st.text(max_size=30),
        max_size=8,
    ),
)
def test_any_settings_file_is_loaded_or_refused_with_reasons(how: bytes, lines: list[str]) -> None:
    LAWS["settings"](how + "\n".join(lines).encode("utf-8", "surrogatepass"))
