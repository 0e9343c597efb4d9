"""DLQ: what waits for a person, in the queues and in the ledger."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from worker.adapters.topology import Verdict as Seen
from worker.checks.broker import CONNECTED
from worker.checks.check import Check
from worker.checks.configuration import SOUND_SETTINGS
from worker.checks.deployment import Deployment
from worker.checks.verdicts import Group, Remark, ok, skip, warn
from worker.contract.times import time_text
from worker.inventory import Standing

_DOUBT_AGE = timedelta(hours=24)
_DOUBTS = "Payments in doubt"


def depth_remark(queue: str, depth: int, oldest: datetime | None = None) -> Remark:
    """What a number of messages in a queue for people means, the oldest from then: pure."""
    if not depth:
        return ok("empty", about=queue)
    since = "" if oldest is None else f", the oldest since {time_text(oldest)}"
    return warn(f"{depth} waiting for a person{since}", about=queue)


def aside_remark(queue: str, depth: int) -> Remark:
    """What a number of messages means that operators have set aside: pure."""
    return ok(f"{depth} set aside by operators" if depth else "empty", about=queue)


def doubt_remark(standing: Standing, now: datetime) -> Remark:
    """What the payments in doubt mean: pure."""
    count, oldest = sum(standing.doubts.values()), standing.oldest_doubt
    if not count or oldest is None:
        return ok("there are none", about=_DOUBTS)
    text = f"{count}, the oldest since {time_text(oldest)}"
    if breaks := sum(standing.breaks.values()):
        return warn(f"{text}; of {breaks} the provider lists another amount", about=_DOUBTS)
    if now - oldest > _DOUBT_AGE:
        return warn(text, about=_DOUBTS)
    return ok(f"{text}: not yet {_DOUBT_AGE // timedelta(hours=1)} h", about=_DOUBTS)


async def _look_at_letters(deployment: Deployment) -> Sequence[Remark]:
    broker = deployment.broker
    topology = broker.topology
    waiting = await deployment.ledger.waiting()
    missing = {each.name for each in await broker.existing() if each.verdict is Seen.MISSING}
    found: list[Remark] = []
    for queue in (
        topology.dead_letter_queue,
        topology.unrouted_queue,
        topology.unclaimed_queue,
        topology.parking_queue,
    ):
        if queue in missing:
            found.append(skip("the queue does not exist", about=queue))
            continue
        if queue == topology.parking_queue:
            # What a person has seen to waits for nobody: a warning would never go away again.
            found.append(aside_remark(queue, await broker.depth(queue)))
            continue
        # AMQP shows no age; the ledger's index has the letters that the worker decided.
        indexed = waiting if queue == topology.dead_letter_queue else None
        oldest = None if indexed is None else indexed.oldest_letter
        found.append(depth_remark(queue, await broker.depth(queue), oldest))
    return found


async def _look_at_doubts(deployment: Deployment) -> Sequence[Remark]:
    waiting = await deployment.ledger.waiting()
    if waiting is None:
        return [skip("the ledger does not tell", about=_DOUBTS)]
    return [doubt_remark(waiting.standing, deployment.clock.now())]


CHECKS = (
    Check(
        id="DLQ001",
        group=Group.LETTERS,
        title="No message waits for a person",
        fix="Dead letters: `payment-worker dead-letters`. Unrouted: a request with a wrong routing"
        " key. Unclaimed: answers nobody was bound for; bind their queue, then"
        " `payment-worker results resend --unclaimed`.",
        look=_look_at_letters,
        needs=CONNECTED,
    ),
    Check(
        id="DLQ002",
        group=Group.LETTERS,
        title="No payment stays in doubt for a day",
        fix="List them with `payment-worker payments doubtful`: it says what to look up at the"
        " provider, and which command then settles each.",
        look=_look_at_doubts,
        needs=(*SOUND_SETTINGS, "LED001"),
    ),
)
