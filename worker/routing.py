"""Where a request goes: account, endpoint, company and operation class, or why it goes nowhere.

Pure: the route book and the time come as values. The run mode resolves to exactly one set of
credentials; there is no default and no fall-back from test to live or back, because a silent
downgrade hands out a link that looks real and takes no money (contract section 2, payment rules
M1 to M5). What a payment's first attempt settled, account and class, later attempts keep.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import assert_never

from worker.codes import Code
from worker.lifecycle.wishes import Kept
from worker.model import (
    Account,
    CancelRequest,
    Company,
    Endpoint,
    Envelope,
    Environment,
    Fault,
    Operation,
    OperationClass,
    Origin,
    PaymentRequest,
    PaymentTarget,
    PaymentType,
    ProviderKind,
    Refusal,
    Route,
    RunMode,
)
from worker.records import Record
from worker.rules import ForceLive, RouteBook

NEEDED_OF_COMPANY: Mapping[ProviderKind, tuple[str, ...]] = {
    ProviderKind.LINK: ("beneficiary_reference", "phone_number", "url_callback"),
    ProviderKind.BASKET: ("regie_id", "item_url", "display_name"),
}
"""The company settings each provider cannot be called without."""

DEFAULT_CLASSES: Mapping[Operation, OperationClass] = {
    Operation.GET_LINK_PAYMENT: OperationClass.ORPHAN_SAFE,
    Operation.ADD_BASKET_ITEM: OperationClass.NON_IDEMPOTENT,
    Operation.REMOVE_BASKET_ITEM: OperationClass.IDEMPOTENT,
}
"""The careful class of each operation; a better one is configuration with a reason."""

LONGEST_DERIVED: Mapping[ProviderKind, Mapping[str, int]] = {
    ProviderKind.LINK: {"amount": 18, "id_client": 32, "email": 70},
    ProviderKind.BASKET: {},
}
"""Characters each provider takes of a value that comes from the message, by our field's name."""

# With one of these at 1 the provider itself contacts the customer, who would notice a repeat.
_SENDING_OPTIONS = ("sms_option", "email_option")

_OPERATIONS: Mapping[ProviderKind, Operation] = {
    ProviderKind.LINK: Operation.GET_LINK_PAYMENT,
    ProviderKind.BASKET: Operation.ADD_BASKET_ITEM,
}


def route(
    request: PaymentRequest,
    envelope: Envelope,
    book: RouteBook,
    now: datetime,
    *,
    kept: Kept | None = None,
) -> Route | Refusal:
    """Return where a payment goes now, or the first reason why it may not go.

    ``kept`` is what the payment's first attempt settled; ``now`` is aware, for the date guard.
    """
    name = kept.account if kept else book.routes.get((request.payment_target, request.payment_type))
    if name is None:
        return Refusal(code=Code.UNSUPPORTED_COMBINATION)
    live = _is_live(request, envelope, book, now)
    if live is None:
        return Refusal(code=Code.MODE_NOT_ALLOWED)
    account = book.accounts.get(name)
    endpoint = (account.live if live else account.test) if account else None
    if account is None or endpoint is None:
        return Refusal(code=Code.MODE_NOT_ALLOWED, live=live)
    if account.max_amount is not None and request.amount > account.max_amount:
        fault = Fault("amount", "too_large", "The amount exceeds what this account may take.")
        return Refusal(code=Code.INVALID_AMOUNT, faults=(fault,), live=live)
    companies = account.live_companies if live else account.test_companies
    company = companies.get(request.id_societe)
    if company is None:
        fault = Fault("id_societe", "company_unknown", "This company has no settings here.")
        return Refusal(code=Code.COMPANY_NOT_CONFIGURED, faults=(fault,), live=live)
    if missing := missing_for_company(account, company):
        faults = tuple(
            Fault(setting, "setting_missing", f"The company's setting {setting} is missing.")
            for setting in missing
        )
        return Refusal(code=Code.COMPANY_NOT_CONFIGURED, faults=faults, live=live)
    if too_long := _too_long(request, account.provider):
        return Refusal(code=Code.INVALID_MESSAGE, faults=too_long, live=live)
    operation = _OPERATIONS[account.provider]
    return Route(
        account=account,
        endpoint=endpoint,
        company=company,
        operation=operation,
        operation_class=(
            kept.operation_class
            if kept
            else operation_class(operation, account.fields, account.classes.get(operation))
        ),
        live=live,
    )


