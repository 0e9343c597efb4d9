"""Waiting until the machine does nothing else, for a while at most."""

from collections.abc import Mapping, Sequence
from time import perf_counter

from tests.bench.throughput.cases import MOST_LEFT_ALONE
from tests.bench.throughput.processes import OTHER, cores, read_costs
from worker.adapters.clock import SystemClock

_LOOK_SECONDS = 0.5

_clock = SystemClock()


async def until_quiet(roles: Mapping[str, Sequence[int]], patience: float) -> float:
    """Wait until nothing but ``roles`` is busy, and they are not either; returns the seconds.

    The broker still writes what it was given a moment ago: its own work counts here as well.
    """
    began = perf_counter()
    while True:
        before = read_costs(roles)
        await _clock.sleep(_LOOK_SECONDS)
        used = cores(before, read_costs(roles))
        waited = perf_counter() - began
        is_quiet = used[OTHER] <= MOST_LEFT_ALONE and sum(used.values()) <= 2 * MOST_LEFT_ALONE
        if is_quiet or waited >= patience:
            return round(waited, 2)
