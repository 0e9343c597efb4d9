"""Data on standard output in the asked-for form, messages on standard error."""

import asyncio
import io
import json
import signal
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from uuid import UUID

import pytest
from typing_extensions import override

from worker.cli.exit_codes import CommandError, ExitCode
from worker.cli.output import Format, Output
from worker.model import Secret
from worker.records import Status

ROWS: list[Mapping[str, object]] = [
    {"payment_id": UUID(int=1), "status": Status.FAILED, "age": 1.5, "extra": "not shown"},
    {"payment_id": UUID(int=2), "status": None, "age": None},
]
COLUMNS = ("payment_id", "status", "age")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    @override
    def isatty(self) -> bool:
        return True


class Desk:
    """An output with both of its streams."""

    def __init__(
        self,
        output_format: Format = Format.AUTO,
        *,
        on_terminal: bool = False,
        is_quiet: bool = False,
        has_colour: bool = True,
    ) -> None:
        self.out = Terminal() if on_terminal else io.StringIO()
        self.err = Terminal() if on_terminal else io.StringIO()
        self.output = Output(
            output_format,
            is_quiet=is_quiet,
            has_colour=has_colour,
            stdout=self.out,
            stderr=self.err,
        )


@pytest.fixture(autouse=True)
def _colour_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")


def test_rows_into_a_pipe_are_tab_separated_lines_without_a_frame() -> None:
    desk = Desk()
    desk.output.table(COLUMNS, ROWS, title="for people")
    assert desk.out.getvalue().splitlines() == [
        f"{UUID(int=1)}\tfailed\t1.5",
        f"{UUID(int=2)}\t\t",
    ]


def test_a_pipe_stays_plain_whatever_the_environment_forces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    desk = Desk()
    desk.output.table(COLUMNS, ROWS)
    desk.output.success("done")
    desk.output.warn("careful")
    assert "\x1b" not in desk.out.getvalue() + desk.err.getvalue()
    assert desk.output.format is Format.PLAIN


def test_rows_on_a_terminal_are_a_table_with_a_title() -> None:
    desk = Desk(on_terminal=True)
    desk.output.table(COLUMNS, ROWS, title="Payments")
    shown = desk.out.getvalue()
    assert "Payments" in shown
    assert "──" in shown
    assert "payment id" in shown
    assert "\x1b[" in shown


