"""Faults by rate, the same ones in the same order for the same seed."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from worker.simulator.magic import MAGIC

_SCALE = 1 << 64

DEFAULT_FAULTS = ("http-429", "http-503-retry", "http-500", "reset-after", "reset-before")
"""What goes wrong by rate unless told otherwise: three kinds of no and two of silence."""


@dataclass(slots=True)
class Chance:
    """Draws a magic name for a share of the calls; ``rate`` is from 0 (never) to 1 (always).

    Raises ``ValueError`` for a rate outside that, and for a name that is not in the table.
    """

    rate: float
    faults: Sequence[str] = DEFAULT_FAULTS
    seed: int = 0
    _draws: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            raise ValueError(self.rate)
        unknown = [name for name in self.faults if name not in MAGIC]
        if unknown or (self.rate and not self.faults):
            raise ValueError(unknown)

    def fraction(self) -> float:
        """The next number in [0, 1): a hash of seed and count, so a run can be repeated."""
        self._draws += 1
        digest = hashlib.sha256(f"{self.seed}:{self._draws}".encode()).digest()
        return int.from_bytes(digest[:8]) / _SCALE

    def draw(self) -> str | None:
        """The fault of this call, if it has one."""
        if self.fraction() >= self.rate:
            return None
        return self.faults[int(self.fraction() * len(self.faults))]
