"""The one home of time, sleep, randomness and new ids."""

import asyncio
import secrets
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from worker.ports import Clock

_NONCE_BYTES = 16
_FRACTION_BITS = 53  # the bits a float's mantissa holds, so every value is exact and below 1


class SystemClock:
    """The machine's own clock and entropy source; implements ``ports.Clock``."""

    def now(self) -> datetime:
        """Wall time, aware UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that never go back, from an arbitrary start."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait; zero and less give the loop one turn."""
        await asyncio.sleep(seconds)

    def fraction(self) -> float:
        """A random number in [0, 1), from the system's entropy."""
        return secrets.randbits(_FRACTION_BITS) / (1 << _FRACTION_BITS)

    def new_id(self) -> UUID:
        """A random UUID (version 4)."""
        return uuid4()

    def nonce(self) -> str:
        """128 random bits from the system, as 32 hex digits."""
        return secrets.token_hex(_NONCE_BYTES)


class SharedClock:
    """The wall time of another machine, for those who must agree on it; implements ``ports.Clock``.

    Leases and waits that several hosts read from one ledger are told by the ledger's clock
    (rabbitmq failure case 35). ``ahead`` is by how much that one is ahead of ours, as last
    measured; everything but wall time is this machine's.
    """

    def __init__(self, clock: Clock) -> None:
        self.ahead = timedelta()
        self._clock = clock

    def measured(self, there: datetime, *, asked: datetime, answered: datetime) -> None:
        """Note what the other clock said between two moments of ours."""
        self.ahead = there - (asked + (answered - asked) / 2)

    def now(self) -> datetime:
        return self._clock.now() + self.ahead

    def monotonic(self) -> float:
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)

    def fraction(self) -> float:
        return self._clock.fraction()

    def new_id(self) -> UUID:
        return self._clock.new_id()

    def nonce(self) -> str:
        return self._clock.nonce()
