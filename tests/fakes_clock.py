"""A clock that only moves when told to; ``sleep`` returns at once and records the wish."""

from collections.abc import Generator, Iterable
from datetime import UTC, datetime, timedelta
from uuid import UUID

START = datetime(2026, 11, 21, 20, 14, 3, 123000, tzinfo=UTC)
"""The moment of the contract's event sample."""


class _Turn:
    """Awaiting it gives the event loop exactly one turn."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class FakeClock:
    """Implements ``ports.Clock`` without waiting and without chance.

    ``sleeps`` holds every wish in order, in seconds. ``fractions`` are handed out in order and
    the last one is repeated. Ids and nonces count up from 1, so a failing test shows the same
    ones on every run.
    """

    def __init__(self, start: datetime = START, *, fractions: Iterable[float] = (0.5,)) -> None:
        self.sleeps: list[float] = []
        self._start = start
        self._wall_shift = timedelta()
        self._elapsed = 0.0
        self._fractions = list(fractions)
        self._ids = 0
        self._nonces = 0

    def advance(self, seconds: float) -> None:
        """Let time pass, for both the wall and the monotonic clock."""
        if seconds < 0:
            raise ValueError(seconds)
        self._elapsed += seconds

    def shift_wall(self, seconds: float) -> None:
        """Set the wall clock forward or back, as a time server does; monotonic time stays."""
        self._wall_shift += timedelta(seconds=seconds)

    def now(self) -> datetime:
        return self._start + self._wall_shift + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.advance(max(seconds, 0.0))
        await _Turn()  # a loop that only sleeps must not starve the others

    def fraction(self) -> float:
        return self._fractions.pop(0) if len(self._fractions) > 1 else self._fractions[0]

    def new_id(self) -> UUID:
        self._ids += 1
        return UUID(int=self._ids, version=4)

    def nonce(self) -> str:
        self._nonces += 1
        return f"{self._nonces:032x}"
