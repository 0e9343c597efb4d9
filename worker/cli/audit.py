"""``payment-worker audit``: what operators did, as a file, and the proof that nobody changed it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from worker.acts import BEGINNING, Place
from worker.cli.actor import operating_system_account
from worker.cli.context import CommandContext, ConfigOption, FormatOption, JsonOption, context_of
from worker.cli.exit_codes import CommandError, ExitCode
from worker.cli.letter_filter import past_moment
from worker.cli.money import counted
from worker.cli.opened_ledger import opened_ledger, run_with_ledger
from worker.cli.output import Output
from worker.ledger import Ledger
from worker.operators.audits import Verdict, verify_acts, verify_file, write_acts
from worker.operators.whole_files import NotWrittenError, Stream, writing_whole

_STANDARD_OUTPUT = Path("-")
_HASH_BYTES = 32
_KEEP = "Keep this head where nobody who can change the ledger can reach it."


def register(app: typer.Typer) -> None:
    """Add the ``audit`` commands."""
    group = typer.Typer(
        help="Export and verify what operators did.",
        epilog="Example: payment-worker audit export --since 30d --output audit.jsonl",
        no_args_is_help=True,
    )
    group.command(
        "export", epilog="Example: payment-worker audit export --since 30d --output audit.jsonl"
    )(_export)
    group.command("verify", epilog="Example: payment-worker audit verify --json")(_verify)
    app.add_typer(group, name="audit")


def _export(
    typer_context: typer.Context,
    since: Annotated[
        str | None, typer.Option(help="From then on: 2026-11-21T20:00:00Z, or how long ago: 30d.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Before then.")] = None,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="The file; - for standard output.", metavar="FILE"),
    ] = _STANDARD_OUTPUT,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> ExitCode:
    """Write every act as a line of JSON, in the order of the chain; a file is its owner's alone.

    Who, what, why, allowed or denied, with the names of the Elastic Common Schema: no request's
    contents. Of a period a few acts from around it may be in the file, so that no link is missing.
    Exit 1 when the chain is broken.
    """
    context = context_of(typer_context, config=config, json=json)
    if output != _STANDARD_OUTPUT and output.exists():
        raise CommandError(
            "file_exists",
            f"{output} is there already.",
            exit_code=ExitCode.USAGE,
            field="--output",
            fix="Give another name: an older export is what a later one is compared with.",
        )
    now = context.clock.now()
    period = (past_moment("--since", since, now), past_moment("--until", until, now))
    try:
        verdict = run_with_ledger(_exported(context, output, period))
    except NotWrittenError as error:
        raise CommandError(
            "audit_not_written",
            f"{output} cannot be written: {error.reason}.",
            exit_code=ExitCode.FAILED,
            field="--output",
            fix="Name a file in a directory that exists, may be written and has room.",
        ) from error
    if output != _STANDARD_OUTPUT:
        if context.output.is_json:
            context.output.record({"path": output, **_record(verdict)})
        context.output.success(f"{counted(verdict.count, 'act')} in {output}.")
        context.output.say(f"Head: {verdict.head.digest.hex()}")
    return _tell(context.output, verdict)


def _verify(
    typer_context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]", help="An export; the ledger when not given.", show_default=False
        ),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(
            metavar="HASH", help="A head that was kept elsewhere: it must be in the chain."
        ),
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
    output_format: FormatOption = None,
) -> ExitCode:
    """Follow the chain of the audit from act to act, and print its head, to be kept elsewhere.

    An act that was changed, moved, added or taken out breaks the chain where it stood. A tail that
    was cut off, or a chain that was written anew, is found with a head that was kept alone.
    Exit 1 when anything is found.
    """
    context = context_of(typer_context, config=config, json=json, output_format=output_format)
    kept = _hash(head)
    verdict = run_with_ledger(_verified(context, kept)) if file is None else _of_file(file, kept)
    if file is not None and not verdict.count and verdict.is_whole:
        raise CommandError(
            "audit_empty",
            f"{file} holds no act: it proves nothing.",
            exit_code=ExitCode.FAILED,
            field="FILE",
            fix="Compare with the ledger: `payment-worker audit verify`.",
        )
    if context.output.is_json:
        context.output.record(_record(verdict))
    else:
        context.output.record({"head": verdict.head.digest.hex()}, verdict.head.digest.hex())
    return _tell(context.output, verdict)


async def _exported(
    context: CommandContext, path: Path, period: tuple[datetime | None, datetime | None]
) -> Verdict:
    async with opened_ledger(context) as ledger:
        rows = await ledger.acts.rows(since=period[0], until=period[1])
        first, last = rows or (1, 0)
        start = await _place_before(ledger, first)
        with _writing(path) as stream:
            verdict = await write_acts(
                ledger.acts.kept(first=first, last=last), stream, start=start
            )
        await ledger.acts.note_act(
            None,
            actor=operating_system_account(),
            action="audit_export",
            detail=f"{verdict.count + verdict.without_place} acts",
        )
    return verdict


async def _place_before(ledger: Ledger, first: int) -> Place:
    before = await ledger.acts.before(first)
    return BEGINNING if before is None or before.place is None else before.place


@contextmanager
def _writing(path: Path) -> Iterator[Stream]:
    if path == _STANDARD_OUTPUT:
        stream = Stream(sys.stdout.buffer)
        yield stream
        stream.flush()
        return
    with writing_whole(path) as file:
        yield file
        file.finish()


async def _verified(context: CommandContext, kept: bytes | None) -> Verdict:
    async with opened_ledger(context) as ledger:
        return await verify_acts(ledger.acts.kept(), kept=kept)


def _of_file(path: Path, kept: bytes | None) -> Verdict:
    try:
        with path.open("rb") as stream:
            return verify_file(stream, kept=kept)
    except OSError as error:
        raise CommandError(
            "audit_missing",
            f"{path} cannot be read: {error.strerror}.",
            exit_code=ExitCode.USAGE,
            field="FILE",
            fix="Name a file that `payment-worker audit export` wrote.",
        ) from error


def _hash(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        digest = bytes.fromhex(text.strip())
    except ValueError:
        digest = b""
    if len(digest) != _HASH_BYTES:
        raise CommandError(
            "wrong_head",
            "That is no head of a chain.",
            exit_code=ExitCode.USAGE,
            field="--head",
            fix="Give the 64 hex digits that `payment-worker audit verify` printed.",
        )
    return digest


def _record(verdict: Verdict) -> dict[str, object]:
    broken = verdict.broken
    return {
        "whole": verdict.is_whole,
        "acts": verdict.count,
        "without_place": verdict.without_place,
        "position": verdict.head.position,
        "head": verdict.head.digest.hex(),
        "broken_at": None if broken is None else broken.where,
        "broken_because": None if broken is None else broken.reason,
        "kept_head_missing": verdict.is_kept_missing,
    }


def _tell(output: Output, verdict: Verdict) -> ExitCode:
    if verdict.without_place:
        output.say(
            f"{counted(verdict.without_place, 'act')} of an older version has no place in the chain"
            " yet: the next act takes them in."
        )
    if verdict.broken is not None:
        output.warn(
            f"The chain is broken at {verdict.broken.where}: {verdict.broken.reason}.",
            fix="Compare with an older export, and ask who could write the ledger since.",
        )
        return ExitCode.FAILED
    if verdict.is_kept_missing:
        output.warn(
            "The kept head is not in the chain: acts were cut off, or all were written anew.",
            fix="Compare with the export that was made with that head.",
        )
        return ExitCode.FAILED
    output.success(
        f"{counted(verdict.count, 'act')}, and the chain is whole up to act"
        f" {verdict.head.position}. {_KEEP}"
    )
    return ExitCode.OK
