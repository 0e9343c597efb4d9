"""AMQP003 to 006 and 011: limits and routes of the queues that lose or keep money.

The management API shows all of it, where the settings name it. Over AMQP alone a queue that
accepts its own declaration again has exactly those arguments; where limits come from policies, or
the user may not configure, nothing is seen and nothing is promised.
"""

from collections.abc import Callable, Mapping, Sequence

from worker.adapters.management import ManagementError
from worker.adapters.topology import Finding
from worker.adapters.topology import Verdict as Seen
from worker.checks.broker import CONNECTED, listed
from worker.checks.check import Check, Look
from worker.checks.configuration import SOUND_SETTINGS
from worker.checks.deployment import NOT_VISIBLE, SET_MANAGEMENT, Deployment
from worker.checks.limits import Major, expiry_remarks, hold_remarks, work_remarks
from worker.checks.routes import binding_remarks, dead_letter_bindings
from worker.checks.verdicts import CannotSeeError, Group, Remark, fail, ok, skip, warn
from worker.checks.versions import read_version
from worker.topology import Topology
from worker.topology.picture import Picture

_MANAGEMENT = "Management API"
_PROOF = "proven by an identical declaration; a policy on top would not be seen"


def limit_remarks(
    queues: Sequence[str],
    findings: Mapping[str, Finding],
    *,
    is_declared: bool,
    unseen_because: CannotSeeError,
) -> list[Remark]:
    """What identical declarations tell of the limits of some queues: pure.

    ``is_declared`` is the setting ``topology.declare``: the worker then declares the queues
    itself, and is refused where one differs. ``unseen_because`` says why there is no more to see.
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
        reason, fix = unseen_because.reason, unseen_because.fix
        found.append(skip(reason, about=listed(unseen), fix=fix))
    return found


def _looking_at(
    names: Callable[[Topology], Sequence[str]],
    judge: Callable[[Picture, Topology, Sequence[str], Major], Sequence[Remark]],
) -> Look:
    async def look(deployment: Deployment) -> Sequence[Remark]:
        broker = deployment.broker
        queues = names(broker.topology)
        try:
            picture = await deployment.picture()
        except CannotSeeError as reason:
            return limit_remarks(
                queues,
                await broker.as_declared(queues),
                is_declared=deployment.settings.topology.declare,
                unseen_because=reason,
            )
        version = read_version(await broker.version())
        major = None if version is None else version[0]
        return judge(picture, broker.topology, queues, major)

    return look


async def _look_at_management(deployment: Deployment) -> Sequence[Remark]:
    seen = await deployment.management()
    if seen is None:
        return [skip(NOT_VISIBLE, about=_MANAGEMENT, fix=SET_MANAGEMENT)]
    if isinstance(seen, ManagementError):
        return [warn(seen.reason, about=_MANAGEMENT, fix=seen.fix)]
    told = f"shows {len(seen.queues)} queues and {len(seen.bindings)} bindings"
    return [ok(told, about=_MANAGEMENT)]


async def _look_at_routes(deployment: Deployment) -> Sequence[Remark]:
    wanted = dead_letter_bindings(deployment.broker.topology)
    return binding_remarks(await deployment.picture(), wanted)


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
        id="AMQP011",
        group=Group.BROKER,
        title="The management API shows what AMQP does not",
        fix="Look at the broker.management.* settings.",
        look=_look_at_management,
        needs=SOUND_SETTINGS,
    ),
    Check(
        id="AMQP003",
        group=Group.BROKER,
        title="The work queue dead-letters at least once and refuses what it cannot hold",
        fix="Provision it anew in one way, by definitions or over AMQP.",
        look=_looking_at(
            lambda topology: [topology.work_queue],
            lambda picture, topology, _, major: work_remarks(picture, topology, major),
        ),
        needs=CONNECTED,
    ),
    Check(
        id="AMQP004",
        group=Group.BROKER,
        title="The dead-letter route ends in a queue",
        fix="Import deploy/rabbitmq/definitions.json.",
        look=_look_at_routes,
        needs=CONNECTED,
    ),
    Check(
        id="AMQP005",
        group=Group.BROKER,
        title="Queues that hold messages have an explicit, huge delivery limit",
        fix="Provision them anew in one way, by definitions or over AMQP.",
        look=_looking_at(
            _holding, lambda picture, _, queues, major: hold_remarks(picture, queues, major)
        ),
        needs=CONNECTED,
        seconds=20.0,
    ),
    Check(
        id="AMQP006",
        group=Group.BROKER,
        title="No dead letter expires",
        fix="Provision the queue anew in one way, by definitions or over AMQP.",
        look=_looking_at(
            lambda topology: [topology.dead_letter_queue, topology.parking_queue],
            lambda picture, _topology, queues, _major: expiry_remarks(picture, queues),
        ),
        needs=CONNECTED,
    ),
)
