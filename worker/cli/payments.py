"""``payment-worker payments``: the books, and the history of one."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated

import typer

from worker.cli.actor import operating_system_account
from worker.cli.books_shown import USUAL, Division, show
from worker.cli.commands import Entry, group_of
from worker.cli.context import CommandContext, ConfigOption, FormatOption, JsonOption, context_of
from worker.cli.exit_codes import CommandError, ExitCode
from worker.cli.opened_desk import opened_desk
from worker.cli.opened_ledger import opened_ledger, run_with_ledger
from worker.contract.times import read_time
from worker.operators.books import Bookkeeper, Report, Walk
from worker.operators.dead_letters import DeadLetters

_TIME = "With its zone: 2026-11-21T20:00:00Z."


COMMANDS = (
    Entry(
        "find",
        "worker.cli.payments_found",
        "Find payments, cancellations and refusals, the newest first; without a filter the newest.",
    ),
    Entry(
        "doubtful",
        "worker.cli.doubts_listed",
        "List what waits for a person: payments and cancellations whose outcome nobody knows.",
    ),
    Entry(
        "settle",
        "worker.cli.doubt_settled",
        "Settle a doubt once the provider has said what it has.",
    ),
    Entry(
        "acknowledge",
        "worker.cli.contradiction_acknowledged",
        "Take off the report what was applied although it was told otherwise, once it is seen to.",
    ),
    Entry(
        "cancel",
        "worker.cli.payment_cancelled",
        "Cancel a payment as its producer would: a basket item is removed, what waits is not sent.",
    ),
    Entry(
        "erase",
        "worker.cli.person_erased",
        "Erase a customer: e-mail and links in the ledger, and the dead letters that hold them.",
    ),
    Entry(
        "export",
        "worker.cli.person_exported",
        "Write what the ledger keeps about a customer, one JSON object for each operation.",
    ),
    Entry(
        "show",
        "worker.cli.payment_shown",
        "Show the history of one payment: request, attempts, answers, dead letter, replays.",
    ),
)


def register(app: typer.Typer) -> None:
    """Add the ``payments`` commands."""
    group = typer.Typer(
        help="Find payments, settle doubtful ones, draw up the books.",
        epilog="Example: payment-worker payments find --order 40017",
        cls=group_of(*COMMANDS),
        no_args_is_help=True,
    )
    group.command("report", epilog="Example: payment-worker payments report 2026-11-21")(_report)
    app.add_typer(group, name="payments")


def _report(
    typer_context: typer.Context,
    day: Annotated[
        str | None, typer.Argument(metavar="[DATE]", help="A day in UTC; today by default.")
    ] = None,
    since: Annotated[str | None, typer.Option(help=_TIME, metavar="TIME")] = None,
    until: Annotated[str | None, typer.Option(help=_TIME, metavar="TIME")] = None,
    walk: Annotated[
        bool | None,
        typer.Option(
            "--walk/--no-walk",
            help="Look at each dead letter, or at none; by default where the counts differ.",
            show_default=False,
        ),
    ] = None,
    by: Annotated[
        list[Division] | None,
        typer.Option(
            "--by",
            help="Tell the figures apart by this; give it again for more.",
            show_default=False,
        ),
    ] = None,
    no_broker: Annotated[
        bool, typer.Option("--no-broker", help="Leave out what needs the broker.")
    ] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
    output_format: FormatOption = None,
) -> ExitCode:
    """What was first seen in a period and where it stands; and everything that should not be so.

    The figures are the period's, the exceptions the whole ledger's. Exit 1 when there are any.
    --json has every figure by kind, state, account, mode, origin and day.
    Looking at each dead letter publishes it once again to the end of its queue: a queue gives
    its second letter only after its first.
    """
    context = context_of(typer_context, config=config, json=json, output_format=output_format)
    period = _period(context, day, since, until)
    wanted = {None: Walk.WHEN_COUNTS_DIFFER, True: Walk.ALWAYS, False: Walk.NEVER}[walk]
    if no_broker:
        if walk:
            raise _misused("--walk", "A walk needs the broker.")
        report, unclaimed = run_with_ledger(_from_ledger(context, period))
    else:
        report, unclaimed = run_with_ledger(_from_both(context, period, wanted))
    show(
        context.output,
        report,
        unclaimed=unclaimed,
        divisions=tuple(dict.fromkeys(by)) if by else USUAL,
    )
    return ExitCode.FAILED if report.findings else ExitCode.OK


async def _from_ledger(
    context: CommandContext, period: tuple[datetime, datetime]
) -> tuple[Report, int | None]:
    async with opened_ledger(context) as ledger:
        books = Bookkeeper(ledger=ledger, clock=ledger.clock, letters=None)
        return await books.report(since=period[0], until=period[1], walk=Walk.NEVER), None


async def _from_both(
    context: CommandContext, period: tuple[datetime, datetime], walk: Walk
) -> tuple[Report, int | None]:
    async with opened_ledger(context) as ledger, opened_desk(context) as desk:
        letters = DeadLetters(
            ledger=ledger,
            queue=desk.dead_letters,
            publisher=desk.publisher,
            actor=operating_system_account(),
        )
        books = Bookkeeper(ledger=ledger, clock=ledger.clock, letters=letters)
        report = await books.report(since=period[0], until=period[1], walk=walk)
        return report, await desk.unclaimed.depth()


def _period(
    context: CommandContext, day: str | None, since: str | None, until: str | None
) -> tuple[datetime, datetime]:
    """From the first moment on, and before the last."""
    if since is None and until is None:
        start = _midnight(context, day)
        return start, start + timedelta(days=1)
    if day is not None:
        raise _misused("DATE", "Give a date, or --since and --until, not both.")
    begin = _midnight(context, None) if since is None else _time("--since", since)
    end = context.clock.now() if until is None else _time("--until", until)
    if begin >= end:
        raise _misused("--until", "The period ends before it begins.")
    return begin, end


def _midnight(context: CommandContext, day: str | None) -> datetime:
    try:
        wanted = context.clock.now().date() if day is None else date.fromisoformat(day)
    except ValueError as error:
        raise _misused("DATE", "That is not a date: write it as 2026-11-21.") from error
    return datetime(wanted.year, wanted.month, wanted.day, tzinfo=UTC)


def _time(option: str, text: str) -> datetime:
    moment = read_time(text)
    if moment is None:
        raise _misused(option, "That is not a time with its zone: write 2026-11-21T20:00:00Z.")
    return moment


def _misused(field: str, message: str) -> CommandError:
    return CommandError("wrong_period", message, exit_code=ExitCode.USAGE, field=field)
