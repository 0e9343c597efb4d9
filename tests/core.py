"""The core on fakes: a broker on paper, providers that count, and a processor between them."""

import json
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from urllib.parse import parse_qs, urlsplit

from typing_extensions import override

from tests.fakes_clock import START, FakeClock
from tests.fakes_store import MemoryStore
from tests.provider_examples import BASKET_ACCOUNT, LINK_ACCOUNT, STAGING
from worker.announcer import Announcer
from worker.breaker import BreakerChange
from worker.caller import Caller
from worker.calls import Departure, HttpReply, HttpRequest, NoReply, Silence
from worker.ledger import Ledger
from worker.messages import Exchange, OutgoingMessage, Publication
from worker.model import (
    Account,
    Delivery,
    Operation,
    OperationClass,
    Source,
    Step,
)
from worker.permits import AccountPermits
from worker.ports import Clock, Permits, Publisher, Store, Transport
from worker.processor import Processor
from worker.providers import PROVIDERS
from worker.reconciler import LookedUp, Reconciler
from worker.records import Record, Restoration
from worker.replies import Replies
from worker.rules import RouteBook, Rules
from worker.sweeper import Sweeper

WORKER_VERSION = "0.0.0-test"
SOURCE = "/payment-worker/test"
INITIATE = "payment.initiate.dcp"
CANCEL = "payment.cancel.dcp"

Body = dict[str, object]


# --- the broker --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Said:
    """What the broker answers to one publish, and whether it keeps the message."""

    publication: Publication
    kept: bool


CONFIRMED = Said(Publication.CONFIRMED, kept=True)
REFUSED = Said(Publication.REFUSED, kept=False)
UNROUTABLE = Said(Publication.UNROUTABLE, kept=False)
SILENT = Said(Publication.UNKNOWN, kept=False)
SILENT_BUT_KEPT = Said(Publication.UNKNOWN, kept=True)


@dataclass(slots=True)
class PaperBroker:
    """Implements ``ports.Publisher`` and keeps the queues that follow from it.

    ``published`` holds every message that was kept, in order. ``scripts`` answers the next
    publishes to an exchange; without one everything is confirmed. ``after_publishing`` lets
    something happen before the answer. A copy published to the ladder comes back through ``take``
    once its step has passed on ``clock``.
    """

    clock: FakeClock
    published: list[OutgoingMessage] = field(default_factory=list)
    scripts: dict[Exchange, list[Said]] = field(default_factory=dict)
    ready: deque[Delivery] = field(default_factory=deque)
    ladder: list[tuple[datetime, Delivery]] = field(default_factory=list)
    after_publishing: Callable[[], None] = field(default=lambda: None)

    async def publish(self, message: OutgoingMessage) -> Publication:
        script = self.scripts.get(message.exchange)
        said = script.pop(0) if script else CONFIRMED
        if said.kept:
            self.published.append(message)
            if message.exchange is Exchange.RETRY:
                due = self.clock.now() + timedelta(seconds=Step(message.routing_key).seconds)
                self.ladder.append((due, self.copy(message, Source.LADDER)))
        self.after_publishing()
        return said.publication

    def copy(self, message: OutgoingMessage, source: Source) -> Delivery:
        """A published copy as it comes back."""
        return Delivery(
            body=message.body,
            source=source,
            routing_key=message.routing_key,
            received_at=self.clock.now(),
            exchange="payments.requeue",
            message_id=message.message_id,
            correlation_id=message.correlation_id,
            type=message.type,
            timestamp=message.timestamp,
            headers=message.headers,
        )

    def take(self) -> Delivery | None:
        """The next delivery; time passes until the next copy is due; ``None`` when all is done."""
        if not self.ready and self.ladder:
            self.ladder.sort(key=lambda waiting: waiting[0])
            due, copy = self.ladder.pop(0)
            self.clock.advance(max(0.0, (due - self.clock.now()).total_seconds()))
            self.ready.append(copy)
        if not self.ready:
            return None
        return replace(self.ready.popleft(), received_at=self.clock.now())

    def hand_back(self, delivery: Delivery) -> None:
        """Put a delivery back at the head of the queue, as a return or a lost connection does."""
        again = replace(delivery, redelivered=True, delivery_count=delivery.delivery_count + 1)
        self.ready.appendleft(again)

    def sent_to(self, exchange: Exchange, routing_key: str | None = None) -> list[OutgoingMessage]:
        """Messages kept by one exchange, in order."""
        return [
            message
            for message in self.published
            if message.exchange is exchange and routing_key in {None, message.routing_key}
        ]

    @property
    def events(self) -> list[Body]:
        """Bodies of all result events, in order."""
        return [json.loads(message.body) for message in self.sent_to(Exchange.RESULTS)]

    @property
    def letters(self) -> list[OutgoingMessage]:
        """Dead letters, in order."""
        return self.sent_to(Exchange.DEAD_LETTER, "dead")

    @property
    def unclaimed(self) -> list[OutgoingMessage]:
        """Events no subscriber was bound for, in order."""
        return self.sent_to(Exchange.DEAD_LETTER, "unclaimed")

    @property
    def steps(self) -> list[str]:
        """Ladder steps climbed, in order."""
        return [message.routing_key for message in self.sent_to(Exchange.RETRY)]


