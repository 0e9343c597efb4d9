"""A bare loop on aio-pika and aiohttp, as a competent person would write it.

A robust connection, a channel for consuming and one for publishing, confirms, mandatory, persistent
answers, acknowledged after the confirm and given back on an error. Nothing is validated, stored or
logged, so a crash after the call pays twice: that is what the product is compared with, not what
it could be replaced by.
"""

import asyncio
import json
import signal
import sys
from collections.abc import Sequence

import aio_pika
import aiohttp
from aio_pika.abc import AbstractExchange, AbstractIncomingMessage

from tests.bench.peers.place import Place, read_place
from tests.bench.peers.work import HEADERS, RESULT_KEY, link_in, provider_request, result_event


async def pay(
    message: AbstractIncomingMessage,
    session: aiohttp.ClientSession,
    url: str,
    exchange: AbstractExchange,
) -> None:
    """One request from its delivery to its acknowledgement."""
    key = str(message.message_id)
    try:
        request = json.loads(message.body)
        async with session.post(url, data=provider_request(request, key)) as reply:
            link = link_in(reply.status, await reply.read())
        event_id, body = result_event(request, key, link)
        await exchange.publish(
            aio_pika.Message(
                body,
                content_type="application/json",
                delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                message_id=event_id,
                correlation_id=message.correlation_id,
                type="payment.initiation.succeeded",
            ),
            RESULT_KEY,
            mandatory=True,
        )
    except Exception:
        await message.reject(requeue=True)
        raise
    await message.ack()


async def serve(place: Place) -> None:
    """Consume until SIGTERM, and finish what is under way."""
    stop = asyncio.Event()
    under_way: set[asyncio.Task[object]] = set()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    connection = await aio_pika.connect_robust(place.amqp_url)
    async with (
        connection,
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=45),
            headers=HEADERS,
        ) as session,
    ):
        outlet = await connection.channel(publisher_confirms=True, on_return_raises=True)
        exchange = await outlet.get_exchange(place.results_exchange)
        intake = await connection.channel()
        await intake.set_qos(prefetch_count=place.prefetch)
        queue = await intake.get_queue(place.work_queue)
        url = f"{place.provider_url}/get_link_payment"

        async def take(message: AbstractIncomingMessage) -> None:
            task = asyncio.current_task()
            assert task is not None
            under_way.add(task)
            try:
                await pay(message, session, url, exchange)
            finally:
                under_way.discard(task)

        consuming = await queue.consume(take)
        await stop.wait()
        await queue.cancel(consuming)
        # The last answers are seen before their requests are acknowledged.
        if under_way:
            await asyncio.wait(under_way)


def main(words: Sequence[str]) -> None:
    """Run on asyncio's own loop, or on the one that is named."""
    make = None
    if words == ["uvloop"]:
        import uvloop  # noqa: PLC0415 - installed for the bench

        make = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=make) as runner:
        runner.run(serve(read_place()))


if __name__ == "__main__":
    main(sys.argv[1:])
