"""The command line: one Typer application, whose command modules register themselves."""

from typing import Annotated

import typer

from worker import __version__
from worker.cli.commands import Entry, group_of
from worker.cli.exit_codes import exit_code_table
from worker.cli.options import ConfigOption, FormatOption, JsonOption, Options
from worker.cli.output import Format

COMMANDS: tuple[Entry, ...] = (
    Entry(
        "run",
        "worker.cli.run",
        "Consume payment requests until SIGTERM or Ctrl-C; a second one stops without draining.",
    ),
    Entry(
        "publish",
        "worker.cli.publish",
        "Publish payment requests, confirmed by the broker; the answers come later (see watch).",
    ),
    Entry(
        "watch",
        "worker.cli.watch",
        "Print every result event of these origins as it is published, from now on.",
    ),
    Entry(
        "demo",
        "worker.cli.demo",
        "Run simulated providers and a worker, publish real requests, show what came of each.",
    ),
    Entry(
        "dead-letters",
        "worker.cli.dead_letters",
        "Group, list, show, plan, approve, edit, resolve and replay dead letters.",
    ),
    Entry(
        "payments",
        "worker.cli.payments",
        "Find payments, settle doubtful ones, draw up the books.",
    ),
    Entry(
        "accounts",
        "worker.cli.accounts",
        "Show the providers' accounts; pause, resume and probe them.",
    ),
    Entry(
        "results",
        "worker.cli.results",
        "Send stored answers again.",
    ),
    Entry(
        "audit",
        "worker.cli.audit",
        "Export and verify what operators did.",
    ),
    Entry(
        "check",
        "worker.cli.check",
        "Examine settings, machine, ledger, broker and providers; changes nothing.",
    ),
    Entry(
        "config",
        "worker.cli.config",
        "Explain and check the settings.",
    ),
    Entry(
        "topology",
        "worker.cli.topology",
        "Show, create or verify the broker's objects.",
    ),
    Entry(
        "ledger",
        "worker.cli.ledger",
        "Create, upgrade or look after the ledger.",
    ),
    Entry(
        "schemas",
        "worker.cli.schemas",
        "The published message schemas.",
    ),
    Entry(
        "simulate",
        "worker.cli.simulate",
        "Serve both providers; ``sim+<name>@...`` as customer e-mail chooses a fault.",
    ),
    Entry(
        "healthcheck",
        "worker.cli.healthcheck",
        "Exit 0 while the event loop ticks; asks neither broker nor provider.",
    ),
)
"""Every command and group; a new one is one more entry, and a module with ``register``."""

_QUIET = Annotated[bool, typer.Option("--quiet", "-q", help="Say less; data is printed as ever.")]
_NO_COLOUR = Annotated[bool, typer.Option("--no-color", help="No colour; also with NO_COLOR.")]
_VERSION = Annotated[bool, typer.Option("--version", help="Print the version and leave.")]
_VERBOSE = Annotated[
    bool, typer.Option("--verbose", help="Say where an unexpected error happened.")
]


def build_application(*, is_drawn: bool) -> typer.Typer:
    """Build the command line; ``is_drawn`` draws help with boxes, for a terminal only."""
    application = typer.Typer(
        name="payment-worker",
        cls=group_of(*COMMANDS),
        help="Turns payment requests from RabbitMQ into payment links, one answer each.",
        epilog=exit_code_table(),
        # Typer's own tracebacks print local variables, and a local may hold a payment link.
        pretty_exceptions_enable=False,
        rich_markup_mode="rich" if is_drawn else None,
        invoke_without_command=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    application.callback()(_root)
    return application


def _root(
    typer_context: typer.Context,
    config_file: ConfigOption = None,
    output_format: FormatOption = None,
    json: JsonOption = False,
    quiet: _QUIET = False,
    no_color: _NO_COLOUR = False,
    verbose: _VERBOSE = False,  # noqa: ARG001 - read by worker.__main__, where errors end
    version: _VERSION = False,
) -> None:
    """Turn payment requests from RabbitMQ into payment links, one answer each."""
    if version:
        typer.echo(f"payment-worker {__version__}")
        raise typer.Exit
    if typer_context.invoked_subcommand is None:
        typer.echo(typer_context.get_help())
        raise typer.Exit
    shape = Format.JSON if json and output_format is None else output_format or Format.AUTO
    typer_context.obj = Options(
        config=config_file, format=shape, is_quiet=quiet, has_colour=not no_color
    )
