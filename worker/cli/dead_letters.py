"""``payment-worker dead-letters``: what needs a person, and putting it back to work."""

import typer

from worker.cli.commands import Entry, group_of
from worker.cli.context import ConfigOption, FormatOption, JsonOption, context_of
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
from worker.cli.letter_groups import show_groups
from worker.letters import EVERY_LETTER

COMMANDS = (
    Entry(
        "list",
        "worker.cli.letters_listed",
        "List failed and doubtful operations, oldest first, from the ledger: no queue is touched.",
    ),
    Entry(
        "sync",
        "worker.cli.letters_synchronised",
        "Walk the dead-letter queue once round and note the letters that the broker made itself.",
    ),
    Entry(
        "show",
        "worker.cli.letter_shown",
        "Show one dead letter: what its headers say, whether a replay can help, and the history.",
    ),
    Entry(
        "plan",
        "worker.cli.letters_planned",
        "Judge letters and write the verdicts to a file that `replay` takes; nothing is changed.",
    ),
    Entry(
        "approve",
        "worker.cli.plan_approved",
        "Approve a plan that somebody else has made, so that it may be replayed above the limits.",
    ),
    Entry(
        "edit",
        "worker.cli.letter_edited",
        "Change the e-mail of a payment that failed, so that a replay goes out under the new one.",
    ),
    Entry(
        "resolve",
        "worker.cli.letters_parked",
        "Set letters aside that a person has seen to; `restore` brings them back.",
    ),
    Entry(
        "restore",
        "worker.cli.letters_parked",
        "Bring letters back that were set aside: to the dead letters, and into the list.",
    ),
    Entry(
        "export",
        "worker.cli.letters_exported",
        "Copy letters with their bodies into a file: before an upgrade, or for another broker.",
    ),
    Entry(
        "import",
        "worker.cli.letters_imported",
        "Put the letters of a file among the dead letters: what the queue lacks, nothing twice.",
    ),
    Entry(
        "replay",
        "worker.cli.letters_replayed",
        "Put dead letters back to work, a few first, and report what came of each.",
    ),
    Entry(
        "status",
        "worker.cli.replay_runs",
        "Show how a replay run stands: results so far, and the letters that are not good.",
    ),
    Entry(
        "stop",
        "worker.cli.replay_runs",
        "Ask a replay run to stop after the letter in hand; `resume` goes on with it.",
    ),
    Entry(
        "resume",
        "worker.cli.replay_runs",
        "Go on with a replay run that was stopped or whose process died, a canary first.",
    ),
    Entry(
        "history",
        "worker.cli.replay_runs",
        "List the replay runs, newest first: who, when, why, and what came of them.",
    ),
)


def register(app: typer.Typer) -> None:
    """Add the ``dead-letters`` commands."""
    group = typer.Typer(
        help="Group, list, show, plan, approve, edit, resolve and replay dead letters.",
        epilog="Example: payment-worker dead-letters --json",
        cls=group_of(*COMMANDS),
        invoke_without_command=True,
    )
    group.callback()(_groups)
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
