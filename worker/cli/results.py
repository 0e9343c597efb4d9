"""``payment-worker results``: sending stored answers again."""

from typing import Annotated
from uuid import UUID

import typer

from worker.cli.actor import operating_system_account
from worker.cli.completions import origins
from worker.cli.context import CommandContext, ConfigOption, FormatOption, JsonOption, context_of
from worker.cli.exit_codes import CommandError, ExitCode
from worker.cli.missed_answers import resend_missed, wanted_answers
from worker.cli.opened_desk import opened_desk
from worker.cli.opened_ledger import opened_ledger, run_with_ledger
from worker.lifecycle.resend import Resending, ResendWish
from worker.operators.unclaimed import KeptBecause, ResendReport, UnclaimedEvents

_WHY = {
    Resending.OPEN: "it is open: its next decision is sent by itself",
    Resending.UNKNOWN: "the ledger knows no such operation",
    Resending.OVERTAKEN: "a newer answer has taken its place",
}
_KEPT = {
    KeptBecause.NO_ROW: "the ledger does not know it",
    KeptBecause.OPEN: "its payment is open again",
}


def register(app: typer.Typer) -> None:
    """Add the ``results`` commands."""
    group = typer.Typer(
        help="Send stored answers again.",
        epilog="Example: payment-worker results resend --unclaimed --reason 'dcp is bound again'",
        no_args_is_help=True,
    )
    group.command(
        "resend",
        epilog="Example: payment-worker results resend --origin dcp --since 2h"
        " --reason 'its queue was deleted'",
    )(_resend)
    # With a single command Typer would make the group the command itself.
    group.callback()(_group)
    app.add_typer(group, name="results")


def _group() -> None:
    """Send stored answers again."""


def _resend(
    typer_context: typer.Context,
    unclaimed: Annotated[
        bool, typer.Option("--unclaimed", help="Everything no subscriber was bound for.")
    ] = False,
    payment: Annotated[
        UUID | None, typer.Option("--payment", help="The newest answer of this one.")
    ] = None,
    origin: Annotated[
        str | None,
        typer.Option(
            "--origin",
            help="What this id_origin was answered within a period.",
            autocompletion=origins,
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            help="With --origin, decided from then on: 2026-11-21T20:00:00Z, or how long ago: 2h."
        ),
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="With --origin, decided before then; now when not given.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="With --origin, do not ask.")] = False,
    reason: Annotated[str, typer.Option(help="Why; kept in the audit.")] = "",
    config: ConfigOption = None,
    json: JsonOption = False,
    output_format: FormatOption = None,
) -> ExitCode:
    """Mark the newest answers as unpublished; a worker begins to send them within three minutes.

    Each goes out under its own event id, so a subscriber that has it drops it. An answer that a
    newer one has overtaken is never sent. One origin's answers reach its own subscriber alone.
    """
    context = context_of(typer_context, config=config, json=json, output_format=output_format)
    if [unclaimed, payment is not None, origin is not None].count(True) != 1:
        raise CommandError(
            "one_of_three",
            "Say what to send again: --unclaimed, --payment or --origin.",
            exit_code=ExitCode.USAGE,
            fix="Give exactly one of the three.",
        )
    why = reason or "no reason given"
    if origin is not None:
        missed = wanted_answers(context, origin, since=since, until=until)
        return run_with_ledger(resend_missed(context, missed, reason=why, is_answered=yes))
    if since is not None or until is not None:
        raise CommandError(
            "wrong_period",
            "Only the answers of an origin are asked for by a period.",
            exit_code=ExitCode.USAGE,
            field="--until" if since is None else "--since",
            fix="Give it with --origin.",
        )
    if payment is not None:
        return _tell_one(context, payment, run_with_ledger(_one(context, payment, why)))
    return _tell_walk(context, run_with_ledger(_walked(context, why)))


async def _one(context: CommandContext, operation_id: UUID, reason: str) -> Resending:
    wish = ResendWish(operation_id=operation_id, actor=operating_system_account(), reason=reason)
    async with opened_ledger(context) as ledger:
        return await ledger.payments.resend(wish)


async def _walked(context: CommandContext, reason: str) -> ResendReport:
    async with opened_ledger(context) as ledger, opened_desk(context) as desk:
        events = UnclaimedEvents(ledger=ledger, queue=desk.unclaimed, publisher=desk.publisher)
        return await events.resend(actor=operating_system_account(), reason=reason)


def _tell_one(context: CommandContext, payment: UUID, result: Resending) -> ExitCode:
    if context.output.is_json:
        context.output.record({"payment_id": payment, "result": result})
    if result is Resending.MARKED:
        context.output.success("Marked; a worker sends it within three minutes.")
        return ExitCode.OK
    context.output.warn(f"Not sent: {_WHY[result]}.")
    return ExitCode.FAILED


def _tell_walk(context: CommandContext, report: ResendReport) -> ExitCode:
    output = context.output
    if output.is_json:
        output.record(
            {
                "marked": report.marked,
                "overtaken": report.overtaken,
                "kept": [
                    {"event_id": kept.event_id, "reason": kept.reason} for kept in report.kept
                ],
                "complete": report.is_complete,
            }
        )
    for kept in report.kept:
        output.warn(f"Left in the queue: {kept.event_id}, {_KEPT[kept.reason]}.")
    if not report.is_complete:
        output.warn(
            "Stopped: the broker did not confirm. What was not reached is still in the queue.",
            fix="Run the same command again.",
        )
        return ExitCode.FAILED
    output.success(
        f"{report.marked} marked, a worker sends them within three minutes;"
        f" {report.overtaken} overtaken by a newer answer and dropped."
    )
    return ExitCode.PARTIAL if report.kept else ExitCode.OK
