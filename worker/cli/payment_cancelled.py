"""``payment-worker payments cancel``: a payment is taken back on an operator's word."""

from typing import Annotated
from uuid import UUID

import typer

from worker.cli.account_shown import hindrance_of
from worker.cli.actor import operating_system_account
from worker.cli.context import CommandContext, ConfigOption, FormatOption, JsonOption, context_of
from worker.cli.exit_codes import CommandError, ExitCode
from worker.cli.letters_parked import ReasonOption, YesOption
from worker.cli.money import euros
from worker.cli.opened_desk import opened_desk
from worker.cli.opened_ledger import opened_ledger, run_with_ledger
from worker.cli.reasons import checked_reason
from worker.ledger import Ledger
from worker.operators.accounts import standings
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
        record = await cancellations.outcome(asked, seconds=seconds)
        if record is None or record.state.is_open:
            _tell_open(context, payment_id, asked, await _hindrance(ledger, payment))
            return ExitCode.OK
        return _tell(context, payment_id, asked, record)


async def _hindrance(ledger: Ledger, payment: Record) -> str | None:
    """What stands between a removal and its account; what waits there needs no account."""
    if payment.account is None or payment.state is not State.SUCCEEDED:
        return None
    own, *_paused = await standings(ledger, (payment.account,))
    return hindrance_of(own)


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


def _tell_open(
    context: CommandContext, payment_id: UUID, asked: Asked, hindrance: str | None
) -> None:
    output = context.output
    if output.is_json:
        output.record(_row(payment_id, asked.operation_id, "asked", None))
    output.success(
        "Asked for; a worker has not decided it yet:"
        f" payment-worker payments show {asked.operation_id}"
    )
    if hindrance is not None:
        # The shortest step of an uncounted wait is half a minute, for a payment as for this.
        output.say(f"It waits for its account, half a minute or longer: {hindrance}")


def _tell(context: CommandContext, payment_id: UUID, asked: Asked, record: Record) -> ExitCode:
    output = context.output
    is_cancelled = record.state is State.SUCCEEDED
    if output.is_json:
        result = "cancelled" if is_cancelled else "not"
        output.record(_row(payment_id, asked.operation_id, result, record.code))
    if is_cancelled:
        output.success(f"Cancelled; its producer is told. Cancellation {asked.operation_id}.")
        return ExitCode.OK
    said = "it is in doubt" if record.state is State.IN_DOUBT else "it was refused"
    output.warn(
        f"Not cancelled: {said}, {record.code}.",
        fix=f"Look at it: payment-worker payments show {asked.operation_id}",
    )
    return ExitCode.FAILED


def _row(
    payment_id: UUID, operation_id: UUID | None, result: str, code: str | None
) -> dict[str, object]:
    return {
        "payment_id": payment_id,
        "cancellation_id": operation_id,
        "result": result,
        "code": code,
    }
