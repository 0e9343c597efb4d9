"""The calls within one attempt as JSON, for the attempt's history.

A link is taken out of the text and handed back beside it, in order, so that it is stored sealed
and retention can erase it: ``"link": true`` in the text says that there was one.
"""

from collections.abc import Iterator, Sequence
from typing import Any, assert_never

from worker.adapters.store_rows.values import from_micros, to_micros
from worker.calls import (
    Declined,
    Misconfigured,
    NotApplied,
    NotSent,
    Outcome,
    Succeeded,
    Try,
    Unknown,
)
from worker.codes import Code
from worker.model import Secret

Stored = dict[str, Any]  # Any: one JSON object; the writer below is its only author


def write_tries(tries: Sequence[Try]) -> tuple[list[Stored], list[Secret]]:
    """Plain values for JSON, and the links that were left out of them, in order."""
    links: list[Secret] = []
    stored: list[Stored] = []
    for call in tries:
        link = call.outcome.link if isinstance(call.outcome, Succeeded | Unknown) else None
        if link is not None:
            links.append(link)
        stored.append(
            {
                "started": to_micros(call.started_at),
                "ended": to_micros(call.ended_at),
                "link": link is not None,
                **_write_outcome(call.outcome),
            }
        )
    return stored, links


def read_tries(stored: Sequence[Stored], links: Sequence[Secret]) -> tuple[Try, ...]:
    """The inverse of ``write_tries``; without links (erased) every link is ``None``."""
    remaining = iter(links)
    return tuple(
        Try(
            started_at=from_micros(call["started"]),
            ended_at=from_micros(call["ended"]),
            outcome=_read_outcome(call, _link(call, remaining)),
        )
        for call in stored
    )


def _link(call: Stored, remaining: Iterator[Secret]) -> Secret | None:
    return next(remaining, None) if call["link"] else None


def _write_outcome(outcome: Outcome) -> Stored:
    match outcome:
        case Succeeded():
            return {
                "outcome": "succeeded",
                "item_id": outcome.item_id,
                "http_status": outcome.http_status,
                "link_dropped": outcome.link_dropped,
            }
        case Declined():
            return {
                "outcome": "declined",
                "code": outcome.code.value,
                "provider_code": outcome.provider_code,
                "http_status": outcome.http_status,
                "known": outcome.known,
            }
        case NotApplied():
            return {
                "outcome": "not_applied",
                "code": outcome.code.value,
                "http_status": outcome.http_status,
                "retry_after": outcome.retry_after,
            }
        case NotSent():
            return {"outcome": "not_sent", "code": outcome.code.value}
        case Misconfigured():
            return {
                "outcome": "misconfigured",
                "code": outcome.code.value,
                "http_status": outcome.http_status,
                "provider_code": outcome.provider_code,
            }
        case Unknown():
            return {
                "outcome": "unknown",
                "code": outcome.code.value,
                "http_status": outcome.http_status,
                "never_resend": outcome.never_resend,
            }
        case other:
            assert_never(other)


def _read_outcome(call: Stored, link: Secret | None) -> Outcome:
    match call["outcome"]:
        case "succeeded":
            return Succeeded(
                link=link,
                item_id=call["item_id"],
                http_status=call["http_status"],
                link_dropped=call["link_dropped"],
            )
        case "declined":
            return Declined(
                code=Code(call["code"]),
                provider_code=call["provider_code"],
                http_status=call["http_status"],
                known=call["known"],
            )
        case "not_applied":
            return NotApplied(
                code=Code(call["code"]),
                http_status=call["http_status"],
                retry_after=call["retry_after"],
            )
        case "not_sent":
            return NotSent(code=Code(call["code"]))
        case "misconfigured":
            return Misconfigured(
                code=Code(call["code"]),
                http_status=call["http_status"],
                provider_code=call["provider_code"],
            )
        case "unknown":
            return Unknown(
                code=Code(call["code"]),
                http_status=call["http_status"],
                never_resend=call["never_resend"],
                link=link,
            )
        case name:
            raise ValueError(name)
