"""What must hold for any bytes a stranger can send: one law for each reader of foreign input.

A law takes bytes, makes of them what the reader gets, and fails with ``AssertionError`` (or
whatever the reader raises) where something is broken. Property tests, the fuzzer and the kept
findings all go through the same laws.
"""

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pamqp.decode
import pamqp.encode
from pamqp.common import FieldTable, FieldValue

from tests.builders import NOON, make_delivery, make_envelope
from tests.core import PaperBroker
from tests.fakes_clock import FakeClock
from tests.provider_examples import BASKET_ROUTE, LINK_ROUTE
from tests.rows import Rows
from tests.settings_sample import SAMPLE, SECRETS, TODAY
from worker.adapters.decoding import decode_leniently
from worker.adapters.deliveries import headers_of
from worker.calls import (
    Declined,
    HttpReply,
    Misconfigured,
    NotSent,
    Outcome,
    Succeeded,
    Unknown,
)
from worker.codes import Code
from worker.contract import headers
from worker.contract.copies import dead_letter, ladder_copy
from worker.contract.envelope import envelope_headers
from worker.contract.events import event_body, from_stored, result_message, to_stored
from worker.contract.reading import read
from worker.lifecycle.refuse import refuse
from worker.lifecycle.wishes import Decided
from worker.messages import OutgoingMessage
from worker.model import (
    Cancellation,
    Delivery,
    Initiation,
    OperationClass,
    ProviderKind,
    Reading,
    Source,
    Step,
    Unreadable,
)
from worker.providers import PROVIDERS
from worker.providers.answers import is_listed
from worker.records import Letter
from worker.settings import SettingsError, explain, load

Law = Callable[[bytes], None]

STATUSES = (200, 201, 204, 302, 400, 401, 403, 404, 408, 409, 422, 425, 429, 500, 502, 503, 504)
ROUTING_KEYS = ("payment.initiate.dcp", "payment.cancel.dcp", "payment.initiate.", "elsewhere", "")
MESSAGE_IDS = (None, "", "00000000-0000-0000-0000-000000000000", "key-1")
HEADER_NAMES = (
    *headers.PRODUCER_HEADERS,
    *headers.ENVELOPE_HEADERS,
    *headers.LETTER_HEADERS,
    *headers.REPLAY_HEADERS,
    *headers.COPY_HEADERS,
    headers.RETRY_REASON,
    "x-death",
    "x-delivery-count",
)
LARGEST_FRAME = 131_072
"""Bytes of a frame the broker takes by default; properties and headers share one."""

_COPY_HEADERS = MappingProxyType(
    dict(envelope_headers(make_envelope(), sequence=1, attempts=1, replay_count=0))
)
_BROKER = PaperBroker(FakeClock())
_CLASSES = tuple(OperationClass)
_LOWEST_REDIRECT = 300
_TELLING = 20
"""Characters of a text that cannot stand in a repr by chance."""

decode_leniently()


def read_request(data: bytes) -> None:
    """A body, behind four bytes that choose where it came from and what stood around it."""
    where, key, name, extra = _first(data, 4)
    source = tuple(Source)[where % len(Source)]
    delivery = make_delivery(
        data[4:],
        source=source,
        routing_key=ROUTING_KEYS[key % len(ROUTING_KEYS)],
        message_id=MESSAGE_IDS[name % len(MESSAGE_IDS)],
        headers={**(_COPY_HEADERS if source.is_believed else {}), **_extra_header(extra)},
    )
    _holds_for_reading(delivery)


def read_headers(data: bytes) -> None:
    """A table of headers as the wire brings it, with our own names among them."""
    where, key = _first(data, 2)
    table = _table_from(data[2:])
    _consumed, wired = pamqp.decode.field_table(pamqp.encode.field_table(table))
    plain = headers_of(wired)
    assert set(plain) == set(table)
    source = tuple(Source)[where % len(Source)]
    believed = dict(_COPY_HEADERS) if source.is_believed and key % 2 else {}
    delivery = make_delivery(source=source, headers={**believed, **plain})
    _holds_for_reading(delivery)


