"""Where a peer finds its broker, its queues and its provider: one variable, written as JSON."""

import json
import os
from dataclasses import asdict, dataclass

VARIABLE = "PAYMENT_BENCH_PLACE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Everything that differs from one measurement to the next."""

    amqp_url: str
    work_queue: str
    requests_exchange: str
    results_exchange: str
    letter_queue: str
    provider_url: str
    prefetch: int

    def written(self) -> str:
        """As ``read_place`` reads it."""
        return json.dumps(asdict(self))


def read_place() -> Place:
    """Read it from the environment: the frameworks' commands leave no other way in."""
    told = os.environ[VARIABLE]  # noqa: TID251 - the peers have no settings
    return Place(**json.loads(told))
