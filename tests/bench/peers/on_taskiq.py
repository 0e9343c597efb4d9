"""The same work on Taskiq with taskiq-aio-pika, set up as safely as it can be.

Its default acknowledges failed tasks as well. Here the task acknowledges by hand, after the answer
was published persistent, mandatory and confirmed on a channel of its own, on which a return raises;
a task that fails acknowledges nothing. Taskiq reads its own message format only, so the bench sends
the requests in it. No result back-end. The command uses uvloop where it is installed.
"""

from typing import Annotated, Any

import aio_pika
import aiohttp
from taskiq import Context, TaskiqDepends, TaskiqEvents, TaskiqState
from taskiq_aio_pika import AioPikaBroker, Exchange, Queue

from tests.bench.peers.place import read_place
from tests.bench.peers.work import HEADERS, RESULT_KEY, link_in, provider_request, result_event

_PLACE = read_place()
_URL = f"{_PLACE.provider_url}/get_link_payment"

broker = AioPikaBroker(
    _PLACE.amqp_url,
    qos=_PLACE.prefetch,
    exchange=Exchange(name=_PLACE.requests_exchange, declare=False),
    task_queues=[Queue(name=_PLACE.work_queue, declare=False)],
    dead_letter_queue=Queue(name=_PLACE.letter_queue, declare=False),
)


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def open_all(state: TaskiqState) -> None:
    """Connections to the provider, and a channel for answers."""
    state.session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=45),
        headers=HEADERS,
    )
    state.connection = await aio_pika.connect_robust(_PLACE.amqp_url)
    outlet = await state.connection.channel(publisher_confirms=True, on_return_raises=True)
    state.exchange = await outlet.get_exchange(_PLACE.results_exchange)


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def close_all(state: TaskiqState) -> None:
    """Close them."""
    await state.session.close()
    await state.connection.close()


@broker.task(task_name="pay")
async def pay(request: dict[str, Any], context: Annotated[Context, TaskiqDepends()]) -> None:
    """One request from its delivery to its acknowledgement."""
    key = context.message.task_id
    state = context.state
    async with state.session.post(_URL, data=provider_request(request, key)) as reply:
        link = link_in(reply.status, await reply.read())
    event_id, body = result_event(request, key, link)
    await state.exchange.publish(
        aio_pika.Message(
            body,
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            message_id=event_id,
            correlation_id=key,
            type="payment.initiation.succeeded",
        ),
        RESULT_KEY,
        mandatory=True,
    )
    await context.ack()
