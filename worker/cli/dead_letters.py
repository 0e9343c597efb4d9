"""``payment-worker dead-letters``: what needs a person, and putting it back to work."""

from typing import Annotated, assert_never
from uuid import UUID

import typer

from worker.cli.actor import operating_system_account
from worker.cli.context import CommandContext, ConfigOption, FormatOption, JsonOption, context_of
from worker.cli.exit_codes import CommandError, ExitCode
from worker.cli.letter_edited import edit_letter
from worker.cli.letter_filter import (
    CategoryOption,
    CodeOption,
    CompanyOption,
    OriginOption,
    PaymentOption,
    SinceOption,
    TargetOption,
    TextOption,
    UntilOption,
    wanted_letters,
)
from worker.cli.letter_groups import show_groups
from worker.cli.letter_shown import show_letter
from worker.cli.letters_exported import export_letters
from worker.cli.letters_imported import import_letters
from worker.cli.letters_listed import list_letters
from worker.cli.letters_parked import resolve_letters, restore_letters
from worker.cli.letters_planned import plan_letters
from worker.cli.letters_synchronised import sync_letters
from worker.cli.opened_desk import opened_desk
from worker.cli.opened_ledger import opened_ledger, run_with_ledger
from worker.codes import MEANINGS
from worker.deadletters import Act, DeadLetters, Replayed, ReplayReport
from worker.ledger import Ledger
from worker.letters import EVERY_LETTER
from worker.records import Record, State

_POLL_SECONDS = 0.5


def register(app: typer.Typer) -> None:
    """Add the ``dead-letters`` commands."""
    group = typer.Typer(
        help="Group, list, show, plan, edit, resolve and replay dead letters.",
        epilog="Example: payment-worker dead-letters --json",
        invoke_without_command=True,
    )
    group.callback()(_groups)
    group.command(
        "list", epilog="Example: payment-worker dead-letters list --code provider_unavailable"
    )(list_letters)
    group.command("sync", epilog="Example: payment-worker dead-letters sync --json")(sync_letters)
    group.command("show", epilog="Example: payment-worker dead-letters show 5b1f0c1e-... --json")(
        show_letter
    )
    group.command(
        "plan",
        epilog="Example: payment-worker dead-letters plan --code provider_unavailable -o plan.json",
    )(plan_letters)
    group.command(
        "edit",
        epilog="Example: payment-worker dead-letters edit 5b1f0c1e-... --email jo@example.org"
        " --reason 'customer called, ticket 4711'",
    )(edit_letter)
    group.command(
        "resolve",
        epilog="Example: payment-worker dead-letters resolve 5b1f0c1e-... --reason 'paid by hand'",
    )(resolve_letters)
    group.command(
        "restore",
        epilog="Example: payment-worker dead-letters restore 5b1f0c1e-... --reason 'not paid yet'",
    )(restore_letters)
    group.command(
        "export", epilog="Example: payment-worker dead-letters export --all --output letters.jsonl"
    )(export_letters)
    group.command(
        "import", epilog="Example: payment-worker dead-letters import letters.jsonl --dry-run"
    )(import_letters)
    group.command(
        "replay",
        epilog="Example: payment-worker dead-letters replay 5b1f0c1e-... --reason 'outage over'",
    )(_replay)
    app.add_typer(group, name="dead-letters")


def _groups(
    typer_context: typer.Context,
    code: CodeOption = None,
    category: CategoryOption = None,
    origin: OriginOption = None,
    company: CompanyOption = None,
    target: TargetOption = None,
    payment: PaymentOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    text: TextOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
    output_format: FormatOption = None,
) -> ExitCode:
    """Group the dead letters by code: how many, since when, and can a replay help.

    Read from the ledger alone: no queue is touched.
    """
    context = context_of(typer_context, config=config, json=json, output_format=output_format)
    wanted = wanted_letters(
        now=context.clock.now(),
        code=code,
        category=category,
        origin=origin,
        company=company,
        target=target,
        payment=payment,
        since=since,
        until=until,
        text=text,
    )
    if typer_context.invoked_subcommand is None:
        show_groups(context, wanted)
    elif wanted != EVERY_LETTER:
        raise CommandError(
            "misplaced_filter",
            "Which letters are meant stands behind the command's name.",
            exit_code=ExitCode.USAGE,
            fix=f"Write: payment-worker dead-letters {typer_context.invoked_subcommand} --code ...",
        )
    else:
        typer_context.obj = context.options  # given before the command's name, they count for it
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


async def _replayed(
    context: CommandContext, operation_id: UUID, reason: str, wait: float
) -> tuple[ReplayReport, Record | None]:
    act = Act(actor=operating_system_account(), run=f"R-{context.clock.nonce()[:8]}", reason=reason)
    async with opened_ledger(context) as ledger, opened_desk(context) as desk:
        letters = DeadLetters(
            ledger=ledger,
            queue=desk.dead_letters,
            publisher=desk.publisher,
            actor=operating_system_account(),
        )
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
