"""A search for payments as conditions and rows; only what is asked for becomes a condition.

So the planner of either database sees which index there is for it: a condition that also holds
where nothing is asked would hide all of them.
"""

from collections.abc import Callable, Iterator
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

# An attempt under way has left no history yet; the few that are there have an index of their own.
_BY_REFERENCE = (
    "operation_id IN (SELECT operation_id FROM attempts WHERE reference = {0}"
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
    table: str = "operations",
    personal: str = "operations",
) -> tuple[str, list[Scalar]]:
    """The statement of a search and its values; ``place`` writes the n-th of them, from 1.

    ``table`` is the name of the rows to read, where a database has to be told an index with it,
    ``personal`` the same of those that still have an e-mail's mark.
    """
    conditions: list[str] = []
    values: list[Scalar] = []
    for template, value in (
        *_conditions(wanted, personal),
        *_place(after, newest_first=newest_first),
    ):
        places = [place(len(values) + 1)]
        values.append(value[0])
        for more in value[1:]:
            places.append(place(len(values) + 1))
            values.append(more)
        conditions.append(template.format(*places))
    conditions += _plain_conditions(wanted)
    order = "DESC" if newest_first else "ASC"
    values.append(limit)
    statement = (
        f"SELECT {', '.join(FOUND_COLUMNS)} FROM {table}"  # noqa: S608 (own names, bound values)
        + (f" WHERE {' AND '.join(conditions)}" if conditions else "")
        + f" ORDER BY first_seen {order}, operation_id {order} LIMIT {place(len(values))}"
    )
    return statement, values


def _conditions(wanted: PaymentFilter, personal: str) -> Iterator[tuple[str, tuple[Scalar, ...]]]:
    texts = {
        "id_commande = {0}": wanted.order,
        "id_client = {0}": wanted.client,
        "id_societe = {0}": wanted.company,
        "origin = {0}": wanted.origin,
        "message_id = {0}": wanted.message_id,
        "account = {0}": wanted.account,
        _BY_REFERENCE: wanted.reference,
    }
    yield from ((template, (text,)) for template, text in texts.items() if text is not None)
    if wanted.payment_id is not None:
        yield _BY_PAYMENT, (wanted.payment_id.bytes,)
    if wanted.email_marks is not None:
        marks = ", ".join(f"{{{place}}}" for place in range(len(wanted.email_marks)))
        yield (
            _BY_EMAIL.replace("{personal}", personal).replace("{marks}", marks),
            tuple(wanted.email_marks),
        )
    if wanted.since is not None:
        yield "first_seen >= {0}", (to_micros(wanted.since),)
    if wanted.until is not None:
        yield "first_seen < {0}", (to_micros(wanted.until),)


def _plain_conditions(wanted: PaymentFilter) -> Iterator[str]:
    """Conditions of our own words: written out, they tell which partial index holds."""
    if wanted.order not in {None, NO_ORDER}:
        yield "id_commande <> '0'"
    if wanted.states is None:
        return
    words = ", ".join(f"'{state.value}'" for state in sorted(wanted.states))
    if len(wanted.states) == 1:
        yield f"state = {words}"
    elif wanted.states:
        yield f"state IN ({words})"
    else:
        yield "FALSE"


def _place(after: Place | None, *, newest_first: bool) -> Iterator[tuple[str, tuple[Scalar, ...]]]:
    if after is not None:
        sign = "<" if newest_first else ">"
        template = f"(first_seen, operation_id) {sign} ({{0}}, {{1}})"
        yield template, (to_micros(after[0]), after[1].bytes)


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
