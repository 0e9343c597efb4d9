"""The options every command knows, before or after its name."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from worker.cli.output import Format

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="Settings file.", show_default=False, metavar="FILE"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print data and errors as JSON.")]
FormatOption = Annotated[
    Format | None,
    typer.Option("--output", "-o", help="Shape of the data.", show_default=False),
]


@dataclass(frozen=True, slots=True)
class Options:
    """What was given of them."""

    config: Path | None = None
    format: Format = Format.AUTO
    is_quiet: bool = False
    has_colour: bool = True
