"""Lenient decoding of what producers send, so that one odd message stays one odd message.

pamqp 4.0.1 raises while it reads a frame whose short string is not UTF-8 (a routing key with an
accent from a Latin-1 program) or whose timestamp is beyond the calendar (ticks taken for seconds).
aiormq then drops the whole connection, the broker redelivers the message first, and the worker
would reconnect for ever while every other payment waits. The broker accepts such messages, so we
must be able to read them. pamqp looks its decoders up in tables; three entries are replaced here.
"""

import struct
from collections.abc import Callable
from datetime import UTC, datetime

import pamqp.decode
from pamqp.common import FieldTable, FieldValue

_SHORT_STRING_BYTES = 255  # AMQP 0-9-1 section 4.2.5.3
_TIMESTAMP = struct.Struct(">Q")
_LAST_SECOND = 0xFFFFFFFF  # later ones are milliseconds, as in pamqp
_TABLE_LENGTH = struct.Struct(">I")


def text_of(data: bytes) -> str:
    """Read text as UTF-8, else as Latin-1, which maps every byte and keeps texts distinct."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _short_string(value: bytes) -> tuple[int, str]:
    if not value:
        raise ValueError(len(value))
    end = value[0] + 1
    text = text_of(value[1:end])
    # It is published again, so it must fit again: Latin-1 text grows when written as UTF-8.
    return end, text.encode()[:_SHORT_STRING_BYTES].decode(errors="ignore")


def _timestamp(value: bytes) -> tuple[int, datetime | None]:
    if len(value) < _TIMESTAMP.size:
        raise ValueError(len(value))
    (number,) = _TIMESTAMP.unpack_from(value)
    seconds = number / 1000 if number > _LAST_SECOND else number
    try:
        return _TIMESTAMP.size, datetime.fromtimestamp(seconds, tz=UTC)
    except (OverflowError, ValueError, OSError):
        return _TIMESTAMP.size, None


def _table(value: bytes) -> tuple[int, FieldTable]:
    if len(value) < _TABLE_LENGTH.size:
        raise ValueError(len(value))
    (length,) = _TABLE_LENGTH.unpack_from(value)
    offset, end = _TABLE_LENGTH.size, _TABLE_LENGTH.size + length
    if end > len(value):
        raise ValueError(len(value))
    table: FieldTable = {}
    while offset < end:
        consumed, name = _short_string(value[offset:end])
        offset += consumed
        consumed, item = pamqp.decode.embedded_value(value[offset:end])
        offset += consumed
        table[name] = item
    return end, table


_Decoder = Callable[[bytes], tuple[int, FieldValue]]
_BY_NAME: dict[str, _Decoder] = {
    "shortstr": _short_string,
    "timestamp": _timestamp,
    "table": _table,
}
_BY_MARK: dict[bytes, _Decoder] = {b"T": _timestamp, b"F": _table}


def decode_leniently() -> None:
    """Replace pamqp's decoders for this process; calling it again changes nothing."""
    pamqp.decode.METHODS.update(_BY_NAME)
    pamqp.decode.TABLE_MAPPING.update(_BY_MARK)
