"""Times as RFC 3339 writes them, read strictly and written one way."""

import re
from datetime import UTC, datetime, timedelta

_RFC_3339 = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})[Tt ](\d{2}):(\d{2}):(\d{2})(?:\.(\d+))?"
    r"(?:[Zz]|([+-])(\d{2}):(\d{2}))",
    re.ASCII,
)
_LEAP_SECOND = 60
_LAST_HOUR = 23
_LAST_MINUTE = 59


def read_time(text: str) -> datetime | None:
    """Read an RFC 3339 time as aware UTC; ``None`` when it is not one.

    Fractions are cut to microseconds; a leap second becomes the second after (RFC 3339, 5.7).
    """
    match = _RFC_3339.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(match[group]) for group in range(1, 7))
    microsecond = int((match[7] or "")[:6].ljust(6, "0"))
    offset_hours, offset_minutes = int(match[9] or 0), int(match[10] or 0)
    if offset_hours > _LAST_HOUR or offset_minutes > _LAST_MINUTE:
        return None
    offset = timedelta(hours=offset_hours, minutes=offset_minutes)
    leap = second == _LEAP_SECOND
    try:
        local = datetime(year, month, day, hour, minute, second - leap, microsecond, UTC)
        local += timedelta(seconds=leap)
        return local + offset if match[8] == "-" else local - offset
    except (ValueError, OverflowError):
        # A thirteenth month, or a time that its offset moves out of the years 1 to 9999.
        return None


def time_text(time: datetime) -> str:
    """Write a time for events: UTC, milliseconds, ``Z`` (contract section 3)."""
    return _utc_text(time, "milliseconds")


def exact_time_text(time: datetime) -> str:
    """Write a time for our own headers and rows: UTC, microseconds, nothing lost."""
    return _utc_text(time, "microseconds")


def _utc_text(time: datetime, precision: str) -> str:
    text = time.astimezone(UTC).isoformat(timespec=precision)
    return text.removesuffix("+00:00") + "Z"
