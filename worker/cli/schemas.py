"""``payment-worker schemas``: write the published schemas, and try a message against them."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, assert_never

import typer
from pydantic import BaseModel, ValidationError

from worker.cli.context import CommandContext, FormatOption, JsonOption, context_of
from worker.cli.exit_codes import CommandError, ExitCode
from worker.contract.reading import CANCEL_PREFIX, INITIATE_PREFIX, read
from worker.contract.request_documents import CancelRequestDocument, PaymentRequestDocument
from worker.contract.schemas import documents
from worker.model import Cancellation, Delivery, Initiation, Source, Unreadable

_KEY = "3f0c2a52-6d0e-4f0e-9a55-0d3c1a7b9e10"
_STANDARD_INPUT = "-"
_COLUMNS = ("verdict", "field", "code", "message")

_DIRECTORY = Annotated[Path, typer.Argument(help="Where to write, e.g. schemas.")]
_FILE = Annotated[str, typer.Argument(help="A file with one message body; - is standard input.")]
_CANCEL = Annotated[bool, typer.Option("--cancel", help="The body is a cancel request.")]
_CHECK = Annotated[bool, typer.Option("--check", help="Write nothing; fail where a file differs.")]


def register(app: typer.Typer) -> None:
    """Add the ``schemas`` commands."""
    group = typer.Typer(
        help="The published message schemas.",
        epilog="Example: payment-worker schemas validate request.json",
        no_args_is_help=True,
    )
    group.command("export", epilog="Example: payment-worker schemas export schemas")(_export)
    group.command("validate", epilog="Example: payment-worker schemas validate request.json")(
        _validate
    )
    app.add_typer(group, name="schemas")


def _export(
    typer_context: typer.Context,
    directory: _DIRECTORY,
    check: _CHECK = False,
    json: JsonOption = False,
    output_format: FormatOption = None,
) -> ExitCode:
    """Write every schema, the AsyncAPI document and the examples below DIRECTORY."""
    context = context_of(typer_context, json=json, output_format=output_format)
    rows = [
        {"file": name, "state": _exported(directory / name, text, is_check=check)}
        for name, text in sorted(documents().items())
    ]
    context.output.table(("file", "state"), rows)
    changed = sum(row["state"] != "same" for row in rows)
    if check and changed:
        context.output.warn(
            f"{changed} of {len(rows)} files differ.",
            fix=f"payment-worker schemas export {directory}",
        )
        return ExitCode.FAILED
    context.output.success(f"{len(rows)} files, {changed} changed.")
    return ExitCode.OK


def _validate(
    typer_context: typer.Context,
    file: _FILE,
    cancel: _CANCEL = False,
    json: JsonOption = False,
    output_format: FormatOption = None,
) -> ExitCode:
    """Say whether the worker would accept a body, and where it departs from the schema.

    Nothing is sent. The exit code is the worker's verdict: 0 accepted, 1 refused. A departure
    from the published schema is a warning, because the worker reads more than it publishes.
    """
    context = context_of(typer_context, json=json, output_format=output_format)
    body = _body_of(file)
    reading = read(
        Delivery(
            body=body,
            source=Source.REQUESTS,
            routing_key=f"{CANCEL_PREFIX if cancel else INITIATE_PREFIX}unsent",
            received_at=context.clock.now(),
            message_id=_KEY,
            content_type="application/json",
        )
    )
    match reading:
        case Unreadable(faults=faults):
            rows = [_row("refused", each.field, each.code, each.message) for each in faults]
            context.output.table(_COLUMNS, rows)
            context.output.warn(f"The worker would refuse this message: {len(rows)} faults.")
            return ExitCode.FAILED
        case Initiation() | Cancellation():
            _tell_accepted(
                context, body, CancelRequestDocument if cancel else PaymentRequestDocument
            )
            return ExitCode.OK
        case other:
            assert_never(other)


def _tell_accepted(context: CommandContext, body: bytes, document: type[BaseModel]) -> None:
    rows = list(_departures(body, document))
    if rows or context.output.is_json:
        context.output.table(_COLUMNS, rows)
    context.output.success(
        "The worker would accept this message."
        if not rows
        else f"The worker would accept this message; {len(rows)} departures from the schema."
    )


def _departures(body: bytes, document: type[BaseModel]) -> Iterator[dict[str, str]]:
    """Where an accepted body is not what the published schema describes; names, never values."""
    for name in json.loads(body).keys() - document.model_fields.keys():
        yield _row("departs", name, "property_unknown", "The schema has no such property.")
    try:
        document.model_validate_json(body)
    except ValidationError as failure:
        for error in failure.errors(include_url=False, include_context=False, include_input=False):
            field = ".".join(str(part) for part in error["loc"])
            yield _row("departs", field, error["type"], "The schema asks for another form.")


def _row(verdict: str, field: str, code: str, message: str) -> dict[str, str]:
    return {"verdict": verdict, "field": field, "code": code, "message": message}


def _exported(file: Path, text: str, *, is_check: bool) -> str:
    try:
        if file.is_file() and file.read_bytes() == text.encode():
            return "same"
        if is_check:
            return "differs"
        file.parent.mkdir(parents=True, exist_ok=True)
        # Bytes, so that no platform changes the line ends.
        file.write_bytes(text.encode())
    except OSError as error:
        raise CommandError(
            "file_unwritable",
            f"{file} cannot be written: {error.strerror}.",
            field="directory",
            exit_code=ExitCode.FAILED,
        ) from error
    return "written"


def _body_of(file: str) -> bytes:
    if file == _STANDARD_INPUT:
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise CommandError(
            "file_unreadable",
            f"{file} cannot be read: {error.strerror}.",
            field="file",
            exit_code=ExitCode.USAGE,
        ) from error
