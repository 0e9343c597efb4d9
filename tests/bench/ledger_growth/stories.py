"""Payments as the product writes them, and any number of others like them.

A few payments of every kind go through the product's own core. The rows that they leave are then
written again and again under other ids, fingerprints, references, customers, orders and times. What
is sealed stays the same: nobody can tell, and every row is as long as it should be.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from tests.core import (
    DECLINES,
    REFUSED_CONNECTION,
    SILENCE,
    UNAUTHORISED,
    Behaviour,
    World,
    basket,
    initiation,
)
from tests.fakes_clock import START
from worker.adapters.encryption import Vault
from worker.adapters.store_rows.answers import ANSWER_COLUMNS, answer_row
from worker.adapters.store_rows.history import ATTEMPT_COLUMNS, attempt_row
from worker.adapters.store_rows.records import RECORD_COLUMNS, record_row
from worker.adapters.store_rows.values import Scalar, to_micros
from worker.model import Delivery
from worker.records import Answer

OPERATIONS, ANSWERS, ATTEMPTS, OWNERS = "operations", "answers", "attempts", "fingerprints"

COLUMNS: Mapping[str, tuple[str, ...]] = {
    OPERATIONS: RECORD_COLUMNS,
    ANSWERS: ANSWER_COLUMNS,
    ATTEMPTS: (*ATTEMPT_COLUMNS, "position"),
    OWNERS: ("fingerprint", "operation_id"),
}
"""What is filled; the position of an attempt counts from 1 within its payment."""

SPAN = timedelta(days=400)
"""The payments are spread evenly over the 13 months that keys are remembered, and three days."""

OPEN_FOR = timedelta(days=30)
"""How long a dead letter waits: older ones are set aside, and nothing older is in doubt."""

_TIMES = frozenset(
    {
        "created_at",
        "decided_at",
        "ended_at",
        "first_seen",
        "lease_until",
        "letter_failed_at",
        "next_attempt_at",
        "not_after",
        "occurred_at",
        "updated_at",
    }
)
_BEHAVIOURS_PER_ATTEMPT = 3
_CUSTOMERS, _ORDERS = 200_000, 10_000_000
_NAMED = frozenset({"id_client", "id_commande"})
_ID_BYTES = 16

Rows = dict[str, list[tuple[Scalar, ...]]]


class Recipe(NamedTuple):
    """One row, and where in it what has to be put: ids by number, texts with places, times."""

    table: str
    values: tuple[Scalar, ...]
    ids: tuple[tuple[int, int], ...]
    texts: tuple[tuple[int, str], ...]
    times: tuple[int, ...]

    def written(
        self, ids: Sequence[bytes], names: Mapping[str, str], later: int
    ) -> tuple[Scalar, ...]:
        """The row of another payment; ``later`` in microseconds."""
        row = list(self.values)
        for place, number in self.ids:
            row[place] = ids[number]
        for place, text in self.texts:
            row[place] = text % names
        for place in self.times:
            value = row[place]
            if isinstance(value, int):
                row[place] = value + later
        return tuple(row)


@dataclass(frozen=True, slots=True)
class Story:
    """All rows of one payment. Of its ids, the first is its own, the next two its fingerprint."""

    recipes: tuple[Recipe, ...]
    ids: int

    def write(self, rows: Rows, seed: int, at: int) -> None:
        """Add the rows of the payment with that number, first seen at that time."""
        ids = fresh_ids(seed, self.ids)
        names = {f"h{n}": each.hex() for n, each in enumerate(ids)}
        names |= {f"i{n}": _dashed(names[f"h{n}"]) for n in range(self.ids)}
        names |= customer(seed)
        later = at - to_micros(START)
        for recipe in self.recipes:
            rows[recipe.table].append(recipe.written(ids, names, later))


def fresh_ids(seed: int, count: int) -> list[bytes]:
    """Ids that look random and are the same for the same number."""
    drawn = hashlib.shake_128(seed.to_bytes(8)).digest(16 * count)
    return [drawn[n : n + 16] for n in range(0, len(drawn), 16)]


def customer(seed: int) -> Mapping[str, str]:
    """Whose payment it is and for which order: by these too people look one up."""
    return {"id_client": str(10_000 + seed * 7919 % _CUSTOMERS), "id_commande": str(_ORDERS + seed)}


def operation_of(seed: int) -> UUID:
    """The id of the payment with that number."""
    return UUID(bytes=fresh_ids(seed, 1)[0])


def fingerprint_of(seed: int) -> str:
    """Its fingerprint, where it owns one."""
    _, first, second = fresh_ids(seed, 3)
    return first.hex() + second.hex()


def _dashed(digits: str) -> str:
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


# --- what happens to payments --------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A kind of payment: how many of a thousand, what the provider does, how it is remembered."""

    of_a_thousand: int
    ask: Callable[[str], Delivery] = initiation
    behaviours: Sequence[Behaviour] = ()
    later: str | None = None
    """Which kind stands for it once it is older than ``OPEN_FOR``."""


def _unreadable(key: str) -> Delivery:
    return replace(initiation(key), body=b'{"payment_target": "LABANQUEPOSTALE"}')


