"""From the broker's message to a delivery free of the client library."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType

from aiormq.abc import DeliveredMessage
from pamqp.common import FieldTable, FieldValue

from worker.adapters.decoding import text_of
from worker.model import Delivery
from worker.topology import Topology


def to_delivery(message: DeliveredMessage, topology: Topology, received_at: datetime) -> Delivery:
    """Convert a delivered message; never raises for what a producer put into it.

    ``received_at`` is aware UTC. An exception here would be logged by the client and leave the
    message unacknowledged until the connection ends.
    """
    properties = message.header.properties
    table: FieldTable = properties.headers or {}
    exchange = message.exchange or ""
    count = table.get("x-delivery-count")
    return Delivery(
        body=message.body,
        source=topology.source_of(exchange),
        exchange=exchange,
        routing_key=message.routing_key or "",
        received_at=received_at,
        message_id=properties.message_id or None,
        correlation_id=properties.correlation_id or None,
        type=properties.message_type or None,
        content_type=properties.content_type or None,
        reply_to=properties.reply_to or None,
        timestamp=_utc(properties.timestamp),
        redelivered=bool(message.redelivered),
        delivery_count=count if isinstance(count, int) else 0,
        headers=headers_of(table),
    )


def headers_of(table: FieldTable) -> Mapping[str, str | int]:
    """Headers as text and integers only; every name stays, so that a ``CC`` is seen.

    Bytes are read leniently, truth values and numbers become text, lists and tables JSON.
    """
    return MappingProxyType({name: _plain(value) for name, value in table.items()})


def _plain(value: FieldValue) -> str | int:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | str():
            return value
        case None:
            return ""
        case bytes() | bytearray():
            return _text(value)
        case datetime():
            return value.isoformat()
        case list() | dict():
            return json.dumps(value, default=_plain, ensure_ascii=False)
        case _:
            return str(value)


def _text(value: bytes | bytearray) -> str:
    return text_of(bytes(value))


def _utc(moment: datetime | None) -> datetime | None:
    if moment is None:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
