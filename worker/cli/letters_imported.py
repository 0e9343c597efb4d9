"""``payment-worker dead-letters import``: put exported letters among the dead letters."""

from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from worker.cli.actor import operating_system_account
from worker.cli.context import CommandContext, ConfigOption, FormatOption, JsonOption, context_of
from worker.cli.exit_codes import CommandError, ExitCode
from worker.cli.letters_exported import export_error
from worker.cli.opened_desk import opened_desk
from worker.cli.opened_ledger import opened_ledger, run_with_ledger
from worker.cli.output import Format, Output
from worker.contract.times import time_text
from worker.operators.exports.files import Export, ExportError, read_export
from worker.operators.exports.importing import Fate, Importer, ImportReport, QueueDisturbedError
from worker.operators.exports.lines import ExportedLetter
from worker.operators.walks import NotConfirmedError

_WHY = {
    Fate.STALE: "it was decided again since",
    Fate.DONE: "it is paid or cancelled",
    Fate.RESOLVED: "an operator set it aside",
}
"""Why a letter is left out for good; people are told of each of these."""


def register(group: typer.Typer) -> None:
    """Add the ``import`` command."""
    group.command(
        "import", epilog="Example: payment-worker dead-letters import letters.jsonl --dry-run"
    )(import_letters)


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
    shown = Shown(context.output)
    async with opened_ledger(context) as ledger:
        importer = Importer(ledger=ledger, actor=operating_system_account())
        report = await importer.rehearse(export, shown.show)
    shown.tell_people()
    return report


async def _imported(
    context: CommandContext, export: Export, reason: str, *, is_answered: bool
) -> ImportReport:
    output, shown = context.output, Shown(context.output)
    async with opened_ledger(context) as ledger, opened_desk(context) as desk:
        output.confirm(
            f"Put what the queue lacks of these {export.letters} letters among the dead letters?",
            is_answered=is_answered,
        )
        importer = Importer(ledger=ledger, actor=operating_system_account())
        steps = await desk.dead_letters.depth() + export.letters
        with output.progress("looked through and imported", steps) as advance:

            def on_fate(letter: ExportedLetter, fate: Fate) -> None:
                shown.show(letter, fate)
                advance(1)

            report = await importer.bring_in(
                export,
                queue=desk.dead_letters,
                publisher=desk.publisher,
                reason=reason,
                on_fate=on_fate,
                on_met=advance,
            )
    shown.tell_people()
    return report


class Shown:
    """Every letter at once for programs; for people, at the end, those left out for good."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._left_out: list[tuple[UUID, Fate]] = []

    def show(self, letter: ExportedLetter, fate: Fate) -> None:
        """Take note of one letter."""
        if self._output.format is not Format.HUMAN:
            self._output.record(
                {"payment_id": letter.operation_id, "sequence": letter.sequence, "fate": fate}
            )
        elif fate in _WHY:
            self._left_out.append((letter.operation_id, fate))

    def tell_people(self) -> None:
        """Tell the reasons, below the bar and not through it."""
        for operation_id, fate in self._left_out:
            record = {"payment_id": operation_id, "fate": fate}
            self._output.record(record, f"{operation_id}  left out: {_WHY[fate]}")


def _tell(context: CommandContext, report: ImportReport, *, is_rehearsed: bool) -> ExitCode:
    output, fates = context.output, report.fates
    published = sum(count for fate, count in fates.items() if fate.is_published)
    present = fates.get(Fate.PRESENT, 0)
    left_out = sum(fates.values()) - published - present
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
            f"{unknown} letters are not known to this ledger: replayed, those that were called"
            " before end in doubt.",
            fix="Use the ledger they were decided in; those that nobody has decided are found by"
            " `payment-worker dead-letters sync`.",
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
        output.success(
            f"{published} imported, {present} were in the queue already, {left_out} left out."
        )
    return ExitCode.OK
