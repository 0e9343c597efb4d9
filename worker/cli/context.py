"""What every command gets: the settings, read once, and the output."""

from dataclasses import replace
from pathlib import Path

import typer

from worker.adapters.clock import SystemClock
from worker.cli.options import ConfigOption, FormatOption, JsonOption, Options
from worker.cli.output import Format, Output
from worker.ports import Clock
from worker.rules import BrokerAddress
from worker.settings import Loaded, Role, load, load_broker

__all__ = ["CommandContext", "ConfigOption", "FormatOption", "JsonOption", "context_of"]


class CommandContext:
    """Settings and output of one run of the command line."""

    def __init__(self, options: Options, clock: Clock) -> None:
        self.options = options
        self.clock = clock
        self.output = Output(
            options.format, is_quiet=options.is_quiet, has_colour=options.has_colour
        )
        self._loaded: Loaded | None = None

    def loaded(self) -> Loaded:
        """Settings with their sources and warnings, read once; raises ``SettingsError``."""
        if self._loaded is None:
            self._loaded = load(today=self.clock.now().date(), config=self.options.config)
        return self._loaded

    def broker(self, role: Role) -> tuple[BrokerAddress, str]:
        """Address and prefix for a machine that only publishes or subscribes.

        Raises ``SettingsError``.
        """
        return load_broker(role, config=self.options.config)


def context_of(
    typer_context: typer.Context,
    *,
    config: Path | None = None,
    json: bool = False,
    output_format: Format | None = None,
) -> CommandContext:
    """Context of a command, with the options given after its name over those before it."""
    options: Options = typer_context.find_object(Options) or Options()
    if config is not None:
        options = replace(options, config=config)
    if output_format is not None:
        options = replace(options, format=output_format)
    if json:
        # `-o jsonl --json` asks for lines: --json alone is one document.
        wanted = Format.JSONL if options.format is Format.JSONL else Format.JSON
        options = replace(options, format=wanted)
    return CommandContext(options, SystemClock())
