"""``dead-letters status``, ``stop``, ``resume`` and ``history``: replay runs, by their names."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Annotated

import typer

from worker.cli.actor import operating_system_account
from worker.cli.context import CommandContext, ConfigOption, FormatOption, JsonOption, context_of
from worker.cli.exit_codes import CommandError, ExitCode
from worker.cli.letters_replayed import report
from worker.cli.opened_ledger import opened_journal, run_with_ledger
from worker.cli.output import Format
from worker.cli.plan_approved import approval_error, limits_of
from worker.cli.replay_place import Account, ReplayPlace, account_of, opened_place, steps_now
from worker.cli.replay_shown import (
    RunShown,
    outcome_line,
    run_record,
    show_letter,
    show_results,
    tell_end,
)
from worker.journal import ReplayResult, ReplayRun
from worker.operator_ports import ReplayJournal
from worker.operators.approvals import NotApprovedError, check_resumption
from worker.operators.replays.runner import Runner, end_dead_run, purpose_of, results_of
from worker.operators.walks import LEASE, QueueLockedError

_RunArgument = Annotated[str, typer.Argument(help="As `history` shows it.", metavar="RUN")]

_STOP_SECONDS = 15.0
_POLL_SECONDS = 0.5
_COLUMNS = ("run", "state", "started_at", "ended_at", "actor", "wanted", "results", "reason")


def register(group: typer.Typer) -> None:
    """Add the ``status``, ``stop``, ``resume`` and ``history`` commands."""
    group.command("status", epilog="Example: payment-worker dead-letters status R-1a2b3c4d")(
        show_status
    )
    group.command("stop", epilog="Example: payment-worker dead-letters stop R-1a2b3c4d")(stop_run)
    group.command("resume", epilog="Example: payment-worker dead-letters resume R-1a2b3c4d")(
        resume_run
    )
    group.command("history", epilog="Example: payment-worker dead-letters history --limit 5")(
        show_history
    )


def show_status(
    typer_context: typer.Context,
    run: Annotated[
        str | None,
        typer.Argument(help="As `history` shows it; else the newest.", show_default=False),
    ] = None,
    letters: Annotated[
        bool, typer.Option("--letters", help="Each letter with what came of it, one by one.")
    ] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
    output_format: FormatOption = None,
) -> ExitCode:
    """Show how a replay run stands: results so far, and the letters that are not good."""
    context = context_of(typer_context, config=config, json=json, output_format=output_format)
    account = run_with_ledger(_account(context, run, each_letter=letters))
    if account is None:
        context.output.say("There was no replay run yet.")
        return ExitCode.OK
    output, found = context.output, account.run
    if output.is_json and not letters:
        steps = (*account.not_good, *account.left_out)
        output.record(
            run_record(found, account.results)
            | {"remaining": account.remaining}
            | {"not_good": [outcome_line(found.run, step) for step in steps]}
        )
    elif not letters:
        show_results(output, found, account.results, account.not_good)
    tell_end(output, found, account.results, account.remaining)
    return ExitCode.OK


def stop_run(
    typer_context: typer.Context,
    run: _RunArgument,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> ExitCode:
    """Ask a replay run to stop after the letter in hand; `resume` goes on with it."""
    context = context_of(typer_context, config=config, json=json)
    found = run_with_ledger(_stopped(context, run))
    if context.output.is_json:
        context.output.record({"run": found.run, "state": found.state, "why": found.stop_reason})
    if found.state.has_ended:
        context.output.success(f"Run {run} is {found.state}.")
        return ExitCode.OK
    context.output.warn(
        f"Run {run} was asked to stop, and has not answered: its process may have died.",
        fix=f"Look again: payment-worker dead-letters status {run}",
    )
    return ExitCode.FAILED


def resume_run(
    typer_context: typer.Context,
    run: _RunArgument,
    config: ConfigOption = None,
    json: JsonOption = False,
    output_format: FormatOption = None,
) -> ExitCode:
    """Go on with a replay run that was stopped or whose process died, a canary first.

    No letter is replayed twice by it.
    """
    context = context_of(typer_context, config=config, json=json, output_format=output_format)
    try:
        return report(context, run_with_ledger(_resumed(context, run)))
    except NotApprovedError as error:
        raise approval_error(error) from error


def show_history(
    typer_context: typer.Context,
    limit: Annotated[int, typer.Option(help="At most so many, newest first.", min=1)] = 20,
    config: ConfigOption = None,
    json: JsonOption = False,
    output_format: FormatOption = None,
) -> ExitCode:
    """List the replay runs, newest first: who, when, why, and what came of them."""
    context = context_of(typer_context, config=config, json=json, output_format=output_format)
    runs = run_with_ledger(_history(context, limit))
    output = context.output
    if output.is_json:
        output.table(tuple(run_record(*runs[0])) if runs else (), [run_record(*r) for r in runs])
    elif output.format is Format.HUMAN:
        for found, results in runs:
            output.record({}, _lines(found, results))
    else:
        output.table(_COLUMNS, [run_record(*each) for each in runs])
    if not runs:
        output.say("There was no replay run yet.")
    return ExitCode.OK


def _lines(run: ReplayRun, results: Mapping[ReplayResult, int]) -> str:
    came_to = ", ".join(f"{count} {result}" for result, count in results.items() if count)
    why = f" ({run.stop_reason})" if run.stop_reason else ""
    return (
        f"{run.run}  {run.state}{why}\n"
        f"    {run.started_at:%Y-%m-%d %H:%M:%SZ}, {run.actor}, {run.wanted} letters:"
        f" {came_to or 'nothing yet'}; {run.reason}"
    )


async def _account(
    context: CommandContext, name: str | None, *, each_letter: bool
) -> Account | None:
    async with opened_journal(context) as (_ledger, journal):
        if name is None:
            newest = await journal.runs(before=None, limit=1)
            if not newest:
                return None
            run = newest[0]
        else:
            run = await _found(journal, name)
        if each_letter:
            async for step in steps_now(journal, run.run):
                show_letter(context.output, run, step)
        return await account_of(journal, run)


async def _stopped(context: CommandContext, name: str) -> ReplayRun:
    async with opened_journal(context) as (ledger, journal):
        await _found(journal, name)
        actor = operating_system_account()
        await journal.ask_to_stop(name, actor=actor, at=ledger.clock.now())
        context.output.say(f"Asked; waiting at most {_STOP_SECONDS:.0f} seconds for it to answer.")
        ends = context.clock.monotonic() + _STOP_SECONDS
        while True:
            run = await _found(journal, name)
            if run.state.has_ended:
                return run
            with suppress(QueueLockedError):  # by its own process, or by somebody else's
                return await end_dead_run(ledger, journal, run, actor=actor)
            if context.clock.monotonic() >= ends:
                return run
            await context.clock.sleep(_POLL_SECONDS)


async def _resumed(context: CommandContext, name: str) -> Account:
    async with opened_place(context) as place:
        run = replace(await _found(place.journal, name), actor=operating_system_account())
        await check_resumption(place.ledger, limits_of(context), run)
        with RunShown(context.output, run) as shown:
            ended = await _resumed_when_free(context, place, place.runner(shown), run)
        return await account_of(place.journal, ended)


async def _resumed_when_free(
    context: CommandContext, place: ReplayPlace, runner: Runner, run: ReplayRun
) -> ReplayRun:
    """Resume a run once its own dead process no longer locks the queue."""
    waited: QueueLockedError | None = None
    while not place.stop.is_set():
        try:
            return await runner.resume(run)
        except QueueLockedError as locked:
            _check_dead(run, locked, waited)
            if waited is None:
                waited = locked
                context.output.say(
                    "The queue is still locked for this run: waiting until it is clear that its"
                    f" process has died, at most {LEASE.total_seconds():.0f} seconds."
                )
        await context.clock.sleep(_POLL_SECONDS)
    raise CommandError("cancelled", "Cancelled.", exit_code=ExitCode.CANCELLED)


def _check_dead(run: ReplayRun, locked: QueueLockedError, waited: QueueLockedError | None) -> None:
    """A lease that is renewed has a living holder; raises ``CommandError``."""
    holder = locked.holder
    if holder.purpose != purpose_of(run.run):
        raise locked
    if waited is not None and holder != waited.holder:
        raise CommandError(
            "run_is_alive",
            f"Run {run.run} is under way: {holder.actor} walks the queue for it.",
            exit_code=ExitCode.FAILED,
            field="RUN",
            fix=f"Watch it: payment-worker dead-letters status {run.run}",
        )


async def _history(
    context: CommandContext, limit: int
) -> Sequence[tuple[ReplayRun, Mapping[ReplayResult, int]]]:
    async with opened_journal(context) as (_ledger, journal):
        runs = await journal.runs(before=None, limit=limit)
        return [(run, await results_of(journal, run.run)) for run in runs]


async def _found(journal: ReplayJournal, name: str) -> ReplayRun:
    run = await journal.find_run(name)
    if run is None:
        raise CommandError(
            "unknown_run",
            f"There is no replay run {name}.",
            exit_code=ExitCode.FAILED,
            field="RUN",
            fix="See their names: payment-worker dead-letters history",
        )
    return run
