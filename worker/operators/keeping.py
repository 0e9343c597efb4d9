"""All that the ledger keeps about one person, line by line, for who asks what is known of him."""

import json
from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from worker.contract.times import time_text
from worker.ledger import Ledger
from worker.records import History, Record
from worker.rules import Periods


async def kept_about(
    ledger: Ledger, operation_id: UUID, periods: Periods
) -> Mapping[str, object] | None:
    """What is kept of one operation, the e-mail included; ``None`` where it is gone.

    A payment link is told of and not handed out: whoever has it can use it.
    """
    history = await ledger.history(operation_id)
    if history is None:
        return None
    record, facts = history.record, history.record.facts
    return {
        "payment_id": record.operation_id,
        "kind": record.kind,
        "state": record.state,
        "code": record.code,
        "company": facts.id_societe,
        "client": facts.id_client,
        "order": facts.id_commande,
        "origin": facts.id_origin,
        "target": facts.payment_target,
        "mode": facts.payment_run_mode,
        "type": facts.payment_type,
        "type_paiement": facts.type_paiement,
        "amount_cents": facts.amount,
        "email": None if record.email is None else record.email.reveal(),
        "email_mark": record.email_mark is not None,
        "link": record.link is not None,
        "basket_item_id": record.item_id,
        "message_id": record.message_id,
        "correlation_id": record.correlation_id,
        "account": record.account,
        "reference": record.reference,
        "first_seen": record.first_seen,
        "decided_at": record.decided_at,
        "erased_after": _ends(record, periods),
        "answers": [_answer(history, place) for place in range(len(history.answers))],
        "attempts": [
            {"number": each.number, "ended_at": each.ended_at, "reference": each.reference}
            for each in history.attempts
        ],
        "acts": [{"at": each.at, "action": each.action} for each in history.audit],
    }


def line_of(kept: Mapping[str, object]) -> bytes:
    """One line of a JSON Lines file."""
    return (json.dumps(kept, ensure_ascii=False, default=_written) + "\n").encode()


def _ends(record: Record, periods: Periods) -> Mapping[str, datetime] | None:
    """When each part goes by its age; ``None`` while nothing is decided."""
    if record.decided_at is None:
        return None
    return {
        "email": record.decided_at + periods.emails,
        "link": record.decided_at + periods.links,
        "row": record.decided_at + periods.rows,
    }


def _answer(history: History, place: int) -> Mapping[str, object]:
    answer = history.answers[place]
    return {
        "event_id": answer.event.event_id,
        "status": answer.event.status,
        "sequence": answer.event.sequence,
        "occurred_at": answer.event.occurred_at,
        "dead_letter": answer.letter is not None and not answer.letter_resolved,
    }


def _written(value: object) -> str:
    if isinstance(value, datetime):
        return time_text(value)
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(type(value).__name__)
