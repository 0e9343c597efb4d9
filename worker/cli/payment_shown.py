"""``payments show``: the whole history of one operation, its letter and its cancellations."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import typer

from worker.cli.context import CommandContext, ConfigOption, FormatOption, JsonOption, context_of
from worker.cli.exit_codes import CommandError, ExitCode
from worker.cli.letter_groups import CAN_HELP
from worker.cli.money import euros
from worker.cli.opened_ledger import opened_ledger, run_with_ledger
from worker.cli.output import Format, Output
from worker.cli.steps_shown import step_facts, steps_for
from worker.codes import category_of
from worker.ledger import Ledger
from worker.letters import LetterEntry, UnansweredLetter, Verdict, code_name
from worker.lifecycle.prospects import prospect_of
from worker.lifecycle.ruling import is_unlocked
from worker.model import Facts
from worker.operators.doubts import Doubt, Doubts, copies_of
from worker.operators.timeline import Moment, timeline_of
from worker.records import Answer, History, Record, State
from worker.searches import FoundPayment

_COLUMNS = ("at", "what", "facts")

PaymentArgument = Annotated[UUID, typer.Argument(help="Of the payment, cancellation or refusal.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """All that the ledger knows of one operation; no ``doubt`` where the broker gave it up.

    ``doubt`` has its history and what may be said of it, if anything, ``letter`` is its dead letter
    as the index lists it, ``unanswered`` what a walk noted of one that the broker made, ``copies``
    requests that were answered with its answer, a hundred at most.
    """

    doubt: Doubt | None
    letter: LetterEntry | None
    unanswered: UnansweredLetter | None
    cancellations: tuple[Record, ...]
    copies: tuple[FoundPayment, ...] = ()

    @property
    def history(self) -> History | None:
        """What happened to it."""
        return None if self.doubt is None else self.doubt.history


def register(group: typer.Typer) -> None:
    """Add the ``show`` command."""
    group.command("show", epilog="Example: payment-worker payments show 5b1f0c1e-... --json")(
        show_payment
    )


def show_payment(
    typer_context: typer.Context,
    payment_id: PaymentArgument,
    config: ConfigOption = None,
    json: JsonOption = False,
    output_format: FormatOption = None,
) -> ExitCode:
    """Show the history of one payment: request, attempts, answers, dead letter, replays.

    Read from the ledger alone: no queue is touched. E-mail and link are never shown. Where it waits
    for a person it ends with what to look at first, and the commands to type then.
    """
    context = context_of(typer_context, config=config, json=json, output_format=output_format)
    show_found(context.output, run_with_ledger(_looked_up(context, payment_id)))
    return ExitCode.OK


async def _looked_up(context: CommandContext, operation_id: UUID) -> Found:
    async with opened_ledger(context) as ledger:
        return await look_up(context, ledger, operation_id, ids_from="payments find --order ORDER")


async def look_up(
    context: CommandContext, ledger: Ledger, operation_id: UUID, *, ids_from: str
) -> Found:
    """Read everything about one operation.

    Raises ``CommandError`` where there is nothing; ``ids_from`` is the command that lists ids.
    """
    settings = context.loaded().settings
    doubts = Doubts(ledger=ledger, book=settings.route_book(), rules=settings.rules())
    doubt = await doubts.find(operation_id)
    unanswered = await ledger.letters.unanswered(operation_id)
    if doubt is None and unanswered is None:
        raise CommandError(
            "unknown_payment",
            "The ledger knows no such operation.",
            exit_code=ExitCode.FAILED,
            field="PAYMENT_ID",
            fix=f"Give an id as an event has it, or as `payment-worker {ids_from}` shows it.",
        )
    return Found(
        doubt=doubt,
        letter=await ledger.letters.of(operation_id),
        unanswered=unanswered,
        cancellations=tuple(await ledger.payments.cancellations(operation_id)),
        copies=tuple(await copies_of(ledger, operation_id)),
    )


def show_found(output: Output, found: Found, extra: dict[str, object] | None = None) -> None:
    """Print it; ``extra`` joins the JSON document, and stands behind the facts for people."""
    moments = () if found.history is None else timeline_of(found.history)
    about, letter = _about(found), _letter(found)
    if output.is_json:
        output.record(
            about
            | {
                "verdict": None if letter is None else letter["verdict"],
                "verdict_reason": None if letter is None else letter["verdict_reason"],
                "letter": letter,
                "cancellations": [_cancellation(each) for each in found.cancellations],
                "copies": [_copy(each) for each in found.copies],
                "timeline": [_row(moment) for moment in moments],
            }
            | step_facts(found.doubt)
            | (extra or {})
        )
        return
    if output.format is Format.PLAIN:
        output.table(_COLUMNS, [_line(moment) for moment in moments])
        return
    _show_facts(output, about)
    if letter is not None:
        output.text("\ndead letter")
        _show_facts(output, letter)
    for each in found.cancellations:
        row = _cancellation(each)
        output.record(row, f"\ncancellation {row['payment_id']}: {_state(each)}")
    for copy in found.copies:
        output.record({}, f"\nanswered alike   {copy.operation_id}: {copy.state}")
    for name, value in (extra or {}).items():
        _show_extra(output, name, value)
    output.text("")
    for moment in moments:
        line = _line(moment)
        head = f"{moment.at:%Y-%m-%d %H:%M:%S.%fZ}  {moment.what.replace('_', ' ')}"
        output.record(line, f"{head}\n    {line['facts']}")
    steps = [] if found.doubt is None else list(steps_for(found.doubt))
    if steps:
        output.text("\nwhat next")
    for step in steps:
        output.record({}, f"    {step}")


def _about(found: Found) -> dict[str, object]:
    if found.history is not None:
        record = found.history.record
        return _named(record.facts, record.operation_id) | {
            "kind": record.kind,
            "of_payment": record.payment_id,
            "state": record.state,
            "code": record.code,
            "sequence": record.sequence,
            "attempts": record.attempts,
            "origin": record.origin,
            "account": record.account,
            "reference": record.reference,
            "first_seen": record.first_seen,
            "not_after": record.not_after,
            "next_attempt_at": record.next_attempt_at,
            "has_link": record.link is not None,
            "duplicate_of": record.duplicate_of,
            "unlocked": is_unlocked(record),
        }
    letter = found.unanswered
    if letter is None:
        raise TypeError(found)
    return _named(letter.facts, letter.operation_id) | {
        "kind": letter.kind,
        "of_payment": letter.payment_id,
        "state": None,
        "code": None,
        "sequence": letter.sequence,
        "attempts": 0,
        "origin": letter.origin,
        "account": None,
        "reference": None,
        "first_seen": letter.first_seen,
        "not_after": letter.not_after,
        "next_attempt_at": None,
        "has_link": False,
        "duplicate_of": None,
        "unlocked": False,
    }


def _named(facts: Facts, operation_id: UUID) -> dict[str, object]:
    """What it is about, the keys in the order in which people read them."""
    return dict.fromkeys(
        ("payment_id", "kind", "of_payment", "state", "code", "sequence", "attempts", "origin")
    ) | {
        "payment_id": operation_id,
        "company": facts.id_societe,
        "client": facts.id_client,
        "order": facts.id_commande,
        "target": facts.payment_target,
        "mode": facts.payment_run_mode,
        "type": facts.payment_type,
        "amount_cents": facts.amount,
    }


def _letter(found: Found) -> dict[str, object] | None:
    """Why it is a dead letter, as its headers say, and whether a replay can help."""
    entry, answer = found.letter, _undone(found.history)
    prospect = None if entry is None else prospect_of(entry.case)
    verdict: dict[str, object] = {
        "verdict": None if prospect is None else prospect.verdict,
        "verdict_reason": None if prospect is None else prospect.reason,
    }
    if answer is not None and answer.letter is not None:
        return {
            "code": answer.letter.code,
            "category": category_of(answer.letter.code),
            "detail": answer.letter.detail,
            "failed_at": answer.letter.failed_at,
            "sequence": answer.event.sequence,
            "in_queue": answer.letter_confirmed and not answer.letter_resolved,
            "set_aside": answer.letter_resolved,
        } | verdict
    if found.unanswered is None:
        return None
    return {
        "code": code_name(None),
        "category": None,
        "detail": found.unanswered.cause,
        "failed_at": found.unanswered.failed_at,
        "sequence": found.unanswered.sequence,
        "in_queue": True,
        "set_aside": False,
    } | verdict


def _undone(history: History | None) -> Answer | None:
    """The newest decision, where it left a letter that is undone."""
    if history is None or history.record.state not in {State.FAILED, State.IN_DOUBT}:
        return None
    for answer in history.answers:
        if answer.event.event_id == history.record.event_id and answer.letter is not None:
            return answer
    return None


def _cancellation(record: Record) -> dict[str, object]:
    return {
        "payment_id": record.operation_id,
        "state": record.state,
        "code": record.code,
        "first_seen": record.first_seen,
        "decided_at": record.decided_at,
    }


def _copy(found: FoundPayment) -> dict[str, object]:
    return {
        "payment_id": found.operation_id,
        "state": found.state,
        "code": found.code,
        "first_seen": found.first_seen,
        "decided_at": found.decided_at,
    }


def _state(record: Record) -> str:
    return record.state if record.code is None else f"{record.state}, {record.code}"


def _row(moment: Moment) -> dict[str, object]:
    return {"at": moment.at, "what": moment.what, **moment.facts}


def _show_facts(output: Output, facts: dict[str, object]) -> None:
    for name, value in facts.items():
        if value is None:
            continue
        shown = euros(value) if name == "amount_cents" and isinstance(value, int) else _said(value)
        if isinstance(value, Verdict):
            shown = CAN_HELP[value]
        output.record({}, f"{_LABELS.get(name, name).replace('_', ' '):<16} {shown}")


_LABELS = {"amount_cents": "amount", "verdict": "replay", "verdict_reason": "because"}


def _show_extra(output: Output, name: str, value: object) -> None:
    if isinstance(value, dict):
        output.text(f"\n{name.replace('_', ' ')}")
        for key, each in value.items():
            output.record({}, f"{key:<16} {'' if each is None else each}")


def _line(moment: Moment) -> dict[str, object]:
    facts = (f"{name.replace('_', ' ')} {_said(value)}" for name, value in moment.facts.items())
    return {"at": moment.at, "what": moment.what, "facts": ", ".join(facts)}


def _said(value: object) -> object:
    """A value as people say it: a truth as yes or no, a time in UTC."""
    match value:
        case bool():
            return "yes" if value else "no"
        case datetime():
            return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S.%fZ}"
        case _:
            return value
