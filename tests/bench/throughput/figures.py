"""Medians, spreads and ratios of repeated measurements."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median


class NotMeasuredError(Exception):
    """There is nothing to work it out from."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A median between the least and the most of what was measured."""

    middle: float
    least: float
    most: float

    @property
    def width(self) -> float:
        """How far apart least and most are, as a part of the median."""
        return (self.most - self.least) / self.middle if self.middle else 0.0


@dataclass(frozen=True, slots=True)
class Point:
    """How many results were there at a moment, in seconds from the start of the subject."""

    at: float
    count: int


def spread(values: Sequence[float]) -> Spread:
    """Raise ``NotMeasuredError`` for no values."""
    if not values:
        raise NotMeasuredError
    return Spread(median(values), min(values), max(values))


def ratio_by_round(above: Mapping[int, float], below: Mapping[int, float]) -> Spread:
    """Compare neighbours in time only: the ratio of each round, then its median.

    A machine that slows down between two rounds slows both sides of one ratio. Rounds that only
    one side has do not count.
    """
    return spread([above[each] / below[each] for each in above if each in below])


def percentile(values: Sequence[float], part: float) -> float:
    """The least value that at least this part of them does not exceed (nearest rank)."""
    if not values:
        raise NotMeasuredError
    ordered = sorted(values)
    rank = max(1, -(-len(ordered) * round(part * 1000) // 1000))
    return ordered[rank - 1]


def steady_window(points: Sequence[Point], total: int, *, head: float = 0.1) -> tuple[Point, Point]:
    """From the first look that saw the head's share of all results to the first that saw all.

    Start-up and warming are not part of the rate; draining the last requests is. Raises
    ``NotMeasuredError`` where the results were not all seen, or all within one look.
    """
    first = next((each for each in points if each.count >= head * total), None)
    last = next((each for each in points if each.count >= total), None)
    if first is None or last is None or last.count <= first.count:
        raise NotMeasuredError
    return first, last


def rate_between(first: Point, last: Point) -> float:
    """Results per second between two looks."""
    return (last.count - first.count) / (last.at - first.at)


def first_seen(points: Sequence[Point]) -> float | None:
    """When the first look saw a result: halfway from the look before."""
    for before, after in pairwise(points):
        if after.count and not before.count:
            return (before.at + after.at) / 2
    return None