def route_cancellation(
    payment: Record,
    request: CancelRequest,
    envelope: Envelope,
    book: RouteBook,
    now: datetime,
) -> Route | Refusal:
    """Return where the removal of a stored payment's item goes, or why it cannot go.

    Account, mode and company are the payment's own. Who asks is checked by the routing key,
    because broker permissions bind the key and not the body (contract section 2). On staging a live
    item is removed while FORCE_LIVE holds; ``now`` is aware, for that date.
    """
    if request.payment_id != payment.payment_id or not _is_from(envelope, payment.origin):
        return Refusal(code=Code.PAYMENT_UNKNOWN)
    if payment.account is None or payment.live is None:
        return Refusal(code=Code.NOT_CANCELLABLE)
    account = book.accounts.get(payment.account)
    if account is None:
        return Refusal(code=Code.MODE_NOT_ALLOWED, live=payment.live)
    if account.provider is not ProviderKind.BASKET:
        return Refusal(code=Code.NOT_CANCELLABLE, live=payment.live)
    endpoint = account.live if payment.live else account.test
    is_forced = payment.live and book.environment is Environment.STAGING
    if endpoint is None or (is_forced and not _holds(book.force_live, now)):
        return Refusal(code=Code.MODE_NOT_ALLOWED, live=payment.live)
    id_societe = payment.facts.id_societe or ""
    companies = account.live_companies if payment.live else account.test_companies
    operation = Operation.REMOVE_BASKET_ITEM
    return Route(
        account=account,
        endpoint=endpoint,
        # A removal needs nothing of the company: one that lost its settings must not keep it.
        company=companies.get(id_societe, Company(id_societe=id_societe)),
        operation=operation,
        operation_class=operation_class(operation, account.fields, account.classes.get(operation)),
        live=payment.live,
    )


def look_up_endpoint(payment: Record, book: RouteBook, now: datetime) -> Endpoint | None:
    """Return where a doubtful payment may be looked up, ``None`` where it may not be now.

    Account and mode are the payment's own. On staging a live account is read only while FORCE_LIVE
    holds, as live credentials have no business there otherwise (payment rules M5); ``now`` is
    aware, for that date.
    """
    account = None if payment.account is None else book.accounts.get(payment.account)
    if account is None or not account.look_up or payment.live is None:
        return None
    is_forced = payment.live and book.environment is Environment.STAGING
    if is_forced and not _holds(book.force_live, now):
        return None
    return account.live if payment.live else account.test


def was_forced(request: PaymentRequest, route: Route) -> bool:
    """Whether FORCE_LIVE led to a live endpoint: on staging every use is audited.

    In production the mode equals LIVE and the caller, who knows where it runs, audits nothing.
    """
    return route.live and request.payment_run_mode is RunMode.FORCE_LIVE


def operation_class(
    operation: Operation, fields: Mapping[str, str], configured: OperationClass | None
) -> OperationClass:
    """Return what may be repeated: the configured class, else the careful default.

    A link that the provider itself sends by e-mail or text message is class E, whatever is
    configured (payment rules, "operation classes").
    """
    if operation is Operation.GET_LINK_PAYMENT and any(
        fields.get(option, "0") != "0" for option in _SENDING_OPTIONS
    ):
        return OperationClass.NON_IDEMPOTENT
    return configured or DEFAULT_CLASSES[operation]


def missing_for_company(account: Account, company: Company) -> tuple[str, ...]:
    """Return the names of the settings this account's provider needs and the company lacks."""
    values = {
        "beneficiary_reference": company.beneficiary_reference,
        "phone_number": company.phone_number,
        "url_callback": company.url_callback,
        "regie_id": company.regie_id,
        "item_url": company.item_url,
        "display_name": company.display_name,
    }
    needed = NEEDED_OF_COMPANY[account.provider]
    return tuple(setting for setting in needed if not (values[setting] or "").strip())


def default_routes(*, link: str, basket: str) -> dict[tuple[PaymentTarget, PaymentType], str]:
    """Return the default route table for a link account and a basket account of those names.

    LABANQUEPOSTALE and PAYBOX of every type go to the link account, MILLIET to the basket
    account (contract section 5).
    """
    return {
        (target, payment_type): basket if target is PaymentTarget.MILLIET else link
        for target in PaymentTarget
        for payment_type in PaymentType
    }


def _is_live(
    request: PaymentRequest, envelope: Envelope, book: RouteBook, now: datetime
) -> bool | None:
    """Live or test endpoint, ``None`` when the mode is refused: contract section 2, "Run mode"."""
    is_production = book.environment is Environment.PRODUCTION
    match request.payment_run_mode:
        case RunMode.TEST:
            return False
        case RunMode.LIVE:
            return True if is_production else None
        case RunMode.FORCE_LIVE:
            if not _is_from(envelope, request.origin):
                return None
            allowed = is_production or _is_leave_given(book.force_live, request, now)
            return True if allowed else None
        case other:
            assert_never(other)


def _is_leave_given(leave: ForceLive | None, request: PaymentRequest, now: datetime) -> bool:
    """Whether staging may call live for this request; the last day of the leave still counts."""
    return (
        leave is not None
        and _holds(leave, now)
        and request.origin in leave.origins
        and request.amount <= leave.max_amount
    )


def _holds(leave: ForceLive | None, now: datetime) -> bool:
    return leave is not None and now.astimezone(UTC).date() <= leave.until


def _is_from(envelope: Envelope, origin: Origin) -> bool:
    return envelope.origin_routing_key.rpartition(".")[2] == origin


def _too_long(request: PaymentRequest, provider: ProviderKind) -> tuple[Fault, ...]:
    """Values are refused rather than cut: a cut reference or address is another one."""
    values = {
        "amount": str(request.amount),
        "id_client": request.id_client,
        "email": request.email.reveal(),
    }
    return tuple(
        Fault(name, "too_long", f"The provider takes {longest} characters at most.")
        for name, longest in LONGEST_DERIVED[provider].items()
        if len(values[name]) > longest
    )
