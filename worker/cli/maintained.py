"""``payment-worker ledger maintain``: erasing what is past its time."""

from typing import Annotated

import typer

from worker.cli.actor import operating_system_account
from worker.cli.context import CommandContext, ConfigOption, JsonOption, context_of
from worker.cli.exit_codes import CommandError, ExitCode
from worker.cli.money import counted
from worker.cli.opened_ledger import opened_store, run_with_ledger
from worker.operators.retention import Keeper, Kept
from worker.operators.walks import QueueLockedError


def maintain(
    typer_context: typer.Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what is due and erase nothing.")
    ] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> ExitCode:
    """Erase e-mails, links and old rows that are past the periods of `retention`.

    A worker does the same every `retention.every`; by hand it does no harm beside it. Payments
    go first: it works in small writes and rests between them. What is open, in doubt, unpublished
    or has a dead letter that nobody has seen to stays, and counts as held.
    """
    context = context_of(typer_context, config=config, json=json)
    kept = run_with_ledger(_maintained(context, is_dry=dry_run))
    show_kept(context, kept, is_dry=dry_run)
    return ExitCode.OK


async def _maintained(context: CommandContext, *, is_dry: bool) -> Kept:
    async with opened_store(context) as (ledger, store):
        keeper = Keeper(
            ledger=ledger,
            retention=store.retention,
            periods=context.loaded().settings.retention.periods(),
            actor=operating_system_account(),
        )
        if is_dry:
            return await keeper.look()
        try:
            return await keeper.maintain()
        except QueueLockedError as locked:
            raise retention_running(locked) from locked


def retention_running(locked: QueueLockedError) -> CommandError:
    """Somebody erases or seals anew already."""
    holder = locked.holder
    return CommandError(
        "retention_running",
        f"{holder.actor} is at it since {holder.since:%Y-%m-%d %H:%M:%SZ} ({holder.purpose}).",
        exit_code=ExitCode.UNREACHABLE,
        field="ledger",
        fix="Wait for it to end; one that died gives the ledger back within 30 seconds.",
    )


def show_kept(context: CommandContext, kept: Kept, *, is_dry: bool) -> None:
    """Print what was erased, or would be."""
    if context.output.is_json:
        context.output.record(
            {
                "dry_run": is_dry,
                "emails": kept.emails,
                "links": kept.links,
                "rows": kept.rows,
                "runs": kept.runs,
                "tombstones": kept.tombstones,
                "held": kept.held,
                "overdue_letters": kept.overdue_letters,
            }
        )
        return
    verb = "Would erase" if is_dry else "Erased"
    context.output.success(
        f"{verb} {kept.emails} e-mails, {kept.links} links, {kept.rows} operations,"
        f" {kept.runs} replay runs and {kept.tombstones} tombstones; {kept.held} held."
    )
    if kept.overdue_letters:
        context.output.warn(
            f"{counted(kept.overdue_letters, 'dead letter')} past `retention.letters`: each holds"
            " a whole request, and its row stays as long.",
            fix="Replay or resolve them: payment-worker dead-letters",
        )
