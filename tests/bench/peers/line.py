"""A connection to the broker without a client library: its opening, and frames as bytes.

One channel with confirms. No heartbeats, no reconnect: for measuring limits and for moving many
messages, not for work that matters.
"""

import asyncio
from typing import cast
from urllib.parse import unquote, urlsplit

from pamqp import commands, frame
from pamqp.base import Frame
from typing_extensions import override

CHANNEL = 1
METHOD, HEADER, BODY = 1, 2, 3
CONFIRMED = bytes((0, 60, 0, 80))
HEAD = 7
"""Bytes before a frame's payload; one more ends it."""


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

    def read(self, buffer: bytes, at: int) -> None:
        """Take the confirm whose frame begins there."""
        self.note(int.from_bytes(buffer[at + 11 : at + 19]), multiple=bool(buffer[at + 19]))


class Line(asyncio.Protocol):
    """One connection; ``ended`` is set when it is lost or was closed."""

    def __init__(self, amqp_url: str) -> None:
        self._address = urlsplit(amqp_url)
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._is_open = False
        self.ended = asyncio.Event()

    def opened(self) -> None:
        """Begin: the channel is there."""
        raise NotImplementedError

    def receive(self, buffer: bytes, at: int) -> int:
        """Take the whole frames from there on; where the first incomplete one begins."""
        raise NotImplementedError

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
        if not self._is_open:
            at = self._shake_hands(buffer)
        if self._is_open:
            at = self.receive(buffer, at)
        self._buffer = buffer[at:]

    def close(self) -> None:
        """Drop the connection; what was not acknowledged stays in the queue."""
        if self._transport is not None:
            self._transport.close()

    def write(self, data: bytes) -> None:
        """Send frames."""
        if self._transport is not None:
            self._transport.write(data)

    def _shake_hands(self, buffer: bytes) -> int:
        at = 0
        while not self._is_open and len(buffer) - at > HEAD:
            size = HEAD + int.from_bytes(buffer[at + 3 : at + HEAD]) + 1
            if len(buffer) - at < size:
                break
            _, _, received = frame.unmarshal(buffer[at : at + size])
            at += size
            if isinstance(received, commands.Confirm.SelectOk):
                self._is_open = True
                self.opened()
            elif isinstance(received, Frame):
                for channel, reply in self._replies(received):
                    self.write(frame.marshal(reply, channel))
        return at

    def _replies(self, received: Frame) -> list[tuple[int, Frame]]:
        user, password = (unquote(each or "") for each in self._login)
        match received:
            case commands.Connection.Start():
                response = f"\0{user}\0{password}"
                return [(0, commands.Connection.StartOk(mechanism="PLAIN", response=response))]
            case commands.Connection.Tune():
                tuned = commands.Connection.TuneOk(received.channel_max, received.frame_max, 0)
                virtual_host = unquote(self._address.path.removeprefix("/"))
                return [(0, tuned), (0, commands.Connection.Open(virtual_host=virtual_host))]
            case commands.Connection.OpenOk():
                return [(CHANNEL, commands.Channel.Open())]
            case commands.Channel.OpenOk():
                return [(CHANNEL, commands.Confirm.Select())]
            case _:
                self.close()
                return []

    @property
    def _login(self) -> tuple[str | None, str | None]:
        return self._address.username, self._address.password
