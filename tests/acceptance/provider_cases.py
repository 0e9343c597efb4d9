"""What a provider may answer, as cases that many accounts of a few workers share out.

A configuration fault opens the breaker of its account, and so do five silences: cases that could
get in each other's way have accounts of their own. A worker has fifteen accounts at most, one for
each pair of target and type.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import product
from types import MappingProxyType

from tests.acceptance.erp import Answer, Sent
from worker.codes import Code
from worker.records import Status
from worker.simulator.book import Applied
from worker.simulator.expected import Decided, Expected
from worker.simulator.magic import MAGIC

COMBINATIONS = tuple(
    product(
        ("LABANQUEPOSTALE", "PAYBOX", "MILLIET"),
        ("DIRECT_SEPA", "SEPA", "CB", "AMEX", "COMPTABILITE"),
    )
)

FEWEST_SILENCES = 5
"""Failures that open a breaker, as payment rules R9 are configured."""

_ALONE = FEWEST_SILENCES
_UNLISTED = frozenset({"unlisted-host", "http-link", "link-with-user"})
_PAUSING = frozenset({"http-429-retry", "http-503-retry"})
_CONFIGURATION = frozenset(
    {
        Code.PROVIDER_CREDENTIALS,
        Code.PROVIDER_IP_REFUSED,
        Code.PROVIDER_TLS,
        Code.PROVIDER_REDIRECT,
        Code.PROVIDER_ENDPOINT,
    }
)

STATUSES: Mapping[int, tuple[Expected, Expected]] = MappingProxyType(
    {
        301: (Expected(Status.FAILED, Code.PROVIDER_REDIRECT, 0),) * 2,
        302: (
            Expected(Status.FAILED, Code.PROVIDER_REDIRECT, 0),
            Expected(Status.IN_DOUBT, Code.OUTCOME_UNKNOWN, 0),
        ),
        407: (Expected(Status.FAILED, Code.PROVIDER_CREDENTIALS, 0),) * 2,
        413: (Expected(Status.FAILED, Code.PROVIDER_ENDPOINT, 0),) * 2,
        418: (Expected(Status.FAILED, Code.PROVIDER_REFUSED, 0),) * 2,
        425: (Expected(Status.FAILED, Code.PROVIDER_UNAVAILABLE, 0, Decided.USED_UP),) * 2,
        505: (Expected(Status.FAILED, Code.PROVIDER_ENDPOINT, 0),) * 2,
        520: (
            Expected(Status.IN_DOUBT, Code.OUTCOME_UNKNOWN, 0, Decided.SENT_AGAIN),
            Expected(Status.IN_DOUBT, Code.OUTCOME_UNKNOWN, 0),
        ),
    }
)
"""Rows of payment rules R3 that no magic name stands for: the link's outcome, the basket's."""


@dataclass(frozen=True, slots=True)
class Case:
    """One behaviour of one provider; ``url`` leads elsewhere than to the simulator."""

    name: str
    is_basket: bool
    email: str
    expected: Expected
    weight: int
    url: str | None = None

    @property
    def id(self) -> str:
        return f"{'basket' if self.is_basket else 'link'}-{self.name}"


@dataclass(slots=True)
class Place:
    """An account, what its messages are addressed to, and the cases that share it."""

    target: str
    payment_type: str
    account: str
    is_basket: bool
    url: str | None
    cases: list[Case] = field(default_factory=list)

    def has_room_for(self, case: Case) -> bool:
        load = sum(each.weight for each in self.cases) + case.weight
        return self.is_basket == case.is_basket and self.url == case.url and load < FEWEST_SILENCES


@dataclass(frozen=True, slots=True)
class Asked:
    """A case that was sent."""

    case: Case
    place: Place
    sent: Sent


def magic_cases() -> list[Case]:
    """Every magic name with both providers; removals and look-ups are asked for elsewhere."""
    return [
        Case(
            name=name,
            is_basket=is_basket,
            email=f"sim+{name}@example.org",
            expected=(expected := _expected(name, is_basket=is_basket)),
            weight=_weight(name, expected),
        )
        for is_basket in (False, True)
        for name, magic in MAGIC.items()
        if magic.removal is None and magic.search is None
    ]


def status_cases(url: str) -> list[Case]:
    """Bare HTTP statuses of a server whose path says which."""
    return [
        Case(
            name=f"status-{status}",
            is_basket=is_basket,
            email="client@example.org",
            expected=both[is_basket],
            weight=_ALONE,
            url=f"{url}/{status}",
        )
        for status, both in STATUSES.items()
        for is_basket in (False, True)
    ]


def unreachable_cases(*, refused: str, untrusted: str) -> list[Case]:
    """Nothing is sent: nobody listens, or nobody trusts the certificate."""
    waits = Expected(Status.FAILED, Code.PROVIDER_UNAVAILABLE, 0, Decided.USED_UP)
    stops = Expected(Status.FAILED, Code.PROVIDER_TLS, 0)
    return [
        Case(name, is_basket, "client@example.org", expected, _ALONE, url)
        for is_basket in (False, True)
        for name, expected, url in (
            ("connection-refused", waits, refused),
            ("certificate", stops, untrusted),
        )
    ]


def shared_out(cases: Sequence[Case]) -> list[list[Place]]:
    """Give every case an account, and every worker at most fifteen of them."""
    places: list[Place] = []
    for case in sorted(cases, key=lambda each: -each.weight):
        place = next((each for each in places if each.has_room_for(case)), None)
        if place is None:
            target, payment_type = COMBINATIONS[len(places) % len(COMBINATIONS)]
            account = f"account-{len(places)}"
            place = Place(target, payment_type, account, case.is_basket, case.url)
            places.append(place)
        place.cases.append(case)
    step = len(COMBINATIONS)
    return [places[start : start + step] for start in range(0, len(places), step)]


def applied_for(answer_or_id: Answer | str, applied: Applied) -> int:
    """How often the provider did what one payment asked for, under any of its references."""
    payment_id = answer_or_id if isinstance(answer_or_id, str) else answer_or_id["payment_id"]
    references = [sha256(f"{payment_id}:{number}".encode()).hexdigest()[:32] for number in range(3)]
    links = sum(applied.links.get(reference, 0) for reference in references)
    return links + sum(
        count
        for url, count in applied.items.items()
        if any(reference in url for reference in references)
    )


def owes_letter(code: str, category: str) -> bool:
    """Whether contract section 4 wants a dead letter; the simulator's own codes are unknown."""
    return code != "superseded" and (category != "declined" or code == "provider_refused")


def _expected(name: str, *, is_basket: bool) -> Expected:
    # The workers of these tests give up on a call long before twenty seconds.
    magic = MAGIC["slow-60s" if name == "slow-20s" else name]
    return magic.basket if is_basket else magic.link


def _weight(name: str, expected: Expected) -> int:
    if expected.code in _CONFIGURATION or name in _PAUSING | _UNLISTED:
        return _ALONE
    if expected.decided is Decided.USED_UP:
        return _ALONE
    if expected.decided is Decided.SENT_AGAIN:
        return 2
    return int(expected.status is Status.IN_DOUBT)
