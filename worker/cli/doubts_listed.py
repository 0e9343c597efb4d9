"""``payment-worker payments doubtful``: what waits for a person, and what to look up for it."""

import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Annotated, assert_never

import typer

from worker.calls import Outcome, Succeeded, Try, Unknown
from worker.cli.context import CommandContext, ConfigOption, FormatOption, JsonOption, context_of
from worker.cli.exit_codes import ExitCode
from worker.cli.money import euros
from worker.cli.opened_ledger import opened_ledger, run_with_ledger
from worker.cli.output import Format
from worker.look_ups import LookUp, LookUpPlan, PlanState
from worker.model import ProviderKind
from worker.operators.doubts import Doubt, Doubts, Word
from worker.records import AttemptEntry, Kind

_MINUTE, _HOUR, _DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def register(group: typer.Typer) -> None:
    """Add the ``doubtful`` command."""
    group.command("doubtful", epilog="Example: payment-worker payments doubtful --json")(
        list_doubts
    )


def list_doubts(
    typer_context: typer.Context,
    account: Annotated[
        str | None, typer.Option("--account", help="Of this account.", show_default=False)
    ] = None,
    company: Annotated[
        str | None, typer.Option("--company", help="Of this company.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1)] = 50,
    every: Annotated[bool, typer.Option("--all", help="However many there are.")] = False,
    fail_if_empty: Annotated[
        bool, typer.Option("--fail-if-empty", help="Exit 5 when there is none.")
    ] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
    output_format: FormatOption = None,
) -> ExitCode:
    """List what waits for a person: payments and cancellations whose outcome nobody knows.

    The oldest first, each with what was sent and when, what to look up at its provider, and how
    it can be settled. Read from the ledger alone. With --json one object for each line.
    """
    context = context_of(typer_context, config=config, json=json, output_format=output_format)
    most = sys.maxsize if every else limit
    shown = run_with_ledger(_listed(context, account, company, most))
    if shown:
        return ExitCode.OK
    context.output.say("Nothing is in doubt.")
    return ExitCode.NOTHING_MATCHED if fail_if_empty else ExitCode.OK


async def _listed(
    context: CommandContext, account: str | None, company: str | None, most: int
) -> int:
    settings = context.loaded().settings
    async with opened_ledger(context) as ledger:
        doubts = Doubts(ledger=ledger, book=settings.route_book(), rules=settings.rules())
        count = 0
        async for doubt in doubts.oldest(limit=most + 1, account=account, company=company):
            if count == most:
                context.output.say("There are more: --all shows them.")
                break
            now = ledger.clock.now()
            if context.output.format is Format.HUMAN:
                context.output.record({}, "\n    ".join(lines_of(doubt, now)))
            else:
                context.output.record(row_of(doubt, now))
            count += 1
        return count


def lines_of(doubt: Doubt, now: datetime) -> Iterator[str]:
    """A doubt for people: what it is, what happened, what to look up, what can be said of it."""
    record, facts = doubt.record, doubt.record.facts
    yield f"{record.operation_id}  in doubt for {age_of(now - doubt.since)}, {record.code}"
    what = [record.kind.value]
    if record.kind is Kind.CANCELLATION:
        what.append(f"of payment {record.payment_id}")
    if facts.amount is not None:
        # Test money is never to be taken for real money, nor the other way round.
        what.append(f"{facts.payment_run_mode or 'mode unknown'} {euros(facts.amount)}")
    what += [f"{facts.payment_target}"] if facts.payment_target is not None else []
    yield ", ".join(what)
    about = [("origin", record.origin), ("company", facts.id_societe), ("client", facts.id_client)]
    about.append(("order", facts.id_commande))
    yield ", ".join(f"{name} {value}" for name, value in about if value is not None)
    sent = [f"account {record.account or 'unknown'}"]
    if record.operation is not None:
        sent.append(record.operation.value)
    if record.operation_class is not None:
        sent.append(f"class {record.operation_class}")
    yield ", ".join(sent)
    for entry in doubt.history.attempts:
        yield from (f"sent {line}" for line in _attempt(entry))
    yield f"look up: {what_to_look_up(doubt)}"
    if doubt.history.look_ups:
        step = doubt.history.look_ups[-1].step
        for each in doubt.history.look_ups:
            if each.step == step:  # every reference that it was sent under
                yield f"last look-up: {_read(each)}"
    if (plan := doubt.history.look_up_plan) is not None:
        yield _next_look_up(plan)
    yield from (f"then: {each}" for each in commands_for(doubt))


def _next_look_up(plan: LookUpPlan) -> str:
    """Whether there is something to wait for."""
    match plan.state:
        case PlanState.PLANNED if plan.due_at is not None:
            return f"next look-up: {plan.due_at:%Y-%m-%d %H:%M:%SZ}"
        case PlanState.BREAK:
            return "next look-up: none, the provider has another amount: this needs a person"
        case PlanState.PLANNED | PlanState.EXHAUSTED | PlanState.ENDED:
            return "next look-up: none, this waits for a person"
        case other:
            assert_never(other)


def _read(each: LookUp) -> str:
    amount = "" if each.amount is None else f" {euros(each.amount)}"
    found = each.finding.value.replace("_", " ")
    return f"{each.at:%Y-%m-%d %H:%M:%SZ}: reference {each.reference}, {found}{amount}"


def _attempt(entry: AttemptEntry) -> Iterator[str]:
    head = f"attempt {entry.number}, reference {entry.reference or 'none'}"
    if not entry.tries:
        yield f"perhaps: {head}, {entry.note}: whether it left this machine is not known"
    for each in entry.tries:
        yield f"{_span(each)}: {head}, {said_of(each.outcome)}"


def _span(each: Try) -> str:
    return f"{each.started_at:%Y-%m-%d %H:%M:%S}-{each.ended_at:%H:%M:%SZ}"


def said_of(outcome: Outcome) -> str:
    """How far a call came, as the transport saw it: by its phase, never by the provider's words."""
    match outcome:
        case Unknown(http_status=None):
            return "no complete answer came"
        case Unknown(never_resend=True):
            return "it answered with a link on a host that is not listed, which was kept"
        case Unknown(http_status=status):
            return f"HTTP {status}, which does not say whether it was applied"
        case Succeeded():
            return "it was applied"
        case _:
            return "it was not applied"


def what_to_look_up(doubt: Doubt) -> str:
    """A sentence: where to look at the provider, and for what."""
    record, facts = doubt.record, doubt.record.facts
    if record.duplicate_of is not None:
        return f"nothing: it repeats payment {record.duplicate_of}, and is answered along with it"
    if doubt.account is None:
        return "where it was sent to: the settings know no account of it"
    where = f"{doubt.account.name} ({'live' if record.live else 'test'})"
    names = " or ".join(doubt.references) or "(none is known)"
    amount = "" if facts.amount is None else f" of {euros(facts.amount)}"
    match doubt.account.provider:
        case ProviderKind.LINK:
            return f"at {where}, search the payment with reference {names}{amount}, and its link"
        case ProviderKind.BASKET if record.kind is Kind.CANCELLATION:
            item = record.item_id or "of its payment"
            return f"at {where}, whether client {facts.id_client} still has item {item}"
        case ProviderKind.BASKET:
            return (
                f"at {where}, the basket of client {facts.id_client}: an item{amount} whose address"
                f" ends in reference {names}, and its id"
            )


def commands_for(doubt: Doubt) -> Iterator[str]:
    """The commands that may end this doubt, each with the finding that it stands for."""
    settle = f"payment-worker payments settle {doubt.record.operation_id}"
    if doubt.is_unlocked:
        yield (
            "it is unlocked: payment-worker dead-letters replay"
            f" {doubt.record.operation_id} --reason ..."
        )
    if doubt.has_kept_link and not doubt.link_is_listed and doubt.account is not None:
        yield (
            f"a link was kept, on a host that link_hosts of {doubt.account.name} does not have:"
            " once it has, settle with --succeeded --kept-link"
        )
    for word in doubt.words:
        yield f"{settle} --{word}{_proof(doubt, word)} --reason ..."


def _proof(doubt: Doubt, word: Word) -> str:
    if word is not Word.SUCCEEDED or doubt.record.kind is Kind.CANCELLATION:
        return ""
    if doubt.link_is_listed:
        return " --kept-link"
    is_basket = doubt.account is not None and doubt.account.provider is ProviderKind.BASKET
    return " --item ID" if is_basket else " --link URL"


def age_of(span: timedelta) -> str:
    """How long, in the largest unit that it fills."""
    for unit, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if span >= unit:
            return f"{span // unit} {name}"
    return f"{max(0, round(span.total_seconds()))} s"


def row_of(doubt: Doubt, now: datetime) -> dict[str, object]:
    """A doubt for programs."""
    record, facts = doubt.record, doubt.record.facts
    plan = doubt.history.look_up_plan
    return {
        "payment_id": record.operation_id,
        "kind": record.kind,
        "of_payment": record.payment_id,
        "code": record.code,
        "since": doubt.since,
        "age_seconds": round((now - doubt.since).total_seconds()),
        "first_seen": record.first_seen,
        "account": record.account,
        "live": record.live,
        "mode": facts.payment_run_mode,
        "target": facts.payment_target,
        "operation": record.operation,
        "class": record.operation_class,
        "amount_cents": facts.amount,
        "origin": record.origin,
        "company": facts.id_societe,
        "client": facts.id_client,
        "order": facts.id_commande,
        "sequence": record.sequence,
        "references": list(doubt.references),
        "attempts": [_entry_row(entry) for entry in doubt.history.attempts],
        "look_ups": [
            {
                "at": each.at.isoformat(),
                "step": each.step,
                "reference": each.reference,
                "finding": each.finding.value,
                "amount_cents": each.amount,
            }
            for each in doubt.history.look_ups
        ],
        "next_look_up_at": None if plan is None else plan.due_at,
        "look_ups_state": None if plan is None else plan.state,
        "has_kept_link": doubt.has_kept_link,
        "duplicate_of": record.duplicate_of,
        "unlocked": doubt.is_unlocked,
        "look_up": what_to_look_up(doubt),
        "settle": [word.value for word in doubt.words],
    }


def _entry_row(entry: AttemptEntry) -> dict[str, object]:
    return {
        "number": entry.number,
        "reference": entry.reference,
        "ended_at": entry.ended_at.isoformat(),
        "note": entry.note,
        "calls": [
            {
                "started_at": each.started_at.isoformat(),
                "ended_at": each.ended_at.isoformat(),
                "said": said_of(each.outcome),
            }
            for each in entry.tries
        ],
    }
