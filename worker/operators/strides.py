"""How much a long work on the ledger does at once, and how long it then leaves it to the payments.

In a file one writes at a time: a payment waits until the stretch before it has ended. Where the
ledger is large the same rows take several times as long as in a small one (measured with a million
payments: 200 rows 100 ms, and the slowest of a hundred payments waited that long), so there it is
time that bounds a stretch, not a count alone. On a server payments do not wait for it.
"""

LEAVE = 2.0
"""How many times as long as its own stretch took a work leaves the ledger to the payments."""

BRIEF_SECONDS = 0.03
"""A stretch that held the payments longer is followed by one of half as many rows.

About what two commits and the turns between them take at half load: who meets a stretch waits twice
as long as who does not, and not ten times.
"""

_FIRST = 25
_LEAST = 10  # with fewer the commit would be most of the work


class Stride:
    """Chooses the rows of the next stretch, ``limit``: few at first, then by the time they took."""

    def __init__(self, *, most: int) -> None:
        self.limit = min(most, _FIRST)
        self._most = most

    def judge(self, held_seconds: float) -> None:
        """The last stretch kept payments from being written for so long."""
        if held_seconds > BRIEF_SECONDS:
            self.limit = max(min(_LEAST, self._most), self.limit // 2)
        elif held_seconds < BRIEF_SECONDS / 2:
            self.limit = min(self._most, self.limit * 2)
