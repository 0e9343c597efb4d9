"""The dead-letter index as rows: a letter, an unanswered one, letters of one case, a filter."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import datetime
from heapq import merge
from itertools import islice
from typing import NamedTuple
from uuid import UUID

from worker.adapters.store_rows.values import (
    FACT_COLUMNS,
    Row,
    Scalar,
    bytes_or_none,
    facts_row,
    from_micros,
    micros_or_none,
    read_facts,
    time_or_none,
    to_micros,
)
from worker.codes import Code
from worker.letters import (
    LetterCase,
    LetterEntry,
    LetterFilter,
    LetterTally,
    UnansweredLetter,
    folded,
)
from worker.model import Fingerprint, OperationClass, Origin
from worker.records import Kind, State

_FIRST, _LAST = -(2**63), 2**63 - 1
_CASE = len(fields(LetterCase))


UNANSWERED_COLUMNS = (
    "operation_id",
    "kind",
    "payment_id",
    "sequence",
    "origin",
    "fingerprint",
    *FACT_COLUMNS,
    "first_seen",
    "not_after",
    "failed_at",
    "cause",
    "found_at",
)


class FilterValues(NamedTuple):
    """A filter's values as they are bound; codes as a JSON array, times always there.

    ``since``, ``codes`` and ``resolved`` stand last: not every statement asks for them.
    """

    origin: str | None
    company: str | None
    target: str | None
    payment_id: bytes | None
    operation_id: bytes | None
    until: int
    text: str | None
    since: int
    codes: str | None
    resolved: int


def page_start(wanted: LetterFilter, after: tuple[datetime, UUID] | None) -> tuple[int, bytes]:
    """Behind which place a page begins: one bound, so that an index is entered right there."""
    start = (_FIRST if wanted.since is None else to_micros(wanted.since), b"")
    return start if after is None else max(start, (to_micros(after[0]), after[1].bytes))


def filter_values(wanted: LetterFilter) -> FilterValues:
    """The values of a filter, in the order of the conditions."""
    codes = None if wanted.codes is None else sorted(code for code in wanted.codes if code)
    return FilterValues(
        origin=wanted.origin,
        company=wanted.company,
        target=None if wanted.target is None else wanted.target.value,
        payment_id=bytes_or_none(wanted.payment_id),
        operation_id=bytes_or_none(wanted.operation_id),
        until=_LAST if wanted.until is None else to_micros(wanted.until),
        text=None if wanted.text is None else folded(wanted.text),
        since=_FIRST if wanted.since is None else to_micros(wanted.since),
        codes=None if codes is None else json.dumps(codes),
        resolved=int(wanted.resolved),
    )


def merged_page(
    decided: Iterable[Row], unanswered: Iterable[Row], limit: int
) -> Sequence[LetterEntry]:
    """The first letters of two pages, each in the order of the list."""
    pages = ([read_letter_entry(row) for row in rows] for rows in (decided, unanswered))
    return list(islice(merge(*pages, key=_place), limit))


def _place(entry: LetterEntry) -> tuple[datetime, UUID]:
    return entry.failed_at, entry.operation_id


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
    an order, is superseded, is edited.
    """
    code, kind, state, operation_class, *flags = row
    published, may_be_applied, is_expired, names_order, is_superseded, is_edited = map(bool, flags)
    return LetterCase(
        code=None if code is None else Code(code),
        kind=Kind(kind),
        state=None if state is None else State(state),
        operation_class=None if operation_class is None else OperationClass(operation_class),
        link_published=published,
        may_be_applied=may_be_applied,
        is_expired=is_expired,
        names_order=names_order,
        is_superseded=is_superseded,
        is_edited=is_edited,
    )


def unanswered_rows(letters: Iterable[UnansweredLetter]) -> list[tuple[Scalar, ...]]:
    """Values in the order of ``UNANSWERED_COLUMNS``, the first letter of each operation."""
    first: dict[UUID, UnansweredLetter] = {}
    for letter in letters:
        first.setdefault(letter.operation_id, letter)
    return [_unanswered_row(letter) for letter in first.values()]


def _unanswered_row(letter: UnansweredLetter) -> tuple[Scalar, ...]:
    return (
        letter.operation_id.bytes,
        letter.kind.value,
        letter.payment_id.bytes,
        letter.sequence,
        letter.origin,
        letter.fingerprint,
        *facts_row(letter.facts),
        to_micros(letter.first_seen),
        micros_or_none(letter.not_after),
        to_micros(letter.failed_at),
        letter.cause,
        to_micros(letter.found_at),
    )


def read_unanswered(row: Row) -> UnansweredLetter:
    """The letter of a row in the order of ``UNANSWERED_COLUMNS``."""
    operation_id, kind, payment_id, sequence, origin, fingerprint, *facts = row[:-5]
    first_seen, not_after, failed_at, cause, found_at = row[-5:]
    return UnansweredLetter(
        operation_id=UUID(bytes=operation_id),
        kind=Kind(kind),
        payment_id=UUID(bytes=payment_id),
        sequence=sequence,
        origin=Origin(origin),
        fingerprint=None if fingerprint is None else Fingerprint(fingerprint),
        facts=read_facts(tuple(facts)),
        first_seen=from_micros(first_seen),
        not_after=time_or_none(not_after),
        failed_at=from_micros(failed_at),
        cause=cause,
        found_at=from_micros(found_at),
    )