@pytest.mark.parametrize("reason", ["NO_COLOR", "TERM", "option"])
def test_colour_can_be_switched_off(monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
    if reason == "NO_COLOR":
        monkeypatch.setenv("NO_COLOR", "1")
    if reason == "TERM":
        monkeypatch.setenv("TERM", "dumb")
    desk = Desk(on_terminal=True, has_colour=reason != "option")
    desk.output.table(COLUMNS, ROWS)
    desk.output.warn("careful")
    for colour in ("\x1b[31m", "\x1b[32m", "\x1b[33m"):
        assert colour not in desk.out.getvalue() + desk.err.getvalue()


def test_the_first_word_of_a_record_has_its_colour_on_a_terminal_alone() -> None:
    on_terminal, in_pipe = Desk(on_terminal=True), Desk(Format.HUMAN)
    for desk in (on_terminal, in_pipe):
        desk.output.record({}, "  FAIL  [bold] LED001\n  FAIL", colour="bold red")
    assert on_terminal.out.getvalue() == "\x1b[1;31m  FAIL\x1b[0m  [bold] LED001\n  FAIL\n"
    assert in_pipe.out.getvalue() == "  FAIL  [bold] LED001\n  FAIL\n"


def test_a_column_that_is_to_be_copied_is_never_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    rows = [{"code": "company_not_configured", "meaning": "some words about it " * 5}]
    desk = Desk(on_terminal=True)
    desk.output.table(("code", "meaning"), rows, whole=("code",))
    assert "company_not_configured" in desk.out.getvalue()


def test_rows_as_json_are_one_document_with_the_named_columns_only() -> None:
    desk = Desk(Format.JSON)
    desk.output.table(COLUMNS, ROWS)
    assert json.loads(desk.out.getvalue()) == [
        {"payment_id": str(UUID(int=1)), "status": "failed", "age": 1.5},
        {"payment_id": str(UUID(int=2)), "status": None, "age": None},
    ]
    assert desk.output.is_json


def test_rows_as_json_lines_are_one_object_for_each_line() -> None:
    desk = Desk(Format.JSONL)
    desk.output.table(COLUMNS, ROWS)
    assert [json.loads(line)["age"] for line in desk.out.getvalue().splitlines()] == [1.5, None]


def test_a_record_of_a_stream_is_printed_at_once_in_every_form() -> None:
    record = {"status": Status.SUCCEEDED, "at": datetime(2026, 11, 21, tzinfo=UTC)}
    for output_format, expected in (
        (Format.PLAIN, "succeeded\t2026-11-21T00:00:00+00:00\n"),
        (Format.HUMAN, "dcp: succeeded\n"),
        (Format.JSON, '{"status": "succeeded", "at": "2026-11-21T00:00:00+00:00"}\n'),
        (Format.JSONL, '{"status": "succeeded", "at": "2026-11-21T00:00:00+00:00"}\n'),
    ):
        desk = Desk(output_format)
        desk.output.record(record, "dcp: succeeded")
        assert desk.out.getvalue() == expected
    desk = Desk(Format.HUMAN)
    desk.output.record({"a": 1, "b": None})
    assert desk.out.getvalue() == "a=1  b=\n"


def test_cells_hold_no_tab_no_escape_and_no_secret() -> None:
    desk = Desk(Format.PLAIN)
    row = {
        "a": "x\ty\nz\x1b[31m",
        "b": Secret("https://pay.example/x"),
        "c": True,
        "d": ("one", 2),
        "e": {"k": date(2026, 1, 2)},
        "f": Path("/tmp/x"),  # noqa: S108 - a path to print
    }
    desk.output.table(tuple(row), [row])
    assert desk.out.getvalue() == 'x y z [31m\t***\ttrue\tone, 2\t{"k": "2026-01-02"}\t/tmp/x\n'


def test_brackets_of_data_are_not_read_as_markup() -> None:
    desk = Desk(Format.HUMAN)
    desk.output.table(("a",), [{"a": "[red]x[/red]"}])
    desk.output.record({"a": "[bold]"}, "[bold]y")
    desk.output.say("[dim]z")
    assert "[red]x[/red]" in desk.out.getvalue()
    assert "[bold]y" in desk.out.getvalue()
    assert desk.err.getvalue() == "[dim]z\n"


def test_messages_go_to_standard_error_and_can_be_silenced() -> None:
    desk = Desk()
    desk.output.say("hello")
    desk.output.success("done")
    desk.output.warn("careful", fix="look twice")
    assert desk.out.getvalue() == ""
    assert desk.err.getvalue().splitlines() == [
        "hello",
        "✓ done",
        "warning: careful",
        "  fix: look twice",
    ]
    quiet = Desk(is_quiet=True)
    quiet.output.say("hello")
    quiet.output.success("done")
    quiet.output.warn("careful")
    quiet.output.text("data\n")
    assert quiet.err.getvalue() == "warning: careful\n"
    assert quiet.out.getvalue() == "data\n"


ERROR = CommandError(
    "broker_unreachable",
    "The broker does not answer.",
    field="broker.host",
    fix="Is it up?",
    exit_code=ExitCode.UNREACHABLE,
)


def test_an_error_is_text_with_its_field_and_fix() -> None:
    desk = Desk()
    desk.output.error(ERROR)
    assert desk.err.getvalue().splitlines() == [
        "error: broker.host: The broker does not answer.",
        "  fix: Is it up?",
    ]


@pytest.mark.parametrize("output_format", [Format.JSON, Format.JSONL])
def test_an_error_is_json_where_data_is(output_format: Format) -> None:
    desk = Desk(output_format)
    desk.output.error(ERROR)
    assert json.loads(desk.err.getvalue()) == {
        "error": {
            "code": "broker_unreachable",
            "message": "The broker does not answer.",
            "field": "broker.host",
            "fix": "Is it up?",
        }
    }


def test_a_bar_is_drawn_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def shown(desk: Desk) -> str:
        with desk.output.progress("Publishing", 10) as advance:
            advance(4)
            advance(6)
        return desk.err.getvalue()

    assert "10/10" in shown(Desk(on_terminal=True))
    assert shown(Desk()) == ""
    assert shown(Desk(on_terminal=True, is_quiet=True)) == ""
    monkeypatch.setenv("TERM", "dumb")
    assert shown(Desk(on_terminal=True)) == ""


def test_nobody_can_confirm_through_a_pipe() -> None:
    desk = Desk()
    desk.output.confirm("Really?", is_answered=True)
    with pytest.raises(CommandError) as caught:
        desk.output.confirm("Really?", is_answered=False)
    assert caught.value.exit_code is ExitCode.USAGE


@pytest.mark.parametrize(("typed", "agreed"), [("y\n", True), ("YES\n", True), ("\n", False)])
def test_a_person_confirms_by_typing(
    monkeypatch: pytest.MonkeyPatch, typed: str, *, agreed: bool
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    desk = Desk(on_terminal=True)
    if agreed:
        desk.output.confirm("Really?", is_answered=False)
    else:
        with pytest.raises(CommandError, match=r"^Cancelled; nothing was changed\.$") as caught:
            desk.output.confirm("Really?", is_answered=False)
        assert caught.value.exit_code is ExitCode.CANCELLED
    assert "Really? [y/N]" in desk.err.getvalue()


def test_a_question_that_is_left_ends_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """With Ctrl-D, and with Ctrl-C, which also says that nothing has happened."""
    monkeypatch.setattr("sys.stdin", Terminal(""))
    desk = Desk(on_terminal=True)
    with pytest.raises(CommandError):
        desk.output.confirm("Really?", is_answered=False)
    assert desk.err.getvalue() == "Really? [y/N] \n"

    def interrupt(*_: object) -> str:
        raise KeyboardInterrupt

    typed = Terminal("")
    monkeypatch.setattr(typed, "readline", interrupt)
    monkeypatch.setattr("sys.stdin", typed)
    desk = Desk(on_terminal=True)
    with pytest.raises(KeyboardInterrupt):
        desk.output.confirm("Really?", is_answered=False)
    assert desk.err.getvalue() == "Really? [y/N] \nCancelled; nothing was changed.\n"


def test_ctrl_c_ends_a_question_that_is_asked_within_an_event_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The loop only notes the first one, and the terminal would be read on."""

    def interrupt(*_: object) -> str:
        signal.raise_signal(signal.SIGINT)
        return "y\n"

    typed = Terminal("")
    monkeypatch.setattr(typed, "readline", interrupt)
    monkeypatch.setattr("sys.stdin", typed)
    desk = Desk(on_terminal=True)
    inside: list[object] = []

    async def ask() -> None:
        inside.append(signal.getsignal(signal.SIGINT))
        try:
            desk.output.confirm("Really?", is_answered=False)
        finally:
            inside.append(signal.getsignal(signal.SIGINT))

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(ask())
    assert desk.err.getvalue() == "Really? [y/N] \nCancelled; nothing was changed.\n"
    assert inside[0] == inside[1] != signal.default_int_handler