PLOTS: Mapping[str, Plot] = {
    "link": Plot(of_a_thousand=815),
    "basket": Plot(of_a_thousand=120, ask=basket),
    "declined": Plot(of_a_thousand=40, behaviours=[DECLINES]),
    "recovered": Plot(
        of_a_thousand=14, behaviours=[REFUSED_CONNECTION] * 2 * _BEHAVIOURS_PER_ATTEMPT
    ),
    "misconfigured": Plot(of_a_thousand=6, behaviours=[UNAUTHORISED], later="resolved"),
    "unreadable": Plot(of_a_thousand=4, ask=_unreadable, later="unreadable-resolved"),
    "doubtful": Plot(of_a_thousand=1, behaviours=[SILENCE] * 10, later="link"),
    "resolved": Plot(of_a_thousand=0, behaviours=[UNAUTHORISED]),
    "unreadable-resolved": Plot(of_a_thousand=0, ask=_unreadable),
}
"""Eleven of a thousand leave a dead letter, one of them in doubt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """The stories, and which one the payment with a number lives through."""

    stories: Mapping[str, Story]
    _order: tuple[str, ...] = field(
        default=tuple(name for name, plot in PLOTS.items() for _ in range(plot.of_a_thousand))
    )

    def name_of(self, seed: int, *, is_old: bool) -> str:
        """Which kind it is; neighbours are of different kinds."""
        name = self._order[seed * 337 % len(self._order)]
        return PLOTS[name].later or name if is_old else name

    def rows(self, numbers: range, *, since: datetime, until: datetime, now: datetime) -> Rows:
        """The rows of so many payments, evenly spread over that time, as they stand now."""
        rows: Rows = {table: [] for table in COLUMNS}
        begin, end = to_micros(since), to_micros(until)
        old = to_micros(now - OPEN_FOR)
        for seed in numbers:
            at = begin + (end - begin) * (seed - numbers.start) // len(numbers)
            self.stories[self.name_of(seed, is_old=at < old)].write(rows, seed, at)
        return rows


async def write_library(vault: Vault) -> Library:
    """Let every kind of payment happen once."""
    return Library(stories={name: await _happen(name, vault) for name in PLOTS})


async def _happen(name: str, vault: Vault) -> Story:
    plot, world = PLOTS[name], World()
    world.providers.behaviours += plot.behaviours
    delivery: Delivery | None = plot.ask(_dashed(fresh_ids(0, 1)[0].hex()))
    worker = world.worker()
    while delivery is not None:
        await worker.processor.handle(delivery)
        delivery = world.broker.take()
    tables = world.store.tables
    (record,) = tables.records.values()
    assert not record.state.is_open, name
    ids = _Ids([record.operation_id.bytes])
    fingerprint = record.fingerprint or "0" * 64
    ids.know(fingerprint[:32], fingerprint[32:])
    ids.know_text(str(record.message_id))
    ids.know(*(entry.reference for entry in tables.attempts if entry.reference))
    positions = range(1, len(tables.attempts) + 1)
    answers = [_seen_to(each, name) for each in tables.answers.values()]
    recipes = [
        ids.recipe(OPERATIONS, record_row(record, vault)),
        *(ids.recipe(ANSWERS, answer_row(each, vault)) for each in answers),
        *(
            ids.recipe(ATTEMPTS, (*attempt_row(entry, vault), position))
            for entry, position in zip(tables.attempts, positions, strict=True)
        ),
        *(ids.recipe(OWNERS, (owned, owner.bytes)) for owned, owner in tables.owners.items()),
    ]
    return Story(tuple(recipes), ids.count)


def _seen_to(answer: Answer, name: str) -> Answer:
    """As it is when the broker has confirmed everything, and an operator has seen to its letter."""
    return replace(
        answer,
        event_confirmed=True,
        letter_confirmed=answer.letter is not None,
        letter_resolved=name.endswith("resolved"),
    )


class _Ids:
    """The ids that appear in the rows of one payment, each by its number."""

    def __init__(self, first: Iterable[bytes]) -> None:
        self._known = {each: number for number, each in enumerate(first)}
        self._texts: dict[str, str] = {}
        for each in self._known:
            self._spell(each)

    @property
    def count(self) -> int:
        return len(self._known)

    def know(self, *digits: str) -> None:
        """Ids that appear as hex digits only."""
        for each in digits:
            self._number(bytes.fromhex(each))

    def know_text(self, text: str) -> None:
        """An id that appears as the text of a UUID."""
        self._number(UUID(text).bytes)

    def recipe(self, table: str, values: tuple[Scalar, ...]) -> Recipe:
        """Find every id and every time in a row."""
        columns = COLUMNS[table]
        places = tuple(
            (place, self._number(value))
            for place, value in enumerate(values)
            if isinstance(value, bytes) and len(value) == _ID_BYTES
        )
        texts = tuple(
            (place, f"%({name})s" if name in _NAMED else self._template(value))
            for place, (name, value) in enumerate(zip(columns, values, strict=True))
            if isinstance(value, str)
            and (name in _NAMED or self._template(value) != value.replace("%", "%%"))
        )
        times = tuple(
            place
            for place, value in enumerate(values)
            if columns[place] in _TIMES and value is not None
        )
        return Recipe(table, values, places, texts, times)

    def _number(self, raw: bytes) -> int:
        number = self._known.setdefault(raw, len(self._known))
        self._spell(raw)
        return number

    def _spell(self, raw: bytes) -> None:
        number = self._known[raw]
        self._texts[str(UUID(bytes=raw))] = f"%(i{number})s"
        self._texts[raw.hex()] = f"%(h{number})s"

    def _template(self, text: str) -> str:
        template = text.replace("%", "%%")
        for known, name in self._texts.items():
            template = template.replace(known, name)
        return template
