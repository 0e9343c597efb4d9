"""The history of one operation as a person reads it: what happened, in order, and no secret.

Of an e-mail or a link the history tells nothing, and of a producer's own names those alone that
are GUIDs: a producer may call a message anything, also by a person's address.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum, unique
from types import MappingProxyType
from typing import assert_never

from worker.calls import Declined, Misconfigured, NotApplied, NotSent, Outcome, Succeeded, Unknown
from worker.contract.fields import read_guid
from worker.look_ups import LookUp
from worker.records import REPLAY_OUTCOME, Answer, AttemptEntry, AuditEntry, History, Record

Facts = Mapping[str, str | int | bool | None]

_OUTCOMES: Mapping[type[Outcome], str] = MappingProxyType(
    {
        Succeeded: "succeeded",
        Declined: "declined",
        NotApplied: "not applied",
        NotSent: "not sent",
        Misconfigured: "misconfigured",
        Unknown: "unknown",
    }
)


@unique
class Happening(StrEnum):
    """What a line of the history is about; at the same moment in this order."""

    RECEIVED = "received"
    CALLED = "called"
    ATTEMPT_ENDED = "attempt_ended"
    LOOKED_UP = "looked_up"
    DECIDED = "decided"
    DEAD_LETTERED = "dead_lettered"
    ACTED_ON = "acted_on"


_ORDER = tuple(Happening)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One line of the history; ``facts`` are plain values, absent ones left out."""

    at: datetime
    what: Happening
    facts: Facts


def timeline_of(history: History) -> tuple[Moment, ...]:
    """Everything that happened to one operation, oldest first."""
    moments = [_received(history.record)]
    for attempt in history.attempts:
        moments += _attempted(attempt)
    for answer in history.answers:
        moments += _answered(answer)
    moments += [_looked_up(each) for each in history.look_ups]
    moments += [_acted_on(entry) for entry in history.audit if entry.action != REPLAY_OUTCOME]
    return tuple(sorted(moments, key=lambda moment: (moment.at, _ORDER.index(moment.what))))


def _received(record: Record) -> Moment:
    name = read_guid(record.message_id or "")
    return _moment(
        record.first_seen,
        Happening.RECEIVED,
        kind=record.kind.value,
        origin=record.origin,
        message_id=None if name is None else str(name),
    )


def _attempted(attempt: AttemptEntry) -> Iterator[Moment]:
    for each in attempt.tries:
        took = each.ended_at - each.started_at
        yield _moment(
            each.started_at,
            Happening.CALLED,
            attempt=attempt.number,
            outcome=_OUTCOMES[type(each.outcome)],
            milliseconds=round(took.total_seconds() * 1000),
            **_details(each.outcome),
        )
    yield _moment(
        attempt.ended_at,
        Happening.ATTEMPT_ENDED,
        attempt=attempt.number,
        reference=attempt.reference,
        note=attempt.note,
    )


def _details(outcome: Outcome) -> dict[str, str | int | None]:
    """What the provider said in codes; never its text."""
    match outcome:
        case Succeeded():
            return {"http_status": outcome.http_status}
        case NotSent():
            return {"code": outcome.code}
        case NotApplied() | Unknown():
            return {"code": outcome.code, "http_status": outcome.http_status}
        case Declined() | Misconfigured():
            return {
                "code": outcome.code,
                "http_status": outcome.http_status,
                "provider_code": outcome.provider_code,
            }
        case other:
            assert_never(other)


def _answered(answer: Answer) -> Iterator[Moment]:
    event, letter = answer.event, answer.letter
    yield _moment(
        event.occurred_at,
        Happening.DECIDED,
        sequence=event.sequence,
        status=event.status.value,
        code=None if event.code is None else event.code.value,
        event_id=str(event.event_id),
        published=answer.event_confirmed,
        asked_for_again=answer.resends or None,
    )
    if letter is not None:
        yield _moment(
            letter.failed_at,
            Happening.DEAD_LETTERED,
            sequence=event.sequence,
            code=letter.code.value,
            detail=letter.detail,
            published=answer.letter_confirmed,
            set_aside=answer.letter_resolved or None,
        )


def _looked_up(each: LookUp) -> Moment:
    return _moment(
        each.at,
        Happening.LOOKED_UP,
        sequence=each.sequence,
        step=each.step,
        finding=each.finding.value,
        reference=each.reference,
        amount_cents=each.amount,
        reason=each.reason,
        http_status=each.http_status,
        provider_code=each.provider_code,
    )


def _acted_on(entry: AuditEntry) -> Moment:
    return _moment(
        entry.at,
        Happening.ACTED_ON,
        action=f"{entry.action} (denied)" if entry.is_denied else entry.action,
        actor=entry.actor,
        detail=entry.detail,
    )


def _moment(at: datetime, what: Happening, **facts: str | int | bool | None) -> Moment:
    return Moment(
        at=at, what=what, facts={name: each for name, each in facts.items() if each is not None}
    )
