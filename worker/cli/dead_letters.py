"""``payment-worker dead-letters``: what needs a person, and putting it back to work."""

import typer

from worker.cli.context import ConfigOption, FormatOption, JsonOption, context_of
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
from worker.cli.letters_replayed import replay_letters
from worker.cli.letters_synchronised import sync_letters
from worker.cli.replay_runs import resume_run, show_history, show_status, stop_run
from worker.letters import EVERY_LETTER


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
        epilog="Example: payment-worker dead-letters replay plan.json --reason 'outage over'",
    )(replay_letters)
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
