"""What the simulated providers really did: the count that tests assert on."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum, unique

from worker.model import Cents
from worker.simulator.effects import Search


@unique
class RepeatReference(StrEnum):
    """What the link provider does with a ``payment_reference`` it has already served.

    Not documented, so all three must be survived: a second link, a refusal with EXIST_005, or
    the same link again.
    """

    LINK = "link"
    REFUSE = "refuse"
    SAME = "same"


@dataclass(slots=True)
class Item:
    """A basket item: whose it is, and whether it still stands."""

    url: str
    user: str
    removed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sale:
    """What a link was made for, as a look-up lists it; ``search`` is what it finds."""

    reference: str
    beneficiary: str
    amount: Cents
    made_on: date
    search: Search


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """Applied operations: links by ``payment_reference``, items by ``url``, removals by id."""

    links: Mapping[str, int]
    items: Mapping[str, int]
    removals: Mapping[str, int]

    @property
    def total(self) -> int:
        """Operations of all kinds together."""
        return sum(sum(counts.values()) for counts in (self.links, self.items, self.removals))


@dataclass(slots=True)
class Book:
    """The state of both providers."""

    _links: dict[str, list[str]] = field(default_factory=dict)
    _items: dict[str, Item] = field(default_factory=dict)
    _added: Counter[str] = field(default_factory=Counter)
    _removed: Counter[str] = field(default_factory=Counter)
    _failures: Counter[tuple[str, ...]] = field(default_factory=Counter)
    _sales: dict[str, Sale] = field(default_factory=dict)
    _searches: Counter[str] = field(default_factory=Counter)

    @property
    def applied(self) -> Applied:
        """A copy of the counts as they stand."""
        return Applied(
            links={reference: len(made) for reference, made in self._links.items()},
            items=dict(self._added),
            removals=dict(self._removed),
        )

    @property
    def links(self) -> Mapping[str, tuple[str, ...]]:
        """Every link that was made, by ``payment_reference``, in order."""
        return {reference: tuple(made) for reference, made in self._links.items()}

    @property
    def item_urls(self) -> Mapping[str, str]:
        """The ``url`` every item was added with, by the item's id; removed ones included."""
        return {item_id: item.url for item_id, item in self._items.items()}

    def has_link(self, reference: str) -> bool:
        return reference in self._links

    def make_link(self, reference: str, link: str, *, repeat: RepeatReference) -> str:
        """Apply a link request and return the link the customer would get."""
        made = self._links.setdefault(reference, [])
        if repeat is RepeatReference.SAME and made:
            return made[-1]
        made.append(link)
        return link

    @property
    def searches(self) -> Mapping[str, int]:
        """How often each reference was looked up."""
        return dict(self._searches)

    def count_search(self, reference: str) -> None:
        self._searches[reference] += 1

    def keep_sale(self, sale: Sale) -> None:
        """Remember what a link was made for, the first time."""
        self._sales.setdefault(sale.reference, sale)

    def sale(self, reference: str) -> Sale | None:
        """What was sold under a reference, if anything was."""
        return self._sales.get(reference)

    def add_item(self, url: str, user: str) -> str:
        """Put an item into a basket and return its id; nothing deduplicates."""
        self._added[url] += 1
        item_id = str(len(self._items) + 1)
        self._items[item_id] = Item(url=url, user=user)
        return item_id

    def can_remove(self, item_id: str, user: str) -> bool:
        """Whether this user has such an item and it still stands."""
        item = self._items.get(item_id)
        return item is not None and item.user == user and not item.removed

    def remove_item(self, item_id: str) -> None:
        self._items[item_id].removed = True
        self._removed[item_id] += 1

    def fails_again(self, intent: tuple[str, ...], times: int) -> bool:
        """Count one call of a flaky intent: whether it still fails; success starts anew."""
        if self._failures[intent] < times:
            self._failures[intent] += 1
            return True
        del self._failures[intent]
        return False
