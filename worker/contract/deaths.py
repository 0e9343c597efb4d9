"""What the broker says of a message it dead-lettered: its ``x-death`` header, newest first.

Older entries may be a producer's own invention: the broker adds its entry to what is there.
Source: rabbitmq.com/docs/dlx.
"""

import json
from dataclasses import dataclass
from datetime import datetime

from worker.contract.times import read_time
from worker.model import Delivery

X_DEATH = "x-death"

_CAUSES = frozenset({"rejected", "expired", "maxlen", "delivery_limit"})


@dataclass(frozen=True, slots=True)
class Death:
    """The newest entry: the key it was routed by, why it died, and when; each may be missing."""

    routing_key: str | None
    cause: str | None
    at: datetime | None


def last_death(letter: Delivery) -> Death:
    """Read the newest entry of the header as JSON; what cannot be read is not there."""
    try:
        entry = json.loads(letter.header(X_DEATH) or "[]")[0]
    except (ValueError, LookupError, TypeError):
        return Death(None, None, None)
    if not isinstance(entry, dict):
        return Death(None, None, None)
    keys, cause = entry.get("routing-keys"), entry.get("reason")
    return Death(
        routing_key=str(keys[0]) if isinstance(keys, list) and keys else None,
        cause=cause if isinstance(cause, str) and cause in _CAUSES else None,
        at=read_time(str(entry.get("time"))),
    )
