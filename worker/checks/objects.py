"""AMQP002 as the management API shows it: type and arguments of what AMQP did not show. Pure."""

from collections.abc import Iterator, Mapping

from worker.adapters.topology import Finding, Verdict
from worker.topology import ExchangeDeclaration, QueueDeclaration, Topology
from worker.topology.picture import Facts, Picture, PicturedExchange, PicturedQueue

_TYPE = "x-queue-type"


def looked_up(finding: Finding, topology: Topology, picture: Picture) -> Finding:
    """A finding that AMQP left open, decided by the picture; any other as it is."""
    if finding.verdict is not Verdict.SKIP:
        return finding
    match finding.kind:
        case "queue":
            wanted = next((each for each in topology.queues if each.name == finding.name), None)
            seen = picture.queues.get(finding.name)
            if wanted is None or seen is None or not seen.type:
                return finding
            differences = list(_of_queue(seen, wanted))
        case "exchange":
            exchange = next((e for e in topology.exchanges if e.name == finding.name), None)
            pictured = picture.exchanges.get(finding.name)
            if exchange is None or pictured is None:
                return finding
            differences = list(_of_exchange(pictured, exchange))
        case _:
            return finding
    verdict = Verdict.MISMATCH if differences else Verdict.OK
    return Finding(finding.kind, finding.name, verdict, "; ".join(differences))


def _of_queue(seen: PicturedQueue, wanted: QueueDeclaration) -> Iterator[str]:
    if seen.type != wanted.structure[_TYPE]:
        yield f"{_TYPE} is {seen.type} and not {wanted.structure[_TYPE]}"
        return  # its other arguments are those of another kind of queue
    if not seen.is_durable:
        yield "it is not durable"
    yield from _unlike(seen.arguments, wanted.structure, wanted.arguments)


def _of_exchange(seen: PicturedExchange, wanted: ExchangeDeclaration) -> Iterator[str]:
    if seen.type != wanted.type:
        yield f"its type is {seen.type} and not {wanted.type}"
    if not seen.is_durable:
        yield "it is not durable"
    if seen.is_internal != wanted.internal:
        yield "it is internal" if seen.is_internal else "it is not internal"
    yield from _unlike(seen.arguments, {}, wanted.arguments)


def _unlike(seen: Facts, by_policy: Facts, over_amqp: Facts) -> Iterator[str]:
    """What differs from the way of provisioning that is nearer, limits by policy or arguments."""
    ways = [list(_differences(seen, wanted)) for wanted in (by_policy, over_amqp)]
    yield from min(ways, key=len)


def _differences(seen: Facts, wanted: Mapping[str, object]) -> Iterator[str]:
    for name in sorted({*seen, *wanted} - {_TYPE}):
        if name not in wanted:
            yield f"{name} is {seen[name]} and must not be set"
        elif seen.get(name) != wanted[name]:
            yield f"{name} is {seen.get(name, 'not set')} and not {wanted[name]}"
