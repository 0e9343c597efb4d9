"""Lenient decoding of the frames a broker sends."""

import struct
from datetime import UTC, datetime

import pamqp.decode
import pamqp.encode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.adapters.decoding import decode_leniently, text_of
from worker.adapters.deliveries import headers_of

decode_leniently()


@given(st.binary(max_size=255))
def test_any_short_string_is_read_and_can_be_written_again(data: bytes) -> None:
    consumed, text = pamqp.decode.by_type(bytes([len(data)]) + data + b"rest", "shortstr")
    assert consumed == len(data) + 1
    assert isinstance(text, str)
    assert len(pamqp.encode.short_string(text)) <= 256


@given(st.text(max_size=60))
def test_utf_8_is_read_as_it_is(text: str) -> None:
    consumed, read = pamqp.decode.by_type(pamqp.encode.short_string(text), "shortstr")
    assert (consumed, read) == (len(text.encode()) + 1, text)


@given(st.binary(), st.binary())
def test_different_latin_1_texts_stay_different(one: bytes, other: bytes) -> None:
    """A message id decides what is paid once: two ids must never become one."""
    if one != other and text_of(one) == text_of(other):
        readings = {data.decode("latin-1") == text_of(data) for data in (one, other)}
        assert readings == {True, False}  # the same word, once in Latin-1 and once in UTF-8


@given(st.integers(min_value=0, max_value=2**64 - 1))
def test_any_timestamp_is_read_or_absent(number: int) -> None:
    consumed, moment = pamqp.decode.by_type(struct.pack(">Q", number), "timestamp")
    assert consumed == 8
    assert moment is None or (isinstance(moment, datetime) and moment.tzinfo is UTC)


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        (1_795_291_200, datetime(2026, 11, 21, 20, 0, tzinfo=UTC)),
        (1_795_291_200_500, datetime(2026, 11, 21, 20, 0, 0, 500_000, tzinfo=UTC)),
        (639_000_000_000_000_000, None),
        (2**64 - 1, None),
    ],
)
def test_seconds_milliseconds_and_nonsense(number: int, moment: datetime | None) -> None:
    assert pamqp.decode.by_type(struct.pack(">Q", number), "timestamp") == (8, moment)


@given(
    st.dictionaries(
        st.text(max_size=20),
        st.none() | st.booleans() | st.text() | st.integers(-(2**63), 2**63 - 1),
        max_size=5,
    )
)
def test_a_table_is_read_as_it_was_written(
    table: dict[str, str | int | bool | None],
) -> None:
    data = pamqp.encode.field_table(dict(table))
    assert pamqp.decode.by_type(data, "table") == (len(data), table)


@pytest.mark.parametrize("kind", ["shortstr", "timestamp", "table"])
def test_a_truncated_frame_is_still_an_error(kind: str) -> None:
    with pytest.raises(ValueError, match="0"):
        pamqp.decode.by_type(b"", kind)


def test_headers_become_text_and_integers() -> None:
    moment = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)
    assert headers_of(
        {
            "text": "é",
            "number": -3,
            "true": True,
            "bytes": b"\xff",
            "buffer": bytearray(b"abc"),
            "nothing": None,
            "half": 0.5,
            "moment": moment,
            "list": [b"a", 1, None],
            "table": {"inner": moment},
        }
    ) == {
        "text": "é",
        "number": -3,
        "true": "true",
        "bytes": "ÿ",
        "buffer": "abc",
        "nothing": "",
        "half": "0.5",
        "moment": "2026-11-21T20:00:00+00:00",
        "list": '["a", 1, null]',
        "table": '{"inner": "2026-11-21T20:00:00+00:00"}',
    }
