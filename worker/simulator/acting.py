"""Performs one act on one HTTP exchange, down to the socket where HTTP must be broken."""

import asyncio
import json
import socket
import struct
from typing import assert_never

from aiohttp import web

from worker.ports import Clock
from worker.simulator.effects import Act, Break, Breakage, Reject, Respond, Shape, Succeed
from worker.simulator.orders import Json, Order

HOLD_SECONDS = 120
"""How long an answer is withheld; every client gives up sooner."""

_OVERSIZE = 1 << 20
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, zero seconds: close sends RST
_BROKEN_BYTES = {
    Breakage.GARBAGE: b"250 2.1.0 Sender ok\r\n\r\n",
    Breakage.CUT_HEAD: b"HTTP/1.1 200 OK\r\nContent-Le",
    Breakage.CUT_BODY: b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"result": true, ',
}


def applies(act: Act) -> bool:
    """Whether the operation is done, whatever is then told about it."""
    match act:
        case Succeed():
            return True
        case Reject():
            return False
        case Respond(applied=applied) | Break(applied=applied):
            return applied
        case _:
            assert_never(act)


async def perform(
    request: web.Request, act: Act, order: Order, applied: str, clock: Clock
) -> web.StreamResponse:
    """Answer or break the exchange; ``applied`` is the link or id of what was done, if it was.

    Returns what aiohttp is to send, which goes nowhere after a break.
    """
    match act:
        case Succeed(shape=shape, after=after):
            if after:
                await clock.sleep(after)
            return _shaped(order.answer(applied, shape), shape)
        case Reject(provider_code=provider_code):
            return web.json_response(order.rejection(provider_code))
        case Respond(status=status, headers=headers, body=body):
            return web.Response(status=status, headers=list(headers), body=body)
        case Break(how=Breakage.TRICKLE):
            return await _trickle(request, clock)
        case Break(how=how):
            return await _break(request, how, clock)
        case _:
            assert_never(act)


def _shaped(answer: Json, shape: Shape) -> web.Response:
    if shape is Shape.OVERSIZED:
        answer = {**answer, "padding": "x" * _OVERSIZE}
    text = json.dumps(answer)
    if shape is Shape.CUT_JSON:
        text = text[: len(text) // 2]
    return web.Response(text=text, content_type="application/json")


async def _trickle(request: web.Request, clock: Clock) -> web.StreamResponse:
    """One byte a second: no read time-out ever strikes, only an overall deadline does."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.content_length = HOLD_SECONDS + 1
    await response.prepare(request)
    for _ in range(HOLD_SECONDS):
        await response.write(b" ")
        await clock.sleep(1)
    _hang_up(request, reset=True)
    return response


async def _break(request: web.Request, how: Breakage, clock: Clock) -> web.Response:
    if how is Breakage.HOLD:
        await clock.sleep(HOLD_SECONDS)
    transport = request.transport
    if transport is not None and how in _BROKEN_BYTES:
        transport.write(_BROKEN_BYTES[how])
    _hang_up(request, reset=how is Breakage.RESET)
    return web.Response()


def _hang_up(request: web.Request, *, reset: bool) -> None:
    """Close the connection, in order or with RST; nothing to do when the client has left."""
    transport = request.transport
    if not isinstance(transport, asyncio.Transport):
        return
    if not reset:
        transport.close()
        return
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()
