"""``payment-worker check``: the doctor. What is wrong, why, and what to do about it."""

import asyncio
import shutil
import textwrap
from dataclasses import replace
from enum import StrEnum, unique
from typing import Annotated

import typer

from worker.checks import (
    AFTER_FAULTS,
    CHECKS,
    NEEDS,
    NOT_VISIBLE,
    Blame,
    Check,
    Deployment,
    Group,
    Row,
    UnknownCheckError,
    Verdict,
    choose,
    examine,
    gravest,
)
from worker.cli.broker import quieten_client
from worker.cli.completed_checks import check_ids
from worker.cli.context import CommandContext, ConfigOption, FormatOption, JsonOption, context_of
from worker.cli.exit_codes import CommandError, ExitCode
from worker.cli.output import Format, Output
from worker.provisioning import topology_of
from worker.settings import SettingsError

_COLUMNS = ("check", "group", "verdict", "about", "cause", "fix")
_ENDINGS = {
    Blame.CONFIGURATION: ExitCode.CONFIGURATION,
    Blame.UNREACHABLE: ExitCode.UNREACHABLE,
    Blame.DEFECT: ExitCode.FAILED,
}
_SIGNS = {Verdict.OK: "ok", Verdict.WARN: "WARN", Verdict.FAIL: "FAIL", Verdict.SKIP: "skip"}
_COLOURS = {
    Verdict.OK: "green",
    Verdict.WARN: "bold yellow",
    Verdict.FAIL: "bold red",
    Verdict.SKIP: "dim",
}
_SIGN_WIDTH = 4
_ID_WIDTH = max(len(check.id) for check in CHECKS)
_WIDEST = 120
_SHARED_REASONS = (AFTER_FAULTS, NEEDS, NOT_VISIBLE)
_EXPLAINED = ("check", "group", "title", "fix", "at_start", "exit_code")
_MARGIN = " " * (_ID_WIDTH + 4)


@unique
class Profile(StrEnum):
    """Which checks: those that must hold to consume safely, or all."""

    START = "start"
    FULL = "full"


_ONLY = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        help="Ids or their beginnings, e.g. CFG,AMQP001; may be repeated.",
        show_default=False,
        metavar="ID,...",
        autocompletion=check_ids,
    ),
]
_EXPLAIN = Annotated[
    list[str] | None,
    typer.Option(
        "--explain",
        help="Say what these checks look at and what helps, and look at nothing; ALL: every one.",
        show_default=False,
        metavar="ID,...",
        autocompletion=check_ids,
    ),
]
_STRICT = Annotated[bool, typer.Option("--strict", help="Warnings fail too (exit 3).")]
_PROFILE = Annotated[
    Profile, typer.Option("--profile", help="start: only what must hold to consume safely.")
]


def register(app: typer.Typer) -> None:
    """Add the ``check`` command."""
    app.command("check", epilog="Example: payment-worker check --only AMQP,LED --json")(_check)


def _check(
    typer_context: typer.Context,
    only: _ONLY = None,
    explain: _EXPLAIN = None,
    strict: _STRICT = False,
    profile: _PROFILE = Profile.FULL,
    config: ConfigOption = None,
    json: JsonOption = False,
    output_format: FormatOption = None,
) -> ExitCode:
    """Examine settings, machine, ledger, broker and providers; changes nothing.

    Exits 78 for wrong settings, the wrong broker or no usable ledger, 69 where something cannot
    be reached, 1 for any other failure.
    """
    context = context_of(typer_context, config=config, json=json, output_format=output_format)
    if explain:
        _explain(context.output, explain)
        return ExitCode.OK
    chosen = _chosen(_words(only), "--only", profile)
    deployment = _deployment(context, at_start=profile is Profile.START)
    quieten_client()
    rows = asyncio.run(_examined(context.output, deployment, chosen))
    _sum_up(context.output, rows)
    return ending(rows, strict=strict)


