"""AMQP003, 005 and 006 as the management API shows them: what is in force, from wherever. Pure.

Arguments and policies are two ways to the same limits; what counts of both is ``in_force``.
"""

from collections.abc import Callable, Iterator, Sequence

from worker.checks.verdicts import Remark, fail, ok, skip, warn
from worker.topology import Topology
from worker.topology.declarations import WORK_DELIVERIES
from worker.topology.picture import Picture, PicturedQueue

_FOURTH = 4
"""From RabbitMQ 4.0 on a queue without a delivery limit has one of 20."""

_CORRECT = "Correct its policy or its arguments, as in deploy/rabbitmq/definitions.json."
_LIMITED = "a message that is returned so often, looked at say, is deleted or dead-lettered"

Major = int | None
"""First number of the broker's version, ``None`` where it tells none."""


def work_remarks(picture: Picture, topology: Topology, major: Major) -> list[Remark]:
    """Whether the work queue dead-letters at least once and refuses what it cannot hold."""
    fine = "dead-letters at least once, refuses when full, gives up after enough deliveries"
    return _judged(
        picture, [topology.work_queue], lambda queue: _of_work(queue, topology, major), fine
    )


def hold_remarks(picture: Picture, queues: Sequence[str], major: Major) -> list[Remark]:
    """Whether queues that hold messages for people have an explicit, huge delivery limit."""
    return _judged(picture, queues, lambda queue: _of_hold(queue, major), "delivery-limit is huge")


def expiry_remarks(picture: Picture, queues: Sequence[str]) -> list[Remark]:
    """Whether messages in these queues stay until a person takes them."""
    return _judged(picture, queues, _of_expiry, "nothing expires, nothing is dropped")


def _judged(
    picture: Picture,
    names: Sequence[str],
    judge: Callable[[PicturedQueue], Iterator[Remark]],
    fine: str,
) -> list[Remark]:
    found, sound = [], []
    for name in names:
        queue = picture.queues.get(name)
        if queue is None:
            found.append(skip("it does not exist: see AMQP002", about=name))
        elif queue.policy is None:
            found.append(skip("the management API does not show its policies", about=name))
        else:
            remarks = list(judge(queue))
            found += remarks
            if not remarks:
                sound.append(name)
    if sound:
        found.append(ok(f"{fine}, by argument or policy", about=", ".join(sound)))
    return found


def _of_work(queue: PicturedQueue, topology: Topology, major: Major) -> Iterator[Remark]:
    meanings = {
        "dead-letter-exchange": "a request that is given up would be lost",
        "dead-letter-routing-key": "a request that is given up would not reach the dead letters",
        "dead-letter-strategy": "a dead letter can be lost between two queues",
        "overflow": "a full queue drops its oldest request instead of refusing a new one",
    }
    for name, meaning in meanings.items():
        wanted, seen = topology.work_limits[name], queue.in_force(name)
        if seen != wanted:
            yield _fault(queue, f"{name} is {_told(seen)} and not {wanted}: {meaning}")
    yield from _expiring(queue, "a request would become a dead letter unanswered")
    seen = queue.in_force("delivery-limit")
    if isinstance(seen, int) and 0 <= seen < WORK_DELIVERIES:
        meaning = "restarts of workers would dead-letter innocent requests"
        yield _fault(queue, f"delivery-limit is {seen}, below {WORK_DELIVERIES}: {meaning}")
    elif seen is None:
        yield _absent(queue, major)


def _of_hold(queue: PicturedQueue, major: Major) -> Iterator[Remark]:
    seen = queue.in_force("delivery-limit")
    if seen is None:
        yield _absent(queue, major)
    elif not isinstance(seen, int) or (seen < 0 and (major is None or major < _FOURTH)):
        # -1 is no limit from 4.0 on; on 3.10 the first return already reaches it (measured).
        yield _fault(queue, f"delivery-limit is {_told(seen)}, which is no number of deliveries")
    elif 0 <= seen <= WORK_DELIVERIES:
        yield _fault(queue, f"delivery-limit is {seen}: {_LIMITED}")


def _absent(queue: PicturedQueue, major: Major) -> Remark:
    if major is not None and major < _FOURTH:
        cause = "no delivery-limit is set: an upgrade to RabbitMQ 4 would make it 20"
        return warn(cause, about=queue.name, fix=_CORRECT)
    return _fault(queue, f"no delivery-limit is set, which is 20 on RabbitMQ 4: {_LIMITED}")


def _of_expiry(queue: PicturedQueue) -> Iterator[Remark]:
    yield from _expiring(queue, "a payment that nobody has looked at would vanish")
    bounds = [name for name in ("max-length", "max-length-bytes") if queue.in_force(name)]
    overflow = queue.in_force("overflow")
    if bounds and overflow != "reject-publish":
        told = f"{bounds[0]} is set and overflow is {_told(overflow)}"
        yield _fault(queue, f"{told}: when it is full its oldest message is dropped")


def _expiring(queue: PicturedQueue, meaning: str) -> Iterator[Remark]:
    for name in ("message-ttl", "expires"):
        seen = queue.in_force(name)
        if seen is not None:
            yield _fault(queue, f"{name} is {_told(seen)} ms: {meaning}")


def _fault(queue: PicturedQueue, cause: str) -> Remark:
    return fail(cause, about=queue.name, fix=_CORRECT)


def _told(value: object) -> str:
    return "not set" if value is None else str(value)
