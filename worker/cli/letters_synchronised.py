"""``payment-worker dead-letters sync``: letters that the broker made come into the index."""

import typer

from worker.cli.actor import operating_system_account
from worker.cli.context import CommandContext, ConfigOption, FormatOption, JsonOption, context_of
from worker.cli.exit_codes import ExitCode
from worker.cli.money import counted
from worker.cli.opened_desk import opened_desk
from worker.cli.opened_ledger import opened_ledger, run_with_ledger
from worker.cli.output import Output
from worker.operators.unanswered import SyncReport, synchronise


def register(group: typer.Typer) -> None:
    """Add the ``sync`` command."""
    group.command("sync", epilog="Example: payment-worker dead-letters sync --json")(sync_letters)


def sync_letters(
    typer_context: typer.Context,
    config: ConfigOption = None,
    json: JsonOption = False,
    output_format: FormatOption = None,
) -> ExitCode:
    """Walk the dead-letter queue once round and note the letters that the broker made itself.

    A request that the broker gave up has no answer yet, and only its queue knows it. Each letter
    is published once again, to the end of the queue; none is lost, decided or replayed. One that
    a newer decision has overtaken, as of a settled doubt, is let go. Exit 3 when the walk ended
    early.
    """
    context = context_of(typer_context, config=config, json=json, output_format=output_format)
    report = run_with_ledger(_synchronised(context))
    _tell(context.output, report)
    return ExitCode.OK if report.is_complete else ExitCode.PARTIAL


async def _synchronised(context: CommandContext) -> SyncReport:
    async with opened_ledger(context) as ledger, opened_desk(context) as desk:
        with context.output.progress("Walked", await desk.dead_letters.depth()) as tell:
            return await synchronise(
                ledger=ledger,
                queue=desk.dead_letters,
                publisher=desk.publisher,
                actor=operating_system_account(),
                on_letter=lambda: tell(1),
            )


def _tell(output: Output, report: SyncReport) -> None:
    facts: dict[str, object] = {
        "walked": report.walked,
        "unanswered": report.unanswered,
        "added": report.added,
        "gone": report.gone,
        "overtaken": report.overtaken,
        "nameless": report.nameless,
        "complete": report.is_complete,
    }
    output.record(
        facts,
        f"{counted(report.walked, 'letter')} walked, {report.unanswered} of them unanswered"
        f" ({report.added} new); {report.gone} gone since the last time.",
    )
    if report.overtaken:
        output.say(f"Let go: {counted(report.overtaken, 'letter')} of what was decided since.")
    if report.nameless:
        output.warn(
            f"{counted(report.nameless, 'letter')} without the id of a payment.",
            fix="`payment-worker payments report --walk` names them as far as they have a name.",
        )
    if not report.is_complete:
        output.warn(
            "The walk ended early, so nothing was taken out of the index.",
            fix="Run it again; if the broker does not confirm, `payment-worker check` says more.",
        )
    if report.unanswered:
        output.say("See them: payment-worker dead-letters list --code unanswered")