# --- the providers -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What becomes of one call: whether the provider acts, and what the caller then sees.

    ``fact`` ``None`` is the provider's own answer to what it did.
    """

    acts: bool
    fact: HttpReply | NoReply | None = None


def says(status: int, *, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Behaviour:
    """The provider does nothing and answers so."""
    fact = HttpReply(status=status, headers=headers or {}, body=body, received_at=START)
    return Behaviour(acts=False, fact=fact)


ANSWERS = Behaviour(acts=True)
REFUSED_CONNECTION = Behaviour(acts=False, fact=NoReply(False, Silence.CONNECT))  # noqa: FBT003 - positional in the port
RESET_BEFORE = Behaviour(acts=False, fact=NoReply(True, Silence.BROKEN))  # noqa: FBT003 - positional in the port
RESET_AFTER = Behaviour(acts=True, fact=NoReply(True, Silence.BROKEN))  # noqa: FBT003 - positional in the port
SILENCE = Behaviour(acts=True, fact=NoReply(True, Silence.TIMEOUT))  # noqa: FBT003 - positional in the port
GATEWAY_LOST_IT = Behaviour(
    acts=True, fact=HttpReply(status=502, headers={}, body=b"", received_at=START)
)
TOO_MANY = says(429, headers={"retry-after": "20"})
UNAUTHORISED = says(401)
DECLINES = says(200, body=b'{"result": false, "code": "NOK_001"}')


def listing(*records: tuple[str, str, str | None]) -> HttpReply:
    """What a look-up answers: reference, amount and link of every record."""
    listed = [
        {"payment_reference": reference, "amount": amount, "link": link}
        for reference, amount, link in records
    ]
    body = json.dumps({"result": True, "datas": listed}).encode()
    return HttpReply(status=200, headers={}, body=body, received_at=START)


@dataclass(slots=True)
class CountingProviders:
    """Implements ``ports.Transport``: both providers, acting without any idempotency of their own.

    ``applied`` counts what was really done, by (operation, e-mail): the e-mail stands for the
    intent. ``references`` are the payment references each intent was applied under. With
    ``is_keyed`` the link provider refuses a reference it has seen, as class C promises.
    ``behaviours`` answers the next calls; without one a call is answered. A look-up lists what was
    ``sold`` under its reference, or answers the next of ``search_facts``; ``searches`` are the
    references that were looked up, and ``on_search`` is what happens meanwhile.
    """

    is_keyed: bool = False
    behaviours: list[Behaviour] = field(default_factory=list)
    applied: Counter[tuple[Operation, str]] = field(default_factory=Counter)
    references: dict[str, list[str]] = field(default_factory=dict)
    links: set[str] = field(default_factory=set)
    items: dict[str, str] = field(default_factory=dict)
    requests: list[HttpRequest] = field(default_factory=list)
    sold: dict[str, tuple[str, str]] = field(default_factory=dict)
    searches: list[str] = field(default_factory=list)
    search_facts: list[HttpReply | NoReply] = field(default_factory=list)
    on_search: Callable[[], None] = field(default=lambda: None)
    fresh_connections: list[bool] = field(default_factory=list)

    async def send(
        self,
        request: HttpRequest,
        *,
        fresh_connection: bool,
        seconds: float,
        departure: Departure | None = None,
    ) -> HttpReply | NoReply:
        assert seconds > 0
        if request.method == "GET":
            return self._search(request)
        self.requests.append(request)
        self.fresh_connections.append(fresh_connection)
        behaviour = self.behaviours.pop(0) if self.behaviours else ANSWERS
        answer = self._act(request) if behaviour.acts else {}
        fact = behaviour.fact
        if departure is not None:
            departure.has_left = not isinstance(fact, NoReply) or fact.may_have_arrived
        if behaviour.fact is not None:
            return behaviour.fact
        return HttpReply(
            status=200, headers={}, body=json.dumps(answer).encode(), received_at=START
        )

    def _act(self, request: HttpRequest) -> Mapping[str, object]:
        asked = json.loads(request.body)
        address = urlsplit(request.url)
        if address.path.endswith("get_link_payment"):
            answer = self._give_link(asked["consumer_email"], asked["payment_reference"])
            if "link" in answer:
                self.sold[asked["payment_reference"]] = asked["amount"], str(answer["link"])
            return answer
        email = parse_qs(address.query)["email"][0]
        if address.path.endswith("remove-basket-item"):
            return self._remove_item(email, asked["basket_item_id"])
        return self._add_item(email, asked["url"])

    def _search(self, request: HttpRequest) -> HttpReply | NoReply:
        reference = parse_qs(urlsplit(request.url).query)["payment_reference"][0]
        self.searches.append(reference)
        self.on_search()
        if self.search_facts:
            return self.search_facts.pop(0)
        sold = self.sold.get(reference)
        return listing(*() if sold is None else ((reference, *sold),))

    def _give_link(self, email: str, reference: str) -> Mapping[str, object]:
        if self.is_keyed and reference in self.references.get(email, ()):
            return {"result": False, "code": "EXIST_005"}
        self._count(Operation.GET_LINK_PAYMENT, email, reference)
        link = f"https://pay.example.org/paypage?n={len(self.links) + 1}"
        self.links.add(link)
        return {"result": True, "link": link}

    def _add_item(self, email: str, url: str) -> Mapping[str, object]:
        self._count(Operation.ADD_BASKET_ITEM, email, url)
        item = str(len(self.items) + 1)
        self.items[item] = email
        return {"result": "success", "id": item}

    def _remove_item(self, email: str, item: str) -> Mapping[str, object]:
        if self.items.pop(item, None) is not None:
            self.applied[Operation.REMOVE_BASKET_ITEM, email] += 1
        return {"result": "success"}

    def _count(self, operation: Operation, email: str, reference: str) -> None:
        self.applied[operation, email] += 1
        self.references.setdefault(email, []).append(reference)


# --- the core ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """One worker's core, put together as the product puts it together."""

    processor: Processor
    ledger: Ledger
    sweeper: Sweeper
    reconciler: Reconciler
    looked_up: list[LookedUp]
    permits: AccountPermits
    changes: list[BreakerChange]
    surprises: list[Exception]


