"""Requests, accounts and replies to test routing and the providers with."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from worker.calls import HttpReply
from worker.model import (
    Account,
    CancelRequest,
    Cents,
    Company,
    Endpoint,
    Envelope,
    Environment,
    Fingerprint,
    Identity,
    Operation,
    OperationClass,
    Origin,
    PaymentRequest,
    PaymentTarget,
    PaymentType,
    ProviderKind,
    Route,
    RunMode,
    Secret,
    Source,
)
from worker.routing import default_routes
from worker.rules import ForceLive, RouteBook

NOW = datetime(2026, 11, 21, 20, 14, 3, tzinfo=UTC)
PAYMENT_ID = UUID("5b1f3d4e-0000-5000-8000-000000000001")
REFERENCE = "9f2c4e7ab01d4c5e8f70112233445566"

REQUEST = PaymentRequest(
    payment_target=PaymentTarget.LABANQUEPOSTALE,
    payment_run_mode=RunMode.TEST,
    payment_type=PaymentType.SEPA,
    type_paiement=PaymentType.SEPA,
    id_origin="DCP",
    id_societe="1",
    id_client="2263",
    id_commande="40017",
    amount=Cents(1005),
    email=Secret("client@example.org"),
    origin=Origin("dcp"),
    fingerprint=Fingerprint("f" * 64),
)
BASKET_REQUEST = replace(REQUEST, payment_target=PaymentTarget.MILLIET)
CANCEL = CancelRequest(payment_id=PAYMENT_ID, notify=None, origin=Origin("dcp"))

ENVELOPE = Envelope(
    operation_id=PAYMENT_ID,
    identity=Identity("dcp\x1fkey"),
    sequence=1,
    attempts=0,
    first_seen=NOW,
    not_after=None,
    origin_routing_key="payment.initiate.dcp",
    source=Source.REQUESTS,
)

LINK_COMPANY = Company(
    id_societe="1",
    beneficiary_reference="395000000000001",
    phone_number="0600000000",
    url_callback="https://pay.example.org/cb/{reference}",
)
BASKET_COMPANY = Company(
    id_societe="1",
    regie_id="cantine",
    item_url="https://pay.example.org/i/{reference}/",
    display_name="Commande {id_commande}",
)


def endpoint(kind: str) -> Endpoint:
    """An endpoint that can be told from its sibling by its credentials."""
    return Endpoint(
        base_url=f"https://{kind}.example.org/ssp",
        login=f"{kind}-login",
        password=Secret(f"{kind}-sésame"),
        link_hosts=frozenset({"pay.example.org"}),
    )


LINK_ACCOUNT = Account(
    name="safedebit",
    provider=ProviderKind.LINK,
    test=endpoint("test"),
    live=endpoint("live"),
    classes={},
    test_companies={"1": LINK_COMPANY},
    live_companies={"1": LINK_COMPANY},
)
BASKET_ACCOUNT = Account(
    name="combo",
    provider=ProviderKind.BASKET,
    test=endpoint("test"),
    live=endpoint("live"),
    classes={},
    test_companies={"1": BASKET_COMPANY},
    live_companies={"1": BASKET_COMPANY},
)

LEAVE = ForceLive(until=NOW.date(), origins=frozenset({Origin("dcp")}), max_amount=Cents(1005))
STAGING = RouteBook(
    environment=Environment.STAGING,
    routes=default_routes(link="safedebit", basket="combo"),
    accounts={"safedebit": LINK_ACCOUNT, "combo": BASKET_ACCOUNT},
)
PRODUCTION = replace(STAGING, environment=Environment.PRODUCTION)

LINK_ROUTE = Route(
    account=LINK_ACCOUNT,
    endpoint=endpoint("test"),
    company=LINK_COMPANY,
    operation=Operation.GET_LINK_PAYMENT,
    operation_class=OperationClass.ORPHAN_SAFE,
    live=False,
)
BASKET_ROUTE = Route(
    account=BASKET_ACCOUNT,
    endpoint=endpoint("test"),
    company=BASKET_COMPANY,
    operation=Operation.ADD_BASKET_ITEM,
    operation_class=OperationClass.NON_IDEMPOTENT,
    live=False,
)
REMOVAL_ROUTE = replace(
    BASKET_ROUTE,
    operation=Operation.REMOVE_BASKET_ITEM,
    operation_class=OperationClass.IDEMPOTENT,
)


class FixedSigning:
    """A moment and a nonce that never change, as in the published vectors."""

    def __init__(self, now: datetime = NOW, nonce: str = "deadbeef") -> None:
        self._now = now
        self._nonce = nonce

    def now(self) -> datetime:
        return self._now

    def nonce(self) -> str:
        return self._nonce


def reply(
    body: bytes | str | None = b"",
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> HttpReply:
    """A complete answer; text is encoded as UTF-8."""
    return HttpReply(
        status=status,
        headers=headers or {},
        body=body.encode() if isinstance(body, str) else body,
        received_at=NOW,
    )
