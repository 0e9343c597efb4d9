"""``payment-worker dead-letters list``: the index letter by letter, page by page."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated
from uuid import UUID

import typer

from worker.cli.context import CommandContext, ConfigOption, FormatOption, JsonOption, context_of
from worker.cli.exit_codes import CommandError, ExitCode
from worker.cli.letter_filter import (
    CategoryOption,
    CodeOption,
    CompanyOption,
    OriginOption,
    PaymentOption,
    SinceOption,
    TargetOption,
    TextOption,
    UntilOption,
    wanted_letters,
)
from worker.cli.letter_groups import CAN_HELP
from worker.cli.money import euros
from worker.cli.opened_ledger import opened_ledger, run_with_ledger
from worker.cli.output import Format
from worker.codes import category_of
from worker.contract.fields import read_guid
from worker.contract.times import exact_time_text, read_time
from worker.inventory import PAGE
from worker.letters import LetterEntry, LetterFilter, code_name
from worker.lifecycle.prospects import verdict_of

Place = tuple[datetime, UUID]

_COLUMNS = (
    "payment_id",
    "kind",
    "state",
    "code",
    "failed_at",
    "origin",
    "company",
    "order",
    "amount_cents",
    "sequence",
    "in_queue",
    # Later ones come last: a pipe counts its columns.
    "category",
    "target",
    "verdict",
    "mode",
)


def register(group: typer.Typer) -> None:
    """Add the ``list`` command."""
    group.command(
        "list", epilog="Example: payment-worker dead-letters list --code provider_unavailable"
    )(list_letters)


def list_letters(
    typer_context: typer.Context,
    code: CodeOption = None,
    category: CategoryOption = None,
    origin: OriginOption = None,
    company: CompanyOption = None,
    target: TargetOption = None,
    payment: PaymentOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    text: TextOption = None,
    resolved: Annotated[
        bool, typer.Option("--resolved", help="What was set aside instead.")
    ] = False,
    limit: Annotated[int, typer.Option(help="At most so many, oldest first.", min=1)] = 100,
    after: Annotated[
        str | None,
        typer.Option(help="Go on from where a page ended, as it said.", show_default=False),
    ] = None,
    fail_if_empty: Annotated[
        bool, typer.Option("--fail-if-empty", help="Exit 5 when there is none.")
    ] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
    output_format: FormatOption = None,
) -> ExitCode:
    """List failed and doubtful operations, oldest first, from the ledger: no queue is touched.

    Letters that come or go meanwhile move none of the others to another page.
    """
    context = context_of(typer_context, config=config, json=json, output_format=output_format)
    wanted = wanted_letters(
        now=context.clock.now(),
        code=code,
        category=category,
        origin=origin,
        company=company,
        target=target,
        payment=payment,
        since=since,
        until=until,
        text=text,
    )
    if resolved:
        wanted = wanted.of_the_resolved()
    place = None if after is None else _place(after)
    letters = run_with_ledger(_listed(context, wanted, place, limit + 1))
    page = letters[:limit]
    if context.output.format is Format.HUMAN:
        for letter in page:
            context.output.record(_row(letter, resolved), _lines(letter, resolved))
    else:
        context.output.table(_COLUMNS, [_row(letter, resolved) for letter in page])
    if len(letters) > limit:
        context.output.say(f"There are more: --after {_place_text(page[-1])}")
    if not page:
        context.output.say("Nothing was set aside." if resolved else "No dead letters.")
        return ExitCode.NOTHING_MATCHED if fail_if_empty else ExitCode.OK
    return ExitCode.OK


async def _listed(
    context: CommandContext, wanted: LetterFilter, after: Place | None, limit: int
) -> Sequence[LetterEntry]:
    async with opened_ledger(context) as ledger:
        letters: list[LetterEntry] = []
        while len(letters) < limit:
            size = min(PAGE, limit - len(letters))
            page = await ledger.letters.page(after=after, limit=size, wanted=wanted)
            if not page:
                break
            letters.extend(page)
            after = page[-1].failed_at, page[-1].operation_id
        return letters


def _place_text(letter: LetterEntry) -> str:
    return f"{exact_time_text(letter.failed_at)},{letter.operation_id}"


def _place(text: str) -> Place:
    time, _, name = text.partition(",")
    failed_at, operation_id = read_time(time), read_guid(name)
    if failed_at is None or operation_id is None:
        raise CommandError(
            "wrong_place",
            "That is not where a page ended.",
            exit_code=ExitCode.USAGE,
            field="--after",
            fix="Copy it from the line that says there are more.",
        )
    return failed_at, operation_id


def _lines(letter: LetterEntry, is_aside: bool) -> str:
    """Three lines for people, none longer than a narrow terminal: the id whole, to be copied."""
    facts = letter.facts
    stands = [f"{letter.failed_at:%Y-%m-%d %H:%MZ}", letter.kind]
    if facts.amount is not None:
        # Test money is never to be taken for real money, nor the other way round.
        stands.append(f"{facts.payment_run_mode or 'mode unknown'} {euros(facts.amount)}")
    if is_aside:
        stands.append("set aside")
    else:
        if not letter.confirmed:
            stands.append("not in the queue")
        stands.append(CAN_HELP[verdict_of(letter.case)])
    about = [f"origin {letter.origin}"]
    if facts.id_societe is not None:
        about.append(f"company {facts.id_societe}")
    if facts.id_commande is not None:
        about.append(f"order {facts.id_commande}")
    if facts.payment_target is not None:
        about.append(facts.payment_target)
    head = f"{letter.operation_id}  {letter.state or 'undecided':<9} {code_name(letter.code)}"
    return f"{head}\n    {', '.join(stands)}\n    {', '.join(about)}"


def _row(letter: LetterEntry, is_aside: bool) -> dict[str, object]:
    return {
        "payment_id": letter.operation_id,
        "kind": letter.kind,
        "state": letter.state,
        "code": code_name(letter.code),
        "category": None if letter.code is None else category_of(letter.code),
        "failed_at": letter.failed_at,
        "origin": letter.origin,
        "company": letter.facts.id_societe,
        "order": letter.facts.id_commande,
        "target": letter.facts.payment_target,
        "amount_cents": letter.facts.amount,
        "sequence": letter.sequence,
        "in_queue": letter.confirmed and not is_aside,
        "verdict": None if is_aside else verdict_of(letter.case),
        "mode": letter.facts.payment_run_mode,
    }
