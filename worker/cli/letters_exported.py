"""``payment-worker dead-letters export``: copy letters into a file; none is removed."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from worker.cli.actor import operating_system_account
from worker.cli.context import CommandContext, ConfigOption, JsonOption, context_of
from worker.cli.exit_codes import CommandError, ExitCode
from worker.cli.letter_filter import (
    CategoryOption,
    CodeOption,
    CompanyOption,
    OriginOption,
    PaymentOption,
    SinceOption,
    TargetOption,
    TextOption,
    UntilOption,
    wanted_letters,
)
from worker.cli.opened_desk import Desk, opened_desk
from worker.cli.opened_ledger import opened_ledger, run_with_ledger
from worker.ledger import Ledger
from worker.letters import EVERY_LETTER, LetterFilter
from worker.operators.exports.exporting import Exporter, ExportReport, wanted_operations
from worker.operators.exports.files import ExportError, ExportWriter, writing_export
from worker.operators.exports.lines import ExportHeader
from worker.operators.walks import NotConfirmedError
from worker.operators.whole_files import Stream

_SHOWN = 5
_STANDARD_OUTPUT = Path("-")


def register(group: typer.Typer) -> None:
    """Add the ``export`` command."""
    group.command(
        "export", epilog="Example: payment-worker dead-letters export --all --output letters.jsonl"
    )(export_letters)


def export_letters(
    typer_context: typer.Context,
    operation_ids: Annotated[
        list[UUID] | None,
        typer.Argument(metavar="ID", help="As `dead-letters list` shows them.", show_default=False),
    ] = None,
    *,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="The file; - for a pipe.", metavar="FILE"),
    ],
    every: Annotated[
        bool, typer.Option("--all", help="Every letter in the queue, unanswered ones too.")
    ] = False,
    code: CodeOption = None,
    category: CategoryOption = None,
    origin: OriginOption = None,
    company: CompanyOption = None,
    target: TargetOption = None,
    payment: PaymentOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    text: TextOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> ExitCode:
    """Copy letters with their bodies into a file: before an upgrade, or for another broker.

    The queue is walked once, and every letter stays in it. The file holds personal data, is
    readable by its owner alone, and its making is audited. `import` brings it in elsewhere.
    """
    context = context_of(typer_context, config=config, json=json)
    wanted = wanted_letters(
        now=context.clock.now(),
        code=code,
        category=category,
        origin=origin,
        company=company,
        target=target,
        payment=payment,
        since=since,
        until=until,
        text=text,
    )
    named = operation_ids or []
    if [bool(named), wanted != EVERY_LETTER, every].count(True) != 1:
        raise CommandError(
            "which_letters",
            "Say which letters: ids, or a filter, or --all.",
            exit_code=ExitCode.USAGE,
            fix="Give exactly one of the three; `payment-worker dead-letters` shows what there is.",
        )
    if output == _STANDARD_OUTPUT:
        _refuse_standard_output(context)
    try:
        return run_with_ledger(_exported(context, wanted, named, output, is_answered=yes))
    except ExportError as error:
        raise export_error(error) from error
    except NotConfirmedError as error:
        raise CommandError(
            "not_confirmed",
            "The broker did not confirm; no file was written, every letter is in its queue.",
            exit_code=ExitCode.FAILED,
            fix="Run the same command again once the broker confirms.",
        ) from error


def export_error(error: ExportError) -> CommandError:
    """What is wrong with an export's file, as an error of the command line."""
    return CommandError(error.code, error.message, exit_code=ExitCode.FAILED, fix=error.fix)


def _refuse_standard_output(context: CommandContext) -> None:
    if context.output.is_json or sys.stdout.isatty():
        raise CommandError(
            "output_needed",
            "Letters go into a pipe only as they are, and never to a screen.",
            exit_code=ExitCode.USAGE,
            field="--output",
            fix="Name a file, or pipe it on without --json.",
        )


async def _exported(
    context: CommandContext,
    wanted: LetterFilter,
    named: list[UUID],
    path: Path,
    *,
    is_answered: bool,
) -> ExitCode:
    output = context.output
    async with opened_ledger(context) as ledger, opened_desk(context) as desk:
        operations = await _operations(ledger, wanted, named)
        depth = await desk.dead_letters.depth()
        if not (depth if operations is None else operations):
            output.say("No dead letters; no file was written.")
            return ExitCode.OK
        with _writing(context, ledger, path) as writer:
            meant = f"all {depth}" if operations is None else f"{len(operations)}"
            output.warn(
                "The file will hold whole requests, e-mail addresses among them: keep it as safe"
                " as the queue, and delete it when it has served."
            )
            output.confirm(f"Copy {meant} letters into {path}?", is_answered=is_answered)
            report = await _walked(context, ledger, desk, writer, operations, depth)
    return _tell(context, path, report)


async def _operations(
    ledger: Ledger, wanted: LetterFilter, named: list[UUID]
) -> frozenset[UUID] | None:
    """Whose letters are meant; ``None``: everybody's."""
    if named:
        return frozenset(named)
    return None if wanted == EVERY_LETTER else await wanted_operations(ledger, wanted)


@contextmanager
def _writing(context: CommandContext, ledger: Ledger, path: Path) -> Iterator[ExportWriter]:
    header = ExportHeader(
        environment=context.loaded().settings.environment, exported_at=ledger.clock.now()
    )
    if path == _STANDARD_OUTPUT:
        yield ExportWriter(Stream(sys.stdout.buffer), header)
        return
    with writing_export(path, header) as writer:
        yield writer


async def _walked(
    context: CommandContext,
    ledger: Ledger,
    desk: Desk,
    writer: ExportWriter,
    operations: frozenset[UUID] | None,
    depth: int,
) -> ExportReport:
    exporter = Exporter(
        ledger=ledger,
        queue=desk.dead_letters,
        publisher=desk.publisher,
        actor=operating_system_account(),
    )
    with context.output.progress("looked at", depth) as advance:
        return await exporter.export(writer, wanted=operations, on_progress=advance)


def _tell(context: CommandContext, path: Path, report: ExportReport) -> ExitCode:
    output = context.output
    if output.is_json:
        output.record(
            {
                "path": path,
                "letters": report.seal.letters,
                "sha256": report.seal.sha256,
                "repeated": report.repeated,
                "nameless": report.nameless,
                "missing": sorted(report.missing),
                "complete": report.is_complete,
            }
        )
    output.success(f"{report.seal.letters} letters in {path}; all of them are in the queue still.")
    if report.missing:
        shown = ", ".join(str(each) for each in sorted(report.missing)[:_SHOWN])
        more = len(report.missing) - _SHOWN
        output.warn(
            f"No letter of these is in the queue: {shown}{f' and {more} more' if more > 0 else ''}."
        )
    if report.nameless:
        output.warn(f"{report.nameless} letters do not say whose they are: not in the file.")
    if not report.is_complete:
        output.warn(
            "Somebody else took letters meanwhile: the file may lack some.",
            fix="Export again when nobody else reads the queue.",
        )
    is_whole = report.is_complete and not report.missing and not report.nameless
    return ExitCode.OK if is_whole else ExitCode.PARTIAL
