"""``payment-worker healthcheck``: whether the worker of this machine is alive, by its file."""

from typing import Annotated

import typer

from worker.adapters.heartbeat import STALE_AFTER, last_beat
from worker.cli.context import ConfigOption, JsonOption, context_of
from worker.cli.exit_codes import ExitCode


def register(app: typer.Typer) -> None:
    """Add the ``healthcheck`` command."""
    app.command("healthcheck", epilog="Example: payment-worker healthcheck || echo stuck")(_check)


def _check(
    typer_context: typer.Context,
    max_age: Annotated[
        float, typer.Option("--max-age", help="Seconds a heartbeat may be old.", min=1.0)
    ] = STALE_AFTER,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> ExitCode:
    """Exit 0 while the event loop ticks; asks neither broker nor provider."""
    context = context_of(typer_context, config=config, json=json)
    path = context.loaded().settings.heartbeat_file()
    beat = last_beat(path)
    age = None if beat is None else (context.clock.now() - beat).total_seconds()
    alive = age is not None and age <= max_age
    seen = "never" if age is None else f"{age:.0f} s ago"
    context.output.record(
        {"alive": alive, "age_seconds": age, "file": path},
        f"{'alive' if alive else 'NOT alive'}: last heartbeat {seen} ({path})",
    )
    return ExitCode.OK if alive else ExitCode.FAILED
