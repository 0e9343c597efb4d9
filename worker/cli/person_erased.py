"""``payments erase``: a customer asks to be forgotten."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

import typer

from worker.cli.actor import operating_system_account
from worker.cli.context import CommandContext, ConfigOption, FormatOption, JsonOption, context_of
from worker.cli.exit_codes import ExitCode
from worker.cli.given_email import EmailOption
from worker.cli.money import counted
from worker.cli.opened_desk import opened_desk
from worker.cli.opened_ledger import opened_store, run_with_ledger
from worker.cli.person_given import ClientOption, CompanyOption, given_person
from worker.cli.reasons import checked_reason
from worker.ledger import Ledger
from worker.operator_ports import Retention
from worker.operators.erasure import (
    Eraser,
    LetterEraser,
    LettersRemoved,
    Person,
    PersonsOperation,
    Standing,
    operations_of,
)

_EXAMPLE = "data-protection request 4711"
_SAYS = {
    Standing.ERASABLE: "not erased: something changed meanwhile",
    Standing.OPEN: "still open: a worker decides it",
    Standing.IN_DOUBT: "in doubt: settle it first",
    Standing.UNPUBLISHED: "its answer is not published yet",
    Standing.BEING_CANCELLED: "a cancellation of it is not decided",
    Standing.LETTER_WAITS: "its dead letter is still in the queue",
    Standing.LETTER_OWED: "its dead letter is still to be published",
}


def register(group: typer.Typer) -> None:
    """Add the ``erase`` command."""
    group.command(
        "erase",
        epilog="Example: payment-worker payments erase --client 2263 --company 1"
        f" --reason '{_EXAMPLE}'",
    )(erase)


def erase(
    typer_context: typer.Context,
    *,
    email: EmailOption = None,
    client: ClientOption = None,
    company: CompanyOption = None,
    reason: Annotated[
        str, typer.Option("--reason", help="Why, without the person; kept in the audit.")
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be erased, and erase nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
    output_format: FormatOption = None,
) -> ExitCode:
    """Erase a customer: e-mail and links in the ledger, and the dead letters that hold them.

    Amounts, numbers and outcomes stay, and a repeated request still gets its answer. The dead
    letters and the parking queue are walked: the person's letters are removed and can never be
    replayed. What is open, in doubt or not yet published is left whole and listed: say it again
    when it is over. An e-mail finds payments until it is erased by age, a customer number finds
    all of them: do both. Exit 3 when something was left.
    """
    context = context_of(typer_context, config=config, json=json, output_format=output_format)
    why = checked_reason(reason, example=_EXAMPLE)
    if not (dry_run or yes):
        context.output.expect_somebody()
    person = given_person(context, email=email, client=client, company=company)
    if dry_run:
        return run_with_ledger(_looked(context, person))
    return run_with_ledger(_erased(context, person, why, is_answered=yes))


async def _looked(context: CommandContext, person: Person) -> ExitCode:
    async with opened_store(context) as (ledger, _store):
        found = [each async for each in operations_of(ledger, person)]
    for each in found:
        is_held, is_erased = each.standing.is_held, each.standing is Standing.ERASED
        result = "would leave" if is_held else "erased before" if is_erased else "would erase"
        _show(context, each.payment.operation_id, result, each.standing if is_held else None)
    count = sum(not each.standing.is_held for each in found)
    context.output.say(
        f"{counted(len(found), 'operation')}, {count} of them can be erased now;"
        " letters were not looked at."
    )
    return ExitCode.OK


async def _erased(
    context: CommandContext, person: Person, reason: str, *, is_answered: bool
) -> ExitCode:
    output = context.output
    async with opened_store(context) as (ledger, store), opened_desk(context) as desk:
        found = [each async for each in operations_of(ledger, person)]
        held = [each for each in found if each.standing.is_held]
        depth = await desk.dead_letters.depth() + await desk.parking.depth()
        output.say(
            f"{counted(len(found), 'operation')} in the ledger, {len(held)} of them to be left for"
            f" now; {counted(depth, 'letter')} to look through."
        )
        if not found and not depth:
            output.say("Nothing is kept of this person.")
            return ExitCode.OK
        companies = sorted({each.payment.facts.id_societe or "none" for each in found})
        if person.client is not None and len(companies) > 1:
            output.warn(
                f"The customer number is used in several companies: {', '.join(companies)}.",
                fix="Is it one person? If not, answer no and give --company.",
            )
        question = "Erase them for good? Nothing brings an e-mail, a link or a letter back."
        output.confirm(question, is_answered=is_answered)
        eraser = LetterEraser(
            ledger=ledger,
            dead_letters=desk.dead_letters,
            parking=desk.parking,
            publisher=desk.publisher,
            actor=operating_system_account(),
            reason=reason,
        )
        known = {each.payment.operation_id for each in found}
        with output.progress("letters looked at", depth) as advance:
            letters = await eraser.remove(person, known, on_progress=advance)
        return await _rows_erased(context, ledger, store.retention, person, reason, letters)


async def _rows_erased(
    context: CommandContext,
    ledger: Ledger,
    retention: Retention,
    person: Person,
    reason: str,
    letters: LettersRemoved,
) -> ExitCode:
    found = {each.payment.operation_id: each async for each in operations_of(ledger, person)}
    ready = {
        each.payment.operation_id for each in found.values() if each.standing is Standing.ERASABLE
    }
    eraser = Eraser(
        ledger=ledger,
        retention=retention,
        actor=operating_system_account(),
        reason=reason,
    )
    erased = await eraser.erase(ready)
    for operation_id in sorted(found.keys() | letters.removed | letters.left.keys()):
        each = found.get(operation_id)
        standing = Standing.ERASED if each is None else each.standing
        is_done = operation_id in erased or (
            standing is Standing.ERASED and operation_id not in letters.left
        )
        _show(
            context,
            operation_id,
            _result(operation_id, letters, is_done=is_done),
            None if is_done else standing,
            letters.left.get(operation_id),
        )
    left = [each for each in found.values() if each.payment.operation_id not in erased]
    return _ended(context, erased, [each for each in left if _is_left(each)], letters)


def _is_left(each: PersonsOperation) -> bool:
    return each.standing is not Standing.ERASED


def _result(operation_id: UUID, letters: LettersRemoved, *, is_done: bool) -> str:
    if not is_done:
        return "left"
    return "erased_with_letter" if operation_id in letters.removed else "erased"


def _show(
    context: CommandContext,
    operation_id: UUID,
    result: str,
    standing: Standing | None,
    why: str | None = None,
) -> None:
    because = why or (None if standing is None else _SAYS.get(standing))
    row: dict[str, object] = {"payment_id": operation_id, "result": result, "reason": because}
    words = result.replace("_", " ")
    context.output.record(row, f"{operation_id}  {words}{f': {because}' if because else ''}")


def _ended(
    context: CommandContext,
    erased: set[UUID],
    left: Sequence[PersonsOperation],
    letters: LettersRemoved,
) -> ExitCode:
    output = context.output
    removed = counted(len(letters.removed), "letter")
    told = f"Erased {counted(len(erased), 'operation')} and {removed}"
    if not letters.is_complete:
        output.warn(
            f"{told}; the walk through the letters did not reach its end.",
            fix="Run the same command again.",
        )
        return ExitCode.PARTIAL
    if letters.nameless:
        output.warn(
            f"{letters.nameless} letters hold the e-mail and name no operation: they stay.",
            fix="Take them out of the queue with the broker's own tools.",
        )
    if left or letters.left:
        output.warn(
            f"{told}; {len(left)} left for now: each says why.",
            fix="Run the same command again when they are over.",
        )
    else:
        output.success(f"{told}.")
    is_whole = not (left or letters.left or letters.nameless)
    return ExitCode.OK if is_whole else ExitCode.PARTIAL
