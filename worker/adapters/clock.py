"""The one home of time, sleep, randomness and new ids."""

import asyncio
import secrets
import time
from datetime import UTC, datetime
from uuid import UUID, uuid4

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
