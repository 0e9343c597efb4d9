"""The broker's own limit: consume, publish the same message, confirm, acknowledge, nothing else.

No client library on the hot path: header and body frames are passed on byte for byte as they came,
behind one publish frame that was written once. On a fresh channel the n-th delivery has tag n and
leads to the n-th publish, so a confirm of n is the leave to acknowledge n. Acknowledged with
``multiple``, once for each read of the socket. No heartbeats, no reconnect: a bound, not a design.
"""

import asyncio
import signal
from typing import cast
from urllib.parse import unquote, urlsplit

from pamqp import commands, frame
from pamqp.base import Frame
from typing_extensions import override

from tests.bench.peers.place import Place, read_place
from tests.bench.peers.work import RESULT_KEY
from tests.bench.throughput.stub import run_fast

_CHANNEL = 1
_METHOD, _HEADER, _BODY = 1, 2, 3
_HEAD = 7
_DELIVER = bytes((0, 60, 0, 60))
_CONFIRMED = bytes((0, 60, 0, 80))
_RETURNED = bytes((0, 60, 0, 50))


class Confirmed:
    """The highest number up to which every publish is confirmed."""

    def __init__(self) -> None:
        self.up_to = 0
        self._beyond: set[int] = set()

    def note(self, number: int, *, multiple: bool) -> None:
        """Take one confirm; with ``multiple`` it speaks for all before it too."""
        if multiple:
            self.up_to = max(self.up_to, number)
            self._beyond = {each for each in self._beyond if each > self.up_to}
        else:
            self._beyond.add(number)
        while self.up_to + 1 in self._beyond:
            self.up_to += 1
            self._beyond.remove(self.up_to)


class Forwarder(asyncio.Protocol):
    """One connection; ``ended`` is set when it is lost, or when the broker says what it may not."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._is_consuming = False
        self._confirmed = Confirmed()
        self._acknowledged = 0
        self._publish = frame.marshal(
            commands.Basic.Publish(
                exchange=place.results_exchange, routing_key=RESULT_KEY, mandatory=True
            ),
            _CHANNEL,
        )
        self.ended = asyncio.Event()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._transport.write(b"AMQP\x00\x00\x09\x01")

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.ended.set()

    @override
    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        at = 0
        if not self._is_consuming:
            at = self._shake_hands(buffer)
        if self._is_consuming:
            at = self._forward(buffer, at)
        self._buffer = buffer[at:]

    def close(self) -> None:
        """Drop the connection; what was not acknowledged stays in the queue."""
        if self._transport is not None:
            self._transport.close()

    def _shake_hands(self, buffer: bytes) -> int:
        at = 0
        while not self._is_consuming and len(buffer) - at > _HEAD:
            size = _HEAD + int.from_bytes(buffer[at + 3 : at + _HEAD]) + 1
            if len(buffer) - at < size:
                break
            _, _, received = frame.unmarshal(buffer[at : at + size])
            at += size
            if isinstance(received, commands.Basic.ConsumeOk):
                self._is_consuming = True
            elif isinstance(received, Frame):
                for channel, reply in self._replies(received):
                    self._write(frame.marshal(reply, channel))
        return at

    def _replies(self, received: Frame) -> list[tuple[int, Frame]]:
        address = urlsplit(self._place.amqp_url)
        user, password = unquote(address.username or ""), unquote(address.password or "")
        match received:
            case commands.Connection.Start():
                response = f"\0{user}\0{password}"
                return [(0, commands.Connection.StartOk(mechanism="PLAIN", response=response))]
            case commands.Connection.Tune():
                tuned = commands.Connection.TuneOk(received.channel_max, received.frame_max, 0)
                virtual_host = unquote(address.path.removeprefix("/"))
                return [(0, tuned), (0, commands.Connection.Open(virtual_host=virtual_host))]
            case commands.Connection.OpenOk():
                return [(_CHANNEL, commands.Channel.Open())]
            case commands.Channel.OpenOk():
                return [(_CHANNEL, commands.Confirm.Select())]
            case commands.Confirm.SelectOk():
                return [(_CHANNEL, commands.Basic.Qos(prefetch_count=self._place.prefetch))]
            case commands.Basic.QosOk():
                return [(_CHANNEL, commands.Basic.Consume(queue=self._place.work_queue))]
            case _:
                self.close()
                return []

    def _forward(self, buffer: bytes, at: int) -> int:
        out: list[bytes] = []
        length = len(buffer)
        while length - at > _HEAD:
            end = at + _HEAD + int.from_bytes(buffer[at + 3 : at + _HEAD]) + 1
            if end > length:
                break
            kind = buffer[at]
            if kind in {_HEADER, _BODY}:
                out.append(buffer[at:end])
            elif kind == _METHOD:
                method = buffer[at + _HEAD : at + _HEAD + 4]
                if method == _DELIVER:
                    out.append(self._publish)
                elif method == _CONFIRMED:
                    number = int.from_bytes(buffer[at + 11 : at + 19])
                    self._confirmed.note(number, multiple=bool(buffer[at + 19]))
                else:  # a return, or the channel is closed: nothing here may go astray
                    self.close()
                    break
            at = end
        if self._confirmed.up_to > self._acknowledged:
            self._acknowledged = self._confirmed.up_to
            acknowledged = commands.Basic.Ack(self._acknowledged, multiple=True)
            out.append(frame.marshal(acknowledged, _CHANNEL))
        if out:
            self._write(b"".join(out))
        return at

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


async def serve(place: Place) -> None:
    """Forward until SIGTERM."""
    loop = asyncio.get_running_loop()
    address = urlsplit(place.amqp_url)
    _, forwarder = await loop.create_connection(
        lambda: Forwarder(place), address.hostname or "", address.port or 5672
    )
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    waiting = [asyncio.create_task(each.wait()) for each in (stopped, forwarder.ended)]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    forwarder.close()
    if not stopped.is_set():
        raise ConnectionAbortedError


if __name__ == "__main__":
    run_fast(serve(read_place()))
