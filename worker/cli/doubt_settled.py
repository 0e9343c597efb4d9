"""``payment-worker payments settle``: a person's word on a doubt."""

import sys
from typing import Annotated, assert_never
from uuid import UUID

import typer

from worker.cli.actor import operating_system_account
from worker.cli.context import CommandContext, ConfigOption, FormatOption, JsonOption, context_of
from worker.cli.doubts_listed import age_of, what_to_look_up
from worker.cli.exit_codes import CommandError, ExitCode
from worker.cli.letters_parked import ReasonOption, YesOption
from worker.cli.money import counted, euros
from worker.cli.opened_ledger import opened_ledger, run_with_ledger
from worker.cli.output import Output
from worker.cli.reasons import checked_reason
from worker.codes import Code
from worker.ledger import Ledger
from worker.lifecycle.ruling import NotRuled, Ruled, Unlocked, Verdict
from worker.model import Secret
from worker.operators.doubts import Doubt, Doubts, Settlement, Word
from worker.records import Kind, Record, State

_FROM_INPUT = "-"
_KINDS = {
    Kind.INITIATION: "Payment",
    Kind.CANCELLATION: "Cancellation",
    Kind.REFUSAL: "Refused message",
}


def register(group: typer.Typer) -> None:
    """Add the ``settle`` command."""
    group.command(
        "settle",
        epilog="Example: payment-worker payments settle 5b1f0c1e-... --failed"
        " --reason 'not in the bank portal, asked by telephone'",
    )(settle_doubt)


def settle_doubt(
    typer_context: typer.Context,
    payment_id: Annotated[
        UUID, typer.Argument(metavar="ID", help="As `payments doubtful` shows it.")
    ],
    *,
    succeeded: Annotated[
        bool, typer.Option("--succeeded", help="The provider has it: with --link or --item.")
    ] = False,
    failed: Annotated[
        bool, typer.Option("--failed", help="The provider does not have it; it is given up.")
    ] = False,
    retry: Annotated[
        bool, typer.Option("--retry", help="The provider does not have it; unlock its replay.")
    ] = False,
    link: Annotated[
        str | None,
        typer.Option(
            "--link",
            help="The payment link that the provider made; - reads it from standard input.",
            metavar="URL",
            show_default=False,
        ),
    ] = None,
    item: Annotated[
        str | None,
        typer.Option(
            "--item", help="The basket item's id at the provider.", metavar="ID", show_default=False
        ),
    ] = None,
    kept_link: Annotated[
        bool,
        typer.Option("--kept-link", help="The link kept back until its host was listed."),
    ] = False,
    reason: ReasonOption,
    yes: YesOption = False,
    config: ConfigOption = None,
    json: JsonOption = False,
    output_format: FormatOption = None,
) -> ExitCode:
    """Settle a doubt once the provider has said what it has.

    Writes the ledger alone. --succeeded and --failed decide it: a worker tells its producer within
    three minutes, and its dead letter is overtaken. --retry decides nothing: the dead letter can
    then be replayed. What a late answer has decided meanwhile stays. Typed twice, it counts once.
    """
    context = context_of(typer_context, config=config, json=json, output_format=output_format)
    why = checked_reason(reason, example="found in the portal, ticket 4711")
    said = Settlement(
        operation_id=payment_id,
        word=_word(succeeded=succeeded, failed=failed, retry=retry),
        actor=operating_system_account(),
        reason=why,
        link=_link(context.output, link),
        item_id=item,
        uses_kept_link=kept_link,
    )
    _check_proof(said)
    return run_with_ledger(_settled(context, said, is_answered=yes))


def _word(*, succeeded: bool, failed: bool, retry: bool) -> Word:
    words = {Word.SUCCEEDED: succeeded, Word.FAILED: failed, Word.RETRY: retry}
    said = [word for word, is_said in words.items() if is_said]
    if len(said) != 1:
        raise CommandError(
            "one_of_three",
            "Say what the provider has: --succeeded, --failed or --retry.",
            exit_code=ExitCode.USAGE,
            fix="Give exactly one of the three.",
        )
    return said[0]


def _link(output: Output, link: str | None) -> Secret | None:
    """A link on the command line is seen by everybody on the machine: standard input is not."""
    if link == _FROM_INPUT:
        if sys.stdin.isatty():
            output.ask("Link: ")
        return Secret.maybe(sys.stdin.readline().strip())
    return Secret.maybe(link)


def _check_proof(said: Settlement) -> None:
    proofs = [said.link is not None, said.item_id is not None, said.uses_kept_link]
    if said.word is not Word.SUCCEEDED and any(proofs):
        raise CommandError(
            "misplaced_proof",
            "Only what succeeded has a link or an item.",
            exit_code=ExitCode.USAGE,
            fix="Give --link, --item and --kept-link with --succeeded alone.",
        )
    if said.link is not None and said.uses_kept_link:
        raise CommandError(
            "two_links",
            "Two links were given.",
            exit_code=ExitCode.USAGE,
            fix="Give --link or --kept-link, not both.",
        )