def read_header_bytes(data: bytes) -> None:
    """Bytes in the place of a table: read, or refused as no table, never anything else."""
    try:
        consumed, table = pamqp.decode.field_table(len(data).to_bytes(4, "big") + data)
    except (ValueError, KeyError, IndexError):  # the broker sends no such table
        return
    assert consumed == len(data) + 4
    _holds_for_reading(make_delivery(headers=headers_of(table)))


def read_link_answer(data: bytes) -> None:
    """A status and a body from the link provider."""
    status, kind = _first(data, 2)
    route = replace(LINK_ROUTE, operation_class=_CLASSES[kind % len(_CLASSES)])
    reply = HttpReply(
        status=STATUSES[status % len(STATUSES)], headers={}, body=data[2:], received_at=NOON
    )
    outcome = PROVIDERS[ProviderKind.LINK].read_initiation(reply, route)
    _holds_for_outcome(outcome, reply)
    if isinstance(outcome, Succeeded):
        assert outcome.link is not None
        assert is_listed(outcome.link.reveal(), route.endpoint)
        assert json.loads(reply.body or b"")["result"] is True


def read_basket_answer(data: bytes) -> None:
    """A status, an error header and a body from the basket provider, read as add and removal."""
    status, kind, marker = _first(data, 3)
    route = replace(BASKET_ROUTE, operation_class=_CLASSES[kind % len(_CLASSES)])
    given = {"x-error-code": data[3 : 3 + marker % 8].decode("latin-1")} if marker & 8 else {}
    reply = HttpReply(
        status=STATUSES[status % len(STATUSES)], headers=given, body=data[3:], received_at=NOON
    )
    added = PROVIDERS[ProviderKind.BASKET].read_initiation(reply, route)
    _holds_for_outcome(added, reply)
    if isinstance(added, Succeeded):
        assert added.item_id is not None
        assert added.item_id.strip()
        page = route.account.basket_page_url
        link = added.link.reveal() if added.link is not None else None
        assert link in {None, page} or is_listed(link or "", route.endpoint)
    removed = PROVIDERS[ProviderKind.BASKET].read_cancellation(reply, route)
    _holds_for_outcome(removed, reply)


def read_settings(data: bytes) -> None:
    """A settings file; an odd first byte appends the rest to a sound one, an even one is all."""
    (how,) = _first(data, 1)
    content = SAMPLE.encode() + b"\n" + data[1:] if how % 2 else data[1:]
    with tempfile.NamedTemporaryFile(suffix=".toml") as file:
        file.write(content)
        file.flush()
        lines = _settings_shown(Path(file.name))
    assert lines, "neither loaded nor refused with a reason"
    shown = "\n".join(lines)
    assert not [secret for secret in SECRETS.values() if secret in shown]
    shown.encode()


LAWS: Mapping[str, Law] = MappingProxyType(
    {
        "request": read_request,
        "headers": read_headers,
        "header-bytes": read_header_bytes,
        "link-answer": read_link_answer,
        "basket-answer": read_basket_answer,
        "settings": read_settings,
    }
)
"""Every reader of foreign input by name."""


def _holds_for_reading(delivery: Delivery) -> None:
    reading = read(delivery)
    assert read(delivery) == reading
    match reading:
        case Unreadable():
            assert reading.faults
            _can_be_answered(reading, delivery)
        case Initiation():
            _is_within_the_contract(reading)
        case Cancellation():
            assert reading.request.origin
    _comes_back_as_it_went(reading, delivery)


def _is_within_the_contract(asked: Initiation) -> None:
    """Contract section 2, the table of fields."""
    request = asked.request
    assert 1 <= request.amount <= 999_999_999_999
    for value in (request.id_origin, request.id_societe, request.id_client, request.id_commande):
        assert 1 <= len(value) <= 32
        assert value == value.strip()
        assert not [letter for letter in value if ord(letter) < 32]
    email = request.email.reveal()
    assert 3 <= len(email) <= 70
    assert email.count("@") == 1
    assert not set(email) & set(" ,<>")


