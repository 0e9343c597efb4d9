"""What a request carries that no honest producer sends: told and counted, whatever its answer.

Nothing here decides anything. A ``CC`` is refused by the reading, headers of ours are not believed
and the broker's never leave on a copy; but somebody tried, and a person should know (contract
section 2, rabbitmq failure case 8).
"""

from worker.contract import headers
from worker.messages import Suspicion
from worker.model import Delivery

_OURS = (*headers.ENVELOPE_HEADERS, *headers.LETTER_HEADERS, *headers.REPLAY_HEADERS)
_DEATHS = ("x-death", "x-first-death-", "x-last-death-")
"""Written by a broker that dead-letters; believed by it up to 3.13 when a client writes them."""


def suspicions_of(delivery: Delivery) -> tuple[Suspicion, ...]:
    """Name what is suspicious about a first receipt; copies of our own never are."""
    if not delivery.headers or delivery.source.is_believed:
        return ()
    names = delivery.headers.keys()
    found = {
        Suspicion.COPY_HEADER: any(name in headers.COPY_HEADERS for name in names),
        Suspicion.OWN_HEADER: any(name in _OURS for name in names),
        Suspicion.DEATH_HEADER: any(name.startswith(_DEATHS) for name in names),
    }
    return tuple(suspicion for suspicion, is_there in found.items() if is_there)
