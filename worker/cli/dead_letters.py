"""``payment-worker dead-letters``: what needs a person, and putting it back to work."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, TypeVar, assert_never
from uuid import UUID

import typer

from worker.cli.actor import operating_system_account
from worker.cli.context import CommandContext, ConfigOption, FormatOption, JsonOption, context_of
from worker.cli.exit_codes import ExitCode
from worker.cli.money import euros
from worker.cli.opened_desk import opened_desk
from worker.cli.opened_ledger import opened_ledger, run_with_ledger
from worker.cli.output import Format
from worker.codes import MEANINGS
from worker.deadletters import Act, DeadLetters, Replayed, ReplayReport
from worker.ledger import Ledger
from worker.records import LetterEntry, Record, State

Result = TypeVar("Result")

_COLUMNS = (
    "payment_id",
    "kind",
    "state",
    "code",
    "failed_at",
    "origin",
    "company",
    "order",
    "amount_cents",
    "sequence",
    "in_queue",
)
_PAGE = 500
_POLL_SECONDS = 0.5


def register(app: typer.Typer) -> None:
    """Add the ``dead-letters`` commands."""
    group = typer.Typer(help="List and replay dead letters.", no_args_is_help=True)
    group.command("list", epilog="Example: payment-worker dead-letters list --limit 20")(_list)
    group.command(
        "replay",
        epilog="Example: payment-worker dead-letters replay 5b1f0c1e-... --reason 'outage over'",
    )(_replay)
    app.add_typer(group, name="dead-letters")


def _list(
    typer_context: typer.Context,
    limit: Annotated[int, typer.Option(help="At most so many, oldest first.", min=1)] = 100,
    fail_if_empty: Annotated[
        bool, typer.Option("--fail-if-empty", help="Exit 5 when there is none.")
    ] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
    output_format: FormatOption = None,
) -> ExitCode:
    """List failed and doubtful operations, oldest first, from the ledger: no queue is touched."""
    context = context_of(typer_context, config=config, json=json, output_format=output_format)
    letters = run_with_ledger(_listed(context, limit))
    if context.output.format is Format.HUMAN:
        for letter in letters:
            context.output.record(_row(letter), _lines(letter))
    else:
        context.output.table(_COLUMNS, [_row(letter) for letter in letters])
    if not letters:
        context.output.say("No dead letters.")
        return ExitCode.NOTHING_MATCHED if fail_if_empty else ExitCode.OK
    return ExitCode.OK


def _replay(
    typer_context: typer.Context,
    payment_id: Annotated[UUID, typer.Argument(help="As `dead-letters list` shows it.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the audit.")] = "",
    wait: Annotated[
        float, typer.Option(help="Seconds to wait for the outcome; 0 does not wait.", min=0.0)
    ] = 60.0,
    config: ConfigOption = None,
    json: JsonOption = False,
    output_format: FormatOption = None,
) -> ExitCode:
    """Reopen one payment and put its letter back to work, then report its outcome.

    Only where nothing was applied or may have been. Running it twice pays once.
    """
    context = context_of(typer_context, config=config, json=json, output_format=output_format)
    report, record = run_with_ledger(
        _replayed(context, payment_id, reason or "no reason given", wait)
    )
    return _tell(context, payment_id, report, record)


async def _listed(context: CommandContext, limit: int) -> Sequence[LetterEntry]:
    async with opened_ledger(context) as ledger:
        letters: list[LetterEntry] = []
        after: tuple[datetime, UUID] | None = None
        while len(letters) < limit:
            page = await ledger.letters(after=after, limit=min(_PAGE, limit - len(letters)))
            if not page:
                break
            letters.extend(page)
            after = page[-1].failed_at, page[-1].operation_id
        return letters


async def _replayed(
    context: CommandContext, operation_id: UUID, reason: str, wait: float
) -> tuple[ReplayReport, Record | None]:
    act = Act(actor=operating_system_account(), run=f"R-{context.clock.nonce()[:8]}", reason=reason)
    async with opened_ledger(context) as ledger, opened_desk(context) as desk:
        letters = DeadLetters(ledger=ledger, queue=desk.dead_letters, publisher=desk.publisher)
        report = await letters.replay(operation_id, act)
        if report.result is not Replayed.REPLAYED:
            found = await ledger.find(operation_id)
            return report, None if found is None else found[0]
        if wait:
            context.output.say("Put back to work; waiting for a worker to decide it.")
        return report, await _outcome(context, ledger, operation_id, wait)


async def _outcome(
    context: CommandContext, ledger: Ledger, operation_id: UUID, wait: float
) -> Record | None:
    """Wait until the reopened operation is decided again; ``None`` when time is up."""
    ends = context.clock.monotonic() + wait
    while context.clock.monotonic() < ends:
        found = await ledger.find(operation_id)
        if found is not None and not found[0].state.is_open:
            return found[0]
        await context.clock.sleep(_POLL_SECONDS)
    return None


def _tell(
    context: CommandContext, payment_id: UUID, report: ReplayReport, record: Record | None
) -> ExitCode:
    output = context.output
    outcome = record.state.value if record is not None else None
    if output.is_json:
        output.record(
            {
                "payment_id": payment_id,
                "result": report.result,
                "sequence": report.sequence,
                "reason": report.reason,
                "outcome": outcome,
                "code": record.code if record is not None else None,
                "rotated": report.rotated,
                "stale": report.stale,
            }
        )
    match report.result:
        case Replayed.REPLAYED if record is not None:
            if record.state is State.SUCCEEDED:
                output.success(f"Replayed as sequence {report.sequence}: succeeded.")
                return ExitCode.OK
            output.warn(
                f"Replayed as sequence {report.sequence}, and not paid: {_described(record)}.",
                fix="Mend what its code says, then replay it again.",
            )
        case Replayed.REPLAYED:
            output.success(
                f"Back at work as sequence {report.sequence}; no worker has decided it yet."
            )
            return ExitCode.OK
        case Replayed.NOT_REOPENED:
            output.warn(
                f"Not replayed: {report.reason}.",
                fix="A doubt is settled by looking the reference up at the provider; a refused"
                " message needs a corrected request. The letter is kept.",
            )
        case Replayed.NOT_FOUND if record is not None:
            output.warn(
                f"No letter of it is in the queue; the ledger says {_described(record)}.",
                fix="There is nothing to replay, or another run has it in hand.",
            )
        case Replayed.NOT_FOUND:
            output.warn(
                "The ledger knows no such operation.",
                fix="Give the id of the first column of `payment-worker dead-letters list`.",
            )
        case Replayed.NOT_CONFIRMED:
            output.warn(
                f"Stopped: {report.reason}. The letter is still in the queue.",
                fix="Run the same command again once the broker confirms; nothing is paid twice.",
            )
        case other:
            assert_never(other)
    return ExitCode.FAILED


def _described(record: Record) -> str:
    if record.code is None:
        return record.state.value
    return f"{record.state.value}, {record.code}: {MEANINGS[record.code].en}"


def _lines(letter: LetterEntry) -> str:
    """Two lines for people: the id whole, so that it can be copied, and what it is about."""
    facts = letter.facts
    about = [f"{letter.failed_at:%Y-%m-%d %H:%MZ}", letter.kind, f"origin {letter.origin}"]
    if facts.id_societe is not None:
        about.append(f"company {facts.id_societe}")
    if facts.id_commande is not None:
        about.append(f"order {facts.id_commande}")
    if facts.amount is not None:
        about.append(euros(facts.amount))
    if not letter.confirmed:
        about.append("not in the queue")
    head = f"{letter.operation_id}  {letter.state:<9} {letter.code}"
    return f"{head}\n    {', '.join(about)}"


def _row(letter: LetterEntry) -> dict[str, object]:
    return {
        "payment_id": letter.operation_id,
        "kind": letter.kind,
        "state": letter.state,
        "code": letter.code,
        "failed_at": letter.failed_at,
        "origin": letter.origin,
        "company": letter.facts.id_societe,
        "order": letter.facts.id_commande,
        "amount_cents": letter.facts.amount,
        "sequence": letter.sequence,
        "in_queue": letter.confirmed,
    }
