"""Who is meant by ``payments erase`` and ``payments export``: options of both."""

from typing import Annotated

import typer

from worker.cli.context import CommandContext
from worker.cli.exit_codes import CommandError, ExitCode
from worker.cli.given_email import given_email
from worker.operators.erasure import Person

ClientOption = Annotated[
    str | None,
    typer.Option("--client", help="The customer number: id_client.", show_default=False),
]
CompanyOption = Annotated[
    str | None,
    typer.Option("--company", help="Of this company only: numbers may repeat.", show_default=False),
]


def given_person(
    context: CommandContext, *, email: str | None, client: str | None, company: str | None
) -> Person:
    """The person that the options name; raises ``CommandError``."""
    if (email is None) == (client is None):
        raise CommandError(
            "which_person",
            "Say who is meant: an e-mail or a customer number.",
            exit_code=ExitCode.USAGE,
            fix="Give --email - or --client ID, not both; each finds what the other does not.",
        )
    return Person(email=given_email(context, email), client=client, company=company)
