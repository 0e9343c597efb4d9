"""What is asked of a ledger as a whole, by its metrics, its operators and its retention."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from uuid import UUID

from worker.codes import Code
from worker.model import Origin, RunMode
from worker.records import Kind, State

PAGE = 500
"""Rows per read: a long read keeps the ledger's log from being folded back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is undecided or unsent as a whole, for metrics: payments in doubt by account name.

    ``oldest_open`` is the first receipt of what has waited longest for its decision, ``breaks``
    the doubts among them whose provider lists another amount.
    """

    doubts: Mapping[str, int]
    oldest_doubt: datetime | None
    oldest_open: datetime | None
    oldest_unpublished: datetime | None
    breaks: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BookLine:
    """Operations that have so much in common; ``cents`` sums the amounts that were readable.

    ``day`` is that of the first receipt, in UTC.
    """

    kind: Kind
    state: State
    account: str | None
    mode: RunMode | None
    origin: Origin
    day: date
    count: int
    cents: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What the ledger received within a period, by ``first_seen``, and where it stands now.

    ``received`` counts the rows by itself, so that the lines can be held against it;
    ``letters`` counts the undone dead letters among them.
    """

    received: int
    lines: tuple[BookLine, ...]
    letters: Mapping[Code, int]


@dataclass(frozen=True, slots=True)
class DecidedPage:
    """The decided operations that were looked for, among so many rows of the ledger by id.

    ``after`` is the last id that was looked at, behind which the next page begins; ``None`` at
    the end of the ledger.
    """

    operations: tuple[UUID, ...]
    after: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """What retention looks at in one go: rows made after one time, decided before another.

    At most ``limit`` of them, the oldest first, and more where several were made at once.
    ``is_dry`` counts what would be erased and writes nothing; ``is_unerased`` then looks at rows
    whose e-mail is not erased yet, which goes before all else.
    """

    before: datetime
    after: datetime | None = None
    limit: int = 200
    is_dry: bool = False
    is_unerased: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """What was erased of a stretch, and what had to stay.

    ``after`` is when the last row was made that was looked at; ``None`` at the end.
    ``held_seconds`` is how long no payment could be written meanwhile; 0 where they could.
    """

    erased: int
    kept: int
    after: datetime | None
    held_seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class SealPlace:
    """How far a walk over everything sealed has come: a table of the ledger's, and a row of it."""

    table: int
    row: tuple[int | bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedPage:
    """What was sealed on a page, by the id of the key, and how much of it was sealed anew.

    ``values`` are links and e-mails, ``marks`` what e-mails are found by: one whose e-mail was
    never stored cannot be made again under another key. Both are counted as they are left.
    """

    values: Mapping[str, int]
    marks: Mapping[str, int]
    renewed: int
    after: SealPlace | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLock:
    """Who walks a queue, for what, and until when he has it to himself unless he renews it.

    ``queue`` is a name of ours, ``token`` the walk's own: whoever shows it renews or gives back.
    """

    queue: str
    token: UUID
    actor: str
    purpose: str
    since: datetime
    until: datetime
