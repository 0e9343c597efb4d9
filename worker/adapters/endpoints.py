"""Which endpoint of the broker is next, and how long to wait before it is tried.

Publisher and consumer each keep a turn of their own: what one meets says little about the other.
Endpoints are tried one after another without a pause, and every round of them that failed is
followed by one: an endpoint that is down costs a moment, a broker that is down is not hammered.
"""

from typing import Final

from aio_pika.abc import AbstractConnection

from worker.adapters.connection import (
    BrokerTroubleError,
    OnTrouble,
    Pace,
    TroubleKind,
    connect,
)
from worker.ports import BrokerDirectory, Clock
from worker.rules import BrokerAddress

_ELSEWHERE: Final = frozenset({TroubleKind.UNREACHABLE, TroubleKind.LOST, TroubleKind.CERTIFICATE})
"""What another endpoint may not suffer from: a login and a queue are the same on all of them."""


class Turns:
    """Takes the endpoints in turn, beginning with any of them.

    Begun by chance, because workers that all begin with the first would all be attached to one
    node of a cluster. A try that lasted ``pace.stable`` seconds begins the count of failures anew.
    """

    def __init__(self, broker: BrokerDirectory, *, clock: Clock, pace: Pace) -> None:
        self._broker = broker
        self._clock = clock
        self._pace = pace
        self._position: int | None = None
        self._begun = clock.monotonic()
        self._tried = 0
        self._endpoints = 1
        self._failures = 0

    def take(self) -> BrokerAddress:
        """Address of the endpoint whose turn it is, with the login as it is now."""
        addresses = self._broker.addresses()
        self._begun = self._clock.monotonic()
        self._endpoints = len(addresses)
        if self._position is None:
            self._position = (
                int(self._clock.fraction() * len(addresses)) if len(addresses) > 1 else 0
            )
        self._position %= len(addresses)
        return addresses[self._position]

    def pass_on(self, trouble: BrokerTroubleError) -> float:
        """Give the turn to the next endpoint; seconds to wait before it is tried."""
        if self._clock.monotonic() - self._begun >= self._pace.stable:
            self._failures = self._tried = 0
        self._position = (self._position or 0) + 1
        self._tried += 1
        if self._tried < self._endpoints and trouble.kind in _ELSEWHERE:
            return 0.0
        delay = self._pace.delay(self._failures, self._clock.fraction())
        self._failures += 1
        self._tried = 0
        return delay


async def connect_patiently(
    broker: BrokerDirectory,
    *,
    role: str,
    clock: Clock,
    on_trouble: OnTrouble,
    pace: Pace | None = None,
) -> AbstractConnection:
    """Open a connection however long the broker takes to be there."""
    turns = Turns(broker, clock=clock, pace=pace or Pace())
    while True:
        try:
            return await connect(turns.take(), role=role)
        except BrokerTroubleError as trouble:
            delay = turns.pass_on(trouble)
            on_trouble(trouble, delay)
        await clock.sleep(delay)
