"""AMQP001, 002 and 010: the broker lets us in, is ours, and has every object."""

from collections.abc import Iterable, Sequence
from typing import assert_never

from worker.adapters.topology import Finding
from worker.adapters.topology import Verdict as Seen
from worker.checks.check import Check
from worker.checks.configuration import SOUND_SETTINGS
from worker.checks.deployment import NOT_VISIBLE, Deployment
from worker.checks.objects import looked_up
from worker.checks.routes import binding_remarks, other_bindings
from worker.checks.verdicts import (
    Blame,
    CannotSeeError,
    Group,
    NotReachedError,
    Remark,
    fail,
    ok,
    skip,
    warn,
)
from worker.rules import BrokerAddress
from worker.topology import Topology

CONNECTED = (*SOUND_SETTINGS, "AMQP001")
"""What a check needs that asks the broker."""

_LEAST_HEARTBEAT, _MOST_HEARTBEAT = 10, 15
_SECONDS = 30.0  # one question for every object, each on a channel of its own
_OBJECTS = frozenset({"exchange", "queue"})
_SHOWN = 3
_LET_SEE = (
    "Let the worker's user read the mark (on RabbitMQ 4.2.6 and 4.3.0: configure it), as in"
    " deploy/rabbitmq/definitions.json."
)


def heartbeat_remark(seconds: int) -> Remark | None:
    """Whether a half-open connection is noticed in good time, without false alarms."""
    if _LEAST_HEARTBEAT <= seconds <= _MOST_HEARTBEAT:
        return None
    return warn(
        f"{seconds} s: a half-open connection is noticed after {3 * (seconds + 1)} s",
        about="broker.heartbeat",
        fix=f"Set it between {_LEAST_HEARTBEAT} and {_MOST_HEARTBEAT}.",
    )


def login_remark(address: BrokerAddress, bar: NotReachedError | None) -> Remark:
    """What became of one endpoint, where at least one of them let us in."""
    place = f"{address.place}, virtual host {address.virtual_host}"
    if bar is not None:
        return warn(f"not used now: {bar.reason}", about=place, fix=bar.fix)
    return ok(f"logged in {'with' if address.tls else 'without'} TLS", about=place)


def existence_remarks(findings: Iterable[Finding], topology: Topology) -> list[Remark]:
    """Which objects are there, the marks apart: pure."""
    objects = _objects(findings, topology)
    found = [
        fail("it does not exist", about=f"{each.kind} {each.name}")
        for each in objects
        if each.verdict is Seen.MISSING
    ]
    unseen = [each.name for each in objects if each.verdict is Seen.SKIP]
    if unseen:
        reason = f"{NOT_VISIBLE} without more rights"
        found.append(skip(reason, about=f"Existence of {listed(unseen)}"))
    there = sum(each.verdict is Seen.OK for each in objects)
    if there:
        found.append(ok(f"{there} of {len(objects)} exist", about="Objects"))
    return found


def likeness_remarks(
    findings: Iterable[Finding], topology: Topology, *, fix: str = ""
) -> list[Remark]:
    """Which objects have the type and the arguments they must have, the marks apart: pure.

    ``fix`` is what would show those that are not visible.
    """
    objects = _objects(findings, topology)
    found = [
        fail(
            f"it is another one: {each.reason}",
            about=f"{each.kind} {each.name}",
            fix="Drain it, delete it and create it anew: arguments cannot be changed.",
        )
        for each in objects
        if each.verdict is Seen.MISMATCH
    ]
    unseen = sum(each.verdict is Seen.SKIP for each in objects)
    if unseen:
        reason = f"{NOT_VISIBLE} without the right to configure"
        found.append(skip(reason, about=f"Type and arguments of {unseen} objects", fix=fix))
    alike = sum(each.verdict is Seen.OK for each in objects)
    if alike:
        about = "Type and arguments"
        found.append(ok(f"{alike} of {len(objects)} are as they must be", about=about))
    return found


def mark_remarks(findings: Iterable[Finding], topology: Topology) -> list[Remark]:
    """Whether this broker is the one for our environment: pure."""
    marks = {each.name: each for each in findings if each.kind == "exchange"}
    found = []
    for name in (topology.mark, *topology.foreign_marks):
        match marks[name].verdict:
            case Seen.MISSING:
                found.append(fail("the broker does not carry our mark", about=name))
            case Seen.MISMATCH:
                found.append(fail("the broker carries the other environment's mark", about=name))
            case Seen.SKIP:
                # As the start does: nobody can tell whose broker this is.
                found.append(fail(f"the mark is {NOT_VISIBLE}", about=name, fix=_LET_SEE))
            case Seen.OK:
                continue
            case other:
                assert_never(other)
    return found or [ok("the broker carries it, and no other", about=topology.mark)]


def listed(names: Sequence[str]) -> str:
    """A few names, and how many more there are."""
    shown = ", ".join(names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown


async def _look_at_login(deployment: Deployment) -> Sequence[Remark]:
    broker = deployment.broker
    found = [login_remark(address, bar) for address, bar in await broker.log_in()]
    remark = heartbeat_remark(broker.address.heartbeat)
    return [*found, *([remark] if remark else [])]


async def _look_at_objects(deployment: Deployment) -> Sequence[Remark]:
    broker = deployment.broker
    found = existence_remarks(await broker.existing(), broker.topology)
    # What does not exist was told above. A start is refused over what differs, a classic queue
    # say, as far as it is seen.
    alike = [each for each in await broker.alike() if each.verdict is not Seen.MISSING]
    try:
        picture = await deployment.picture()
    except CannotSeeError as reason:
        return [*found, *likeness_remarks(alike, broker.topology, fix=reason.fix)]
    seen = [looked_up(each, broker.topology, picture) for each in alike]
    bound = binding_remarks(picture, other_bindings(broker.topology))
    return [*found, *likeness_remarks(seen, broker.topology), *bound]


async def _look_at_mark(deployment: Deployment) -> Sequence[Remark]:
    broker = deployment.broker
    return mark_remarks(await broker.existing(), broker.topology)


def _objects(findings: Iterable[Finding], topology: Topology) -> list[Finding]:
    marks = {topology.mark, *topology.foreign_marks}
    return [each for each in findings if each.kind in _OBJECTS and each.name not in marks]


CHECKS = (
    Check(
        id="AMQP001",
        group=Group.BROKER,
        title="The broker lets the worker in",
        fix="Look at the broker and at the broker.* settings.",
        look=_look_at_login,
        blame=Blame.UNREACHABLE,
        needs=SOUND_SETTINGS,
        at_start=True,
    ),
    Check(
        id="AMQP010",
        group=Group.BROKER,
        title="It is the broker of this environment",
        fix="Correct broker.host, broker.virtual_host or environment; a new broker gets its mark"
        " from the definitions, or from `payment-worker topology apply`.",
        look=_look_at_mark,
        blame=Blame.CONFIGURATION,
        needs=CONNECTED,
        at_start=True,
        seconds=_SECONDS,
    ),
    Check(
        id="AMQP002",
        group=Group.BROKER,
        title="Every exchange and queue is there and as it must be",
        fix="Import deploy/rabbitmq/definitions.json (on staging definitions.staging.json), or run"
        " `payment-worker topology apply`.",
        look=_look_at_objects,
        needs=CONNECTED,
        at_start=True,
        seconds=_SECONDS,
    ),
)
