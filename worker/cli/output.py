"""The one place that prints: data on standard output, messages on standard error.

A table drawn for people never goes into a pipe, where it would be cut at 80 columns and full of
box characters (measured): there the same rows are tab-separated lines, or JSON when asked for.
"""

import json
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from enum import Enum, StrEnum, unique
from pathlib import Path
from typing import TextIO, assert_never
from uuid import UUID

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from worker.cli.exit_codes import CommandError, ExitCode

Row = Mapping[str, object]
Advance = Callable[[int], None]

_CANCELLED = "Cancelled; nothing was changed."


@unique
class Format(StrEnum):
    """Shape of the data a command prints; ``AUTO`` is a table for people or lines for a pipe."""

    AUTO = "auto"
    HUMAN = "human"
    PLAIN = "plain"
    JSON = "json"
    JSONL = "jsonl"


class Output:
    """Prints the rows, records and messages of one command in one format.

    Streams default to the process's own; whether they are terminals is asked once.
    """

    def __init__(
        self,
        output_format: Format = Format.AUTO,
        *,
        is_quiet: bool = False,
        has_colour: bool = True,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
    ) -> None:
        self._stdout = sys.stdout if stdout is None else stdout
        self._stderr = sys.stderr if stderr is None else stderr
        if output_format is Format.AUTO:
            output_format = Format.HUMAN if self._stdout.isatty() else Format.PLAIN
        self.format = output_format
        self._is_quiet = is_quiet
        # Rich itself honours NO_COLOR and TERM=dumb; FORCE_COLOR may not turn a pipe into one.
        self._console = _console(self._stdout, has_colour=has_colour)
        self._messages = _console(self._stderr, has_colour=has_colour)

    @property
    def width(self) -> int:
        """Columns of the terminal that data is drawn on."""
        return self._console.width

    @property
    def is_json(self) -> bool:
        """Whether data and errors are JSON."""
        return self.format in {Format.JSON, Format.JSONL}

    def table(
        self,
        columns: Sequence[str],
        rows: Iterable[Row],
        *,
        title: str = "",
        whole: Sequence[str] = (),
    ) -> None:
        """Print rows: a table for people, lines of tab-separated values, or JSON objects.

        Only the named columns are shown; a title is for people alone. The ``whole`` columns hold
        what a next command needs, and are never broken into lines.
        """
        match self.format:
            case Format.HUMAN | Format.AUTO:
                self._console.print(_drawn(columns, rows, title, whole))
            case Format.PLAIN:
                for row in rows:
                    self._line("\t".join(_cell(row.get(name)) for name in columns))
            case Format.JSON:
                picked = [{name: row.get(name) for name in columns} for row in rows]
                self._line(_json(picked, indent=2))
            case Format.JSONL:
                for row in rows:
                    self._line(_json({name: row.get(name) for name in columns}))
            case other:
                assert_never(other)

    def record(self, record: Row, sentence: str | None = None, *, colour: str = "") -> None:
        """Print one record of a stream at once; ``sentence`` is what people see instead.

        Its first word has the ``colour``, where there is any.
        """
        match self.format:
            case Format.HUMAN | Format.AUTO:
                shown = sentence or "  ".join(
                    f"{name}={_cell(each)}" for name, each in record.items()
                )
                text = Text(shown)
                text.highlight_regex(r"^\s*\S+", colour)
                self._console.print(text, soft_wrap=True)
            case Format.PLAIN:
                self._line("\t".join(_cell(each) for each in record.values()))
            case Format.JSON | Format.JSONL:
                self._line(_json(record))
            case other:
                assert_never(other)
        self._stdout.flush()

    def text(self, text: str) -> None:
        """Print text that is the data itself, whatever the format."""
        self._line(text.rstrip("\n"))

    def say(self, message: str) -> None:
        """Tell the person at the terminal something; not data, and not with ``--quiet``."""
        if not self._is_quiet:
            self._messages.print(escape(message), soft_wrap=True)

    def success(self, message: str) -> None:
        """Say that something went well."""
        if not self._is_quiet:
            self._messages.print(f"[green]✓[/green] {escape(message)}", soft_wrap=True)

    def warn(self, message: str, *, fix: str | None = None) -> None:
        """Say what should be looked at, also with ``--quiet``."""
        self._messages.print(f"[yellow]warning:[/yellow] {escape(message)}", soft_wrap=True)
        if fix:
            self._messages.print(f"  fix: {escape(fix)}", soft_wrap=True)

    def error(self, error: CommandError) -> None:
        """Print an error as text, or as one JSON object where data is JSON."""
        self.errors([error])

    def errors(self, errors: Sequence[CommandError]) -> None:
        """Print errors, as text or as JSON objects, one for each line."""
        for error in errors:
            if self.is_json:
                print(_json({"error": json_error(error)}), file=self._stderr, flush=True)
                continue
            about = f"{escape(error.field)}: " if error.field else ""
            line = f"[red]error:[/red] {about}{escape(error.message)}"
            self._messages.print(line, soft_wrap=True)
            if error.fix:
                self._messages.print(f"  fix: {escape(error.fix)}", soft_wrap=True)

    @contextmanager
    def progress(self, description: str, total: int | None) -> Iterator[Advance]:
        """Show a bar on a terminal, nothing elsewhere; the yielded function advances it."""
        if self._is_quiet or not self._is_animated():
            yield _no_advance
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self._messages, transient=True) as bar:
            task = bar.add_task(escape(description), total=total)
            yield lambda steps: bar.advance(task, steps)

    def confirm(self, question: str, *, is_answered: bool) -> None:
        """Ask before an act; ``is_answered`` (``--yes``) skips the question.

        Without a terminal nobody can answer: that is an error of use, never a yes.
        Raises ``CommandError``.
        """
        if is_answered:
            return
        self.expect_somebody()
        try:
            with _interruptible():
                print(f"{question} [y/N] ", end="", file=self._stderr, flush=True)
                answer = sys.stdin.readline()
        except KeyboardInterrupt:
            print(f"\n{_CANCELLED}", file=self._stderr, flush=True)
            raise
        if not answer.endswith("\n"):
            print(file=self._stderr)  # Ctrl-D leaves the question's line open
        if answer.strip().lower() not in {"y", "yes"}:
            raise CommandError("cancelled", _CANCELLED, exit_code=ExitCode.CANCELLED)

    def ask(self, question: str) -> None:
        """Print a question whose answer somebody else reads."""
        print(question, end="", file=self._stderr, flush=True)

    def expect_somebody(self) -> None:
        """Make sure, before anything is done, that a later question can be answered.

        Raises ``CommandError``.
        """
        if not (self._stderr.isatty() and sys.stdin.isatty()):
            raise CommandError(
                "confirmation_needed",
                "Nobody is there to confirm.",
                exit_code=ExitCode.USAGE,
                fix="Give --yes if you are sure.",
            )

    def confide(self, message: str) -> None:
        """Show the person at a terminal what may stand in no file: nothing at all elsewhere."""
        if self._stderr.isatty() and not self.is_json:
            self._messages.print(escape(message), soft_wrap=True)

    def _is_animated(self) -> bool:
        return self._stderr.isatty() and not self._messages.is_dumb_terminal

    def _line(self, line: str) -> None:
        print(line, file=self._stdout)


