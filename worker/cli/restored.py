"""``payment-worker ledger restored``: telling the ledger that it came back from a backup."""

from datetime import datetime
from typing import Annotated

import typer

from worker.adapters.heartbeat import STALE_AFTER, last_beat
from worker.cli.actor import operating_system_account
from worker.cli.context import CommandContext, ConfigOption, JsonOption, context_of
from worker.cli.exit_codes import CommandError, ExitCode
from worker.cli.opened_ledger import opened_ledger, run_with_ledger
from worker.contract.times import read_time, time_text
from worker.lifecycle.lost import in_force_until
from worker.records import Restoration

_At = Annotated[
    str,
    typer.Option(
        "--at",
        metavar="TIME",
        help="When the backup was taken, or from when on nothing is known: 2026-11-22T03:00:00Z.",
    ),
]


def restored(
    typer_context: typer.Context,
    at: _At,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> ExitCode:
    """Say that the ledger is a backup of TIME, with every worker stopped; then start them.

    What may have been called since, and must not be called twice, becomes in doubt: open payments
    now, and for `timing.max_age` any request without a row that a worker had before.
    Payments whose provider refuses a repeat go on. One thing nobody can see: a producer that asks
    again, under its old key, for what was answered after the backup is a new request here.
    """
    context = context_of(typer_context, config=config, json=json)
    known_until = _known_until(context, at)
    _refuse_beside_a_worker(context)
    return run_with_ledger(_restored(context, known_until, is_answered=yes))


def _known_until(context: CommandContext, text: str) -> datetime:
    moment = read_time(text)
    if moment is None:
        raise CommandError(
            "not_a_time",
            "That is not a time with its zone.",
            exit_code=ExitCode.USAGE,
            field="--at",
            fix="Write it as 2026-11-21T03:00:00Z.",
        )
    if moment > context.clock.now():
        raise CommandError(
            "time_in_the_future",
            "No backup was taken in the future.",
            exit_code=ExitCode.USAGE,
            field="--at",
            fix="Give the time at which the backup was begun; mind the zone.",
        )
    return moment


def _refuse_beside_a_worker(context: CommandContext) -> None:
    """A worker learns of a restoration when it starts; at least the one beside us can be seen."""
    beat = last_beat(context.loaded().settings.heartbeat_file())
    if beat is not None and (context.clock.now() - beat).total_seconds() <= STALE_AFTER:
        raise CommandError(
            "worker_running",
            "A worker of this deployment is running here.",
            exit_code=ExitCode.FAILED,
            fix="Stop every worker, on every host, then say it again.",
        )


async def _restored(
    context: CommandContext, known_until: datetime, *, is_answered: bool
) -> ExitCode:
    output = context.output
    async with opened_ledger(context) as ledger:
        known = await ledger.restorations.latest()
        is_new = known is None or known.known_until != known_until
        restoration = (
            Restoration(
                known_until=known_until,
                restored_at=ledger.clock.now(),
                actor=operating_system_account(),
            )
            if known is None or is_new
            else known
        )
        affected = await ledger.restorations.affected(restoration)
        if is_new:
            output.say(
                f"The ledger knows everything until {time_text(known_until)} and nothing after."
            )
            output.say(f"{len(affected)} open operations become in doubt and need a person.")
        if is_new or affected:
            output.confirm("Is every worker stopped, and is that so?", is_answered=is_answered)
            await ledger.restorations.record(restoration, affected, is_new=is_new)
    until = in_force_until(restoration, context.loaded().settings.rules())
    if output.is_json:
        output.record(
            {
                "known_until": restoration.known_until,
                "restored_at": restoration.restored_at,
                "recorded": is_new,
                "in_doubt": len(affected),
                "in_force_until": until,
            }
        )
    elif is_new or affected:
        output.success(f"Recorded; {len(affected)} in doubt. Start the workers again.")
    else:
        output.success(f"Recorded before, at {time_text(restoration.restored_at)}.")
    return ExitCode.OK
