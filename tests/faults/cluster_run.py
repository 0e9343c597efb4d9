"""What is done to a cluster under load, one thing after another, and the verdict after each."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import Cluster, Member
from tests.faults.cluster_site import ClusterSite, cluster_site
from tests.faults.soak_judge import Verdict
from tests.faults.traffic import RESULTS
from worker.adapters.clock import SystemClock

RATE = 10.0
"""Payments in a second."""

_FLOW = 30
_DRAIN_SECONDS = 180.0

_clock = SystemClock()

Say = Callable[[str], None]
Act = Callable[["_Run", float], Awaitable[str]]
"""Breaks something, keeps it broken for so many seconds where it lasts, and says which node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """One fault, with the verdict on everything since the beginning; times in seconds."""

    name: str
    nodes: str
    worst_gap: float
    whole_after: float
    requests: int
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterReport:
    """All of them."""

    passed: Sequence[Passed]
    exit_codes: Sequence[int]
    ended_alone: Sequence[str]

    @property
    def is_good(self) -> bool:
        """Whether every promise was kept after each fault, and every worker ended in order."""
        return all(each.verdict.is_good for each in self.passed) and not (
            any(self.exit_codes) or self.ended_alone
        )

    def lines(self) -> list[str]:
        """The report, as a table in Markdown."""
        rows = [
            (
                "| fault | node | worst gap without an answer | cluster whole after | requests "
                "| events heard again | lost | open | applied twice | sequences under two ids |"
            ),
            "|---|---|---|---|---|---|---|---|---|---|",
        ]
        for each in self.passed:
            breaches = each.verdict.breaches
            cells = (
                each.name,
                each.nodes,
                f"{each.worst_gap:.1f} s",
                f"{each.whole_after:.1f} s",
                f"{each.requests:,}",
                str(each.verdict.repeated_events),
                str(len(breaches["lost"])),
                str(len(breaches["open"])),
                str(len(breaches["applied twice"])),
                str(len(breaches["events of one sequence under two ids"])),
            )
            rows.append(f"| {' | '.join(cells)} |")
        return rows

    def offenders(self) -> list[str]:
        """Ids behind every figure that should be 0."""
        found = [
            f"{each.name}: {breach}: {one}"
            for each in self.passed
            for breach, ids in each.verdict.breaches.items()
            for one in ids
        ]
        return [*found, f"exit codes {self.exit_codes}, ended by themselves {self.ended_alone}"]


async def suffer(directory: Path, *, seed: int, minutes: float, say: Say) -> ClusterReport:
    """Set up, do everything there is to do to a cluster, judge after each; ``say`` tells how far.

    ``minutes`` are shared out evenly as the time under load; drains come on top.
    """
    say("setting up: three nodes, a ledger, both providers, two workers")
    async with cluster_site(directory, seed=seed, rate=RATE) as site:
        return await _Run(site, say).run(60 * minutes / len(_ACTS))


class _Run:
    """The moving parts, on a site that stands."""

    def __init__(self, site: ClusterSite, say: Say) -> None:
        self.site = site
        self._say = say

    @property
    def cluster(self) -> Cluster:
        return self.site.cluster

    async def run(self, seconds: float) -> ClusterReport:
        fleet, traffic = self.site.fleet, self.site.traffic
        async with asyncio.TaskGroup() as tasks, traffic.connected():
            keeping = tasks.create_task(fleet.keep())
            try:
                await fleet.are_ready()
                passed = [await self._pass(name, act, seconds) for name, act in _ACTS]
                await fleet.stop()
                await traffic.empty()
            finally:
                keeping.cancel()
        return ClusterReport(
            passed=passed, exit_codes=fleet.exit_codes, ended_alone=fleet.ended_alone
        )

    async def _pass(self, name: str, act: Act, seconds: float) -> Passed:
        traffic = self.site.traffic
        self._say(f"{name} ...")
        traffic.flow()
        await traffic.goes_on(_FLOW)
        began, began_at = _clock.now(), _clock.monotonic()
        nodes = await act(self, seconds)
        await self.cluster.becomes_whole()
        whole_after = _clock.monotonic() - began_at
        await _clock.sleep(seconds - whole_after)
        await traffic.goes_on(_FLOW)
        ended = _clock.now()
        await traffic.drain(_DRAIN_SECONDS)
        verdict = await traffic.verdict()
        self._say(f"  {nodes}: {verdict.requests} requests so far, good: {verdict.is_good}")
        return Passed(
            name=name,
            nodes=nodes,
            worst_gap=self.site.worst_gap(began, ended),
            whole_after=whole_after,
            requests=verdict.requests,
            verdict=verdict,
        )

    def told(self, member: Member) -> str:
        """What the report calls a node, with how many of the workers' connections lead to it."""
        attached = self.site.attached()
        number = self.cluster.members.index(member) + 1
        return f"{number}, with {attached.count(member)} of {len(attached)} connections"

    async def leader(self, suffix: str) -> Member:
        """The node that leads a queue."""
        return await self.cluster.leader_of(self.site.installation.named(suffix))


async def _kill_work(run: _Run, _seconds: float) -> str:
    return await _kill(run, await run.leader("work"))


async def _kill_results(run: _Run, _seconds: float) -> str:
    return await _kill(run, await run.leader(RESULTS))


async def _kill(run: _Run, member: Member) -> str:
    told = run.told(member)
    member.signal(signal.SIGKILL)
    await member.start()
    return told


async def _freeze_follower(run: _Run, seconds: float) -> str:
    """Of the nodes that lead neither queue, the one that the fewest connections lead to."""
    leaders = {await run.leader("work"), await run.leader(RESULTS)}
    attached = run.site.attached()
    others = [each for each in run.cluster.members if each not in leaders]
    return await _freeze(run, min(others, key=attached.count), seconds)


async def _freeze_consumers(run: _Run, seconds: float) -> str:
    return await _freeze(run, run.site.attached("consume")[0], seconds)


async def _freeze(run: _Run, member: Member, seconds: float) -> str:
    told = run.told(member)
    member.signal(signal.SIGSTOP)
    try:
        await _clock.sleep(seconds)
    finally:
        member.signal(signal.SIGCONT)
    return told


async def _roll(run: _Run, _seconds: float) -> str:
    """Each in order, the next one when every queue has its three members again."""
    for member in run.cluster.members:
        await member.stop()
        await member.start()
        await run.cluster.becomes_whole()
    return "all"


_ACTS: Sequence[tuple[str, Act]] = (
    ("leader of the work queue killed and started", _kill_work),
    ("leader of the result queue killed and started", _kill_results),
    ("a node frozen that leads neither", _freeze_follower),
    ("the node frozen that a worker consumes from", _freeze_consumers),
    ("every node restarted in turn", _roll),
)
