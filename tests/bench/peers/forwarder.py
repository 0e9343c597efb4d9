"""The broker's own limit: consume, publish the same message, confirm, acknowledge, nothing else.

No client library on the hot path: header and body frames are passed on byte for byte as they came,
behind one publish frame that was written once. On a fresh channel the n-th delivery has tag n and
leads to the n-th publish, so a confirm of n is the leave to acknowledge n. Acknowledged with
``multiple``, once for each read of the socket. A bound, not a design.
"""

import asyncio
import signal
from urllib.parse import urlsplit

from pamqp import commands, frame
from typing_extensions import override

from tests.bench.peers.line import BODY, CHANNEL, CONFIRMED, HEAD, HEADER, METHOD, Confirmed, Line
from tests.bench.peers.place import Place, read_place
from tests.bench.peers.work import RESULT_KEY
from tests.bench.throughput.stub import run_fast

_DELIVER = bytes((0, 60, 0, 60))
_BEGUN = (bytes((0, 60, 0, 11)), bytes((0, 60, 0, 21)))
"""Answers to what opens the flow: the window is set, the consumer is there."""


class Forwarder(Line):
    """Passes on until it is closed, or until the broker says what it may not."""

    def __init__(self, place: Place) -> None:
        super().__init__(place.amqp_url)
        self._place = place
        self._confirmed = Confirmed()
        self._acknowledged = 0
        self._is_within = False
        self._publish = frame.marshal(
            commands.Basic.Publish(
                exchange=place.results_exchange, routing_key=RESULT_KEY, mandatory=True
            ),
            CHANNEL,
        )

    @override
    def opened(self) -> None:
        window = commands.Basic.Qos(prefetch_count=self._place.prefetch)
        self.write(frame.marshal(window, CHANNEL))
        self.write(frame.marshal(commands.Basic.Consume(queue=self._place.work_queue), CHANNEL))

    @override
    def receive(self, buffer: bytes, at: int) -> int:
        out: list[bytes] = []
        length = len(buffer)
        while length - at > HEAD:
            end = at + HEAD + int.from_bytes(buffer[at + 3 : at + HEAD]) + 1
            if end > length:
                break
            kind = buffer[at]
            if kind in {HEADER, BODY}:
                out.append(buffer[at:end])
                self._is_within = kind == HEADER
            elif kind == METHOD:
                method = buffer[at + HEAD : at + HEAD + 4]
                if method == _DELIVER:
                    out.append(self._publish)
                    self._is_within = True
                elif method == CONFIRMED:
                    self._confirmed.read(buffer, at)
                elif method not in _BEGUN:  # a return, or the channel is closed
                    self.close()
                    break
            at = end
        # Between the frames of one message no other may come; a read may end there.
        if self._confirmed.up_to > self._acknowledged and not self._is_within:
            self._acknowledged = self._confirmed.up_to
            acknowledged = commands.Basic.Ack(self._acknowledged, multiple=True)
            out.append(frame.marshal(acknowledged, CHANNEL))
        if out:
            self.write(b"".join(out))
        return at


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
