"""``payment-worker payments find``: the payments that somebody asks about, the newest first."""

import sys
from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated
from uuid import UUID

import typer

from worker.cli.completions import origins
from worker.cli.context import CommandContext, ConfigOption, FormatOption, JsonOption, context_of
from worker.cli.exit_codes import CommandError, ExitCode
from worker.cli.given_email import EmailOption, given_email
from worker.cli.letter_filter import failed_within
from worker.cli.money import euros
from worker.cli.opened_ledger import opened_ledger, run_with_ledger
from worker.cli.output import Format, Output
from worker.contract.fields import read_guid
from worker.contract.times import exact_time_text, read_time
from worker.identity import normalise_origin
from worker.model import Secret
from worker.records import State
from worker.searches import EVERY_PAYMENT, FoundPayment, PaymentFilter, Place


def register(group: typer.Typer) -> None:
    """Add the ``find`` command."""
    group.command("find", epilog="Example: payment-worker payments find --order 40017")(
        find_payments
    )


_PANEL = "Which payments: all that is given must hold"
_WHEN = "First seen from then on: 2026-11-21T20:00:00Z, or how long ago: 2h."


def _option(*names: str, text: str) -> object:
    return typer.Option(*names, help=text, rich_help_panel=_PANEL, show_default=False)


def find_payments(
    typer_context: typer.Context,
    order: Annotated[str | None, _option("--order", text="Order number: id_commande.")] = None,
    client: Annotated[str | None, _option("--client", text="Customer: id_client.")] = None,
    company: Annotated[str | None, _option("--company", text="Company: id_societe.")] = None,
    origin: Annotated[
        str | None,
        typer.Option(
            "--origin",
            help="Who asked: id_origin.",
            rich_help_panel=_PANEL,
            show_default=False,
            autocompletion=origins,
        ),
    ] = None,
    payment: Annotated[
        UUID | None,
        _option("--payment", text="This one, its cancellations and its duplicates."),
    ] = None,
    message_id: Annotated[
        str | None, _option("--message-id", text="What its producer called the message.")
    ] = None,
    reference: Annotated[
        str | None,
        _option("--reference", text="What we called it at the provider, at any attempt."),
    ] = None,
    email: EmailOption = None,
    state: Annotated[
        list[State] | None, _option("--state", text="How it stands; give it again for more.")
    ] = None,
    account: Annotated[str | None, _option("--account", text="The provider account.")] = None,
    since: Annotated[str | None, _option("--since", text=_WHEN)] = None,
    until: Annotated[str | None, _option("--until", text="First seen before then.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1)] = 50,
    every: Annotated[bool, typer.Option("--all", help="However many there are.")] = False,
    oldest_first: Annotated[
        bool, typer.Option("--oldest-first", help="Begin with the oldest.")
    ] = False,
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
    """Find payments, cancellations and refusals, the newest first; without a filter the newest.

    Read from the ledger alone. With --json one object for each line. What comes in meanwhile
    moves none of the others to another page.
    """
    context = context_of(typer_context, config=config, json=json, output_format=output_format)
    person = given_email(context, email)
    begin, end = failed_within(since, until, now=context.clock.now())
    wanted = PaymentFilter(
        order=order,
        client=client,
        company=company,
        origin=None if origin is None else normalise_origin(origin),
        payment_id=payment,
        message_id=message_id,
        reference=reference,
        states=frozenset(state) if state else None,
        account=account,
        since=begin,
        until=end,
    )
    place = None if after is None else _place(after)
    most = sys.maxsize if every else limit
    shown = run_with_ledger(
        _shown(context, wanted, place, most, person, newest_first=not oldest_first)
    )
    if shown:
        return ExitCode.OK
    if person is not None:
        context.output.say(
            "An e-mail is erased some time after the decision: see retention.emails."
        )
    context.output.say("No such payment." if wanted != EVERY_PAYMENT or person else "No payments.")
    return ExitCode.NOTHING_MATCHED if fail_if_empty else ExitCode.OK


async def _shown(
    context: CommandContext,
    wanted: PaymentFilter,
    after: Place | None,
    most: int,
    person: Secret | None,
    *,
    newest_first: bool,
) -> int:
    """Print each as it is read; how many. One more is read, to know whether there are more."""
    async with opened_ledger(context) as ledger:
        count, last = 0, None
        if person is not None:
            wanted = replace(wanted, email_marks=ledger.payments.email_marks(person))
        async for found in ledger.payments.search(
            wanted, after=after, limit=most + 1, newest_first=newest_first
        ):
            if last is not None and count == most:
                place = f"{exact_time_text(last.first_seen)},{last.operation_id}"
                context.output.say(f"There are more: --all, or go on with --after {place}")
                break
            show_found_payment(context.output, found)
            count, last = count + 1, found
        return count


def show_found_payment(output: Output, found: FoundPayment) -> None:
    """Print one: a line of data, or three for people with the id whole, to be copied."""
    if output.format is Format.HUMAN:
        output.record({}, "\n    ".join(_lines(found)))
    else:
        output.record(_row(found))


def _lines(found: FoundPayment) -> Iterable[str]:
    facts = found.facts
    code = "" if found.code is None else f" {found.code}"
    yield f"{found.operation_id}  {found.state}{code}"
    stands = [f"{found.first_seen:%Y-%m-%d %H:%MZ}", found.kind.value]
    if facts.amount is not None:
        # Test money is never to be taken for real money, nor the other way round.
        stands.append(f"{facts.payment_run_mode or 'mode unknown'} {euros(facts.amount)}")
    if found.account is not None:
        stands.append(f"account {found.account}")
    if found.sequence > 1:
        stands.append(f"sequence {found.sequence}")
    if found.duplicate_of is not None:
        stands.append(f"repeats {found.duplicate_of}")
    yield ", ".join(stands)
    about = [("origin", found.origin), ("company", facts.id_societe), ("client", facts.id_client)]
    about.append(("order", facts.id_commande))
    yield ", ".join(f"{name} {value}" for name, value in about if value is not None)


def _row(found: FoundPayment) -> dict[str, object]:
    return {
        "payment_id": found.operation_id,
        "kind": found.kind,
        "of_payment": found.payment_id,
        "state": found.state,
        "code": found.code,
        "first_seen": found.first_seen,
        "decided_at": found.decided_at,
        "origin": found.origin,
        "company": found.facts.id_societe,
        "client": found.facts.id_client,
        "order": found.facts.id_commande,
        "target": found.facts.payment_target,
        "mode": found.facts.payment_run_mode,
        "type": found.facts.payment_type,
        "amount_cents": found.facts.amount,
        "account": found.account,
        "reference": found.reference,
        "sequence": found.sequence,
        "attempts": found.attempts,
        "duplicate_of": found.duplicate_of,
    }


def _place(text: str) -> Place:
    time, _, name = text.partition(",")
    first_seen, operation_id = read_time(time), read_guid(name)
    if first_seen is None or operation_id is None:
        raise CommandError(
            "wrong_place",
            "That is not where a page ended.",
            exit_code=ExitCode.USAGE,
            field="--after",
            fix="Copy it from the line that says there are more.",
        )
    return first_seen, operation_id
