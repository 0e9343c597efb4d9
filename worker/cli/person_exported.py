"""``payments export``: what is kept about a customer who asks."""

from pathlib import Path
from typing import Annotated

import typer

from worker.cli.actor import operating_system_account
from worker.cli.context import CommandContext, ConfigOption, JsonOption, context_of
from worker.cli.exit_codes import CommandError, ExitCode
from worker.cli.given_email import EmailOption
from worker.cli.money import counted
from worker.cli.opened_ledger import opened_ledger, run_with_ledger
from worker.cli.person_given import ClientOption, CompanyOption, given_person
from worker.operators.erasure import Person, Standing, operations_of
from worker.operators.keeping import kept_about, line_of
from worker.operators.whole_files import NotWrittenError, writing_whole


def register(group: typer.Typer) -> None:
    """Add the ``export`` command."""
    group.command(
        "export",
        epilog="Example: payment-worker payments export --client 2263 --output 2263.jsonl",
    )(export)


def export(
    typer_context: typer.Context,
    *,
    email: EmailOption = None,
    client: ClientOption = None,
    company: CompanyOption = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The file; never written over.", metavar="FILE")
    ],
    config: ConfigOption = None,
    json: JsonOption = False,
) -> ExitCode:
    """Write what the ledger keeps about a customer, one JSON object for each operation.

    The file is readable by its owner alone and holds the e-mail where it is stored; of a payment
    link only that there is one, for whoever has it can use it. Audited, without the person. The
    bodies of dead letters are not in it: `dead-letters export --payment ID` copies those.
    """
    context = context_of(typer_context, config=config, json=json)
    person = given_person(context, email=email, client=client, company=company)
    if output.exists():
        raise CommandError(
            "file_exists",
            f"{output} is there already.",
            exit_code=ExitCode.USAGE,
            field="--output",
            fix="Give another name, or delete it first: it may hold somebody else's data.",
        )
    try:
        count, letters = run_with_ledger(_written(context, person, output))
    except NotWrittenError as error:
        raise CommandError(
            "not_written",
            f"The file cannot be written: {error.reason}.",
            exit_code=ExitCode.FAILED,
            field="--output",
            fix="Name one in a directory that is yours.",
        ) from error
    if context.output.is_json:
        context.output.record({"path": output, "operations": count, "letters": letters})
    context.output.success(f"{counted(count, 'operation')} in {output}.")
    if letters:
        context.output.warn(
            f"{counted(letters, 'dead letter')} besides, in the queue: each holds a whole request.",
            fix="Copy them too: payment-worker dead-letters export ID --output FILE",
        )
    return ExitCode.OK


async def _written(context: CommandContext, person: Person, path: Path) -> tuple[int, int]:
    periods = context.loaded().settings.retention.periods()
    count = letters = 0
    async with opened_ledger(context) as ledger:
        with writing_whole(path) as file:
            async for each in operations_of(ledger, person):
                kept = await kept_about(ledger, each.payment.operation_id, periods)
                if kept is not None:
                    file.write(line_of(kept))
                    count += 1
                    letters += each.standing is Standing.LETTER_WAITS
            detail = f"what is kept about a person, operations {count}"
            await ledger.acts.note_act(
                None, actor=operating_system_account(), action="export", detail=detail
            )
            file.finish()
    return count, letters
