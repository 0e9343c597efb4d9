"""An e-mail that an operator gives: personal data, so it is asked for, or read from a pipe."""

import sys
from typing import Annotated

import typer

from worker.cli.context import CommandContext
from worker.cli.exit_codes import CommandError, ExitCode
from worker.contract.corrections import accepted_email
from worker.model import Secret

FROM_INPUT = "-"
"""Stands for an e-mail in the standard input."""

EmailOption = Annotated[
    str | None,
    typer.Option(
        "--email",
        metavar="EMAIL",
        help="The customer's e-mail; - asks for it, or reads it from a pipe: a command line stays"
        " in the shell's history and is shown to every user of the machine.",
        show_default=False,
    ),
]


def given_email(context: CommandContext, text: str | None) -> Secret | None:
    """The e-mail that was given, asked for or piped in; raises ``CommandError``, never with it."""
    if text is None:
        return None
    if text == FROM_INPUT:
        if sys.stdin.isatty():
            context.output.ask("E-mail: ")
        text = sys.stdin.readline().strip()
    accepted = accepted_email(text)
    if accepted is None:
        raise CommandError(
            "wrong_email",
            "That is no e-mail that a request may have.",
            exit_code=ExitCode.USAGE,
            field="--email",
            fix="Give one of 3 to 70 characters, with one @, no space, comma or angle bracket.",
        )
    return Secret(accepted)