async def _settled(context: CommandContext, said: Settlement, *, is_answered: bool) -> ExitCode:
    settings = context.loaded().settings
    async with opened_ledger(context) as ledger:
        doubts = Doubts(ledger=ledger, book=settings.route_book(), rules=settings.rules())
        doubt = await doubts.find(said.operation_id)
        if doubt is None:
            raise CommandError(
                "unknown_payment",
                "The ledger knows no such operation.",
                exit_code=ExitCode.FAILED,
                field="ID",
                fix="Give an id as `payment-worker payments doubtful` shows it.",
            )
        if doubt.record.state is State.IN_DOUBT and doubt.words:
            if (objection := doubts.objection(doubt, said)) is not None:
                return _tell(context, said, objection, 0)
            _ask(context, ledger, doubt, said, is_answered=is_answered)
        copies = await doubts.copies_of(said.operation_id)
        verdict = await doubts.settle(doubt, said)
    return _tell(context, said, verdict, len(copies))


def _ask(
    context: CommandContext,
    ledger: Ledger,
    doubt: Doubt,
    said: Settlement,
    *,
    is_answered: bool,
) -> None:
    """Say what is at stake, and let a person at the terminal think again."""
    now = ledger.clock.now()
    output = context.output
    if said.word is not Word.SUCCEEDED and doubt.ended_within(now):
        output.warn(
            "Its last attempt ended less than 15 minutes ago: what is not at the provider now may"
            " still appear there.",
            fix=f"Look again later: {what_to_look_up(doubt)}.",
        )
    if said.word is not Word.SUCCEEDED and doubt.record.code is Code.LINK_LOST:
        output.warn(
            "The provider had it: only its link could not be read.",
            fix="Have it cancelled there first, or settle it with its link.",
        )
    if said.word is Word.RETRY and doubt.is_unlocked:
        return
    proof = "" if said.item_id is None else f" The provider has item {said.item_id}."
    output.say(f"{_named(doubt.record)}, in doubt for {age_of(now - doubt.since)}.{proof}")
    output.confirm(_question(doubt.record, said.word), is_answered=is_answered)


def _named(record: Record) -> str:
    facts = record.facts
    parts = [f"{_KINDS[record.kind]} {record.operation_id}"]
    if facts.amount is not None:
        parts.append(f"{facts.payment_run_mode or 'mode unknown'} {euros(facts.amount)}")
    about = [("company", facts.id_societe), ("client", facts.id_client)]
    about += [("order", facts.id_commande), ("account", record.account)]
    parts += [f"{name} {value}" for name, value in about if value is not None]
    return ", ".join(parts)


def _question(record: Record, word: Word) -> str:
    match word:
        case Word.SUCCEEDED:
            return f"Tell {record.origin} that it succeeded? This cannot be taken back."
        case Word.FAILED:
            return (
                f"Tell {record.origin} that nothing was applied? It may then ask again, and what"
                " the provider has after all would be paid twice."
            )
        case Word.RETRY:
            return "Let it be sent again? What the provider has after all would then be paid twice."
        case other:
            assert_never(other)


def _tell(context: CommandContext, said: Settlement, verdict: Verdict, copies: int) -> ExitCode:
    output = context.output
    match verdict:
        case NotRuled(reason=reason):
            raise CommandError(
                "not_settled",
                f"It was not settled: {reason}.",
                exit_code=ExitCode.FAILED,
                field=str(said.operation_id),
                fix=f"Look at it: payment-worker payments show {said.operation_id}",
            )
        case Ruled(record=record, is_new=is_new):
            result = "settled" if is_new else "settled_before"
        case Unlocked(record=record, is_new=is_new):
            result = "unlocked" if is_new else "unlocked_before"
        case other:
            assert_never(other)
    row = {
        "payment_id": record.operation_id,
        "result": result,
        "state": record.state,
        "code": record.code,
        "sequence": record.sequence,
        "copies": copies,
    }
    if output.is_json:
        output.record(row)
    if isinstance(verdict, Unlocked):
        replay = f"payment-worker dead-letters replay {record.operation_id} --reason ..."
        if verdict.is_new:
            output.success(f"Unlocked: {replay}")
        else:
            output.success(f"It was unlocked before. Nothing was changed. Replay it: {replay}")
        return ExitCode.OK
    code = "" if record.code is None else f" {record.code}"
    stands = f"{record.state}{code}, sequence {record.sequence}"
    if not verdict.is_new:
        output.success(f"It was settled so before: {stands}. Nothing was changed.")
        return ExitCode.OK
    output.success(f"Settled: {stands}. A worker tells {record.origin} within three minutes.")
    output.say("Its dead letter leaves the queue with the next `payment-worker dead-letters sync`.")
    if copies:
        output.say(f"Answered alike: {counted(copies, 'request')} with the same content.")
    return ExitCode.OK
