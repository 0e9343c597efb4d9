"""``payment-worker dead-letters import``: put exported letters among the dead letters."""

from pathlib import Path
from typing import Annotated

import typer

from worker.cli.actor import operating_system_account
from worker.cli.context import CommandContext, ConfigOption, FormatOption, JsonOption, context_of
from worker.cli.exit_codes import CommandError, ExitCode
from worker.cli.letters_exported import export_error
from worker.cli.opened_desk import opened_desk
from worker.cli.opened_ledger import opened_ledger, run_with_ledger
from worker.cli.output import Format
from worker.contract.times import time_text
from worker.exports.files import Export, ExportError, read_export
from worker.exports.importing import Fate, Importer, ImportReport, QueueDisturbedError
from worker.exports.lines import ExportedLetter
from worker.walks import NotConfirmedError

_WHY = {
    Fate.IMPORTED: "in the queue now",
    Fate.UNKNOWN: "in the queue now; this ledger does not know it",
    Fate.PRESENT: "not imported: the queue has it",
    Fate.STALE: "not imported: it was decided again since",
    Fate.DONE: "not imported: it is paid or cancelled",
    Fate.RESOLVED: "not imported: an operator set it aside",
}


def import_letters(
    typer_context: typer.Context,
    file: Annotated[Path, typer.Argument(help="As `dead-letters export` wrote it.")],
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", "-n", help="Only judge the letters, by the ledger alone."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    reason: Annotated[str, typer.Option(help="Why; kept in the audit.")] = "",
    config: ConfigOption = None,
    json: JsonOption = False,
    output_format: FormatOption = None,
) -> ExitCode:
    """Put the letters of a file among the dead letters: what the queue lacks, nothing twice.

    The whole file is proven first. Bring the ledger along to another broker: a letter whose
    ledger stayed behind ends in doubt when it is replayed. What is done by now is left out.
    Nothing is called or paid: that takes a `replay`.
    """
    context = context_of(typer_context, config=config, json=json, output_format=output_format)
    try:
        export = read_export(file)
        _refuse_foreign(context, export)
        context.output.say(
            f"{export.letters} letters of {time_text(export.exported_at)},"
            f" SHA-256 {export.sha256[:12]}."
        )
        report = run_with_ledger(
            _rehearsed(context, export)
            if dry_run
            else _imported(context, export, reason or "no reason given", is_answered=yes)
        )
    except ExportError as error:
        raise export_error(error) from error
    except (NotConfirmedError, QueueDisturbedError) as error:
        raise CommandError(
            "queue_not_walked",
            "The queue could not be looked through: the broker did not confirm, or somebody else"
            " took letters. None of the file was imported.",
            exit_code=ExitCode.FAILED,
            fix="Run the same command again when nobody else reads the queue.",
        ) from error
    return _tell(context, report, is_rehearsed=dry_run)


def _refuse_foreign(context: CommandContext, export: Export) -> None:
    environment = context.loaded().settings.environment
    if export.environment is not environment:
        raise CommandError(
            "export_foreign",
            f"{export.path} is of {export.environment}, and this is {environment}.",
            exit_code=ExitCode.FAILED,
            fix="Import it where its payments belong: letters never cross environments.",
        )


async def _rehearsed(context: CommandContext, export: Export) -> ImportReport:
    async with opened_ledger(context) as ledger:
        importer = Importer(ledger=ledger, actor=operating_system_account())
        return await importer.rehearse(export, lambda *each: _show(context, *each))


async def _imported(
    context: CommandContext, export: Export, reason: str, *, is_answered: bool
) -> ImportReport:
    output = context.output
    async with opened_ledger(context) as ledger, opened_desk(context) as desk:
        output.confirm(
            f"Put what the queue lacks of these {export.letters} letters among the dead letters?",
            is_answered=is_answered,
        )
        importer = Importer(ledger=ledger, actor=operating_system_account())
        with output.progress("imported or left out", export.letters) as advance:

            def on_fate(letter: ExportedLetter, fate: Fate) -> None:
                _show(context, letter, fate)
                advance(1)

            return await importer.bring_in(
                export,
                queue=desk.dead_letters,
                publisher=desk.publisher,
                reason=reason,
                on_fate=on_fate,
            )


def _show(context: CommandContext, letter: ExportedLetter, fate: Fate) -> None:
    """Every letter for programs; for people only those that are not simply imported."""
    output = context.output
    if output.format is Format.HUMAN and fate is Fate.IMPORTED:
        return
    output.record(
        {"payment_id": letter.operation_id, "sequence": letter.sequence, "fate": fate},
        f"{letter.operation_id}  {_WHY[fate]}",
    )


def _tell(context: CommandContext, report: ImportReport, *, is_rehearsed: bool) -> ExitCode:
    output, fates = context.output, report.fates
    published = sum(count for fate, count in fates.items() if fate.is_published)
    left_out = sum(fates.values()) - published
    if output.is_json:
        output.record(
            {
                **{fate.value: fates.get(fate, 0) for fate in Fate},
                "dry_run": is_rehearsed,
                "complete": report.is_complete,
            }
        )
    if unknown := fates.get(Fate.UNKNOWN, 0):
        output.warn(
            f"{unknown} letters are not known to this ledger: replayed, they end in doubt.",
            fix="Use the ledger they were decided in.",
        )
    if not report.is_complete:
        output.warn(
            f"Stopped after {published} letters: the broker did not confirm.",
            fix="Run the same command again: what is in the queue is left out then.",
        )
        return ExitCode.PARTIAL if published else ExitCode.FAILED
    if is_rehearsed:
        output.success(
            f"{published} would be put in the queue unless it has them, {left_out} left out."
        )
    else:
        output.success(f"{published} imported, {left_out} left out.")
    return ExitCode.OK
