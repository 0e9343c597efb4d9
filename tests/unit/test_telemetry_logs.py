"""Log lines as they leave the process."""

import io
import json
import logging
from collections.abc import Iterator
from uuid import UUID

import pytest
import structlog
from typing_extensions import override

from worker.telemetry import LineWriter, configure_logging


@pytest.fixture(autouse=True)
def _restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_time_level_message_and_fields() -> None:
    stream = io.StringIO()
    log = configure_logging("json", "info", LineWriter(stream))
    log = log.bind(**{"trace.id": "4bf92f3577b34da6a3ce929d0e0e4736"})
    log.info("Answered", **{"labels.payment_id": UUID(int=1), "link": "https://pay.example/x"})
    (line,) = lines(stream)
    assert str(line.pop("@timestamp")).endswith("Z")
    assert line == {
        "message": "Answered",
        "log.level": "info",
        "trace.id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "labels.payment_id": "00000000-0000-0000-0000-000000000001",
        "link": "[hidden]",
    }


def test_a_text_that_no_encoding_can_hold_is_written_all_the_same() -> None:
    """A lone surrogate stands in JSON as an escape; the line is a line."""
    stream = io.StringIO()
    log = configure_logging("json", "info", LineWriter(stream))
    log.info("Answered é", **{"labels.reason": "\udc80 é"})
    log.info("Answered é", **{"labels.reason": "é"})
    first, second = lines(stream)
    assert (first["message"], first["labels.reason"]) == ("Answered é", "\udc80 é")
    assert second["labels.reason"] == "é"
    assert "é" in stream.getvalue().splitlines()[1], "not escaped, for who reads it"


def test_lines_below_the_level_are_not_written() -> None:
    stream = io.StringIO()
    log = configure_logging("json", "warning", LineWriter(stream))
    log.info("quiet")
    log.debug("quieter")
    log.warning("loud")
    assert [line["message"] for line in lines(stream)] == ["loud"]


def test_an_exception_is_told_without_its_locals_or_text() -> None:
    stream = io.StringIO()
    log = configure_logging("json", "info", LineWriter(stream))
    iban = "FR7630006000011234567890189"
    try:
        int(iban)
    except ValueError:
        log.exception("It failed")
    (line,) = lines(stream)
    assert line["error.type"] == "ValueError"
    assert line["log.level"] == "error"
    assert iban not in stream.getvalue()


def test_other_libraries_speak_from_warning_on_and_through_the_same_net() -> None:
    stream = io.StringIO()
    configure_logging("json", "debug", LineWriter(stream))
    logging.getLogger("aio_pika.connection").info("chatter")
    logging.getLogger("aiormq.connection").error("said in one line of our own")
    logging.getLogger("aiohttp.client").warning("Lost %s", "amqp://payworker:s3cr3t@rabbit/v")
    reset = ConnectionResetError(104, "Connection reset by peer")
    logging.getLogger("aiohttp.server").error("Error handling request", exc_info=reset)
    lost, failed = lines(stream)
    assert lost["message"] == "Lost amqp://[userinfo]@rabbit/v"
    assert lost["log.logger"] == "aiohttp.client"
    assert lost["log.level"] == "warning"
    assert failed["error.message"] == "Connection reset by peer"
    assert "s3cr3t" not in stream.getvalue()


def test_of_an_asyncio_complaint_only_the_first_line_is_kept() -> None:
    """Its second line is the repr of the task, with the text of the exception in it."""
    stream = io.StringIO()
    configure_logging("json", "info", LineWriter(stream))
    logging.getLogger("asyncio").error("Task exception was never retrieved\nfuture: Jean Dupont")
    assert [line["message"] for line in lines(stream)] == ["Task exception was never retrieved"]


def test_a_record_whose_arguments_do_not_fit_is_still_a_line() -> None:
    stream = io.StringIO()
    configure_logging("json", "info", LineWriter(stream))
    record = logging.LogRecord(
        "aio_pika", logging.WARNING, __file__, 1, "Two %s of %s", ("things",), None
    )
    logging.getLogger().handlers[-1].handle(record)  # the bridge: pytest's own handlers would raise
    assert [line["message"] for line in lines(stream)] == ["Two %s of %s"]


def test_setting_up_twice_writes_each_line_once() -> None:
    stream = io.StringIO()
    for _ in range(2):
        configure_logging("json", "info", LineWriter(stream))
    logging.getLogger("aiohttp").warning("once")
    assert len(lines(stream)) == 1


def test_the_console_shows_level_message_and_fields_on_one_line() -> None:
    stream = io.StringIO()
    log = configure_logging("console", "info", LineWriter(stream))
    log.warning("Answered failed", **{"error.code": "declined", "email": "a@b.fr"})
    (line,) = stream.getvalue().splitlines()
    assert "warning" in line
    assert "Answered failed" in line
    assert "error.code=declined" in line
    assert "a@b.fr" not in line


class _BrokenPipe(io.StringIO):
    @override
    def write(self, _text: str, /) -> int:
        raise BrokenPipeError


def test_a_pipe_nobody_reads_loses_lines_and_never_a_payment() -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (_BrokenPipe(), closed):
        writer = LineWriter(stream)
        configure_logging("json", "info", writer).info("unheard")
        assert writer.lost == 1


def test_lines_go_to_standard_output_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging().info("heard")
    assert json.loads(capsys.readouterr().out)["message"] == "heard"
