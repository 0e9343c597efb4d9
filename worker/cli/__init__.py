"""The command line: one Typer application; every command module registers itself."""

from collections.abc import Callable
from typing import Annotated

import typer

from worker import __version__
from worker.cli import (
    check,
    config,
    dead_letters,
    demo,
    healthcheck,
    ledger,
    payments,
    publish,
    results,
    run,
    schemas,
    simulate,
    topology,
    watch,
)
from worker.cli.context import ConfigOption, FormatOption, JsonOption, Options
from worker.cli.exit_codes import exit_code_table
from worker.cli.output import Format

REGISTRATIONS: tuple[Callable[[typer.Typer], None], ...] = (
    run.register,
    publish.register,
    watch.register,
    demo.register,
    dead_letters.register,
    payments.register,
    results.register,
    check.register,
    config.register,
    topology.register,
    ledger.register,
    schemas.register,
    simulate.register,
    healthcheck.register,
)
"""Each command module adds its commands; a new module is one more line here."""

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
        help="Turns payment requests from RabbitMQ into payment links, one answer each.",
        epilog=exit_code_table(),
        # Typer's own tracebacks print local variables, and a local may hold a payment link.
        pretty_exceptions_enable=False,
        rich_markup_mode="rich" if is_drawn else None,
        invoke_without_command=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    application.callback()(_root)
    for register in REGISTRATIONS:
        register(application)
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
