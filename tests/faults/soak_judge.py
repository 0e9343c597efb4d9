"""The judge of a soak: pure functions over what was asked, what providers did, what was heard.

It knows the wire contract and the providers' own books, and neither the workers' code nor their
ledger: what it says about lost and doubled payments holds whatever they believe.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tests.faults.soak_load import Kind, Request, references_of

_REFERENCE_IN_URL = re.compile(r"/i/([0-9a-f]{32})/")

_LETTERED = frozenset(
    {
        *("outcome_unknown", "link_lost", "ledger_lost"),
        *("provider_unavailable", "provider_rate_limited", "request_expired"),
        *("invalid_message", "invalid_amount", "unsupported_combination", "customer_unknown"),
        *("reference_already_used", "idempotency_mismatch"),
        *("internal_error", "delivery_limit_reached"),
    }
)
"""Codes that owe a dead letter whatever the provider said (contract section 4)."""

MOST_APPLIED: Mapping[Kind, int] = {
    Kind.LINK: 2,  # class D: one re-send of a link that nobody received
    Kind.MAILED: 1,
    Kind.CAREFUL: 1,
    Kind.BASKET: 1,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request as its producer knows it; times are monotonic seconds.

    ``confirmed_at`` is ``None`` while no copy was confirmed: nothing was promised then.
    """

    request: Request
    sent_at: float
    confirmed_at: float | None
    sendings: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """One event as a subscriber received it."""

    at: float
    event_id: str
    event_type: str
    payment_id: str
    sequence: int
    request_id: str | None
    code: str | None = None
    is_retryable: bool = False
    link: str | None = None
    item_id: str | None = None
    duplicate_of: str | None = None
    content_digest: str = ""
    is_redelivered: bool = False

    @property
    def decision(self) -> tuple[object, ...]:
        """What there is one event id for: a sequence of a payment, or a refused cancellation."""
        is_refused_cancel = (
            self.event_type.startswith("payment.cancellation.")
            and self.event_type != "payment.cancellation.succeeded"
        )
        if is_refused_cancel:  # it tells its payment's sequence, which others told before
            return (self.payment_id, self.sequence, self.request_id)
        return (self.payment_id, self.sequence)


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter in the queue."""

    payment_id: str
    sequence: int
    message_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What the providers really did: links by reference, addresses of items, removals by item."""

    links: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    item_urls: Mapping[str, str] = field(default_factory=dict)
    removals: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything the judge looks at; ``left`` are ids of messages still in some queue."""

    asked: Sequence[Asked]
    heard: Sequence[Heard]
    letters: Sequence[Letter] = ()
    left: frozenset[str] = frozenset()
    books: Books = field(default_factory=Books)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Figures of a run; the tuples hold ids, and those of ``breaches`` must be empty."""

    requests: int
    decided: int
    outcomes: Mapping[str, int]
    in_doubt: int
    letters: int
    undecided_letters: tuple[str, ...]
    breaches: Mapping[str, tuple[str, ...]]
    repeated_events: int
    redelivered_events: int
    worst_latency: float
    median_latency: float
    applied: int

    @property
    def is_good(self) -> bool:
        """Whether every promise was kept and nothing is left undecided."""
        return not any(self.breaches.values()) and not self.undecided_letters


