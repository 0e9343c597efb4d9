"""Every broker object as a value: names, arguments, bindings, policies, users. Nothing acts here.

There are two ways to provision a broker, never mixed on one virtual host. *Definitions* carry the
structure as arguments and the tunable limits as policies; an administrator imports them. *Over
AMQP* policies cannot be set, so the same limits become arguments. Both are made from the one
description below. Names: contract section 1.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from worker.messages import Exchange
from worker.model import Environment, Source, Step
from worker.rules import Subscriber
from worker.topology.declarations import (
    HOLD_LIMITS,
    LONG_OUTAGE_BYTES,
    QUORUM,
    RESULT_LIMITS,
    RETRY_LIMITS,
    WORK_DELIVERIES,
    Binding,
    ExchangeDeclaration,
    ExchangeType,
    QueueDeclaration,
    Setting,
    Settings,
)

REQUEST_KEYS = ("payment.initiate.#", "payment.cancel.#")
WORK_KEY = "work"
DEAD_KEY = "dead"
PARKING_KEY = "parking"
UNCLAIMED_KEY = "unclaimed"

_PREFIX = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """All objects under one prefix on one broker. Raises ``ValueError`` for an unusable prefix."""

    environment: Environment
    prefix: str = "payments."
    subscribers: tuple[Subscriber, ...] = ()

    def __post_init__(self) -> None:
        if not _PREFIX.fullmatch(self.prefix):
            raise ValueError(self.prefix)

    def named(self, suffix: str) -> str:
        """Full name of the object with this fixed suffix."""
        return f"{self.prefix}{suffix}"

    def exchange(self, exchange: Exchange) -> str:
        """Full name of an exchange we publish to."""
        return self.named(exchange)

    @property
    def requeue_exchange(self) -> str:
        """Where the ladder gives messages back; internal, so nobody else can publish there."""
        return self.named("requeue")

    @property
    def unroutable_exchange(self) -> str:
        return self.named("unroutable")

    @property
    def work_queue(self) -> str:
        return self.named("work")

    @property
    def dead_letter_queue(self) -> str:
        return self.named("dlq")

    @property
    def parking_queue(self) -> str:
        return self.named("parking")

    @property
    def unrouted_queue(self) -> str:
        return self.named("unrouted")

    @property
    def unclaimed_queue(self) -> str:
        return self.named("unclaimed")

    def retry_queue(self, step: Step) -> str:
        """Name of a rung; ``v1`` because a queue's arguments cannot be changed in place."""
        return self.named(f"retry.v1.{step}")

    def result_queue(self, subscriber: Subscriber) -> str:
        return self.named(f"results.{subscriber.name}")

    def mark_of(self, environment: Environment) -> str:
        """The exchange that marks a broker as production's or staging's."""
        return self.named(f"environment.{environment}")

    @property
    def mark(self) -> str:
        """The mark this broker must carry."""
        return self.mark_of(self.environment)

    @property
    def foreign_marks(self) -> tuple[str, ...]:
        """The marks this broker must not carry."""
        return tuple(self.mark_of(other) for other in Environment if other is not self.environment)

    def source_of(self, exchange: str) -> Source:
        """What a delivery's exchange proves about it: contract section 2."""
        return {
            self.exchange(Exchange.REQUESTS): Source.REQUESTS,
            self.requeue_exchange: Source.LADDER,
            self.exchange(Exchange.REPLAY): Source.REPLAY,
        }.get(exchange, Source.ELSEWHERE)

    @property
    def exchanges(self) -> tuple[ExchangeDeclaration, ...]:
        """Every exchange, the environment's mark last."""
        return (
            ExchangeDeclaration(
                name=self.exchange(Exchange.REQUESTS),
                type=ExchangeType.TOPIC,
                limits={"alternate-exchange": self.unroutable_exchange},
            ),
            # No alternate exchange and no catch-all binding here: either would make every event
            # "routed", and an event without a subscriber would vanish without a return.
            ExchangeDeclaration(name=self.exchange(Exchange.RESULTS), type=ExchangeType.TOPIC),
            ExchangeDeclaration(name=self.exchange(Exchange.RETRY), type=ExchangeType.DIRECT),
            ExchangeDeclaration(
                name=self.requeue_exchange, type=ExchangeType.DIRECT, internal=True
            ),
            ExchangeDeclaration(name=self.exchange(Exchange.DEAD_LETTER), type=ExchangeType.DIRECT),
            ExchangeDeclaration(name=self.exchange(Exchange.REPLAY), type=ExchangeType.DIRECT),
            ExchangeDeclaration(
                name=self.unroutable_exchange, type=ExchangeType.FANOUT, internal=True
            ),
            ExchangeDeclaration(name=self.mark, type=ExchangeType.FANOUT),
        )

    @property
    def queues(self) -> tuple[QueueDeclaration, ...]:
        """Every queue, in the order a message may meet them."""
        held = (
            self.dead_letter_queue,
            self.parking_queue,
            self.unrouted_queue,
            self.unclaimed_queue,
        )
        return (
            QueueDeclaration(name=self.work_queue, structure=QUORUM, limits=self.work_limits),
            *(self._rung(step) for step in Step),
            *(QueueDeclaration(name=name, structure=QUORUM, limits=HOLD_LIMITS) for name in held),
            *(
                QueueDeclaration(
                    name=self.result_queue(subscriber), structure=QUORUM, limits=RESULT_LIMITS
                )
                for subscriber in self.subscribers
            ),
        )

    @property
    def work_limits(self) -> Settings:
        """Limits of the work queue; at-least-once dead-lettering needs all of the first four."""
        return {
            "dead-letter-exchange": self.exchange(Exchange.DEAD_LETTER),
            "dead-letter-routing-key": DEAD_KEY,
            "dead-letter-strategy": "at-least-once",
            "overflow": "reject-publish",
            "max-length-bytes": LONG_OUTAGE_BYTES,
            "delivery-limit": WORK_DELIVERIES,
        }

    def _rung(self, step: Step) -> QueueDeclaration:
        # The delay is structure: were it a policy, losing the policy would make a black hole.
        structure: dict[str, Setting] = {
            **QUORUM,
            "x-message-ttl": step.seconds * 1000,
            "x-dead-letter-exchange": self.requeue_exchange,
            "x-dead-letter-routing-key": WORK_KEY,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }
        return QueueDeclaration(
            name=self.retry_queue(step), structure=structure, limits=RETRY_LIMITS
        )

    @property
    def bindings(self) -> tuple[Binding, ...]:
        return tuple(self._bindings())

    def _bindings(self) -> Iterator[Binding]:
        replay = self.exchange(Exchange.REPLAY)
        letters = self.exchange(Exchange.DEAD_LETTER)
        table = [
            *((self.exchange(Exchange.REQUESTS), self.work_queue, key) for key in REQUEST_KEYS),
            (self.requeue_exchange, self.work_queue, WORK_KEY),
            (replay, self.work_queue, WORK_KEY),
            (replay, self.parking_queue, PARKING_KEY),
            *((self.exchange(Exchange.RETRY), self.retry_queue(step), str(step)) for step in Step),
            (letters, self.dead_letter_queue, DEAD_KEY),
            (letters, self.parking_queue, PARKING_KEY),
            (letters, self.unclaimed_queue, UNCLAIMED_KEY),
            (self.unroutable_exchange, self.unrouted_queue, ""),
        ]
        for exchange, queue, key in table:
            yield Binding(exchange=exchange, queue=queue, routing_key=key)
        for subscriber in self.subscribers:
            for origin in subscriber.origins:
                yield Binding(
                    exchange=self.exchange(Exchange.RESULTS),
                    queue=self.result_queue(subscriber),
                    routing_key=f"payment.result.{origin}.*",
                )

    def rows(self) -> tuple[dict[str, str], ...]:
        """Every object as one line of a table: ``kind``, ``name``, ``details``."""
        exchanges = (
            {
                "kind": "exchange",
                "name": exchange.name,
                "details": _listed(
                    {
                        "type": exchange.type,
                        **({"internal": "yes"} if exchange.internal else {}),
                        **exchange.arguments,
                    }
                ),
            }
            for exchange in self.exchanges
        )
        queues = (
            {"kind": "queue", "name": queue.name, "details": _listed(queue.arguments)}
            for queue in self.queues
        )
        bindings = (
            {"kind": "binding", "name": bound.exchange, "details": _described(bound)}
            for bound in self.bindings
        )
        return (*exchanges, *queues, *bindings)


def _listed(settings: Settings) -> str:
    return ", ".join(f"{name}={value}" for name, value in settings.items())


def _described(binding: Binding) -> str:
    return f"{binding.routing_key or '(all)'} -> {binding.queue}"