def ending(rows: list[Row], *, strict: bool) -> ExitCode:
    """Exit code of an examination: the gravest failure, else 3 on warnings when strict."""
    blame = gravest(rows)
    if blame is not None:
        return _ENDINGS[blame]
    warned = any(row.verdict is Verdict.WARN for row in rows)
    return ExitCode.PARTIAL if strict and warned else ExitCode.OK


def ending_of(check: Check) -> ExitCode:
    """Exit code of an examination where this check alone fails, as it mostly does."""
    return _ENDINGS[check.blame]


def drawn(row: Row, width: int) -> str:
    """One row for people: verdict, id and text in columns, the fix below its cause."""
    text = f"{row.about}: {row.cause}" if row.about else row.cause
    margin = " " * (_SIGN_WIDTH + _ID_WIDTH + 6)
    lines = _wrapped(text, margin, width)
    if row.fix:
        lines += _wrapped(f"fix: {row.fix}", margin, width)
    head = f"  {_SIGNS[row.verdict]:<{_SIGN_WIDTH}}  {row.check:<{_ID_WIDTH}}  "
    return head + "\n".join(lines).removeprefix(margin)


def _explain(output: Output, wanted: list[str]) -> None:
    """Print what checks promise, what helps where they fail, and whether a start needs them."""
    words = [word for word in _words(wanted) if word.upper() != "ALL"]
    width = _page_width()
    heading: object = ""
    rows = [described(check) for check in _chosen(words, "--explain", Profile.FULL)]
    if output.format is not Format.HUMAN:
        output.table(_EXPLAINED, rows)
        return
    for row in rows:
        if row["group"] != heading:
            gap = "\n" if heading else ""
            heading = row["group"]
            output.record({}, f"{gap}{heading}")
        start = " A start needs it." if row["at_start"] else ""
        lines = [
            *_wrapped(f"{row['title']}.{start}", _MARGIN, width),
            *_wrapped(f"fix: {row['fix']}", _MARGIN, width),
        ]
        output.record({}, f"  {row['check']:<{_ID_WIDTH}}  " + "\n".join(lines)[len(_MARGIN) :])


def described(check: Check) -> dict[str, str | int]:
    """What is known of one check without looking."""
    return {
        "check": check.id,
        "group": check.group,
        "title": check.title,
        "fix": check.fix,
        "at_start": check.at_start,
        "exit_code": ending_of(check).value,
    }


def _words(options: list[str] | None) -> list[str]:
    return [word.strip() for each in options or [] for word in each.split(",") if word.strip()]


def _chosen(words: list[str], option: str, profile: Profile) -> list[Check]:
    try:
        chosen = choose(CHECKS, only=words, at_start=profile is Profile.START)
    except UnknownCheckError as error:
        raise CommandError(
            "check_unknown",
            f"There is no check {error.wanted}.",
            field=option,
            exit_code=ExitCode.USAGE,
            fix=f"Known are {', '.join(check.id for check in CHECKS)}.",
        ) from error
    if not chosen:
        # Exit code 0 would say that something was looked at.
        at_start = ", ".join(check.id for check in CHECKS if check.at_start)
        raise CommandError(
            "check_not_at_start",
            f"The start profile has no check {', '.join(words)}.",
            field=option,
            exit_code=ExitCode.USAGE,
            fix=f"Leave --profile out, or name one of {at_start}.",
        )
    return chosen


def _deployment(context: CommandContext, *, at_start: bool) -> Deployment:
    try:
        loaded = context.loaded()
    except SettingsError as error:
        return Deployment(clock=context.clock, faults=error.faults, at_start=at_start)
    return Deployment(
        clock=context.clock,
        loaded=loaded,
        topology=topology_of(loaded.settings),
        at_start=at_start,
    )


async def _examined(output: Output, deployment: Deployment, chosen: list[Check]) -> list[Row]:
    """Run the checks; people see each row at once, for a broker may keep them waiting."""
    page = Page(output) if output.format is Format.HUMAN else None
    rows = []
    async for row in examine(deployment, CHECKS, chosen):
        rows.append(row)
        if page is not None:
            page.add(row)
    if page is not None:
        page.end()
        page.repeat_failures()
    else:
        output.table(_COLUMNS, [_fields(row) for row in rows])
    return rows


