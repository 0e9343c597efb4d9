"""The topology as a RabbitMQ definitions file, with policies and least-privilege users.

Only keys that 3.10 accepts are used: one unknown policy key or ``apply-to`` value stops an import
at boot half-way and in silence (measured on 3.10.8). No password is ever written: an empty hash
means that a user can log in by certificate only, until an administrator sets a password.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from worker.identity import UNKNOWN_ORIGIN
from worker.messages import Exchange
from worker.model import Environment, Origin
from worker.rules import Subscriber
from worker.topology.declarations import (
    HOLD_LIMITS,
    RESULT_LIMITS,
    RETRY_LIMITS,
    Binding,
    ExchangeDeclaration,
    QueueDeclaration,
    Settings,
)
from worker.topology.objects import Topology
from worker.topology.roles import NOTHING, Role, any_of, roles

_ORIGIN = Origin("dcp")
COMMITTED = {
    "definitions.json": Environment.PRODUCTION,
    "definitions.staging.json": Environment.STAGING,
}
"""The files under ``deploy/rabbitmq`` that are made from ``example`` and compared by a test."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits for every object of a kind whose name matches the pattern."""

    name: str
    pattern: str
    apply_to: Literal["queues", "exchanges"]
    limits: Settings


def example(environment: Environment) -> str:
    """Definitions of the committed files: one producer and one subscriber, ``dcp``.

    Requests that nobody can read are answered under the origin ``unknown``: without a queue for it
    their answers would all be unclaimed (rabbitmq 3.1).
    """
    subscriber = Subscriber(name="dcp", origins=(_ORIGIN, UNKNOWN_ORIGIN))
    topology = Topology(environment=environment, subscribers=(subscriber,))
    return definitions(topology, producers=(_ORIGIN,))


def definitions(
    topology: Topology, *, producers: Iterable[Origin], virtual_host: str = "payments"
) -> str:
    """Render a definitions file: deterministic JSON that ends with a line break.

    ``producers`` are the origins that get a user ``erp-<origin>`` of their own.
    """
    people = roles(topology, producers)
    document = {
        "rabbit_version": "3.10.8",
        "vhosts": [{"name": virtual_host}],
        "users": [_user(role) for role in people],
        "permissions": [_permission(role, virtual_host) for role in people],
        "topic_permissions": list(_topic_permissions(people, virtual_host)),
        "exchanges": [_exchange(exchange, virtual_host) for exchange in topology.exchanges],
        "queues": [_queue(queue, virtual_host) for queue in topology.queues],
        "bindings": [_binding(binding, virtual_host) for binding in topology.bindings],
        "policies": [_policy(topology, policy, virtual_host) for policy in policies(topology)],
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _user(role: Role) -> dict[str, str]:
    return {
        "name": role.user,
        "password_hash": "",
        "hashing_algorithm": "rabbit_password_hashing_sha256",
        "tags": "",
    }


def _permission(role: Role, virtual_host: str) -> dict[str, str]:
    return {
        "user": role.user,
        "vhost": virtual_host,
        "configure": NOTHING,
        "write": role.write,
        "read": role.read,
    }


def _topic_permissions(people: Iterable[Role], virtual_host: str) -> Iterator[dict[str, str]]:
    for role in people:
        if role.topic is not None:
            exchange, keys = role.topic
            yield {
                "user": role.user,
                "vhost": virtual_host,
                "exchange": exchange,
                "write": keys,
                "read": NOTHING,
            }


def _exchange(exchange: ExchangeDeclaration, virtual_host: str) -> dict[str, object]:
    return {
        "name": exchange.name,
        "vhost": virtual_host,
        "type": str(exchange.type),
        "durable": True,
        "auto_delete": False,
        "internal": exchange.internal,
        "arguments": {},
    }


def _queue(queue: QueueDeclaration, virtual_host: str) -> dict[str, object]:
    return {
        "name": queue.name,
        "vhost": virtual_host,
        "durable": True,
        "auto_delete": False,
        "arguments": dict(queue.structure),
    }


def _binding(binding: Binding, virtual_host: str) -> dict[str, object]:
    return {
        "source": binding.exchange,
        "vhost": virtual_host,
        "destination": binding.queue,
        "destination_type": "queue",
        "routing_key": binding.routing_key,
        "arguments": {},
    }


def policies(topology: Topology) -> tuple[Policy, ...]:
    """Limits by name pattern. Only one user policy applies to an object, so none overlap.

    ``retry`` and ``results`` go by the beginning of the name: a queue that is added by hand for
    another subscriber is limited too.
    """
    requests = topology.exchange(Exchange.REQUESTS)
    alternate: Settings = {"alternate-exchange": topology.unroutable_exchange}
    held = (
        topology.dead_letter_queue,
        topology.parking_queue,
        topology.unrouted_queue,
        topology.unclaimed_queue,
    )
    return (
        Policy("work", any_of(topology.work_queue), "queues", topology.work_limits),
        Policy("retry", _beginning(topology.named("retry.v1.")), "queues", RETRY_LIMITS),
        Policy("hold", any_of(*held), "queues", HOLD_LIMITS),
        Policy("results", _beginning(topology.named("results.")), "queues", RESULT_LIMITS),
        Policy("alternate", any_of(requests), "exchanges", alternate),
    )


def _beginning(name: str) -> str:
    return f"^{re.escape(name)}"


def _policy(topology: Topology, policy: Policy, virtual_host: str) -> dict[str, object]:
    return {
        "vhost": virtual_host,
        "name": topology.named(policy.name),
        "pattern": policy.pattern,
        "apply-to": policy.apply_to,
        "priority": 10,
        "definition": dict(policy.limits),
    }
