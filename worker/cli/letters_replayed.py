"""``payment-worker dead-letters replay``: put letters back to work, and wait for the outcomes."""

import re
from typing import Annotated
from uuid import UUID

import typer

from worker.cli.actor import operating_system_account
from worker.cli.context import CommandContext, ConfigOption, FormatOption, JsonOption, context_of
from worker.cli.exit_codes import CommandError, ExitCode
from worker.cli.letters_planned import plan_error
from worker.cli.money import counted
from worker.cli.opened_ledger import opened_ledger, run_with_ledger
from worker.cli.plan_approved import approval_error, limits_of
from worker.cli.replay_intent import Intent, asked_for, check_reason, in_words, intended, steps_of
from worker.cli.replay_place import Account, account_of, opened_place
from worker.cli.replay_shown import (
    RunShown,
    exit_code_of,
    outcome_line,
    run_record,
    show_results,
    tell_end,
)
from worker.journal import ReplayRun, RunOptions, RunState
from worker.operators.approvals import (
    NotApprovedError,
    Undertaking,
    approval_of,
    real_cents,
)
from worker.operators.plans.files import PlanError
from worker.records import ActFacts
from worker.switches import Approval

_RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?)/(s|m|h)")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def register(group: typer.Typer) -> None:
    """Add the ``replay`` command."""
    group.command(
        "replay",
        epilog="Example: payment-worker dead-letters replay plan.json --reason 'outage over'",
    )(replay_letters)


def replay_letters(
    typer_context: typer.Context,
    what: Annotated[
        list[str],
        typer.Argument(metavar="ID...|PLAN", help="Ids as `list` shows them, or a plan's file."),
    ],
    include: Annotated[
        list[UUID] | None,
        typer.Option(help="A letter the plan would leave out; with --reason.", show_default=False),
    ] = None,
    canary: Annotated[
        int, typer.Option(help="So many first; all of them must be good.", min=0)
    ] = 5,
    rate: Annotated[str, typer.Option(help="Never faster than that: 5/s, 30/m.")] = "5/s",
    stop_after_failures: Annotated[
        int, typer.Option(help="Stop when a code comes back so often.", min=1)
    ] = 3,
    in_flight: Annotated[int, typer.Option(help="At most so many undecided at once.", min=1)] = 50,
    reason: Annotated[
        str | None, typer.Option(help="Why; kept in the audit.", show_default=False)
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    wait: Annotated[
        float, typer.Option(help="Seconds without any outcome before it gives up.", min=1.0)
    ] = 300.0,
    fail_if_empty: Annotated[
        bool, typer.Option("--fail-if-empty", help="Exit 5 when there is nothing to replay.")
    ] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
    output_format: FormatOption = None,
) -> ExitCode:
    """Put dead letters back to work, a few first, and report what came of each.

    Only what is safe, or named; a payment is reopened once, whoever else replays it.
    """
    context = context_of(typer_context, config=config, json=json, output_format=output_format)
    options = RunOptions(
        canary=canary,
        rate=_per_second(rate),
        stop_after_failures=stop_after_failures,
        in_flight=in_flight,
        wait_seconds=wait,
    )
    try:
        intent = run_with_ledger(intended(context, asked_for(what), include or []))
        check_reason(intent, reason)
        if not intent.count and not intent.refused:
            size = 0 if intent.plan is None else intent.plan.size
            why = f": none of the {counted(size, 'letter')} of the plan is safe" if size else ""
            context.output.say(f"There is nothing to replay{why}.")
            return ExitCode.NOTHING_MATCHED if fail_if_empty else ExitCode.OK
        approval = run_with_ledger(_allowed(context, intent))
        context.output.confirm(f"Replay {in_words(intent)}?", is_answered=yes or not intent.count)
        run = ReplayRun(
            run=f"R-{context.clock.nonce()[:8]}",
            actor=operating_system_account(),
            reason=reason or "no reason given",
            plan_sha256=None if intent.plan is None else intent.plan.sha256,
            options=options,
            state=RunState.RUNNING,
            started_at=context.clock.now(),
            wanted=intent.count,
        )
        account = run_with_ledger(_replayed(context, intent, run, approval))
    except PlanError as error:
        run_with_ledger(_note_denied(context, error.code))
        raise plan_error(error) from error
    except NotApprovedError as error:
        raise approval_error(error) from error
    return report(context, account)


async def _note_denied(context: CommandContext, rule: str) -> None:
    async with opened_ledger(context) as ledger:
        await ledger.acts.note_act(
            None,
            actor=operating_system_account(),
            action="replay_begin",
            detail=rule,
            is_denied=True,
        )


async def _allowed(context: CommandContext, intent: Intent) -> Approval | None:
    """The approval that a run needs, if it needs one; raises ``NotApprovedError``."""
    plan = intent.plan
    wanted = Undertaking(
        runner=operating_system_account(),
        planner=None if plan is None else plan.actor,
        plan_sha256=None if plan is None else plan.sha256,
        letters=intent.count,
        cents=real_cents(intent.cents),
        is_more=bool(intent.needs_reason) and plan is not None,
        unpriced=intent.unpriced,
    )
    async with opened_ledger(context) as ledger:
        return await approval_of(ledger, limits_of(context), wanted)


def report(context: CommandContext, account: Account) -> ExitCode:
    """Say what a run that has ended has come to."""
    output, run = context.output, account.run
    if output.is_json:
        for step in account.not_good:
            if step.result is None:
                output.record(outcome_line(run.run, step))
        output.record(
            {
                "event": "end",
                **run_record(run, account.results),
                "remaining": account.remaining,
            }
        )
    else:
        show_results(output, run, account.results, account.not_good)
    if account.left_out:
        output.say(f"Left out by the plan, and kept: {counted(len(account.left_out), 'letter')}.")
    tell_end(output, run, account.results, account.remaining)
    return exit_code_of(run, account.results)


async def _replayed(
    context: CommandContext, intent: Intent, run: ReplayRun, approval: Approval | None
) -> Account:
    async with opened_place(context) as place:
        output = context.output
        if output.is_json:
            output.record(
                {
                    "event": "run",
                    "run": run.run,
                    "letters": intent.count,
                    "amount_cents": {str(mode): cents for mode, cents in intent.cents.items()},
                    "plan_sha256": run.plan_sha256,
                }
            )
        else:
            output.say(f"Run {run.run}: {in_words(intent)}.")
        with RunShown(output, run) as shown:
            ended = await place.runner(shown).begin(
                run,
                steps_of(context, intent),
                facts=ActFacts(
                    cents=sum(intent.cents.values()),
                    approved_by=None if approval is None else approval.actor,
                ),
            )
        return await account_of(place.journal, ended)


def _per_second(rate: str) -> float:
    match = _RATE.fullmatch(rate.strip())
    per_second = 0.0 if match is None else float(match[1]) / _SECONDS[match[2]]
    if not per_second:
        raise CommandError(
            "wrong_rate",
            "That is no rate.",
            exit_code=ExitCode.USAGE,
            field="--rate",
            fix="Write it as 5/s, 30/m or 100/h.",
        )
    return per_second
