"""Every request is read as the worker will read it, before anything is sent.

What passes is written anew in the canonical form of the published schema: a producer is strict
in what it sends. Names no request has are left out.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import assert_never
from uuid import UUID

from worker.contract import headers
from worker.contract.bodies import REQUEST_FIELDS
from worker.contract.json_text import JsonObject, parse_body
from worker.contract.names import name_values
from worker.contract.reading import CANCEL_PREFIX, INITIATE_PREFIX, read
from worker.contract.times import exact_time_text
from worker.identity import normalise_origin
from worker.messages import Exchange, OutgoingMessage
from worker.model import (
    Cancellation,
    Cents,
    Delivery,
    Fault,
    Initiation,
    PaymentRequest,
    RunMode,
    Source,
    Unreadable,
)
from worker.submission.keys import FileKeys, Key
from worker.submission.rows import Row

INITIATE_TYPE = "payment_initiate"
CANCEL_TYPE = "payment_cancel"

_UNSENT = f"{INITIATE_PREFIX}unsent"
"""Stands for the routing key, which follows from the origin that is about to be read."""

_REPEATED = "key_repeated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A request that may be sent; mode and amount are a payment's."""

    number: int
    line: int | None
    message: OutgoingMessage
    payment_id: UUID
    mode: RunMode | None = None
    amount: Cents | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A request that must not be sent, with everything that is wrong with it."""

    number: int
    line: int | None
    faults: tuple[Fault, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A whole file, judged; ``ignored`` names what no request has, each once."""

    ready: tuple[Ready, ...] = field(repr=False)
    refused: tuple[Refused, ...]
    ignored: tuple[str, ...]

    @property
    def total(self) -> int:
        """Rows of the file."""
        return len(self.ready) + len(self.refused)


def check_all(
    rows: Iterable[Row], keys: FileKeys, *, not_after: datetime | None, now: datetime
) -> Checked:
    """Check the rows of a file; raises ``UnreadableFileError`` where they cannot be told apart.

    Of two rows under one key only the first may be sent: the second would either be answered
    with the first one's answer or be refused, and it looks like a second payment.
    """
    ready: list[Ready] = []
    refused: list[Refused] = []
    ignored: dict[str, None] = {}
    seen: dict[str, int] = {}
    for row in rows:
        ignored.update(dict.fromkeys(row.ignored))
        key = keys.row(row.number) if row.key is None else Key.given(row.key)
        judged = check(row, key, not_after=not_after, now=now)
        if isinstance(judged, Ready):
            first = seen.setdefault(judged.message.message_id, row.number)
            if first != row.number:
                judged = _refused(row, (_repeated(first),))
        if isinstance(judged, Ready):
            ready.append(judged)
        else:
            refused.append(judged)
    return Checked(ready=tuple(ready), refused=tuple(refused), ignored=tuple(ignored))


def check(row: Row, key: Key, *, not_after: datetime | None, now: datetime) -> Ready | Refused:
    """Read one request under its key; ``now`` becomes its timestamp."""
    if row.body is None:
        return _refused(row, row.faults)
    reading = read(_delivery(row.body, _UNSENT, _headers(key, not_after), key, now))
    match reading:
        case Initiation() if not row.faults:
            request = reading.request
            return Ready(
                number=row.number,
                line=row.line,
                message=OutgoingMessage(
                    exchange=Exchange.REQUESTS,
                    routing_key=f"{INITIATE_PREFIX}{request.origin}",
                    body=_canonical(request, row.body),
                    message_id=key.message_id,
                    type=INITIATE_TYPE,
                    timestamp=now,
                    headers=_headers(key, not_after),
                ),
                payment_id=reading.envelope.operation_id,
                mode=request.payment_run_mode,
                amount=request.amount,
            )
        case Unreadable(faults=faults):
            return _refused(row, (*row.faults, *faults))
        case Initiation() | Cancellation():
            return _refused(row, row.faults)
        case other:
            assert_never(other)


def check_cancel(
    content: Mapping[str, str | bool], origin: str, key: Key, *, now: datetime
) -> Ready | Refused:
    """Read one request to cancel a payment of ``origin``; ``payment_id`` is that payment's."""
    routing_key = f"{CANCEL_PREFIX}{normalise_origin(origin)}"
    row = row_of_fields(content)
    body = row.body or b""
    reading = read(_delivery(body, routing_key, key.headers, key, now))
    match reading:
        case Cancellation():
            message = OutgoingMessage(
                exchange=Exchange.REQUESTS,
                routing_key=routing_key,
                body=body,
                message_id=key.message_id,
                type=CANCEL_TYPE,
                timestamp=now,
                headers=key.headers,
            )
            return Ready(
                number=1, line=None, message=message, payment_id=reading.request.payment_id
            )
        case Unreadable(faults=faults):
            return _refused(row, faults)
        case Initiation():
            raise AssertionError(routing_key)  # the routing key decides the kind
        case other:
            assert_never(other)


def row_of_fields(fields: Mapping[str, str | bool]) -> Row:
    """Build the one row of a request given field by field.

    In ASCII, because what a command line was given may be no character at all; the reader says so.
    """
    return Row(number=1, body=json.dumps(fields).encode())


def by_mode(ready: Iterable[Ready]) -> Iterator[tuple[RunMode, int, Cents]]:
    """Yield each run mode with the count and the sum, in cents, of its payments."""
    sums: dict[RunMode, tuple[int, int]] = {}
    for each in ready:
        if each.mode is not None and each.amount is not None:
            count, cents = sums.get(each.mode, (0, 0))
            sums[each.mode] = (count + 1, cents + each.amount)
    for mode in RunMode:
        if mode in sums:
            count, cents = sums[mode]
            yield mode, count, Cents(cents)


def _delivery(
    body: bytes, routing_key: str, carried: Mapping[str, str | int], key: Key, now: datetime
) -> Delivery:
    return Delivery(
        body=body,
        source=Source.REQUESTS,
        routing_key=routing_key,
        received_at=now,
        message_id=key.message_id,
        content_type="application/json",
        headers=carried,
    )


def _headers(key: Key, not_after: datetime | None) -> dict[str, str | int]:
    if not_after is None:
        return dict(key.headers)
    return {**key.headers, headers.NOT_AFTER: exact_time_text(not_after)}


def _canonical(request: PaymentRequest, body: bytes) -> bytes:
    """Write a request as the published schema has it; the comment is copied as it was given."""
    named = name_values(parse_body(body).root or JsonObject(()), REQUEST_FIELDS)
    content: dict[str, object] = {
        "payment_target": request.payment_target,
        "payment_run_mode": request.payment_run_mode,
        "payment_type": request.payment_type,
        "id_origin": request.id_origin,
        "id_societe": request.id_societe,
        "id_client": request.id_client,
        "id_commande": request.id_commande,
        "type_paiement": request.type_paiement,
        "amount": str(request.amount),
        "email": request.email.reveal(),
    }
    comment = named.values.get("commentaire")
    if comment is not None:
        content["commentaire"] = comment
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def _repeated(first: int) -> Fault:
    return Fault("message_id", _REPEATED, f"The key is that of row {first}; only that is sent.")


def _refused(row: Row, faults: tuple[Fault, ...]) -> Refused:
    return Refused(number=row.number, line=row.line, faults=faults)