def make_core(
    *,
    store: Store,
    publisher: Publisher,
    transport: Transport,
    clock: Clock,
    book: RouteBook = STAGING,
    rules: Rules | None = None,
    permits: Permits | None = None,
    restoration: Restoration | None = None,
) -> Core:
    """Assemble a processor and a sweeper from ports."""
    rules = rules or Rules()
    changes: list[BreakerChange] = []
    gates = AccountPermits(
        {name: account.limits for name, account in book.accounts.items()},
        clock=clock,
        notify=changes.append,
    )
    ledger = Ledger(store=store, rules=rules, clock=clock, restoration=restoration)
    surprises: list[Exception] = []
    contradictions: list[Record] = []
    announcer = Announcer(publisher=publisher, source=SOURCE)
    caller = Caller(
        ledger=ledger,
        providers=PROVIDERS,
        transport=transport,
        clock=clock,
        signing=clock,
        rules=rules,
        on_surprise=surprises.append,
        on_contradiction=contradictions.append,
    )
    replies = Replies(
        announcer=announcer,
        publisher=publisher,
        ledger=ledger,
        clock=clock,
        rules=rules,
        worker_version=WORKER_VERSION,
    )
    processor = Processor(
        ledger=ledger,
        book=book,
        permits=permits or gates,
        caller=caller,
        replies=replies,
        clock=clock,
        rules=rules,
    )
    sweeper = Sweeper(ledger=ledger, announcer=announcer, on_surprise=surprises.append)
    looked_up: list[LookedUp] = []
    reconciler = Reconciler(
        ledger=ledger,
        book=book,
        permits=gates,
        providers=PROVIDERS,
        transport=transport,
        on_look_up=looked_up.append,
        on_surprise=surprises.append,
    )
    return Core(
        processor=processor,
        ledger=ledger,
        sweeper=sweeper,
        reconciler=reconciler,
        looked_up=looked_up,
        permits=gates,
        changes=changes,
        surprises=surprises,
    )


