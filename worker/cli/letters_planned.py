"""``payment-worker dead-letters plan``: freeze which letters a replay is about."""

from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from worker.cli.actor import operating_system_account
from worker.cli.context import CommandContext, ConfigOption, JsonOption, context_of
from worker.cli.exit_codes import CommandError, ExitCode
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
from worker.cli.opened_ledger import opened_ledger, run_with_ledger
from worker.cli.plan_shown import show_plan
from worker.ledger import Ledger
from worker.letters import EVERY_LETTER, LetterFilter
from worker.operators.plans.files import PlanError, writing_plan
from worker.operators.plans.making import UnknownOperationsError, in_words, rows_named, rows_wanted
from worker.operators.plans.rows import Plan, PlanHeader
from worker.settings.values import read_duration


def register(group: typer.Typer) -> None:
    """Add the ``plan`` command."""
    group.command(
        "plan",
        epilog="Example: payment-worker dead-letters plan --code provider_unavailable -o plan.json",
    )(plan_letters)


def plan_letters(
    typer_context: typer.Context,
    operation_ids: Annotated[
        list[UUID] | None,
        typer.Argument(metavar="ID", help="As `dead-letters list` shows them.", show_default=False),
    ] = None,
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The plan's file.", metavar="FILE")
    ],
    expires: Annotated[str, typer.Option(help="How long the plan holds.")] = "4h",
    every: Annotated[bool, typer.Option("--all", help="Every letter there is.")] = False,
    code: CodeOption = None,
    category: CategoryOption = None,
    origin: OriginOption = None,
    company: CompanyOption = None,
    target: TargetOption = None,
    payment: PaymentOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    text: TextOption = None,
    fail_if_empty: Annotated[
        bool, typer.Option("--fail-if-empty", help="Exit 5 when there is none.")
    ] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> ExitCode:
    """Judge letters and write the verdicts to a file that `replay` takes; nothing is changed.

    Letters that come later are not in it. Read from the ledger: no queue is touched.
    """
    context = context_of(typer_context, config=config, json=json)
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
    if str(output) == "-":
        raise CommandError(
            "output_needed",
            "A plan is a file: `replay` reads it again.",
            exit_code=ExitCode.USAGE,
            field="--output",
            fix="Name a file: --output outage.plan",
        )
    named = operation_ids or []
    if [bool(named), wanted != EVERY_LETTER, every].count(True) != 1:
        raise CommandError(
            "which_letters",
            "Say which letters: ids, or a filter, or --all.",
            exit_code=ExitCode.USAGE,
            fix="Give exactly one of the three; `payment-worker dead-letters` shows what there is.",
        )
    try:
        plan = run_with_ledger(_planned(context, wanted, named, output, _lifetime(expires)))
    except PlanError as error:
        raise plan_error(error) from error
    except UnknownOperationsError as error:
        raise _unknown(error) from error
    show_plan(context.output, plan)
    return ExitCode.NOTHING_MATCHED if fail_if_empty and not plan.size else ExitCode.OK


def plan_error(error: PlanError) -> CommandError:
    """What is wrong with a plan file, as an error of the command line."""
    return CommandError(error.code, error.message, exit_code=ExitCode.FAILED, fix=error.fix)


async def _planned(
    context: CommandContext,
    wanted: LetterFilter,
    named: list[UUID],
    path: Path,
    lifetime: timedelta,
) -> Plan:
    async with opened_ledger(context) as ledger:
        header = _header(context, ledger, wanted, named, lifetime)
        rows = (
            rows_named(ledger, named)
            if named
            else rows_wanted(ledger, wanted, until=header.created_at)
        )
        with writing_plan(path, header) as writer, context.output.progress("Judged", None) as tell:
            async with aclosing(rows):
                async for row in rows:
                    writer.add(row)
                    tell(1)
            return writer.seal()


def _header(
    context: CommandContext,
    ledger: Ledger,
    wanted: LetterFilter,
    named: list[UUID],
    lifetime: timedelta,
) -> PlanHeader:
    now = ledger.clock.now()
    return PlanHeader(
        environment=context.loaded().settings.environment,
        created_at=now,
        expires_at=now + lifetime,
        actor=operating_system_account(),
        wanted={"ids": str(len(set(named)))} if named else in_words(wanted) or {"all": "true"},
    )


def _lifetime(text: str) -> timedelta:
    lifetime = read_duration(text)
    if lifetime is None or not timedelta(0) < lifetime <= timedelta(days=30):
        raise CommandError(
            "wrong_expiry",
            "A plan holds for a while, at most 30 days.",
            exit_code=ExitCode.USAGE,
            field="--expires",
            fix="Write it as 30m, 4h or 2d.",
        )
    return lifetime


def _unknown(error: UnknownOperationsError) -> CommandError:
    shown = ", ".join(str(each) for each in error.operation_ids[:5])
    more = len(error.operation_ids) - 5
    return CommandError(
        "unknown_payment",
        f"The ledger does not know {shown}{f' and {more} more' if more > 0 else ''}.",
        exit_code=ExitCode.FAILED,
        fix="Copy ids from the first column of `payment-worker dead-letters list`; no plan was"
        " written.",
    )
