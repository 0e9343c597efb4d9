"""``payments show`` and ``dead-letters show``: the whole history of one operation."""

from typing import Annotated
from uuid import UUID

import typer

from worker.cli.context import CommandContext, ConfigOption, FormatOption, JsonOption, context_of
from worker.cli.exit_codes import CommandError, ExitCode
from worker.cli.money import euros
from worker.cli.opened_ledger import opened_ledger, run_with_ledger
from worker.cli.output import Format, Output
from worker.letters import Verdict
from worker.records import History, Record
from worker.timeline import Moment, timeline_of

_COLUMNS = ("at", "what", "facts")


def show_payment(
    typer_context: typer.Context,
    payment_id: Annotated[UUID, typer.Argument(help="Of the payment, cancellation or refusal.")],
    config: ConfigOption = None,
    json: JsonOption = False,
    output_format: FormatOption = None,
) -> ExitCode:
    """Show the history of one payment: request, attempts, answers, dead letter, replays.

    Read from the ledger alone: no queue is touched. E-mail and link are never shown.
    """
    context = context_of(typer_context, config=config, json=json, output_format=output_format)
    history, verdict = run_with_ledger(_looked_up(context, payment_id))
    moments = timeline_of(history)
    if context.output.is_json:
        context.output.record(
            _about(history.record)
            | {"replay": verdict, "timeline": [_row(moment) for moment in moments]}
        )
    else:
        _show(context.output, history.record, verdict, moments)
    return ExitCode.OK


async def _looked_up(context: CommandContext, operation_id: UUID) -> tuple[History, Verdict | None]:
    async with opened_ledger(context) as ledger:
        history = await ledger.history(operation_id)
        if history is None:
            raise CommandError(
                "unknown_payment",
                "The ledger knows no such operation.",
                exit_code=ExitCode.FAILED,
                field="PAYMENT_ID",
                fix="Give an id as `payment-worker dead-letters list` or an event has it.",
            )
        return history, await ledger.verdict_on(operation_id)


def _about(record: Record) -> dict[str, object]:
    facts = record.facts
    return {
        "payment_id": record.operation_id,
        "kind": record.kind,
        "of_payment": record.payment_id,
        "state": record.state,
        "code": record.code,
        "sequence": record.sequence,
        "attempts": record.attempts,
        "origin": record.origin,
        "company": facts.id_societe,
        "client": facts.id_client,
        "order": facts.id_commande,
        "target": facts.payment_target,
        "mode": facts.payment_run_mode,
        "type": facts.payment_type,
        "amount_cents": facts.amount,
        "account": record.account,
        "reference": record.reference,
        "first_seen": record.first_seen,
        "not_after": record.not_after,
        "next_attempt_at": record.next_attempt_at,
        "has_link": record.link is not None,
    }


def _row(moment: Moment) -> dict[str, object]:
    return {"at": moment.at, "what": moment.what, **moment.facts}


def _show(
    output: Output, record: Record, verdict: Verdict | None, moments: tuple[Moment, ...]
) -> None:
    if output.format is Format.PLAIN:
        output.table(_COLUMNS, [_line(moment) for moment in moments])
        return
    for name, value in _about(record).items():
        if name == "amount_cents":
            if record.facts.amount is not None:
                output.text(f"{'amount':<16} {euros(record.facts.amount)}")
        elif value is not None:
            output.record({}, f"{name.replace('_', ' '):<16} {value}")
    if verdict is not None:
        output.text(f"{'a replay is':<16} {verdict.replace('_', ' ')}")
    output.text("")
    for moment in moments:
        line = _line(moment)
        head = f"{moment.at:%Y-%m-%d %H:%M:%S.%fZ}  {moment.what.replace('_', ' ')}"
        output.record(line, f"{head}\n    {line['facts']}")


def _line(moment: Moment) -> dict[str, object]:
    facts = (f"{name.replace('_', ' ')} {value}" for name, value in moment.facts.items())
    return {"at": moment.at, "what": moment.what, "facts": ", ".join(facts)}
