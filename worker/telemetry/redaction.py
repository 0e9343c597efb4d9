"""What may stand in a log line: named fields with simple values, each through the pattern net.

A field that is not on the list keeps its name and loses its value, so that a new field is noticed
in review and never by a leak. The exception of a line is told by type and place. Its text is
shown only where we wrote it ourselves: other people's exceptions quote what they were given.
"""

import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from datetime import datetime
from enum import Enum
from types import NoneType, TracebackType
from typing import Any
from uuid import UUID

from structlog.typing import EventDict, WrappedLogger

from worker.telemetry.patterns import redact

ALLOWED = frozenset(
    {
        "@timestamp",
        "log.level",
        "log.logger",
        "message",
        "event.action",
        "event.outcome",
        "event.duration",
        "error.code",
        "error.id",
        "error.type",
        "error.message",
        "error.stack",
        "trace.id",
        "service.version",
        "labels.abandoned",
        "labels.account",
        "labels.age",
        "labels.announced",
        "labels.attempt",
        "labels.breaker",
        "labels.count",
        "labels.dead_lettered",
        "labels.deployment",
        "labels.doubted",
        "labels.emails",
        "labels.environment",
        "labels.event_loop",
        "labels.file",
        "labels.followed",
        "labels.held",
        "labels.host",
        "labels.in_flight",
        "labels.known_until",
        "labels.links",
        "labels.livemode",
        "labels.livemode_forced",
        "labels.message_id",
        "labels.operation",
        "labels.operation_id",
        "labels.origin",
        "labels.overdue",
        "labels.payment_id",
        "labels.phase",
        "labels.port",
        "labels.provider",
        "labels.queue",
        "labels.reason",
        "labels.reply_to_ignored",
        "labels.restored_at",
        "labels.role",
        "labels.rows",
        "labels.runs",
        "labels.seconds",
        "labels.sequence",
        "labels.setting",
        "labels.signal",
        "labels.state",
        "labels.status",
        "labels.step",
        "labels.tombstones",
        "labels.tries",
        "labels.trouble",
        "labels.unclaimed",
        "labels.unknown_properties",
        "labels.unsent",
        "labels.until",
        "labels.version",
    }
)
"""Names that may carry a value: operations 5.5 and the facts of a delivery's story."""

HIDDEN = "[hidden]"
_GUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_LONGEST_TEXT = 2000
_LONGEST_LIST = 50
_LONGEST_KNOWN = 40
_MOST_KNOWN = 500
_known: set[str] = set()
"""Short texts that the net let through: most of a line's are words that every line has."""

_DEEPEST_CAUSE = 8


def redact_fields(
    _logger: WrappedLogger, _method: str, fields: EventDict
) -> MutableMapping[str, object]:
    """Structlog processor: keep what is allowed, as values JSON knows."""
    return {name: _plain(value) if name in ALLOWED else HIDDEN for name, value in fields.items()}


def tell_exception(
    _logger: WrappedLogger, _method: str, fields: EventDict
) -> MutableMapping[str, object]:
    """Structlog processor: replace ``exc_info`` by type, place and, where it is ours, text."""
    error = fields.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()[1]
    elif isinstance(error, tuple):
        error = error[1]
    if isinstance(error, BaseException):
        fields.update(facts_of(error))
    return fields


def facts_of(error: BaseException) -> Mapping[str, str | list[str]]:
    """What may be logged of an exception: no local variables, no source lines, no foreign text."""
    facts: dict[str, str | list[str]] = {
        "error.type": type(error).__name__,
        "error.stack": [line for each in _chain(error) for line in _places(each)],
    }
    if isinstance(error, OSError) and error.strerror:
        facts["error.message"] = error.strerror
    elif type(error).__module__.partition(".")[0] == "worker":
        facts["error.message"] = str(error)
    return facts


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and its causes, innermost last."""
    current: BaseException | None = error
    for _ in range(_DEEPEST_CAUSE):
        if current is None:
            return
        yield current
        current = current.__cause__ or (
            None if current.__suppress_context__ else current.__context__
        )


def _places(error: BaseException) -> Iterator[str]:
    yield type(error).__name__
    traceback: TracebackType | None = error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        module = traceback.tb_frame.f_globals.get("__name__", "?")
        yield f"{module}:{traceback.tb_lineno} {code.co_qualname}"
        traceback = traceback.tb_next


def _plain(value: object) -> object:
    plain = _PLAIN.get(type(value))
    return _plain_of_others(value) if plain is None else plain(value)


def _plain_of_others(value: object) -> object:
    match value:
        case Enum():
            return value.value  # one of a closed set that we wrote
        case int():
            return int(value)
        case str():
            return _text(str(value))
        case tuple() | list():
            return [_plain(each) for each in value[:_LONGEST_LIST]]
        case _:
            # Bytes of a header table, models, anything with a repr of its own.
            return f"[{type(value).__name__}]"


def _itself(value: object) -> object:
    return value


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _text(value: str) -> str:
    if value in _known or _is_uuid(value):
        return value
    shown = redact(value[:_LONGEST_TEXT])
    if shown == value and len(value) <= _LONGEST_KNOWN:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        _known.add(value)
    return shown


def _is_uuid(value: str) -> bool:
    """A GUID may hold sixteen digits in a row; it is an id and stays whole."""
    return _GUID.fullmatch(value) is not None


_PLAIN: Mapping[type, Callable[[Any], object]] = {
    NoneType: _itself,
    bool: _itself,
    int: _itself,
    float: _number,
    str: _text,
    UUID: str,
    datetime: datetime.isoformat,
}
"""The simple types themselves, found by one look; what is derived from them is not among them."""
