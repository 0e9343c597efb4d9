"""The users of the broker, each with the least it needs to do its work."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from worker.messages import Exchange
from worker.model import Origin
from worker.topology.objects import Topology

WORKER = "payworker"
REPLAYER = "ops-replay"
NOTHING = "^$"


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """One user: what it may write and read, and the routing keys of its topic exchange.

    The patterns are unanchored in RabbitMQ, so each is written ``^...$``.
    """

    user: str
    write: str
    read: str
    topic: tuple[str, str] | None = None


def roles(topology: Topology, producers: Iterable[Origin]) -> tuple[Role, ...]:
    """Every user with the least it needs to do its work.

    The worker's right to read the marks is for RabbitMQ 4.2.7 and later, where a passive declare
    needs some permission; the operator's right to the dead-letter exchange is for putting letters
    back at the end of their queue.
    """
    requests = topology.exchange(Exchange.REQUESTS)
    marks = re.escape(topology.named("environment.")) + "[a-z]+"
    return (
        *(
            Role(
                user=f"erp-{origin}",
                write=any_of(requests),
                read=NOTHING,
                topic=(requests, rf"^payment\.(initiate|cancel)\.{re.escape(origin)}$"),
            )
            for origin in producers
        ),
        Role(
            user=WORKER,
            write=any_of(
                *(
                    topology.exchange(exchange)
                    for exchange in (Exchange.RESULTS, Exchange.RETRY, Exchange.DEAD_LETTER)
                )
            ),
            read=f"^({re.escape(topology.work_queue)}|{marks})$",
            topic=(
                topology.exchange(Exchange.RESULTS),
                r"^payment\.result\.[a-z0-9-]+\.[a-z_]+$",
            ),
        ),
        *(
            Role(
                user=subscriber.name,
                write=NOTHING,
                read=any_of(topology.result_queue(subscriber)),
            )
            for subscriber in topology.subscribers
        ),
        Role(
            user=REPLAYER,
            write=any_of(
                topology.exchange(Exchange.REPLAY), topology.exchange(Exchange.DEAD_LETTER)
            ),
            read=any_of(
                topology.dead_letter_queue,
                topology.parking_queue,
                topology.unrouted_queue,
                topology.unclaimed_queue,
            ),
        ),
    )


def any_of(*names: str) -> str:
    return f"^({'|'.join(map(re.escape, names))})$" if len(names) > 1 else f"^{re.escape(*names)}$"