def json_error(error: CommandError) -> dict[str, str | None]:
    """An error's facts as they stand in JSON output."""
    return {
        "code": error.code,
        "message": error.message,
        "field": error.field,
        "fix": error.fix,
    }


def _console(stream: TextIO, *, has_colour: bool) -> Console:
    is_terminal = stream.isatty()
    return Console(
        file=stream,
        force_terminal=is_terminal,
        no_color=None if has_colour else True,
        color_system="auto" if has_colour and is_terminal else None,
        highlight=False,
        emoji=False,
    )


@contextmanager
def _interruptible() -> Iterator[None]:
    """Have Ctrl-C end a question at once, also where an event loop has taken the signal.

    ``asyncio.run`` only marks its task as cancelled at the first one, and a read of the terminal
    is then begun again (PEP 475): the question would wait on, as if nothing had been typed.
    """
    taken = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, taken)


def _drawn(columns: Sequence[str], rows: Iterable[Row], title: str, whole: Sequence[str]) -> Table:
    table = Table(
        title=escape(title) or None, title_justify="left", header_style="bold", box=SIMPLE_HEAD
    )
    for name in columns:
        table.add_column(name.replace("_", " "), overflow="fold", no_wrap=name in whole)
    for row in rows:
        table.add_row(*(escape(_cell(row.get(name))) for name in columns))
    return table


def _cell(value: object) -> str:
    """One value on one line, without what a terminal or a column would take for a command."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case list() | tuple():
            return ", ".join(_cell(each) for each in value)
        case Mapping():
            return _json(value)
        case _:
            text = str(_plain(value))
            return "".join(letter if letter.isprintable() else " " for letter in text)


def _json(value: object, *, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent, default=_plain, allow_nan=False)


def _plain(value: object) -> str:
    match value:
        case datetime() | date():
            return value.isoformat()
        case Enum():
            return str(value.value)
        case UUID() | Path():
            return str(value)
        case _:
            # Secret and everything else that guards its text answers with its masked form.
            return str(value)


def _no_advance(_steps: int) -> None:
    return None
