"""The same work on FastStream, set up as safely as it can be.

Its defaults would drop a request whose handler fails, publish without persistence and take no
notice of a returned answer. Here: acknowledged by hand after the confirmed publish, given back on
an error, answers persistent, mandatory, and a return raises. Its log of every message is off, its
parsing of the body too, as in the bare loop. ``faststream run`` uses uvloop where it is installed.
"""

import json

import aiohttp
from faststream import AckPolicy, FastStream
from faststream.rabbit import Channel, ExchangeType, RabbitBroker, RabbitExchange, RabbitQueue
from faststream.rabbit.annotations import RabbitMessage

from tests.bench.peers.place import read_place
from tests.bench.peers.work import HEADERS, RESULT_KEY, link_in, provider_request, result_event

_PLACE = read_place()
_URL = f"{_PLACE.provider_url}/get_link_payment"
_RESULTS = RabbitExchange(_PLACE.results_exchange, type=ExchangeType.TOPIC, declare=False)
_sessions: list[aiohttp.ClientSession] = []

broker = RabbitBroker(
    _PLACE.amqp_url,
    default_channel=Channel(publisher_confirms=True, on_return_raises=True),
    logger=None,
)
app = FastStream(broker, logger=None)


async def pay(message: RabbitMessage) -> None:
    """One request from its delivery to its acknowledgement."""
    raw = message.raw_message
    key = str(raw.message_id)
    try:
        request = json.loads(message.body)
        async with _sessions[0].post(_URL, data=provider_request(request, key)) as reply:
            link = link_in(reply.status, await reply.read())
        event_id, body = result_event(request, key, link)
        await broker.publish(
            body,
            exchange=_RESULTS,
            routing_key=RESULT_KEY,
            mandatory=True,
            persist=True,
            content_type="application/json",
            message_id=event_id,
            correlation_id=raw.correlation_id,
            message_type="payment.initiation.succeeded",
        )
    except Exception:
        await message.nack(requeue=True)
        raise
    await message.ack()


broker.subscriber(
    RabbitQueue(_PLACE.work_queue, declare=False),
    ack_policy=AckPolicy.MANUAL,
    channel=Channel(prefetch_count=_PLACE.prefetch),
)(pay)


@app.on_startup
async def open_session() -> None:
    """Connections to the provider, kept."""
    _sessions.append(
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=45),
            headers=HEADERS,
        )
    )


@app.after_shutdown
async def close_session() -> None:
    """Close them."""
    await _sessions.pop().close()
