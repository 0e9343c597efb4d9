"""``payment-worker check``: the doctor. What is wrong, why, and what to do about it."""

import asyncio
import shutil
import textwrap
from dataclasses import replace
from enum import StrEnum, unique
from typing import Annotated

import typer

from worker.checks import (
    CHECKS,
    NEEDS,
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
_SIGN_WIDTH = 4
_ID_WIDTH = max(len(check.id) for check in CHECKS)
_WIDEST = 120


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
    chosen = _chosen(only or [], profile)
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


def drawn(row: Row, width: int) -> str:
    """One row for people: verdict, id and text in columns, the fix below its cause."""
    text = f"{row.about}: {row.cause}" if row.about else row.cause
    margin = " " * (_SIGN_WIDTH + _ID_WIDTH + 6)
    lines = _wrapped(text, margin, width)
    if row.fix:
        lines += _wrapped(f"fix: {row.fix}", margin, width)
    head = f"  {_SIGNS[row.verdict]:<{_SIGN_WIDTH}}  {row.check:<{_ID_WIDTH}}  "
    return head + "\n".join(lines).removeprefix(margin)


def _chosen(only: list[str], profile: Profile) -> list[Check]:
    words = [word.strip() for each in only for word in each.split(",") if word.strip()]
    try:
        chosen = choose(CHECKS, only=words, at_start=profile is Profile.START)
    except UnknownCheckError as error:
        raise CommandError(
            "check_unknown",
            f"There is no check {error.wanted}.",
            field="--only",
            exit_code=ExitCode.USAGE,
            fix=f"Known are {', '.join(check.id for check in CHECKS)}.",
        ) from error
    if not chosen:
        # Exit code 0 would say that something was looked at.
        at_start = ", ".join(check.id for check in CHECKS if check.at_start)
        raise CommandError(
            "check_not_at_start",
            f"The start profile has no check {', '.join(words)}.",
            field="--only",
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
    else:
        output.table(_COLUMNS, [_fields(row) for row in rows])
    return rows


class Page:
    """Shows rows to people under their headings, those that say the same of many things as one."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._width = min(shutil.get_terminal_size().columns, _WIDEST)
        self._waiting: Row | None = None
        self._heading: Group | None = None

    def add(self, row: Row) -> None:
        """Take the next row; it is shown as soon as the one after it is known to differ."""
        if row.verdict is Verdict.SKIP and row.cause.startswith(NEEDS):
            # By their ids, in one line: what is skipped because of a failure is not the news.
            row = replace(row, check="", about=row.check)
        if self._waiting is not None and _is_like(self._waiting, row):
            about = f"{self._waiting.about}, {row.about}"
            self._waiting = replace(self._waiting, about=about)
            return
        self.end()
        self._waiting = row

    def end(self) -> None:
        """Show what waits."""
        row, self._waiting = self._waiting, None
        if row is None:
            return
        if row.group is not self._heading:
            gap = "" if self._heading is None else "\n"
            self._output.record({}, f"{gap}{row.group}")
            self._heading = row.group
        self._output.record({}, drawn(row, self._width))


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
