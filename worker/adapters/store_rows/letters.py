"""The dead-letter index as rows: one letter, letters of one case, and what is asked for."""

import json
from dataclasses import fields
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from worker.adapters.store_rows.values import Row, bytes_or_none, from_micros, read_facts, to_micros
from worker.codes import Code
from worker.letters import LetterCase, LetterEntry, LetterFilter, LetterTally
from worker.model import OperationClass, Origin
from worker.records import Kind, State

_FIRST, _LAST = -(2**63), 2**63 - 1
_CASE = len(fields(LetterCase))


class FilterValues(NamedTuple):
    """A filter's values as they are bound; codes as a JSON array, times always there."""

    since: int
    codes: str | None
    origin: str | None
    company: str | None
    target: str | None
    payment_id: bytes | None
    operation_id: bytes | None
    until: int


def page_start(wanted: LetterFilter, after: tuple[datetime, UUID] | None) -> tuple[int, bytes]:
    """Behind which place a page begins: one bound, so that an index is entered right there."""
    start = (_FIRST if wanted.since is None else to_micros(wanted.since), b"")
    return start if after is None else max(start, (to_micros(after[0]), after[1].bytes))


def filter_values(wanted: LetterFilter) -> FilterValues:
    """The values of a filter, in the order of the conditions."""
    return FilterValues(
        since=_FIRST if wanted.since is None else to_micros(wanted.since),
        codes=None if wanted.codes is None else json.dumps(sorted(wanted.codes)),
        origin=wanted.origin,
        company=wanted.company,
        target=None if wanted.target is None else wanted.target.value,
        payment_id=bytes_or_none(wanted.payment_id),
        operation_id=bytes_or_none(wanted.operation_id),
        until=_LAST if wanted.until is None else to_micros(wanted.until),
    )


def read_letter_entry(row: Row) -> LetterEntry:
    """A line of the dead-letter index.

    Columns: those of its case, operation, payment, sequence, failed at, origin, confirmed, facts.
    """
    case, rest = row[:_CASE], row[_CASE:]
    operation_id, payment_id, sequence, failed_at, origin, confirmed, *facts = rest
    return LetterEntry(
        operation_id=UUID(bytes=operation_id),
        payment_id=UUID(bytes=payment_id),
        sequence=sequence,
        failed_at=from_micros(failed_at),
        origin=Origin(origin),
        facts=read_facts(tuple(facts)),
        confirmed=bool(confirmed),
        case=_read_case(case),
    )


def read_letter_tally(row: Row) -> LetterTally:
    """Letters of one case; columns: those of the case, count, confirmed, first, last."""
    count, confirmed, first, last = row[_CASE:]
    return LetterTally(
        case=_read_case(row[:_CASE]),
        count=int(count),
        confirmed=int(confirmed),
        first=from_micros(first),
        last=from_micros(last),
    )


def _read_case(row: Row) -> LetterCase:
    """What decides whether a replay can help.

    Columns: code, kind, state, operation class, link published, may be applied, is expired, names
    an order, is superseded.
    """
    code, kind, state, operation_class, *flags = row
    link_published, may_be_applied, is_expired, names_order, is_superseded = map(bool, flags)
    return LetterCase(
        code=None if code is None else Code(code),
        kind=Kind(kind),
        state=None if state is None else State(state),
        operation_class=None if operation_class is None else OperationClass(operation_class),
        link_published=link_published,
        may_be_applied=may_be_applied,
        is_expired=is_expired,
        names_order=names_order,
        is_superseded=is_superseded,
    )