class Page:
    """Shows rows to people under their headings, those that say the same of many things as one."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._width = _page_width()
        self._waiting: Row | None = None
        self._heading: Group | None = None
        self._unseen: dict[tuple[str, str], Row] = {}
        self._failures: list[str] = []
        self._lines = 0

    def add(self, row: Row) -> None:
        """Take the next row; it is shown as soon as the one after it is known to differ.

        What is skipped for one and the same reason is not the news: it is told by ids, in one
        line at the end of its heading.
        """
        if row.group is not self._heading:
            self._end_heading(row.group)
        if row.verdict is Verdict.SKIP and row.cause.startswith(_SHARED_REASONS):
            reason = (row.cause, row.fix)
            seen = self._unseen.get(reason)
            if seen is None:
                self._unseen[reason] = replace(row, check="", about=row.check)
            elif row.check not in seen.about:
                self._unseen[reason] = replace(seen, about=f"{seen.about}, {row.check}")
            return
        if self._waiting is not None and _is_like(self._waiting, row):
            about = f"{self._waiting.about}, {row.about}"
            self._waiting = replace(self._waiting, about=about)
            return
        self._show_waiting()
        self._waiting = row

    def end(self) -> None:
        """Show what waits."""
        self._end_heading(None)

    def repeat_failures(self) -> None:
        """Show what failed once more where it may have left the screen."""
        if self._failures and self._lines >= shutil.get_terminal_size().lines:
            self._print("\nWhat failed")
            for text in self._failures:
                self._print(text, _COLOURS[Verdict.FAIL])

    def _end_heading(self, following: Group | None) -> None:
        self._show_waiting()
        for row in self._unseen.values():
            self._show(row)
        self._unseen = {}
        if following is not None:
            gap = "" if self._heading is None else "\n"
            self._print(f"{gap}{following}")
        self._heading = following

    def _show_waiting(self) -> None:
        row, self._waiting = self._waiting, None
        if row is not None:
            self._show(row)

    def _show(self, row: Row) -> None:
        text = drawn(row, self._width)
        if row.verdict is Verdict.FAIL:
            self._failures.append(text)
        self._print(text, _COLOURS[row.verdict])

    def _print(self, text: str, colour: str = "") -> None:
        self._lines += text.count("\n") + 1
        self._output.record({}, text, colour=colour)


def _page_width() -> int:
    return min(shutil.get_terminal_size().columns, _WIDEST)


def _is_like(row: Row, other: Row) -> bool:
    """Whether two rows differ in nothing but what they are about."""
    is_about = bool(row.about and other.about)
    return is_about and _said(row) == _said(other)


def _said(row: Row) -> tuple[object, ...]:
    return (row.check, row.group, row.verdict, row.cause, row.fix)


def _sum_up(output: Output, rows: list[Row]) -> None:
    """The last line: what failed, by id, or that nothing did."""
    counts = {verdict: sum(row.verdict is verdict for row in rows) for verdict in Verdict}
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    if output.format is Format.HUMAN:
        output.say("")
    failed = _ids(rows, Verdict.FAIL)
    warned = _ids(rows, Verdict.WARN)
    if failed:
        code = ending(rows, strict=False)
        message = f"Failed: {', '.join(failed)} ({told})."
        output.error(CommandError("check_failed", message, exit_code=code))
    elif warned:
        output.warn(f"Works; look at {', '.join(warned)} ({told}).")
    else:
        output.success(f"Nothing is wrong ({told}).")


def _ids(rows: list[Row], verdict: Verdict) -> list[str]:
    return list(dict.fromkeys(row.check for row in rows if row.verdict is verdict))


def _fields(row: Row) -> dict[str, object]:
    return {name: getattr(row, name) for name in _COLUMNS}


def _wrapped(text: str, margin: str, width: int) -> list[str]:
    return textwrap.wrap(
        text,
        width=max(width, len(margin) + 30),
        initial_indent=margin,
        subsequent_indent=margin + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
