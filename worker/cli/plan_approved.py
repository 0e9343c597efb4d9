"""``payment-worker dead-letters approve``: another account lets a large plan be replayed."""

from pathlib import Path
from typing import Annotated

import typer

from worker.cli.actor import operating_system_account
from worker.cli.context import CommandContext, ConfigOption, FormatOption, JsonOption, context_of
from worker.cli.exit_codes import CommandError, ExitCode
from worker.cli.letters_planned import plan_error
from worker.cli.opened_ledger import opened_ledger, run_with_ledger
from worker.cli.plan_shown import next_command, show_sums
from worker.operators.approvals import ApprovalLimits, NotApprovedError, approve
from worker.operators.plans.files import PlanError, read_plan
from worker.operators.plans.rows import Plan
from worker.switches import Approval


def register(group: typer.Typer) -> None:
    """Add the ``approve`` command."""
    group.command(
        "approve",
        epilog="Example: payment-worker dead-letters approve plan.json --reason 'looked at it'",
    )(approve_plan)


def approve_plan(
    typer_context: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="PLAN", help="The plan's file.")],
    *,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the audit.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
    output_format: FormatOption = None,
) -> ExitCode:
    """Approve a plan that somebody else has made, so that it may be replayed above the limits.

    Needed above operators.approval_letters and operators.approval_cents, by another account than
    the one that planned and the one that replays; for this very plan, until it expires.
    """
    context = context_of(typer_context, config=config, json=json, output_format=output_format)
    if not reason.strip():
        raise CommandError(
            "reason_missing",
            "The audit needs a reason.",
            exit_code=ExitCode.USAGE,
            field="--reason",
            fix="Say what you have looked at, without names.",
        )
    environment = context.loaded().settings.environment
    try:
        plan = read_plan(path, now=context.clock.now(), environment=environment)
        show_sums(context.output, plan)
        context.output.confirm(
            f"Approve this plan of {plan.actor}, of {plan.size} letters?", is_answered=yes
        )
        approval = run_with_ledger(_approved(context, plan, reason.strip()))
    except PlanError as error:
        raise plan_error(error) from error
    except NotApprovedError as error:
        raise approval_error(error) from error
    if context.output.is_json:
        context.output.record(
            {
                "plan_sha256": approval.plan_sha256,
                "approved_by": approval.actor,
                "reason": approval.reason,
                "at": approval.at,
                "planned_by": plan.actor,
            }
        )
    context.output.success(f"Approved {path}, until {plan.expires_at:%Y-%m-%d %H:%MZ}.")
    context.output.say(f"Next, by another account: {next_command(plan)}")
    return ExitCode.OK


def limits_of(context: CommandContext) -> ApprovalLimits:
    """Above what the settings ask for another account."""
    asked = context.loaded().settings.operators
    return ApprovalLimits(letters=asked.approval_letters, cents=asked.approval_cents)


def approval_error(error: NotApprovedError) -> CommandError:
    """Why a plan was not approved, or a run not begun, as an error of the command line."""
    return CommandError(error.code, error.message, exit_code=ExitCode.FAILED, fix=error.fix)


async def _approved(context: CommandContext, plan: Plan, reason: str) -> Approval:
    async with opened_ledger(context) as ledger:
        return await approve(ledger, plan, actor=operating_system_account(), reason=reason)