@dataclass(slots=True)
class Surroundings:
    """Everything that outlives a worker beside its ledger: clock, broker, providers.

    ``restoration`` is what a worker reads of the ledger when it starts.
    """

    clock: FakeClock = field(default_factory=FakeClock)
    book: RouteBook = STAGING
    rules: Rules = field(default_factory=Rules)
    providers: CountingProviders = field(default_factory=CountingProviders)
    restoration: Restoration | None = None
    broker: PaperBroker = field(init=False)

    def __post_init__(self) -> None:
        self.broker = PaperBroker(self.clock)


@dataclass(slots=True)
class World(Surroundings):
    """Surroundings with a ledger in memory, and workers on it."""

    store: MemoryStore = field(init=False)

    @override
    def __post_init__(self) -> None:
        Surroundings.__post_init__(self)
        self.store = MemoryStore(self.clock)

    def worker(self, *, book: RouteBook | None = None) -> Core:
        """A worker with a fresh memory on everything that lasts."""
        return make_core(
            store=self.store,
            publisher=self.broker,
            transport=self.providers,
            clock=self.clock,
            book=book or self.book,
            rules=self.rules,
            restoration=self.restoration,
        )


def book_of(operation_class: OperationClass) -> RouteBook:
    """A route book whose link account works under that class."""
    return with_account(link_account(operation_class))


def link_account(operation_class: OperationClass) -> Account:
    """The link account under a class; E as the product gets there: the provider sends itself."""
    if operation_class is OperationClass.NON_IDEMPOTENT:
        return replace(LINK_ACCOUNT, fields=MappingProxyType({"email_option": "1"}))
    classes = MappingProxyType({Operation.GET_LINK_PAYMENT: operation_class})
    return replace(LINK_ACCOUNT, classes=classes)


def with_account(*accounts: Account, book: RouteBook = STAGING) -> RouteBook:
    """The route book with these accounts in place of the ones of the same name."""
    known = {"safedebit": LINK_ACCOUNT, "combo": BASKET_ACCOUNT}
    return replace(book, accounts={**known, **{each.name: each for each in accounts}})


def initiation(
    key: str = "key-1",
    *,
    source: Source = Source.REQUESTS,
    headers: Mapping[str, str | int] | None = None,
    correlation_id: str | None = None,
    delivery_count: int = 0,
    received_at: datetime = START,
    **changes: object,
) -> Delivery:
    """A request for a payment under a key; its e-mail is the key's, so that intents differ."""
    body: Body = {
        "payment_target": "LABANQUEPOSTALE",
        "payment_run_mode": "TEST",
        "payment_type": "SEPA",
        "id_origin": "dcp",
        "id_societe": "1",
        "id_client": "2263",
        "id_commande": "40017",
        "type_paiement": "SEPA",
        "amount": "1250",
        "email": email_of(key),
    } | changes
    return Delivery(
        body=json.dumps(body).encode(),
        source=source,
        routing_key=INITIATE,
        received_at=received_at,
        exchange="payments.requests",
        message_id=key,
        correlation_id=correlation_id,
        headers=headers or {},
        delivery_count=delivery_count,
    )


def basket(key: str = "key-1") -> Delivery:
    """A request for a basket item."""
    return initiation(key, payment_target="MILLIET")


def cancellation(
    key: str = "key-1",
    *,
    message_id: str = "cancel-1",
    routing_key: str = CANCEL,
    delivery_count: int = 0,
    headers: Mapping[str, str | int] | None = None,
) -> Delivery:
    """A request to cancel the payment that was asked for under that key."""
    return Delivery(
        body=json.dumps({"idempotency_key": key}).encode(),
        source=Source.REQUESTS,
        routing_key=routing_key,
        received_at=START,
        exchange="payments.requests",
        message_id=message_id,
        headers=headers or {},
        delivery_count=delivery_count,
    )


def email_of(key: str) -> str:
    """The e-mail of the customer a key's payment is for."""
    return f"{key}@example.org"
