"""Sessions on the broker, one after another: a connection is kept by opening the next one.

Plain connections and a reconnect loop of our own, not the client's robust ones, for what was
measured with aio-pika 10.2.1 on RabbitMQ 3.10.8: robust connections retry every 5 s without
backoff or jitter, restore consumers and re-declare queues behind our back (an endless loop on 406
when arguments had changed, starving an unrelated healthy consumer), and never report that a
consumer was gone meanwhile. Here a channel that ends, a consumer that the broker cancels and a
connection that drops all end one *session*; the next one starts from nothing, passively.
``Connection.is_closed`` is never asked: it stayed false after the broker had closed by force.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import aiormq.exceptions
from aio_pika.abc import AbstractConnection

from worker.adapters.connection import (
    BrokerTroubleError,
    OnTrouble,
    Pace,
    TroubleKind,
    broker_text,
    close_quietly,
    connect,
)
from worker.adapters.endpoints import Turns
from worker.ports import BrokerDirectory, Clock
from worker.rules import BrokerAddress

_CANCEL_AGAIN_SECONDS = 1.0


class Sessions:
    """Runs one session after another on connections of its own, as long as it is not cancelled."""

    def __init__(
        self,
        broker: BrokerDirectory,
        *,
        role: str,
        clock: Clock,
        on_trouble: OnTrouble,
        pace: Pace | None = None,
    ) -> None:
        self._turns = Turns(broker, clock=clock, pace=pace or Pace())
        self._role = role
        self._clock = clock
        self._on_trouble = on_trouble
        self._place: str | None = None

    @property
    def place(self) -> str | None:
        """Endpoint of the session that is being served now, as ``host:port``."""
        return self._place

    async def run(self, serve: Callable[[AbstractConnection], Coroutine[Any, Any, None]]) -> None:
        """Connect, serve, and begin again when the session breaks; end when ``serve`` returns.

        ``serve`` is cancelled when its connection ends.
        """
        while True:
            try:
                return await self._session(self._turns.take(), serve)
            except BrokerTroubleError as trouble:
                delay = self._turns.pass_on(trouble)
                self._on_trouble(trouble, delay)
            await self._clock.sleep(delay)

    async def _session(
        self,
        address: BrokerAddress,
        serve: Callable[[AbstractConnection], Coroutine[Any, Any, None]],
    ) -> None:
        connection = await connect(address, role=self._role)
        ended = asyncio.get_running_loop().create_future()

        def note_end(_: AbstractConnection | None, error: BaseException | None) -> None:
            if not ended.done():
                ended.set_result(error)

        connection.close_callbacks.add(note_end)
        self._place = address.place
        serving = asyncio.create_task(serve(connection), name=f"{self._role} session")
        try:
            await asyncio.wait({serving, ended}, return_when=asyncio.FIRST_COMPLETED)
            broken = ended.done()  # asked before we close it ourselves
        finally:
            self._place = None
            await end_task(serving)
            await close_quietly(connection)
        # Asked in any case: a failure that nobody asks for is reported by the event loop.
        error = None if serving.cancelled() else serving.exception()
        if broken:
            raise _lost(address, ended.result())
        if serving.cancelled():  # the client's way to say that the connection died under a call
            raise _lost(address, None)
        if error is not None:
            raise _session_trouble(address, error) from error


async def end_task(task: asyncio.Task[None]) -> None:
    """Cancel a task until it has ended.

    Once is not enough: on Python 3.11 ``asyncio.wait_for``, which the client waits with, drops a
    cancellation that arrives together with its result (seen with uvloop under load).
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=_CANCEL_AGAIN_SECONDS)


def _session_trouble(address: BrokerAddress, error: BaseException) -> BrokerTroubleError:
    match error:
        case BrokerTroubleError():
            return error
        case aiormq.exceptions.ChannelNotFoundEntity():
            return BrokerTroubleError(TroubleKind.MISSING, broker_text(error))
        case aiormq.exceptions.ChannelAccessRefused():
            return BrokerTroubleError(TroubleKind.REFUSED, broker_text(error))
        case _:
            return _lost(address, error)


def _lost(address: BrokerAddress, error: BaseException | None) -> BrokerTroubleError:
    why = broker_text(error) if error is not None else "it ended"
    reason = f"connection to {address.place} lost: {why}"
    return BrokerTroubleError(TroubleKind.LOST, reason)
