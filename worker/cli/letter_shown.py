"""``dead-letters show``: one letter with its payment's history, and its body on request."""

from typing import Annotated
from uuid import UUID

import typer

from worker.cli.actor import operating_system_account
from worker.cli.context import CommandContext, ConfigOption, FormatOption, JsonOption, context_of
from worker.cli.exit_codes import ExitCode
from worker.cli.opened_desk import opened_desk
from worker.cli.opened_ledger import opened_ledger, run_with_ledger
from worker.cli.output import Output
from worker.cli.payment_shown import Found, PaymentArgument, look_up, show_found
from worker.contract.masking import MaskedBody
from worker.ledger import Ledger
from worker.operators.bodies import BodyWish, NotSeen, look_into

_NOT_SEEN = {
    NotSeen.NOT_IN_QUEUE: (
        "The dead-letter queue holds no letter of it.",
        "One that was set aside lies in the parking queue: `payment-worker dead-letters restore`.",
    ),
    NotSeen.CUT_SHORT: (
        "The letter was not found before the walk was cut short.",
        "Run the same command again.",
    ),
}


def register(group: typer.Typer) -> None:
    """Add the ``show`` command."""
    group.command("show", epilog="Example: payment-worker dead-letters show 5b1f0c1e-... --json")(
        show_letter
    )


def show_letter(
    typer_context: typer.Context,
    payment_id: PaymentArgument,
    body: Annotated[
        bool,
        typer.Option("--body", help="Look into the letter too: walks the queue, and is audited."),
    ] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
    output_format: FormatOption = None,
) -> ExitCode:
    """Show one dead letter: what its headers say, whether a replay can help, and the history.

    Read from the ledger, so no queue is touched, but for --body: then the queue is walked as far
    as the letter, which is kept. Of the body e-mail and comment are masked, and whatever is no
    field of a request. Exit 1 where the body was asked for and not found.
    """
    context = context_of(typer_context, config=config, json=json, output_format=output_format)
    if not body:
        show_found(context.output, run_with_ledger(_looked_up(context, payment_id)))
        return ExitCode.OK
    found, seen = run_with_ledger(_looked_into(context, payment_id))
    return _show(context.output, found, seen)


async def _looked_up(context: CommandContext, operation_id: UUID) -> Found:
    async with opened_ledger(context) as ledger:
        return await _found(context, ledger, operation_id)


async def _found(context: CommandContext, ledger: Ledger, operation_id: UUID) -> Found:
    return await look_up(context, ledger, operation_id, ids_from="dead-letters list")


async def _looked_into(
    context: CommandContext, operation_id: UUID
) -> tuple[Found, MaskedBody | NotSeen]:
    wish = BodyWish(operation_id=operation_id, actor=operating_system_account())
    async with opened_ledger(context) as ledger:
        # An unknown id is told before any queue is walked.
        await _found(context, ledger, operation_id)
        async with opened_desk(context) as desk:
            seen = await look_into(
                wish, ledger=ledger, queue=desk.dead_letters, publisher=desk.publisher
            )
        return await _found(context, ledger, operation_id), seen


def _show(output: Output, found: Found, seen: MaskedBody | NotSeen) -> ExitCode:
    if isinstance(seen, NotSeen):
        show_found(output, found, {"body": None, "body_bytes": None})
        message, fix = _NOT_SEEN[seen]
        output.warn(message, fix=fix)
        return ExitCode.FAILED
    properties = None if seen.properties is None else dict(seen.properties)
    show_found(output, found, {"body": properties, "body_bytes": seen.size})
    if properties is None:
        output.warn(f"Its body of {seen.size} bytes is no JSON object: nothing of it is shown.")
    return ExitCode.OK