def _can_be_answered(refused: Unreadable, delivery: Delivery) -> None:
    """An unreadable message is answered under an id of its own, in bytes that are JSON."""
    decided = refuse(Rows(), refused, delivery, NOON).result
    assert isinstance(decided, Decided)
    event = decided.answer.event
    body = json.loads(event_body(event))
    assert body["event_type"] == event.status.event_type
    assert from_stored(to_stored(event), event.link) == event
    message = result_message(
        decided.answer,
        source="/payment-worker/test",
        correlation_id=delivery.correlation_id,
        traceparent=delivery.header(headers.TRACEPARENT),
    )
    _fits_a_frame(message)


def _comes_back_as_it_went(reading: Reading, delivery: Delivery) -> None:
    """A copy is read as what was copied, or a wait on the ladder would change a payment."""
    envelope = reading.envelope
    code = reading.code if isinstance(reading, Unreadable) else Code.PROVIDER_UNAVAILABLE
    letter = Letter(code=code, detail="a detail", failed_at=NOON)
    for message, source in (
        (
            ladder_copy(delivery, envelope, step=Step.SECONDS_5, attempts=1, reason="reason"),
            Source.LADDER,
        ),
        (
            dead_letter(delivery, envelope, letter, worker_version="1", attempts=1),
            Source.REPLAY,
        ),
    ):
        _fits_a_frame(message)
        again = read(_BROKER.copy(message, source))
        assert again.envelope.operation_id == envelope.operation_id
        assert again.envelope.identity == envelope.identity
        assert type(again) is type(reading)
        if not isinstance(again, Unreadable) and not isinstance(reading, Unreadable):
            assert again.request == reading.request


def _fits_a_frame(message: OutgoingMessage) -> None:
    """The broker closes the connection for a frame that is too large."""
    table: FieldTable = dict(message.headers)
    size = len(pamqp.encode.field_table(table))
    assert size + len((message.correlation_id or "").encode()) < LARGEST_FRAME - 1024
    assert len(message.message_id.encode()) <= 255


def _holds_for_outcome(outcome: Outcome, reply: HttpReply) -> None:
    assert not isinstance(outcome, NotSent), "an answer proves that something was sent"
    if isinstance(outcome, Succeeded):
        assert reply.status < _LOWEST_REDIRECT
    if isinstance(outcome, Succeeded | Unknown) and outcome.link is not None:
        link = outcome.link.reveal()
        link.encode()
        assert len(link) < _TELLING or link not in repr(outcome)
    code = None
    if isinstance(outcome, Declined | Misconfigured):
        code = outcome.provider_code
    assert code is None or (0 < len(code) <= 64 and code.isprintable() and code.isascii())


def _settings_shown(config: Path) -> list[str]:
    """What a person is told of a settings file: its values, or all that is wrong with it."""
    try:
        loaded = load(
            today=TODAY,
            config=config,
            environment=SECRETS,
            container_secrets=config.with_suffix(".none"),
        )
    except SettingsError as error:
        return [str(fault) for fault in error.faults]
    return [row.value for row in explain(loaded)]


def _first(data: bytes, count: int) -> bytes:
    """The first bytes, filled up with zeros."""
    return data[:count].ljust(count, b"\0")


def _extra_header(choice: int) -> dict[str, str | int]:
    """Now and then one header of a producer beside the body."""
    extras: tuple[dict[str, str | int], ...] = (
        {},
        {headers.IDEMPOTENCY_KEY: "key\u00e9 2"},
        {headers.NOT_AFTER: "2026-11-21T12:00:00Z"},
        {headers.IDENTITY: "dcp\x1fforged"},
    )
    return extras[choice % len(extras)]


def _table_from(data: bytes) -> FieldTable:
    """Read pairs of one name, one kind and one value off the bytes."""
    table: FieldTable = {}
    while len(data) >= 3:
        name, kind, length = data[0], data[1], data[2]
        raw, data = data[3 : 3 + length], data[3 + length :]
        table[HEADER_NAMES[name % len(HEADER_NAMES)]] = _value_of(kind, raw)
    return table


def _value_of(kind: int, raw: bytes) -> FieldValue:
    text = raw.decode("utf-8", "replace")
    number = int.from_bytes(raw[:8], "big", signed=True)
    values: tuple[FieldValue, ...] = (
        text,
        bytearray(raw),
        number,
        bool(number % 2),
        None,
        [text, number],
        {"a": text},
        number / 3,
    )
    return values[kind % len(values)]
