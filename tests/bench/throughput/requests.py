"""Valid payment requests, and how they get into the work queue."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from uuid import NAMESPACE_URL, uuid5

from aiormq.channel import Channel
from pamqp.commands import Basic

from worker.adapters.clock import SystemClock

ROUTING_KEY = "payment.initiate.dcp"

_IN_FLIGHT = 500
_clock = SystemClock()


@dataclass(frozen=True, slots=True)
class Batch:
    """So many requests of one run; ``in_task`` wraps each one as Taskiq's own message.

    ``first`` is the number of the first one: two batches of one run must not overlap, or the
    product answers what it knows already (the same content under another key is a duplicate).
    """

    name: str
    count: int
    in_task: bool = False
    first: int = 0

    @property
    def numbers(self) -> range:
        """The numbers of all."""
        return range(self.first, self.first + self.count)

    @property
    def keys(self) -> set[str]:
        """The keys of all."""
        return {self.key(number) for number in self.numbers}

    def key(self, number: int) -> str:
        """The ``message_id``, and the correlation by which its answer is known again."""
        return str(uuid5(NAMESPACE_URL, f"{self.name}{number}"))

    def body(self, number: int) -> bytes:
        """A payment request of about 350 bytes; no two have the same content."""
        request = {
            "payment_target": "LABANQUEPOSTALE",
            "payment_run_mode": "TEST",
            "payment_type": "SEPA",
            "id_origin": "dcp",
            "id_societe": "1",
            "id_client": str(2263 + number % 997),
            "id_commande": str(40017 + number),
            "type_paiement": "SEPA",
            "amount": str(1250 + number % 89_000),
            "email": f"client-{number}@example.org",
            "commentaire": "Facture de novembre, à régler avant la fin du mois.",
        }
        if self.in_task:
            return json.dumps(_task(request, self.key(number)), ensure_ascii=False).encode()
        return json.dumps(request, ensure_ascii=False).encode()

    def properties(self, number: int) -> Basic.Properties:
        """As contract section 2 asks for."""
        key = self.key(number)
        return Basic.Properties(
            content_type="application/json",
            delivery_mode=2,
            message_id=key,
            correlation_id=key,
        )


def _task(request: Mapping[str, str], key: str) -> Mapping[str, object]:
    """A request as Taskiq's own client would have sent it: its workers read nothing else."""
    return {
        "task_id": key,
        "task_name": "pay",
        "labels": {},
        "labels_types": {},
        "args": [request],
        "kwargs": {},
    }


async def load(channel: Channel, exchange: str, batch: Batch) -> None:
    """Publish all of them persistently, and return when the broker has confirmed every one."""
    for begin in range(0, batch.count, _IN_FLIGHT):
        numbers = batch.numbers[begin : begin + _IN_FLIGHT]
        await asyncio.gather(*(_publish(channel, exchange, batch, each) for each in numbers))


async def load_paced(
    channel: Channel, exchange: str, batch: Batch, rate: float
) -> dict[str, float]:
    """Publish so many per second, whatever becomes of them; tells when each one was sent.

    A late one is sent at once: the load is open, and a subject that falls behind shows it.
    """
    sent: dict[str, float] = {}
    began = perf_counter()
    async with asyncio.TaskGroup() as confirms:
        for position, number in enumerate(batch.numbers):
            due = began + position / rate
            if (ahead := due - perf_counter()) > 0:
                await _clock.sleep(ahead)
            sent[batch.key(number)] = perf_counter()
            confirms.create_task(_publish(channel, exchange, batch, number))
    return sent


async def _publish(channel: Channel, exchange: str, batch: Batch, number: int) -> None:
    await channel.basic_publish(
        batch.body(number),
        exchange=exchange,
        routing_key=ROUTING_KEY,
        properties=batch.properties(number),
        mandatory=True,
        wait=False,
    )
