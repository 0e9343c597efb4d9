"""What processes cost, read from /proc: CPU seconds of whole families, peak memory of each member.

Nothing is sampled by a profiler and nothing inside a process is asked: what the kernel charged is
what it cost. "Other" is what the machine did beside everything we started, ourselves included.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from types import MappingProxyType

PROC = Path("/proc")
SUBJECT = "subject"
OTHER = "other"
BENCH = "bench"

_TICKS = os.sysconf("SC_CLK_TCK")
_IDLE_COLUMNS = frozenset({3, 4})  # idle and iowait; guest time is part of user time (proc(5))
_BUSY_COLUMNS = 8


@dataclass(frozen=True, slots=True)
class Stat:
    """One process: CPU seconds of its own, and of children that have ended and were waited for."""

    process: int
    parent: int
    seconds: float
    reaped: float


@dataclass(frozen=True, slots=True)
class Reading:
    """CPU seconds spent so far at one moment: by the machine, and by each process of each role.

    Children that have ended and were waited for count with their parent.
    """

    at: float
    busy: float
    spent: Mapping[str, Mapping[int, float]]

    def of(self, role: str) -> float:
        """CPU seconds of a whole role."""
        return sum(self.spent[role].values())


def parse_stat(line: str, *, ticks: int = _TICKS) -> Stat:
    """Read /proc/PID/stat; the name in it may hold spaces and brackets."""
    process, _, rest = line.partition(" ")
    fields = rest.rpartition(")")[2].split()
    own, system, reaped, reaped_system = (int(each) for each in fields[11:15])
    return Stat(
        int(process), int(fields[1]), (own + system) / ticks, (reaped + reaped_system) / ticks
    )


def parse_busy(text: str, *, ticks: int = _TICKS) -> float:
    """Read /proc/stat: seconds all processors together were not idle, stolen time included."""
    columns = [int(each) for each in text.splitlines()[0].split()[1:]][:_BUSY_COLUMNS]
    return sum(each for n, each in enumerate(columns) if n not in _IDLE_COLUMNS) / ticks


def parse_peak(status: str) -> float:
    """Read /proc/PID/status: the most memory it ever held, in MiB; 0 for one that is ending."""
    return _mebibytes(status, "VmHWM:")


def parse_resident(status: str) -> float:
    """The same: the memory it holds now."""
    return _mebibytes(status, "VmRSS:")


def _mebibytes(status: str, name: str) -> float:
    for line in status.splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    return 0.0


def family(stats: Iterable[Stat], roots: Iterable[int]) -> list[Stat]:
    """The roots that are there, and all of their descendants."""
    children: dict[int, list[Stat]] = {}
    known: dict[int, Stat] = {}
    for stat in stats:
        children.setdefault(stat.parent, []).append(stat)
        known[stat.process] = stat
    found: list[Stat] = []
    waiting = [known[root] for root in roots if root in known]
    while waiting:
        stat = waiting.pop()
        found.append(stat)
        waiting += children.get(stat.process, [])
    return found


def cores(before: Reading, after: Reading) -> dict[str, float]:
    """Processors each role kept busy between two readings; the rest is ``other``."""
    seconds = after.at - before.at
    used = {role: (after.of(role) - before.of(role)) / seconds for role in before.spent}
    other = (after.busy - before.busy) / seconds - sum(used.values())
    return used | {OTHER: max(0.0, other)}


def cores_of_each(before: Reading, after: Reading) -> dict[str, list[float]]:
    """Processors that each process of a role kept busy between two readings, the busiest first.

    What a process spent that ended meanwhile is in its parent's figure, from its beginning on.
    """
    seconds = after.at - before.at
    return {
        role: sorted(
            (
                (each - before.spent[role].get(process, 0.0)) / seconds
                for process, each in spent.items()
            ),
            reverse=True,
        )
        for role, spent in after.spent.items()
    }


def read_costs(roles: Mapping[str, Sequence[int]]) -> Reading:
    """Read what each role's family has spent; our own process is counted without its children."""
    stats = _read_all()
    spent = {
        role: {stat.process: stat.seconds + stat.reaped for stat in family(stats, roots)}
        for role, roots in roles.items()
    }
    own = os.getpid()
    spent[BENCH] = {own: sum(stat.seconds for stat in stats if stat.process == own)}
    busy = parse_busy((PROC / "stat").read_text(encoding="ascii"))
    return Reading(perf_counter(), busy, MappingProxyType(spent))


def read_peaks(roles: Mapping[str, Sequence[int]]) -> Mapping[str, Mapping[int, float]]:
    """Peak memory of every living member of each role's family, MiB by process id."""
    stats = _read_all()
    return {
        role: {stat.process: _peak(stat.process) for stat in family(stats, roots)}
        for role, roots in roles.items()
    }


def read_resident(roles: Mapping[str, Sequence[int]]) -> Mapping[str, float]:
    """Memory that each role's family holds now, in MiB; pages they share count for each."""
    stats = _read_all()
    return {
        role: sum(parse_resident(_status(stat.process)) for stat in family(stats, roots))
        for role, roots in roles.items()
    }


def _read_all() -> list[Stat]:
    found: list[Stat] = []
    for place in PROC.glob("[0-9]*"):
        try:
            found.append(parse_stat((place / "stat").read_text(encoding="utf-8", errors="replace")))
        except OSError:  # it has ended meanwhile
            continue
    return found


def _peak(process: int) -> float:
    return parse_peak(_status(process))


def _status(process: int) -> str:
    """Empty for one that has ended."""
    try:
        return (PROC / str(process) / "status").read_text("utf-8", "replace")
    except OSError:
        return ""
