"""A search for payments as conditions and rows; only what is asked for becomes a condition.

So the planner of either database sees which index there is for it: a condition that also holds
where nothing is asked would hide all of them.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol
from uuid import UUID

from worker.adapters.store_rows.values import (
    FACT_COLUMNS,
    Row,
    Scalar,
    from_micros,
    id_or_none,
    read_facts,
    time_or_none,
    to_micros,
)
from worker.codes import Code
from worker.lifecycle.duplicates import NO_ORDER
from worker.model import Origin
from worker.records import Kind, State
from worker.searches import FoundPayment, PaymentFilter, Place

FOUND_COLUMNS = (
    "operation_id",
    "kind",
    "payment_id",
    "state",
    "code",
    "sequence",
    "attempts",
    "first_seen",
    "decided_at",
    "origin",
    *FACT_COLUMNS,
    "account",
    "reference",
    "duplicate_of",
)


def segment_of(entry: str) -> str:
    """In which part of an index that people's searches use a payment is: 4,096 share one.

    So a payment is written into few pages, and whoever looks one up goes from part to part. To the
    letter what those indexes are made of.
    """
    return f"{entry} >> 12"


class InSegments(Protocol):
    """Ids of the rows that meet the conditions, looked for in one segment after another."""

    def __call__(self, table: str, conditions: Sequence[str], *, page: str = "") -> str:
        """A subselect; ``page`` is the order and the limit of what it selects."""


# An attempt under way has left no history yet; the few that are there have an index of their own.
_BY_REFERENCE = (
    "operation_id IN ({attempts}"
    " UNION ALL SELECT operation_id FROM operations WHERE state = 'calling' AND reference = {0})"
)
_BY_PAYMENT = (
    "operation_id IN (SELECT operation_id FROM operations WHERE operation_id = {0}"
    " UNION ALL SELECT operation_id FROM operations"
    " WHERE kind = 'cancellation' AND payment_id = {0}"
    " UNION ALL SELECT operation_id FROM operations WHERE duplicate_of = {0})"
)
_BY_EMAIL = (
    "operation_id IN (SELECT operation_id FROM {personal}"
    " WHERE fingerprint IS NOT NULL AND email_mark IN ({marks}))"
)

ADOPTED_DOUBTS = (
    "SELECT operations.operation_id FROM operations JOIN operations AS owners"
    " ON owners.operation_id = operations.duplicate_of"
    " WHERE operations.duplicate_of IS NOT NULL AND operations.state = 'in_doubt'"
    " AND owners.state IN ('succeeded', 'failed', 'cancelled')"
    " ORDER BY operations.operation_id LIMIT {0}"
)
"""Duplicates that still answer a doubt although the payment they repeat is decided."""


def search_statement(
    wanted: PaymentFilter,
    *,
    after: Place | None,
    limit: int,
    newest_first: bool,
    place: Callable[[int], str],
    in_segments: InSegments,
    table: str = "operations",
    personal: str = "operations",
) -> tuple[str, list[Scalar]]:
    """The statement of a search and its values; ``place`` writes the n-th of them, from 1.

    ``table`` is the name of the rows to read, where a database has to be told an index with it,
    ``personal`` the same of those that still have an e-mail's mark. A page of those who have many
    payments reads what the index has of them behind ``after``.
    """
    bound = _Values(place)
    bounds = [bound(*each) for each in _bounds(wanted, after=after, newest_first=newest_first)]
    look_ups = [bound(*each) for each in _look_ups(wanted, personal, in_segments)]
    keys = [bound(*each) for each in _keys(wanted)]
    key = keys.pop(0) if keys and not look_ups else None
    others = [*look_ups, *keys, *(bound(*each) for each in _facts(wanted)), *_states(wanted)]
    order = "DESC" if newest_first else "ASC"
    page = f" ORDER BY first_seen {order}, operation_id {order} LIMIT {bound('{0}', limit)}"
    conditions = [*others, *bounds]
    if key is not None:
        # Where nothing else is asked, the index tells which rows a page has.
        found = in_segments("operations", [key, *bounds], page="" if others else page)
        conditions.append(f"operation_id IN ({found})")
    statement = (
        f"SELECT {', '.join(FOUND_COLUMNS)} FROM {table}"  # noqa: S608 (own names, bound values)
        + (f" WHERE {' AND '.join(conditions)}" if conditions else "")
        + page
    )
    return statement, bound.values


class _Values:
    """Puts the place of each value into a condition, and keeps the values in that order."""

    def __init__(self, place: Callable[[int], str]) -> None:
        self.values: list[Scalar] = []
        self._place = place

    def __call__(self, template: str, *values: Scalar) -> str:
        first = len(self.values) + 1
        self.values += values
        return template.format(*(self._place(first + n) for n in range(len(values))))


_Condition = tuple[str, *tuple[Scalar, ...]]
"""A template with a place for each of its values, and these."""


def _keys(wanted: PaymentFilter) -> Iterator[_Condition]:
    """What an index in segments finds, what few payments share first: one of them is enough."""
    if wanted.message_id is not None:
        yield "message_id = {0}", wanted.message_id
    if wanted.order is not None and wanted.order != NO_ORDER:
        yield "id_commande = {0} AND id_commande <> '0'", wanted.order  # the others are in no index
    if wanted.client is not None:
        yield "id_client = {0}", wanted.client


def _look_ups(
    wanted: PaymentFilter, personal: str, in_segments: InSegments
) -> Iterator[_Condition]:
    """What is found by way of other rows."""
    if wanted.reference is not None:
        attempts = in_segments("attempts", ["reference = {0}"])
        yield _BY_REFERENCE.replace("{attempts}", attempts), wanted.reference
    if wanted.payment_id is not None:
        yield _BY_PAYMENT, wanted.payment_id.bytes
    if wanted.email_marks is not None:
        marks = ", ".join(f"{{{place}}}" for place in range(len(wanted.email_marks)))
        by_email = _BY_EMAIL.replace("{personal}", personal).replace("{marks}", marks)
        yield by_email, *wanted.email_marks


def _facts(wanted: PaymentFilter) -> Iterator[_Condition]:
    """What is only looked at, row by row."""
    texts = {
        "id_commande = {0}": wanted.order if wanted.order == NO_ORDER else None,
        "id_societe = {0}": wanted.company,
        "origin = {0}": wanted.origin,
        "account = {0}": wanted.account,
    }
    yield from ((template, text) for template, text in texts.items() if text is not None)


def _states(wanted: PaymentFilter) -> Iterator[str]:
    """In words of our own: written out, they tell which partial index holds."""
    if wanted.states is None:
        return
    words = ", ".join(f"'{state.value}'" for state in sorted(wanted.states))
    if len(wanted.states) == 1:
        yield f"state = {words}"
    elif wanted.states:
        yield f"state IN ({words})"
    else:
        yield "FALSE"


def _bounds(
    wanted: PaymentFilter, *, after: Place | None, newest_first: bool
) -> Iterator[_Condition]:
    """Between which places in the order of the first receipt."""
    if wanted.since is not None:
        yield "first_seen >= {0}", to_micros(wanted.since)
    if wanted.until is not None:
        yield "first_seen < {0}", to_micros(wanted.until)
    if after is not None:
        sign = "<" if newest_first else ">"
        template = f"(first_seen, operation_id) {sign} ({{0}}, {{1}})"
        yield template, to_micros(after[0]), after[1].bytes


def read_found(row: Row) -> FoundPayment:
    """The operation of a row in the order of ``FOUND_COLUMNS``."""
    operation_id, kind, payment_id, state, code, sequence, attempts, *rest = row
    first_seen, decided_at, origin, *facts = rest[:-3]
    account, reference, duplicate_of = rest[-3:]
    return FoundPayment(
        operation_id=UUID(bytes=operation_id),
        kind=Kind(kind),
        payment_id=UUID(bytes=payment_id),
        state=State(state),
        code=None if code is None else Code(code),
        sequence=sequence,
        attempts=attempts,
        first_seen=from_micros(first_seen),
        decided_at=time_or_none(decided_at),
        origin=Origin(origin),
        facts=read_facts(tuple(facts)),
        account=account,
        reference=reference,
        duplicate_of=id_or_none(duplicate_of),
    )