def judge(evidence: Evidence) -> Verdict:
    """Weigh the evidence; requests that no broker confirmed are judged by their events only."""
    case = _Case(evidence)
    confirmed = [each for each in evidence.asked if each.confirmed_at is not None]
    decided = [each for each in confirmed if case.last(each) is not None]
    outcomes = Counter(last.event_type for each in decided if (last := case.last(each)) is not None)
    undecided = [each for each in confirmed if case.last(each) is None]
    lettered = {letter.message_id for letter in evidence.letters}
    latencies = sorted(case.answered_at(each) - each.sent_at for each in decided)
    return Verdict(
        requests=len(confirmed),
        decided=len(decided),
        outcomes=outcomes,
        in_doubt=sum(count for name, count in outcomes.items() if name.endswith(".in_doubt")),
        letters=len(evidence.letters),
        undecided_letters=_keys(
            each
            for each in undecided
            if each.request.key in lettered and each.request.key not in evidence.left
        ),
        breaches={
            "open": _keys(each for each in undecided if each.request.key in evidence.left),
            "lost": _keys(
                each for each in undecided if each.request.key not in evidence.left | lettered
            ),
            "applied twice": tuple(case.applied_twice()),
            "links handed out twice": tuple(case.two_links()),
            "events of one sequence under two ids": tuple(case.two_ids()),
            "one event id with two contents": tuple(case.two_contents()),
            "reported failed though applied": tuple(case.failed_though_applied()),
            "reported done though not applied": tuple(case.done_though_not_applied()),
            "operations nobody asked for": tuple(case.unasked_operations()),
            "answers about another payment": tuple(case.foreign_answers()),
            "dead letters owed and missing": tuple(case.missing_letters()),
        },
        repeated_events=len(evidence.heard) - len({each.event_id for each in evidence.heard}),
        redelivered_events=sum(each.is_redelivered for each in evidence.heard),
        worst_latency=latencies[-1] if latencies else 0.0,
        median_latency=latencies[len(latencies) // 2] if latencies else 0.0,
        applied=case.total_applied,
    )


def worst_recovery(troubles: Sequence[tuple[float, float]], heard: Sequence[float]) -> float:
    """Longest time from a trouble to the next event; seconds.

    ``troubles`` are pairs of when one struck and when the next event counts, which for a broker
    is when it is back: what a client had already received does not show that it recovered.
    """
    times = sorted(heard)
    waits = (
        next((at for at in times if at > counts_from), None) for _struck, counts_from in troubles
    )
    return max(
        (at - struck for (struck, _), at in zip(troubles, waits, strict=True) if at is not None),
        default=0.0,
    )


class _Case:
    """The evidence, sorted by payment."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._payments = {
            each.request.payment_id: each.request
            for each in evidence.asked
            if each.request.kind not in {Kind.CANCEL, Kind.POISON}
        }
        self._by_request: dict[str | None, list[Heard]] = defaultdict(list)
        for each in evidence.heard:
            self._by_request[each.request_id].append(each)
        self._payer = {
            reference: payment_id
            for payment_id in self._payments
            for reference in references_of(payment_id)
        }
        self._links: dict[str, list[str]] = defaultdict(list)
        self._items: dict[str, list[str]] = defaultdict(list)
        self._unasked: list[str] = []
        for reference, links in evidence.books.links.items():
            self._file(self._links, reference, links)
        for item_id, url in evidence.books.item_urls.items():
            found = _REFERENCE_IN_URL.search(url)
            self._file(self._items, found[1] if found else url, (item_id,))

    @property
    def total_applied(self) -> int:
        """Links made and items added."""
        return sum(map(len, (*self._links.values(), *self._items.values())))

    def last(self, asked: Asked) -> Heard | None:
        """The event a request stands by: of its payment the one with the highest sequence."""
        heard = self._by_request[asked.request.key]
        return max(heard, key=lambda each: each.sequence, default=None)

    def answered_at(self, asked: Asked) -> float:
        """When the first event about a request arrived."""
        return min(each.at for each in self._by_request[asked.request.key])

    def applied_twice(self) -> Iterator[str]:
        """Same content is the same intent, under however many keys it was asked for.

        A link of class D may be left behind once for each key: one that failed is no duplicate's
        first, and the next key starts anew.
        """
        applied: Counter[str] = Counter()
        for payment_id, request in self._payments.items():
            most, count = MOST_APPLIED[request.kind], self._applied(payment_id)
            if most > 1 and count > most:
                yield payment_id
            if most == 1:
                applied[request.content] += count
        yield from (f"order {content}" for content, count in applied.items() if count > 1)
        yield from (
            f"removal of item {item_id}"
            for item_id, count in self._evidence.books.removals.items()
            if count > 1
        )

    def two_links(self) -> Iterator[str]:
        """One content, one link in a payer's hands."""
        links: dict[str, set[str]] = defaultdict(set)
        for each in self._evidence.heard:
            request = self._payments.get(each.payment_id)
            if request is not None and each.link is not None:
                links[request.content].add(each.link)
        yield from (f"order {content}" for content, found in links.items() if len(found) > 1)

    def two_ids(self) -> Iterator[str]:
        ids: dict[tuple[object, ...], set[str]] = defaultdict(set)
        for each in self._evidence.heard:
            ids[each.decision].add(each.event_id)
        yield from (
            f"{decision[0]} sequence {decision[1]}"
            for decision, found in ids.items()
            if len(found) > 1
        )

    def two_contents(self) -> Iterator[str]:
        """A repeat is the same event byte for byte (contract section 3)."""
        contents: dict[str, set[str]] = defaultdict(set)
        for each in self._evidence.heard:
            contents[each.event_id].add(each.content_digest)
        yield from (event_id for event_id, found in contents.items() if len(found) > 1)

    def failed_though_applied(self) -> Iterator[str]:
        """Unknown is never reported as failed; nor is "ask again" said of what was applied."""
        for each in self._evidence.heard:
            request = self._payments.get(each.payment_id)
            if request is None:
                continue
            applied = self._applied(each.payment_id)
            is_careful = MOST_APPLIED[request.kind] == 1
            is_failed = each.event_type == "payment.initiation.failed"
            # A cancellation that may be asked for again speaks of the removal, judged below.
            is_retryable = each.is_retryable and each.event_type.startswith("payment.initiation.")
            if applied and ((is_failed and is_careful) or is_retryable):
                yield each.payment_id
            is_removal_failed = (
                each.event_type == "payment.cancellation.failed"
                and each.code != "already_cancelled"
            )
            if is_removal_failed and self._removals(each.payment_id):
                yield f"cancellation of {each.payment_id}"

    def done_though_not_applied(self) -> Iterator[str]:
        """A link or item in an event is one that the provider made for this payment."""
        for each in self._evidence.heard:
            payment_id = each.duplicate_of or each.payment_id
            request = self._payments.get(payment_id)
            match each.event_type:
                case "payment.initiation.succeeded" if request is None:
                    yield each.payment_id
                case "payment.initiation.succeeded" if request is not None:
                    is_basket = request.kind is Kind.BASKET
                    told = each.item_id if is_basket else each.link
                    made = self._items if is_basket else self._links
                    if told not in made[payment_id]:
                        yield each.payment_id
                case "payment.cancellation.succeeded":
                    if not self._removals(payment_id):
                        yield f"cancellation of {each.payment_id}"
                case _:
                    pass

    def unasked_operations(self) -> Sequence[str]:
        return self._unasked

    def foreign_answers(self) -> Iterator[str]:
        """An event answers the payment its request's key makes, and a request that was sent."""
        requests = {each.request.key: each.request for each in self._evidence.asked}
        for each in self._evidence.heard:
            request = requests.get(each.request_id or "")
            if request is None:
                yield f"event {each.event_id}"
            elif request.kind is not Kind.POISON and request.payment_id != each.payment_id:
                yield request.key

    def missing_letters(self) -> Iterator[str]:
        """The letter is confirmed before the event is sent (contract section 4)."""
        there = {(each.payment_id, each.sequence) for each in self._evidence.letters}
        owed = {
            (each.payment_id, each.sequence)
            for each in self._evidence.heard
            if each.event_type.startswith("payment.initiation.") and each.code in _LETTERED
        }
        yield from (f"{payment_id} sequence {number}" for payment_id, number in owed - there)

    def _file(self, shelf: dict[str, list[str]], reference: str, things: Sequence[str]) -> None:
        payment_id = self._payer.get(reference)
        if payment_id is None:
            self._unasked.append(reference)
        else:
            shelf[payment_id] += things

    def _applied(self, payment_id: str) -> int:
        return len(self._links[payment_id]) + len(self._items[payment_id])

    def _removals(self, payment_id: str) -> int:
        removals = self._evidence.books.removals
        return sum(removals.get(item_id, 0) for item_id in self._items[payment_id])


def _keys(asked: Iterator[Asked]) -> tuple[str, ...]:
    return tuple(each.request.key for each in asked)
