"""The words of the product: values that cannot be wrong, and nothing that acts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum, unique
from types import MappingProxyType
from typing import NewType, Self
from uuid import UUID

from typing_extensions import override

from worker.codes import Code

Cents = NewType("Cents", int)
"""An amount in euro cents, the only unit money has here."""

Identity = NewType("Identity", str)
"""What makes two messages the same intent: namespace or origin, U+001F, key."""

Fingerprint = NewType("Fingerprint", str)
"""SHA-256 (64 hex digits) over what a payment asks for: contract section 2."""

EmailMark = NewType("EmailMark", bytes)
"""What rows about an e-mail are found by: a keyed hash of it, with the id of its key before it."""

Origin = NewType("Origin", str)
"""A normalised ``id_origin``: ``[a-z0-9-]``, at most 32 characters, never empty."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A text that may be used and never shown: a link, an e-mail, a password."""

    _text: str

    def __post_init__(self) -> None:
        if not self._text:
            raise ValueError("empty")

    def reveal(self) -> str:
        """Return the text itself; call it only where it leaves for its addressee."""
        return self._text

    @override
    def __repr__(self) -> str:
        return "Secret(***)"

    @override
    def __str__(self) -> str:
        return "***"

    @classmethod
    def maybe(cls, text: str | None) -> Self | None:
        """Wrap a text that may be absent."""
        return cls(text) if text else None


@unique
class PaymentTarget(StrEnum):
    LABANQUEPOSTALE = "LABANQUEPOSTALE"
    PAYBOX = "PAYBOX"
    MILLIET = "MILLIET"


@unique
class RunMode(StrEnum):
    TEST = "TEST"
    LIVE = "LIVE"
    FORCE_LIVE = "FORCE_LIVE"


@unique
class PaymentType(StrEnum):
    DIRECT_SEPA = "DIRECT_SEPA"
    SEPA = "SEPA"
    CB = "CB"
    AMEX = "AMEX"
    COMPTABILITE = "COMPTABILITE"


@unique
class OperationClass(StrEnum):
    """What may be repeated after an unknown outcome: payment rules, "operation classes"."""

    READ = "A"
    IDEMPOTENT = "B"
    KEYED = "C"
    ORPHAN_SAFE = "D"
    NON_IDEMPOTENT = "E"


@unique
class Operation(StrEnum):
    """The provider calls this worker makes."""

    GET_LINK_PAYMENT = "get_link_payment"
    ADD_BASKET_ITEM = "add_basket_item"
    REMOVE_BASKET_ITEM = "remove_basket_item"


@unique
class ProviderKind(StrEnum):
    LINK = "link"
    BASKET = "basket"


@unique
class Environment(StrEnum):
    PRODUCTION = "production"
    STAGING = "staging"


@unique
class Source(StrEnum):
    """The exchange a delivery came through: only the two internal ones are believed."""

    REQUESTS = "requests"
    LADDER = "ladder"
    REPLAY = "replay"
    ELSEWHERE = "elsewhere"

    @property
    def is_believed(self) -> bool:
        """Whether our own headers on such a delivery can be trusted (contract section 2)."""
        return self in {Source.LADDER, Source.REPLAY}


@unique
class Step(StrEnum):
    """A rung of the delay ladder; the value is its routing key."""

    SECONDS_5 = "5s"
    SECONDS_30 = "30s"
    MINUTES_2 = "2m"
    MINUTES_10 = "10m"
    HOUR_1 = "1h"

    @property
    def seconds(self) -> int:
        """Delay of this rung in seconds."""
        return _STEP_SECONDS[self]


_STEP_SECONDS = {
    Step.SECONDS_5: 5,
    Step.SECONDS_30: 30,
    Step.MINUTES_2: 120,
    Step.MINUTES_10: 600,
    Step.HOUR_1: 3600,
}


