"""What retention may take and what must stay, in the SQL that both databases speak."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from worker.adapters.store_rows.values import Row, from_micros, to_micros
from worker.identity import event_id_of
from worker.inventory import Erased, Stretch
from worker.records import Status

ERASED = "erased"
"""Stands in an identity where the fingerprint stood: contract section 2, the third kind of key."""

_QUIET = (
    "operations.state IN ('succeeded', 'failed', 'cancelled') AND operations.decided_at < {before}"
    " AND NOT EXISTS (SELECT 1 FROM operations AS cancellation"
    " WHERE cancellation.kind = 'cancellation'"
    " AND cancellation.payment_id = operations.operation_id"
    " AND cancellation.state IN ('calling', 'retry_wait', 'in_doubt'))"
)
_ANSWERED = (
    " AND EXISTS (SELECT 1 FROM answers WHERE answers.event_id = operations.event_id"
    " AND answers.event_confirmed = 1{letter})"
)
_NO_LETTER = (
    " AND (answers.letter_failed_at IS NULL OR answers.letter_resolved = 1"
    " OR operations.state <> 'failed')"
)
_LISTED = (
    " AND NOT EXISTS (SELECT 1 FROM unanswered_letters"
    " WHERE unanswered_letters.operation_id = operations.operation_id)"
)

PERSONAL = "operations.fingerprint IS NOT NULL"
LINKED = "operations.fingerprint IS NULL AND operations.link IS NOT NULL"
BARE = "operations.fingerprint IS NULL"
BESIDE = ("look_up_plans", "look_ups")
"""Tables whose rows go with their operation's by its id; acts stay, for the chain of the audit."""

STILL_LINKED = "operations.fingerprint IS NOT NULL AND operations.link IS NOT NULL"

FORGETTABLE = _QUIET
"""Whether an e-mail may go: the row is decided for good."""

SENT = _QUIET + _ANSWERED.format(letter="")
"""Whether a link may go: its answer has reached the broker."""

REMOVABLE = _QUIET + _ANSWERED.format(letter=_NO_LETTER) + _LISTED
"""Whether a row may go, or a person in it: it is answered, and no letter of it waits."""

EVER = 2**63 - 1
"""Later than every decision."""


class Aged(NamedTuple):
    """One row that retention takes: what its other rows are found by."""

    operation_id: bytes
    sequence: int
    event_id: bytes | None
    fingerprint: str | None
    decided_at: int | None

    def is_decided_before(self, micros: int) -> bool:
        """Whether nothing is judged by its content any more."""
        return self.decided_at is not None and self.decided_at < micros

    @property
    def events(self) -> list[bytes]:
        """Ids of all its answers, and of some that never were; they follow from their order."""
        latest = [] if self.event_id is None else [self.event_id]
        if self.sequence <= 1:
            return latest
        operation_id = UUID(bytes=self.operation_id)
        numbers = range(1, self.sequence + 1)
        found = {event_id_of(operation_id, each, n).bytes for each in Status for n in numbers}
        return sorted(found.union(latest))

    @property
    def replaced_events(self) -> list[bytes]:
        """The same without the latest, which alone is ever sent again."""
        return [each for each in self.events if each != self.event_id]


AGED_COLUMNS = ("operation_id", "sequence", "event_id", "fingerprint", "decided_at")


def start_of(stretch: Stretch) -> int:
    """Behind which time a stretch begins."""
    return -(2**63) if stretch.after is None else to_micros(stretch.after)


def erased_of(looked_at: Iterable[Row], erased: int, *, limit: int) -> Erased:
    """What became of a stretch; the last column of each row is when it was made."""
    times = [row[-1] for row in looked_at]
    return Erased(
        erased=erased, kept=len(times) - erased, after=_end(times) if len(times) >= limit else None
    )


def _end(times: list[int]) -> datetime:
    return from_micros(max(times))
