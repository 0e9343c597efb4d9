"""Result events as they come, over lost connections as well."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from aio_pika.abc import AbstractConnection

from worker.adapters.connection import OnTrouble, Pace
from worker.adapters.follower import follow
from worker.adapters.sessions import Sessions
from worker.model import Delivery
from worker.ports import BrokerDirectory, Clock
from worker.topology import Topology


@asynccontextmanager
async def live_events(
    broker: BrokerDirectory,
    keys: Sequence[str],
    *,
    topology: Topology,
    clock: Clock,
    on_ready: Callable[[], None],
    on_trouble: OnTrouble,
    pace: Pace | None = None,
) -> AsyncIterator[AsyncIterator[Delivery]]:
    """Follow these binding keys until the block is left; connects again after a trouble.

    Copies only, see ``follow``. What is published while there is no connection is not seen;
    ``on_ready`` tells each time from when on nothing is missed. An error that ``on_trouble``
    raises ends the iteration with it.
    """
    arrived: asyncio.Queue[Delivery | None] = asyncio.Queue()

    async def serve(connection: AbstractConnection) -> None:
        if (task := asyncio.current_task()) is not None:
            # A connection's end is told by the session; without somebody who asks for the error
            # that this task then ends with, asyncio would print a traceback beside it.
            task.add_done_callback(_ask_for_error)
        ready = asyncio.Event()
        announcing = asyncio.create_task(_announce(ready, on_ready))
        try:
            events = follow(connection, keys, topology=topology, clock=clock, ready=ready)
            async for delivery in events:
                arrived.put_nowait(delivery)
        finally:
            announcing.cancel()

    sessions = Sessions(broker, role="watch", clock=clock, on_trouble=on_trouble, pace=pace)
    keeper = asyncio.create_task(sessions.run(serve), name="watch")
    keeper.add_done_callback(lambda _: arrived.put_nowait(None))
    try:
        yield _until_ended(arrived, keeper)
    finally:
        keeper.cancel()
        await asyncio.wait({keeper})


def _ask_for_error(task: asyncio.Task[object]) -> None:
    if not task.cancelled():
        task.exception()


async def _announce(ready: asyncio.Event, on_ready: Callable[[], None]) -> None:
    await ready.wait()
    on_ready()


async def _until_ended(
    arrived: asyncio.Queue[Delivery | None], keeper: asyncio.Task[None]
) -> AsyncIterator[Delivery]:
    while (delivery := await arrived.get()) is not None:
        yield delivery
    await keeper
