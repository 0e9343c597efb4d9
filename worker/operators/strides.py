"""How much a long work on the ledger does at once, and how long it then leaves it to the payments.

A payment that wants to be written waits until a stretch has ended. Where the ledger is large the
same rows take several times as long as in a small one (measured with a million payments: 200 rows
100 ms, and the slowest of a hundred payments waited that long), so it is time that bounds a
stretch, not a count alone.
"""

from worker.ports import Clock

BRIEF_SECONDS = 0.03
"""A stretch that took longer is followed by one of half as many rows."""

LEAVE = 2.0
"""How many times as long as its own stretch took a work leaves the ledger to the payments."""

_FIRST = 25
_LEAST = 10


class Stride:
    """Chooses the rows of the next stretch, ``limit``: few at first, then by the time."""

    def __init__(self, clock: Clock, *, most: int) -> None:
        self.limit = min(most, _FIRST)
        self._clock = clock
        self._most = most
        self._begun = clock.monotonic()

    def begin(self) -> None:
        """A stretch begins now."""
        self._begun = self._clock.monotonic()

    async def rest(self) -> None:
        """The stretch has ended: leave the ledger alone, and choose the next one's size."""
        seconds = self._clock.monotonic() - self._begun
        if seconds > BRIEF_SECONDS:
            self.limit = max(min(_LEAST, self._most), self.limit // 2)
        elif seconds < BRIEF_SECONDS / 2:
            self.limit = min(self._most, self.limit * 2)
        await self._clock.sleep(LEAVE * seconds)
