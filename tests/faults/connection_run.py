"""One fault of a connection under load: measured, then judged by what the providers really did."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.broker import Broker
from tests.faults.connection_scenes import Scene
from tests.faults.connection_site import Conditions, Ground, ground
from tests.faults.soak_judge import Verdict
from worker.adapters.clock import SystemClock

_BEFORE = 20
_AFTER = 30

_clock = SystemClock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Endured:
    """How one fault went by; seconds count from the moment it struck.

    ``detected`` is ``None`` where nobody had to notice. ``answering`` is when the first request
    that was sent after the fault was answered.
    """

    detected: float | None
    answering: float
    lasted: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What the faults of one worker cost altogether.

    ``handled_again`` are deliveries of a message that had been delivered before, and ``pages``
    the lines at level error.
    """

    handled_again: int
    pages: int
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One fault with what it cost."""

    scene: Scene
    endured: Endured
    cost: Cost

    @property
    def is_good(self) -> bool:
        """Whether every promise was kept, and a person was called as often as it is worth."""
        return self.cost.verdict.is_good and self.cost.pages == self.scene.pages


async def play(
    scene: Scene, broker: Broker, directory: Path, conditions: Conditions, *, seed: int
) -> Measured:
    """Set everything up, break it, let it mend, and judge."""
    async with ground(broker, directory, conditions, seed=seed) as place:
        await place.traffic.goes_on(_BEFORE)
        endured = await endure(scene, place)
        await place.traffic.goes_on(_AFTER)
        return Measured(scene=scene, endured=endured, cost=await cost_of(place))


async def endure(scene: Scene, place: Ground) -> Endured:
    """Break it, wait until it was noticed, mend it, and wait until payments are answered again."""
    struck = await scene.strike(place)
    struck_at = _clock.monotonic() - (_clock.now() - struck).total_seconds()
    detected: float | None = None
    if scene.roles:
        noticed = await place.notices(scene.roles, struck, scene.trouble)
        detected = (noticed - struck).total_seconds()
    if scene.mend is not None:
        await scene.mend(place)
    lasted = 0.0 if scene.mend is None else _clock.monotonic() - struck_at
    answering = await place.traffic.first_answer_since(struck_at) - struck_at
    return Endured(detected=detected, answering=answering, lasted=lasted)


async def cost_of(place: Ground) -> Cost:
    """End the load and the worker in order, and judge."""
    await place.traffic.drain(place.conditions.patience)
    code = await place.worker.stop()
    assert code == 0, place.worker.complaint.read_text("utf-8")
    await place.traffic.empty()
    return Cost(
        handled_again=_handled_again(place),
        pages=sum(line["log.level"] == "error" for line in place.worker.lines),
        verdict=await place.traffic.verdict(),
    )


def table(measured: Sequence[Measured]) -> list[str]:
    """The report, as a table in Markdown."""
    rows = [
        (
            "| fault | it lasted | detected after | answering again after | duplicate deliveries "
            "| duplicate events | lost | applied twice |"
        ),
        "|---|---|---|---|---|---|---|---|",
    ]
    for each in measured:
        endured, verdict = each.endured, each.cost.verdict
        cells = (
            each.scene.name,
            f"{endured.lasted:.1f} s" if endured.lasted else "",
            "" if endured.detected is None else f"{endured.detected:.1f} s",
            f"{endured.answering:.1f} s",
            str(each.cost.handled_again),
            str(verdict.repeated_events),
            str(len(verdict.breaches["lost"]) + len(verdict.breaches["open"])),
            str(len(verdict.breaches["applied twice"])),
        )
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def _handled_again(place: Ground) -> int:
    """Deliveries beyond the first of each message; copies off the ladder count as well."""
    told = Counter(
        line["labels.message_id"]
        for line in place.worker.lines
        if line.get("event.action", "").startswith("delivery.") and "labels.message_id" in line
    )
    return told.total() - len(told)
