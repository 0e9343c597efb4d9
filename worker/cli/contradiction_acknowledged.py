"""``payment-worker payments acknowledge``: an exception that only people could mend is over."""

from typing import Annotated
from uuid import UUID

import typer

from worker.cli.actor import operating_system_account
from worker.cli.context import CommandContext, ConfigOption, FormatOption, JsonOption, context_of
from worker.cli.exit_codes import CommandError, ExitCode
from worker.cli.letters_parked import ReasonOption
from worker.cli.opened_ledger import opened_ledger, run_with_ledger
from worker.cli.reasons import checked_reason
from worker.operators.contradictions import NotAcknowledged, acknowledge


def register(group: typer.Typer) -> None:
    """Add the ``acknowledge`` command."""
    group.command(
        "acknowledge",
        epilog="Example: payment-worker payments acknowledge 5b1f0c1e-..."
        " --reason 'booked by hand, ticket 4711'",
    )(acknowledge_contradiction)


def acknowledge_contradiction(
    typer_context: typer.Context,
    payment_id: Annotated[
        UUID, typer.Argument(metavar="ID", help="As `payments report` shows it.")
    ],
    *,
    reason: ReasonOption,
    config: ConfigOption = None,
    json: JsonOption = False,
    output_format: FormatOption = None,
) -> ExitCode:
    """Take off the report what was applied although it was told otherwise, once it is seen to.

    Writes the audit alone: the payment stays as it was told, and nobody is told anything. What its
    provider says after that is an exception again. Typed twice, it counts once.
    """
    context = context_of(typer_context, config=config, json=json, output_format=output_format)
    why = checked_reason(reason, example="booked by hand, ticket 4711")
    return run_with_ledger(_acknowledged(context, payment_id, why))


async def _acknowledged(context: CommandContext, operation_id: UUID, reason: str) -> ExitCode:
    async with opened_ledger(context) as ledger:
        done = await acknowledge(
            ledger, operation_id, actor=operating_system_account(), reason=reason
        )
    if isinstance(done, NotAcknowledged):
        raise CommandError(
            "nothing_to_acknowledge",
            f"There is nothing to acknowledge: {done.reason}.",
            exit_code=ExitCode.FAILED,
            field=str(operation_id),
            fix="`payment-worker payments report` lists what is `applied but told otherwise`.",
        )
    if context.output.is_json:
        result = "acknowledged" if done.is_new else "acknowledged_before"
        context.output.record(
            {
                "payment_id": operation_id,
                "result": result,
                "state": done.record.state,
                "evidence": done.evidence,
            }
        )
    if done.is_new:
        context.output.success(
            f"Acknowledged: {done.evidence}. It stays {done.record.state},"
            " and is no exception any more."
        )
    else:
        context.output.success("It was acknowledged before. Nothing was changed.")
    return ExitCode.OK
