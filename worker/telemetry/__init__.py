"""Logs without secrets, metrics without persons."""

from worker.telemetry.logs import LineWriter, configure_logging
from worker.telemetry.patterns import link_mark, redact
from worker.telemetry.redaction import facts_of
from worker.telemetry.reporting import CountedPublisher, Telemetry

__all__ = [
    "CountedPublisher",
    "LineWriter",
    "Telemetry",
    "configure_logging",
    "facts_of",
    "link_mark",
    "redact",
]