# --- what arrives ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One message as the broker delivered it, free of the client library.

    ``headers`` hold text and integers only. ``first_seen`` of a first receipt is
    ``received_at``; times are aware UTC.
    """

    body: bytes
    source: Source
    routing_key: str
    received_at: datetime
    exchange: str = ""
    message_id: str | None = None
    correlation_id: str | None = None
    type: str | None = None
    content_type: str | None = None
    reply_to: str | None = None
    timestamp: datetime | None = None
    redelivered: bool = False
    delivery_count: int = 0
    headers: Mapping[str, str | int] = field(default_factory=lambda: MappingProxyType({}))

    def header(self, name: str) -> str | None:
        """Text of a header, stripped; ``None`` when absent or blank."""
        value = self.headers.get(name)
        text = str(value).strip() if value is not None else ""
        return text or None

    @override
    def __repr__(self) -> str:
        return f"Delivery(source={self.source}, message_id={self.message_id!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """Who a message is, computed once on receipt and carried by every copy.

    ``operation_id`` is the payment's, the cancellation's or the refusal's own id;
    ``attempts`` is for people, the ledger's number decides.
    """

    operation_id: UUID
    identity: Identity
    sequence: int
    attempts: int
    first_seen: datetime
    not_after: datetime | None
    origin_routing_key: str
    source: Source
    replay_count: int = 0


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a message: the field, a stable code and a sentence, never the value."""

    field: str
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What an event repeats of its request; ``None`` where it could not be read."""

    payment_target: PaymentTarget | None = None
    payment_run_mode: RunMode | None = None
    payment_type: PaymentType | None = None
    type_paiement: PaymentType | None = None
    id_origin: str | None = None
    id_societe: str | None = None
    id_client: str | None = None
    id_commande: str | None = None
    amount: Cents | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentRequest:
    """A payment to initiate, read and normalised; the comment stays in the message body."""

    payment_target: PaymentTarget
    payment_run_mode: RunMode
    payment_type: PaymentType
    type_paiement: PaymentType
    id_origin: str
    id_societe: str
    id_client: str
    id_commande: str
    amount: Cents
    email: Secret
    origin: Origin
    fingerprint: Fingerprint

    @property
    def facts(self) -> Facts:
        """The part of the request that an event may repeat."""
        return Facts(
            payment_target=self.payment_target,
            payment_run_mode=self.payment_run_mode,
            payment_type=self.payment_type,
            type_paiement=self.type_paiement,
            id_origin=self.id_origin,
            id_societe=self.id_societe,
            id_client=self.id_client,
            id_commande=self.id_commande,
            amount=self.amount,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequest:
    """A cancellation: ``payment_id`` is the payment's, given or derived from its key."""

    payment_id: UUID
    notify: bool | None
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Initiation:
    """A readable request for a payment."""

    envelope: Envelope
    request: PaymentRequest
    unknown_properties: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancellation:
    """A readable request to cancel a payment."""

    envelope: Envelope
    request: CancelRequest
    unknown_properties: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A message that is refused as it stands; its envelope carries the refusal's own id."""

    envelope: Envelope
    code: Code
    faults: tuple[Fault, ...]
    origin: Origin
    facts: Facts
    is_cancellation: bool


Reading = Initiation | Cancellation | Unreadable


# --- where it goes -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One provider endpoint with its credentials: test or live, never both.

    ``login`` and ``password`` are Basic credentials (link) or ``orig`` and the signing secret
    (basket). ``link_hosts`` are the hosts a payment link may point to, lower case.
    """

    base_url: str
    login: str
    password: Secret
    link_hosts: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Company:
    """What one company (``id_societe``) needs at one endpoint; unset is ``None``.

    ``url_callback``, ``item_url`` and ``display_name`` are templates; the providers fill them.
    """

    id_societe: str
    beneficiary_reference: str | None = None
    phone_number: str | None = None
    url_callback: str | None = None
    regie_id: str | None = None
    item_url: str | None = None
    display_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How hard one account may be called; ``calls_per_second`` 0 means no limit.

    ``waiting_calls`` are deliveries that may wait for one of the concurrent calls to end.
    """

    concurrent_calls: int = 50
    calls_per_second: float = 0.0
    waiting_calls: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One provider account as configured; ``test`` and ``live`` are separate on purpose.

    ``look_up``: its doubtful payments are looked up at the provider, by reads.
    """

    name: str
    provider: ProviderKind
    test: Endpoint | None
    live: Endpoint | None
    classes: Mapping[Operation, OperationClass]
    test_companies: Mapping[str, Company]
    live_companies: Mapping[str, Company]
    fields: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    basket_page_url: str | None = None
    cancellable: bool | None = None
    look_up: bool = False
    max_amount: Cents | None = None
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where one operation goes: account, endpoint, class. Pure result of routing."""

    account: Account
    endpoint: Endpoint
    company: Company
    operation: Operation
    operation_class: OperationClass
    live: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Routing's no, with the reason as our code."""

    code: Code
    faults: tuple[Fault, ...] = ()
    live: bool | None = None
