"""A virtual host as its management API shows it, and what is in force there. Pure.

Which of an argument and a policy counts (rabbitmq section 3.2, read in ``rabbit_quorum_queue``):
for dead-lettering the argument, for numbers the smaller, for the rest the policy. Operator
policies are merged into what the broker calls the effective policy.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

Facts = Mapping[str, object]

_DEAD_LETTERING = "dead-letter-"
_ALTERNATE = "alternate-exchange"


@dataclass(frozen=True, slots=True, kw_only=True)
class PicturedQueue:
    """One queue; ``policy`` is what policies hold in all, ``None`` where that is not shown.

    ``type`` is empty where it is not told, of a queue without a leader say.
    """

    name: str
    type: str
    is_durable: bool
    arguments: Facts
    policy: Facts | None

    def in_force(self, name: str) -> object:
        """What holds under a name as policies have it, ``delivery-limit`` say; else ``None``."""
        argument = self.arguments.get(f"x-{name}")
        policy = (self.policy or {}).get(name)
        if name.startswith(_DEAD_LETTERING):
            return policy if argument is None else argument
        if argument is None or policy is None:
            return argument if policy is None else policy
        if isinstance(argument, int) and isinstance(policy, int):
            # Where one is negative, which is "no limit" since 4.0, the other holds.
            return min(argument, policy) if min(argument, policy) >= 0 else max(argument, policy)
        return policy


@dataclass(frozen=True, slots=True, kw_only=True)
class PicturedExchange:
    """One exchange; ``policy`` is the name of the one that applies to it."""

    name: str
    type: str
    is_durable: bool
    is_internal: bool
    arguments: Facts
    policy: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PicturedBinding:
    """A queue, or another exchange, bound to an exchange."""

    source: str
    destination: str
    is_to_queue: bool
    routing_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Every object of one virtual host; ``policies`` by name."""

    queues: Mapping[str, PicturedQueue] = field(default_factory=lambda: MappingProxyType({}))
    exchanges: Mapping[str, PicturedExchange] = field(default_factory=lambda: MappingProxyType({}))
    bindings: tuple[PicturedBinding, ...] = ()
    policies: Mapping[str, Facts] = field(default_factory=lambda: MappingProxyType({}))

    def alternate_of(self, exchange: str) -> object:
        """Where an exchange sends what nobody is bound for; ``None``: back to its sender."""
        found = self.exchanges.get(exchange)
        if found is None:
            return None
        by_policy = {} if found.policy is None else self.policies.get(found.policy, {})
        return found.arguments.get(_ALTERNATE, by_policy.get(_ALTERNATE))

    def bound_to(self, exchange: str, routing_key: str) -> Iterator[PicturedBinding]:
        """Bindings that take a message with this key; an exchange that is not there has none."""
        found = self.exchanges.get(exchange)
        for binding in self.bindings if found is not None else ():
            if binding.source == exchange and _takes(found, binding.routing_key, routing_key):
                yield binding


def matches(pattern: str, routing_key: str) -> bool:
    """Whether a topic pattern takes a key: ``*`` is one word, ``#`` any number of them."""
    return _match(pattern.split("."), routing_key.split("."))


def _match(pattern: list[str], words: list[str]) -> bool:
    if not pattern:
        return not words
    first, rest = pattern[0], pattern[1:]
    if first == "#":
        return any(_match(rest, words[skipped:]) for skipped in range(len(words) + 1))
    return bool(words) and first in {"*", words[0]} and _match(rest, words[1:])


def _takes(exchange: PicturedExchange | None, pattern: str, routing_key: str) -> bool:
    match exchange.type if exchange is not None else None:
        case "topic":
            return matches(pattern, routing_key)
        case "fanout":
            return True
        case _:
            return pattern == routing_key
