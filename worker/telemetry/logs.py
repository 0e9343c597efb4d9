"""Log lines: structlog set up once, other libraries' lines led through the same redaction."""

import json
import logging
import sys
from types import MappingProxyType
from typing import Literal, TextIO

import structlog
from pydantic_core import to_json
from structlog.dev import ConsoleRenderer
from structlog.processors import TimeStamper
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger
from typing_extensions import override

from worker.telemetry.redaction import redact_fields, tell_exception

Format = Literal["json", "console"]
Level = Literal["debug", "info", "warning", "error"]

_LEVELS = MappingProxyType(
    {
        "debug": logging.DEBUG,
        "info": logging.INFO,
        "warning": logging.WARNING,
        "error": logging.ERROR,
    }
)


class LineWriter:
    """Writes whole lines; a pipe nobody reads any more must not end a payment half-way.

    ``lost`` counts the lines that could not be written; it is a metric and an alert.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self.lost = 0

    def write(self, line: str) -> None:
        """Write one line, or count it as lost."""
        stream = sys.stdout if self._stream is None else self._stream
        try:
            stream.write(f"{line}\n")
            stream.flush()
        except (OSError, ValueError):
            self.lost += 1

    debug = info = warning = error = critical = write


class _Factory:
    """Gives every logger the one writer, as structlog asks for it."""

    def __init__(self, writer: LineWriter) -> None:
        self._writer = writer

    def __call__(self, *_: object) -> LineWriter:
        return self._writer


class _Bridge(logging.Handler):
    """Leads records of the standard library's loggers into our own pipeline."""

    def __init__(self, logger: FilteringBoundLogger) -> None:
        super().__init__(logging.WARNING)
        self._logger = logger

    @override
    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
        except (TypeError, ValueError):
            # Arguments that do not fit their format, as aio-pika has some.
            text = str(record.msg)
        # asyncio writes the repr of a failed task, exception text included, from line two on.
        first_line = text.partition("\n")[0]
        self._logger.log(
            record.levelno,
            first_line,
            exc_info=record.exc_info[1] if record.exc_info else None,
            **{"log.logger": record.name},
        )


def configure_logging(
    log_format: Format = "json", level: Level = "info", writer: LineWriter | None = None
) -> FilteringBoundLogger:
    """Set up logging for this process and return its logger.

    Lines of other libraries appear from WARNING on. To be called once, before anybody logs: a
    logger that has written keeps the set-up it was first used under.
    """
    renderers: list[Processor] = (
        [
            _level_for_console,
            ConsoleRenderer(
                colors=sys.stdout.isatty(), event_key="message", timestamp_key="@timestamp"
            ),
        ]
        if log_format == "console"
        else [_as_json]
    )
    structlog.configure(
        processors=[
            TimeStamper(fmt="iso", utc=True, key="@timestamp"),
            tell_exception,
            _name_event,
            redact_fields,
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=_Factory(writer or LineWriter()),
        cache_logger_on_first_use=True,
    )
    logger: FilteringBoundLogger = structlog.get_logger().bind()
    _lead_standard_library_to(logger)
    return logger


def _lead_standard_library_to(logger: FilteringBoundLogger) -> None:
    root = logging.getLogger()
    for handler in [each for each in root.handlers if isinstance(each, _Bridge)]:
        root.removeHandler(handler)
    root.addHandler(_Bridge(logger))
    root.setLevel(logging.WARNING)
    for name in ("aiohttp", "asyncio", "pydantic_settings"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # These tell every lost connection several times over; `broker.disconnected` says it in a line.
    for name in ("aio_pika", "aiormq"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.captureWarnings(capture=True)


def _name_event(_logger: WrappedLogger, method: str, fields: EventDict) -> EventDict:
    """Give message and level the names of the Elastic Common Schema."""
    fields["message"] = fields.pop("event")
    fields["log.level"] = "warning" if method == "warn" else method
    return fields


def _as_json(_logger: WrappedLogger, _method: str, fields: EventDict) -> str:
    try:
        return to_json(fields).decode()
    except ValueError:
        return json.dumps(fields)  # a lone surrogate, which UTF-8 cannot hold


def _level_for_console(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
    fields["level"] = fields.pop("log.level")
    return fields
