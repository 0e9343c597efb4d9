"""AMQP003 to 006: limits of the queues that lose or keep money, as far as AMQP shows them.

A queue that accepts its own declaration again has exactly those arguments. Where limits come from
policies, or the user may not configure, nothing is seen and nothing is promised.
"""

from collections.abc import Callable, Mapping, Sequence

from worker.adapters.topology import Finding
from worker.adapters.topology import Verdict as Seen
from worker.checks.broker import CONNECTED, NOT_VISIBLE, listed
from worker.checks.check import Check, Look
from worker.checks.deployment import Deployment
from worker.checks.verdicts import Group, Remark, fail, ok, skip
from worker.topology import Topology

_PROOF = "proven by an identical declaration; a policy on top would not be seen"


def limit_remarks(
    queues: Sequence[str], findings: Mapping[str, Finding], *, is_declared: bool
) -> list[Remark]:
    """What identical declarations tell of the limits of some queues: pure.

    ``is_declared`` is the setting ``topology.declare``: the worker then declares the queues
    itself, and is refused where one differs.
    """
    found, proven, unseen = [], [], []
    for queue in queues:
        finding = findings.get(queue)
        if finding is not None and finding.verdict is Seen.OK:
            proven.append(queue)
        elif finding is not None and finding.verdict is Seen.MISMATCH and is_declared:
            found.append(fail(f"topology.declare is on, but {finding.reason}", about=queue))
        else:
            unseen.append(queue)
    if proven:
        found.append(ok(_PROOF, about=listed(proven)))
    if unseen:
        found.append(skip(NOT_VISIBLE, about=listed(unseen)))
    return found


def _looking_at(names: Callable[[Topology], Sequence[str]]) -> Look:
    async def look(deployment: Deployment) -> Sequence[Remark]:
        broker = deployment.broker
        queues = names(broker.topology)
        return limit_remarks(
            queues,
            await broker.as_declared(queues),
            is_declared=deployment.settings.topology.declare,
        )

    return look


async def _look_at_route(deployment: Deployment) -> Sequence[Remark]:
    topology = deployment.broker.topology
    about = f"Binding of {topology.dead_letter_queue}"
    return [skip(NOT_VISIBLE, about=about)]


def _holding(topology: Topology) -> Sequence[str]:
    return (
        topology.dead_letter_queue,
        topology.parking_queue,
        topology.unrouted_queue,
        topology.unclaimed_queue,
        *(topology.result_queue(subscriber) for subscriber in topology.subscribers),
    )


CHECKS = (
    Check(
        id="AMQP003",
        group=Group.BROKER,
        title="The work queue dead-letters at least once and refuses what it cannot hold",
        fix="Provision it anew in one way, by definitions or over AMQP.",
        look=_looking_at(lambda topology: [topology.work_queue]),
        needs=CONNECTED,
    ),
    Check(
        id="AMQP004",
        group=Group.BROKER,
        title="The dead-letter route ends in a queue",
        fix="Import deploy/rabbitmq/definitions.json.",
        look=_look_at_route,
        needs=CONNECTED,
    ),
    Check(
        id="AMQP005",
        group=Group.BROKER,
        title="Queues that hold messages have an explicit, huge delivery limit",
        fix="Provision them anew in one way, by definitions or over AMQP.",
        look=_looking_at(_holding),
        needs=CONNECTED,
        seconds=20.0,
    ),
    Check(
        id="AMQP006",
        group=Group.BROKER,
        title="No dead letter expires",
        fix="Provision the queue anew in one way, by definitions or over AMQP.",
        look=_looking_at(lambda topology: [topology.dead_letter_queue]),
        needs=CONNECTED,
    ),
)
