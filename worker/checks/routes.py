"""AMQP002, 004 and 007 as the management API shows them: what is bound to what. Pure."""

from collections.abc import Iterable, Sequence

from worker.checks.verdicts import Remark, fail, ok, warn
from worker.messages import Exchange
from worker.model import Origin
from worker.records import Status
from worker.topology import Binding, Topology
from worker.topology.picture import Picture

UNKNOWN = Origin("unknown")
"""Under which a request is answered that nobody could read (contract section 3)."""

_NOBODY = f"nobody-{'x' * 32}"  # longer than any origin, so that only a catch-all takes it
_BIND = "Import deploy/rabbitmq/definitions.json again, or run `payment-worker topology apply`."
_SUBSCRIBE = "Name the origin under results.subscribers, and bind that queue."


def dead_letter_bindings(topology: Topology) -> list[Binding]:
    """Where dead letters go: those of workers and operators, the broker's, and the ladder's."""
    exchanges = {topology.exchange(Exchange.DEAD_LETTER), topology.requeue_exchange}
    return [each for each in topology.bindings if each.exchange in exchanges]


def other_bindings(topology: Topology) -> list[Binding]:
    """The bindings that are neither a dead-letter route nor an origin's."""
    results = topology.exchange(Exchange.RESULTS)
    others = {*dead_letter_bindings(topology)}
    return [each for each in topology.bindings if each.exchange != results and each not in others]


def binding_remarks(picture: Picture, wanted: Sequence[Binding]) -> list[Remark]:
    """Whether each of these leads to its queue, and to no second one."""
    found = []
    for binding in wanted:
        ends = _queues(picture, binding.exchange, _sample(binding.routing_key))
        about = f"{binding.exchange}, key {binding.routing_key or '(all)'}"
        if binding.queue not in ends:
            where = f"only to {', '.join(ends)}" if ends else "nowhere"
            cause = f"it leads {where}, and must lead to {binding.queue}"
            found.append(fail(cause, about=about, fix=_BIND))
        elif len(ends) > 1:
            cause = f"it leads to {', '.join(ends)}: each gets a copy of every message"
            found.append(warn(cause, about=about, fix="Take the other bindings away."))
    if not found:
        found.append(ok(f"{len(wanted)} of {len(wanted)} lead to their queue", about="Bindings"))
    return found


def origin_remarks(picture: Picture, topology: Topology) -> list[Remark]:
    """Whether each origin has a queue for every kind of answer, and nothing swallows the rest."""
    results = topology.exchange(Exchange.RESULTS)
    found = []
    alternate = picture.alternate_of(results)
    if alternate is not None:
        cause = f"it has the alternate exchange {alternate}: an answer nobody takes looks delivered"
        found.append(fail(cause, about=results))
    for binding in picture.bound_to(results, f"payment.result.{_NOBODY}.{Status.SUCCEEDED}"):
        cause = f"the binding {binding.routing_key} of {binding.destination} takes every answer"
        found.append(fail(cause, about=results))
    origins = [each for subscriber in topology.subscribers for each in subscriber.origins]
    bound = []
    for origin in dict.fromkeys([*origins, UNKNOWN]):
        missing = _unbound(picture, results, origin)
        if not missing:
            bound.append(origin)
        else:
            cause = _meaning(missing, topology, is_ours=origin in origins, origin=origin)
            fix = _BIND if origin in origins else _SUBSCRIBE
            found.append(warn(cause, about=f"Origin {origin}", fix=fix))
    if bound:
        found.append(ok("a queue is bound for each answer", about=f"Origin {', '.join(bound)}"))
    return found


def _unbound(picture: Picture, results: str, origin: Origin) -> list[Status]:
    return [
        status
        for status in Status
        if not _queues(picture, results, f"payment.result.{origin}.{status}")
    ]


def _meaning(
    missing: Sequence[Status], topology: Topology, *, is_ours: bool, origin: Origin
) -> str:
    end = f"no queue is bound for them, they go to {topology.unclaimed_queue}"
    if origin == UNKNOWN and not is_ours:
        return f"answers to unreadable requests: {end}"
    return f"its {'answers' if len(missing) == len(Status) else ', '.join(missing)}: {end}"


def _queues(picture: Picture, exchange: str, key: str) -> list[str]:
    bound = picture.bound_to(exchange, key)
    return _once(each.destination for each in bound if each.is_to_queue)


def _once(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _sample(pattern: str) -> str:
    """A key that a binding of ours must take."""
    return pattern.replace("#", "dcp")
