"""``payment-worker payments cancel``: a payment is taken back on an operator's word."""

from typing import Annotated
from uuid import UUID

import typer

from worker.cli.actor import operating_system_account
from worker.cli.context import CommandContext, ConfigOption, FormatOption, JsonOption, context_of
from worker.cli.exit_codes import CommandError, ExitCode
from worker.cli.letters_parked import ReasonOption, YesOption
from worker.cli.money import euros
from worker.cli.opened_desk import opened_desk
from worker.cli.opened_ledger import opened_ledger, run_with_ledger
from worker.cli.reasons import checked_reason
from worker.operators.cancellations import Asked, Cancellations, NotAsked, NotConfirmed
from worker.records import Record, State


def register(group: typer.Typer) -> None:
    """Add the ``cancel`` command."""
    group.command(
        "cancel",
        epilog="Example: payment-worker payments cancel 5b1f0c1e-... --reason 'ordered twice'",
    )(cancel_payment)


def cancel_payment(
    typer_context: typer.Context,
    payment_id: Annotated[UUID, typer.Argument(metavar="ID", help="Of the payment.")],
    *,
    reason: ReasonOption,
    yes: YesOption = False,
    wait: Annotated[
        float, typer.Option("--wait", help="Seconds to wait for what comes of it.", min=0.0)
    ] = 10.0,
    config: ConfigOption = None,
    json: JsonOption = False,
    output_format: FormatOption = None,
) -> ExitCode:
    """Cancel a payment as its producer would: a basket item is removed, what waits is not sent.

    A worker carries it out and tells its producer. A link cannot be taken back. Typed twice, it
    counts once; after a failed one it is tried anew. Exit 1 where it was not cancelled.
    """
    context = context_of(typer_context, config=config, json=json, output_format=output_format)
    why = checked_reason(reason, example="ordered twice, ticket 4711")
    return run_with_ledger(_cancelled(context, payment_id, why, wait, is_answered=yes))


async def _cancelled(
    context: CommandContext, payment_id: UUID, reason: str, seconds: float, *, is_answered: bool
) -> ExitCode:
    async with opened_ledger(context) as ledger:
        cancellations = Cancellations(ledger=ledger, clock=ledger.clock)
        payment = await cancellations.bar(payment_id)
        if isinstance(payment, NotAsked):
            return _tell_bar(context, payment_id, payment)
        context.output.confirm(_question(payment), is_answered=is_answered)
        async with opened_desk(context) as desk:
            asked = await cancellations.ask(
                payment, desk.publisher, actor=operating_system_account(), reason=reason
            )
        if isinstance(asked, NotConfirmed):
            raise CommandError(
                "not_confirmed",
                "The broker did not confirm the cancellation.",
                exit_code=ExitCode.UNREACHABLE,
                fix="Run the same command again: it counts once.",
            )
        return _tell(
            context, payment_id, asked, await cancellations.outcome(asked, seconds=seconds)
        )


def _tell_bar(context: CommandContext, payment_id: UUID, bar: NotAsked) -> ExitCode:
    if not bar.is_cancelled:
        raise CommandError(
            "not_cancellable",
            f"It was not cancelled: {bar.reason}.",
            exit_code=ExitCode.FAILED,
            field=str(payment_id),
            fix=f"Look at it: payment-worker payments show {payment_id}",
        )
    if context.output.is_json:
        context.output.record(_row(payment_id, None, State.CANCELLED.value, None))
    context.output.success("It is cancelled already. Nothing was sent.")
    return ExitCode.OK


def _question(payment: Record) -> str:
    facts = payment.facts
    amount = "" if facts.amount is None else f" of {facts.payment_run_mode} {euros(facts.amount)}"
    what = (
        "its basket item is removed" if payment.item_id is not None else "it is not sent any more"
    )
    return (
        f"Cancel payment {payment.operation_id}{amount}, order {facts.id_commande} of client"
        f" {facts.id_client}? Then {what}, and {payment.origin} is told."
    )


def _tell(
    context: CommandContext, payment_id: UUID, asked: Asked, record: Record | None
) -> ExitCode:
    output = context.output
    state = None if record is None else record.state
    code = None if record is None else record.code
    show = f"payment-worker payments show {asked.operation_id}"
    if output.is_json:
        result = "cancelled" if state is State.SUCCEEDED else "asked" if _is_open(state) else "not"
        output.record(_row(payment_id, asked.operation_id, result, code))
    if state is State.SUCCEEDED:
        output.success(f"Cancelled; its producer is told. Cancellation {asked.operation_id}.")
        return ExitCode.OK
    if _is_open(state):
        output.success(f"Asked for; a worker has not decided it yet: {show}")
        return ExitCode.OK
    said = "it is in doubt" if state is State.IN_DOUBT else "it was refused"
    output.warn(f"Not cancelled: {said}, {code}.", fix=f"Look at it: {show}")
    return ExitCode.FAILED


def _is_open(state: State | None) -> bool:
    return state is None or state.is_open


def _row(
    payment_id: UUID, operation_id: UUID | None, result: str, code: str | None
) -> dict[str, object]:
    return {
        "payment_id": payment_id,
        "cancellation_id": operation_id,
        "result": result,
        "code": code,
    }
