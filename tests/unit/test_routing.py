"""Where a payment goes, and every reason why it may not go."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import product
from uuid import UUID

import pytest

from tests.provider_examples import (
    BASKET_ACCOUNT,
    BASKET_COMPANY,
    BASKET_REQUEST,
    CANCEL,
    ENVELOPE,
    LEAVE,
    LINK_ACCOUNT,
    LINK_COMPANY,
    NOW,
    PAYMENT_ID,
    PRODUCTION,
    REQUEST,
    STAGING,
)
from worker.codes import Code
from worker.lifecycle.wishes import Kept
from worker.model import (
    Account,
    Cents,
    Company,
    Environment,
    Operation,
    OperationClass,
    Origin,
    PaymentRequest,
    PaymentTarget,
    PaymentType,
    Refusal,
    Route,
    RunMode,
    Secret,
)
from worker.records import Kind, Record, State
from worker.routing import (
    default_routes,
    look_up_endpoint,
    missing_for_company,
    operation_class,
    route,
    route_cancellation,
    was_forced,
)
from worker.rules import RouteBook

FORCED = replace(REQUEST, payment_run_mode=RunMode.FORCE_LIVE)
FORCED_STAGING = replace(STAGING, force_live=LEAVE)
CANCEL_ENVELOPE = replace(ENVELOPE, origin_routing_key="payment.cancel.dcp")
PAYMENT = Record(
    operation_id=PAYMENT_ID,
    kind=Kind.INITIATION,
    payment_id=PAYMENT_ID,
    identity=ENVELOPE.identity,
    fingerprint=REQUEST.fingerprint,
    origin=REQUEST.origin,
    facts=BASKET_REQUEST.facts,
    state=State.SUCCEEDED,
    sequence=1,
    version=2,
    first_seen=NOW,
    created_at=NOW,
    updated_at=NOW,
    account="combo",
    operation=Operation.ADD_BASKET_ITEM,
    operation_class=OperationClass.NON_IDEMPOTENT,
    live=False,
    item_id="12",
)


def book_with(account: Account, book: RouteBook = STAGING) -> RouteBook:
    return replace(book, accounts={**book.accounts, account.name: account})


def routed(request: PaymentRequest = REQUEST, book: RouteBook = STAGING) -> Route | Refusal:
    return route(request, ENVELOPE, book, NOW)


def test_the_default_table_sends_every_combination_somewhere() -> None:
    routes = default_routes(link="safedebit", basket="combo")
    assert set(routes) == set(product(PaymentTarget, PaymentType))
    for (target, _), account in routes.items():
        assert account == ("combo" if target is PaymentTarget.MILLIET else "safedebit")


def test_a_test_payment_goes_to_the_test_endpoint_with_the_careful_class() -> None:
    assert routed() == Route(
        account=LINK_ACCOUNT,
        endpoint=LINK_ACCOUNT.test,  # type: ignore[arg-type]  # the example account has both
        company=LINK_COMPANY,
        operation=Operation.GET_LINK_PAYMENT,
        operation_class=OperationClass.ORPHAN_SAFE,
        live=False,
    )


def test_milliet_goes_to_the_basket_under_class_e() -> None:
    plan = routed(BASKET_REQUEST)
    assert isinstance(plan, Route)
    assert plan.account == BASKET_ACCOUNT
    assert plan.operation is Operation.ADD_BASKET_ITEM
    assert plan.operation_class is OperationClass.NON_IDEMPOTENT


@pytest.mark.parametrize(
    ("mode", "environment", "live"),
    [
        (RunMode.TEST, Environment.STAGING, False),
        (RunMode.TEST, Environment.PRODUCTION, False),
        (RunMode.LIVE, Environment.STAGING, None),
        (RunMode.LIVE, Environment.PRODUCTION, True),
        (RunMode.FORCE_LIVE, Environment.STAGING, None),
        (RunMode.FORCE_LIVE, Environment.PRODUCTION, True),
    ],
)
def test_the_run_mode_resolves_to_exactly_one_set_of_credentials(
    mode: RunMode,
    environment: Environment,
    live: bool | None,  # noqa: FBT001 - a column of the table
) -> None:
    """The table of contract section 2, without leave to force live."""
    plan = routed(
        replace(REQUEST, payment_run_mode=mode), replace(STAGING, environment=environment)
    )
    if live is None:
        assert plan == Refusal(code=Code.MODE_NOT_ALLOWED)
    else:
        assert isinstance(plan, Route)
        assert plan.live is live
        assert plan.endpoint == (LINK_ACCOUNT.live if live else LINK_ACCOUNT.test)


def test_live_on_staging_is_refused_even_under_a_leave_to_force_it() -> None:
    request = replace(REQUEST, payment_run_mode=RunMode.LIVE)
    assert routed(request, FORCED_STAGING) == Refusal(code=Code.MODE_NOT_ALLOWED)


def test_a_leave_to_force_live_opens_the_live_endpoint_of_staging() -> None:
    plan = routed(FORCED, FORCED_STAGING)
    assert isinstance(plan, Route)
    assert plan.live
    assert plan.endpoint == LINK_ACCOUNT.live
    assert was_forced(FORCED, plan)


def test_the_leave_is_checked_per_message_and_its_last_day_counts() -> None:
    midnight = NOW.replace(hour=0, minute=0, second=0) + timedelta(days=1)
    last = route(FORCED, ENVELOPE, FORCED_STAGING, midnight - timedelta(microseconds=1))
    late = route(FORCED, ENVELOPE, FORCED_STAGING, midnight)
    assert isinstance(last, Route)
    assert late == Refusal(code=Code.MODE_NOT_ALLOWED)


def test_the_day_of_the_leave_is_a_utc_day() -> None:
    east = timezone(timedelta(hours=5))
    still_today_in_utc = NOW.astimezone(east)
    assert still_today_in_utc.date() > LEAVE.until
    assert isinstance(route(FORCED, ENVELOPE, FORCED_STAGING, still_today_in_utc), Route)


@pytest.mark.parametrize(
    "book",
    [
        replace(FORCED_STAGING, force_live=replace(LEAVE, origins=frozenset({Origin("web")}))),
        replace(FORCED_STAGING, force_live=replace(LEAVE, max_amount=Cents(1004))),
        replace(FORCED_STAGING, force_live=None),
    ],
)
def test_a_leave_for_other_origins_or_smaller_amounts_is_none(book: RouteBook) -> None:
    assert routed(FORCED, book) == Refusal(code=Code.MODE_NOT_ALLOWED)


@pytest.mark.parametrize("book", [FORCED_STAGING, PRODUCTION])
@pytest.mark.parametrize(
    "key", ["payment.initiate.web", "payment.initiate", "payment.initiate.dcp.web", "", "dcp."]
)
def test_force_live_needs_the_origin_in_the_routing_key_everywhere(
    book: RouteBook, key: str
) -> None:
    envelope = replace(ENVELOPE, origin_routing_key=key)
    assert route(FORCED, envelope, book, NOW) == Refusal(code=Code.MODE_NOT_ALLOWED)


@pytest.mark.parametrize("mode", [RunMode.TEST, RunMode.LIVE])
def test_the_other_modes_may_come_under_any_key(mode: RunMode) -> None:
    envelope = replace(ENVELOPE, origin_routing_key="payment.initiate.web")
    request = replace(REQUEST, payment_run_mode=mode)
    plan = route(request, envelope, PRODUCTION, NOW)
    assert isinstance(plan, Route)
    assert not was_forced(request, plan)


@pytest.mark.parametrize(
    ("mode", "account"),
    [
        (RunMode.TEST, replace(LINK_ACCOUNT, test=None)),
        (RunMode.LIVE, replace(LINK_ACCOUNT, live=None)),
        (RunMode.FORCE_LIVE, replace(LINK_ACCOUNT, live=None)),
    ],
)
def test_a_missing_endpoint_is_never_replaced_by_the_other_one(
    mode: RunMode, account: Account
) -> None:
    plan = routed(replace(REQUEST, payment_run_mode=mode), book_with(account, PRODUCTION))
    assert plan == Refusal(code=Code.MODE_NOT_ALLOWED, live=mode is not RunMode.TEST)


def test_a_combination_without_a_route_is_unsupported() -> None:
    routes = {(PaymentTarget.PAYBOX, PaymentType.CB): "safedebit"}
    plan = routed(REQUEST, replace(STAGING, routes=routes))
    assert plan == Refusal(code=Code.UNSUPPORTED_COMBINATION)


def test_the_route_follows_payment_type_and_not_type_paiement() -> None:
    routes = {(PaymentTarget.LABANQUEPOSTALE, PaymentType.CB): "safedebit"}
    request = replace(REQUEST, payment_type=PaymentType.CB, type_paiement=PaymentType.SEPA)
    assert isinstance(routed(request, replace(STAGING, routes=routes)), Route)


def test_an_account_without_its_settings_is_refused_as_configuration() -> None:
    assert routed(REQUEST, replace(STAGING, accounts={})) == Refusal(
        code=Code.MODE_NOT_ALLOWED, live=False
    )


def test_an_amount_above_the_accounts_limit_is_invalid() -> None:
    refused = routed(REQUEST, book_with(replace(LINK_ACCOUNT, max_amount=Cents(1004))))
    assert isinstance(refused, Refusal)
    assert refused.code is Code.INVALID_AMOUNT
    assert [fault.field for fault in refused.faults] == ["amount"]
    allowed = routed(REQUEST, book_with(replace(LINK_ACCOUNT, max_amount=Cents(1005))))
    assert isinstance(allowed, Route)


@pytest.mark.parametrize("mode", [RunMode.TEST, RunMode.LIVE])
def test_a_company_of_the_other_mode_is_no_company(mode: RunMode) -> None:
    is_live = mode is RunMode.LIVE
    request = replace(REQUEST, payment_run_mode=mode)
    only_live = book_with(replace(LINK_ACCOUNT, test_companies={}), PRODUCTION)
    only_test = book_with(replace(LINK_ACCOUNT, live_companies={}), PRODUCTION)
    here = routed(request, only_live if is_live else only_test)
    there = routed(request, only_test if is_live else only_live)
    assert isinstance(here, Route)
    assert isinstance(there, Refusal)
    assert there.code is Code.COMPANY_NOT_CONFIGURED
    assert there.live is is_live
    assert [fault.field for fault in there.faults] == ["id_societe"]


LINK_NEEDS = ("beneficiary_reference", "phone_number", "url_callback")
BASKET_NEEDS = ("regie_id", "item_url", "display_name")


@pytest.mark.parametrize("blank", [None, "", " "])
@pytest.mark.parametrize(
    ("account", "company", "request_", "setting"),
    [(LINK_ACCOUNT, LINK_COMPANY, REQUEST, setting) for setting in LINK_NEEDS]
    + [(BASKET_ACCOUNT, BASKET_COMPANY, BASKET_REQUEST, setting) for setting in BASKET_NEEDS],
)
def test_a_missing_setting_of_the_company_is_named(
    account: Account,
    company: Company,
    request_: PaymentRequest,
    setting: str,
    blank: str | None,
) -> None:
    changes: Mapping[str, str | None] = {setting: blank}
    lacking = replace(company, **changes)  # type: ignore[arg-type]  # one optional text setting
    assert missing_for_company(account, company) == ()
    assert missing_for_company(account, lacking) == (setting,)
    refused = routed(request_, book_with(replace(account, test_companies={"1": lacking})))
    assert isinstance(refused, Refusal)
    assert refused.code is Code.COMPANY_NOT_CONFIGURED
    assert [fault.field for fault in refused.faults] == [setting]
    assert refused.live is False


def test_all_missing_settings_are_named_together() -> None:
    bare = Company(id_societe="1")
    assert missing_for_company(LINK_ACCOUNT, bare) == LINK_NEEDS
    assert missing_for_company(BASKET_ACCOUNT, bare) == BASKET_NEEDS


def test_a_value_longer_than_the_provider_takes_is_refused_and_never_shown() -> None:
    request = replace(REQUEST, id_client="c" * 33, email=Secret("e" * 60 + "@example.org"))
    refused = routed(request)
    assert isinstance(refused, Refusal)
    assert refused.code is Code.INVALID_MESSAGE
    assert [fault.field for fault in refused.faults] == ["id_client", "email"]
    assert "ccc" not in repr(refused)
    assert "eee" not in repr(refused)


def test_the_longest_values_of_the_contract_pass() -> None:
    request = replace(
        REQUEST,
        id_client="c" * 32,
        email=Secret("e" * 58 + "@example.org"),
        amount=Cents(999_999_999_999),
    )
    assert isinstance(routed(request), Route)


def test_no_refusal_holds_a_personal_value() -> None:
    refused = routed(REQUEST, book_with(replace(LINK_ACCOUNT, test_companies={})))
    assert "client@example.org" not in repr(refused)


@pytest.mark.parametrize("configured", [None, *OperationClass])
@pytest.mark.parametrize("option", ["sms_option", "email_option"])
def test_a_link_the_provider_itself_sends_is_class_e_whatever_is_configured(
    option: str, configured: OperationClass | None
) -> None:
    decided = operation_class(Operation.GET_LINK_PAYMENT, {option: "1"}, configured)
    assert decided is OperationClass.NON_IDEMPOTENT


@pytest.mark.parametrize(
    ("operation", "default"),
    [
        (Operation.GET_LINK_PAYMENT, OperationClass.ORPHAN_SAFE),
        (Operation.ADD_BASKET_ITEM, OperationClass.NON_IDEMPOTENT),
        (Operation.REMOVE_BASKET_ITEM, OperationClass.IDEMPOTENT),
    ],
)
def test_every_operation_has_a_careful_default_that_configuration_replaces(
    operation: Operation, default: OperationClass
) -> None:
    quiet = {"sms_option": "0", "email_option": "0"}
    assert operation_class(operation, quiet, None) is default
    assert operation_class(operation, {}, OperationClass.KEYED) is OperationClass.KEYED


def test_the_class_of_the_account_reaches_the_route() -> None:
    account = replace(LINK_ACCOUNT, classes={Operation.GET_LINK_PAYMENT: OperationClass.KEYED})
    plan = routed(REQUEST, book_with(account))
    assert isinstance(plan, Route)
    assert plan.operation_class is OperationClass.KEYED


def test_a_payment_keeps_the_account_and_the_class_of_its_first_attempt() -> None:
    moved = replace(STAGING, routes=default_routes(link="combo", basket="combo"))
    kept = Kept("safedebit", OperationClass.KEYED)
    plan = route(REQUEST, ENVELOPE, moved, NOW, kept=kept)
    assert isinstance(plan, Route)
    assert plan.account == LINK_ACCOUNT
    assert plan.operation is Operation.GET_LINK_PAYMENT
    assert plan.operation_class is OperationClass.KEYED


def test_a_kept_account_needs_no_route_but_must_still_exist() -> None:
    kept = Kept("safedebit", OperationClass.ORPHAN_SAFE)
    assert isinstance(route(REQUEST, ENVELOPE, replace(STAGING, routes={}), NOW, kept=kept), Route)
    assert route(REQUEST, ENVELOPE, replace(STAGING, accounts={}), NOW, kept=kept) == Refusal(
        code=Code.MODE_NOT_ALLOWED, live=False
    )


def cancelled(
    payment: Record = PAYMENT, book: RouteBook = STAGING, now: datetime = NOW
) -> Route | Refusal:
    return route_cancellation(payment, CANCEL, CANCEL_ENVELOPE, book, now)


@pytest.mark.parametrize("live", [False, True])
def test_a_removal_goes_where_the_payment_went(
    live: bool,  # noqa: FBT001 - a column of the table
) -> None:
    plan = cancelled(replace(PAYMENT, live=live), PRODUCTION)
    assert plan == Route(
        account=BASKET_ACCOUNT,
        endpoint=BASKET_ACCOUNT.live if live else BASKET_ACCOUNT.test,  # type: ignore[arg-type]  # both are set
        company=BASKET_COMPANY,
        operation=Operation.REMOVE_BASKET_ITEM,
        operation_class=OperationClass.IDEMPOTENT,
        live=live,
    )


@pytest.mark.parametrize("key", ["payment.cancel.web", "payment.cancel", "payment.cancel.dcp.x"])
def test_a_cancel_under_another_origins_key_learns_nothing(key: str) -> None:
    envelope = replace(CANCEL_ENVELOPE, origin_routing_key=key)
    refused = Refusal(code=Code.PAYMENT_UNKNOWN)
    assert route_cancellation(PAYMENT, CANCEL, envelope, STAGING, NOW) == refused
    link_payment = replace(PAYMENT, account="safedebit")
    assert route_cancellation(link_payment, CANCEL, envelope, STAGING, NOW) == refused


def test_a_cancel_of_another_payment_is_unknown() -> None:
    other = replace(CANCEL, payment_id=UUID(int=1))
    plan = route_cancellation(PAYMENT, other, CANCEL_ENVELOPE, STAGING, NOW)
    assert plan == Refusal(code=Code.PAYMENT_UNKNOWN)


def test_a_link_cannot_be_cancelled() -> None:
    plan = cancelled(replace(PAYMENT, account="safedebit"))
    assert plan == Refusal(code=Code.NOT_CANCELLABLE, live=False)


@pytest.mark.parametrize("payment", [replace(PAYMENT, account=None), replace(PAYMENT, live=None)])
def test_a_payment_that_was_never_called_has_nothing_to_remove(payment: Record) -> None:
    assert cancelled(payment) == Refusal(code=Code.NOT_CANCELLABLE)


@pytest.mark.parametrize(
    "book",
    [
        replace(STAGING, accounts={}),
        book_with(replace(BASKET_ACCOUNT, test=None)),
    ],
)
def test_a_removal_without_its_account_or_endpoint_is_refused_as_configuration(
    book: RouteBook,
) -> None:
    assert cancelled(PAYMENT, book) == Refusal(code=Code.MODE_NOT_ALLOWED, live=False)


def test_a_live_item_is_removed_from_staging_only_under_a_leave_to_force_live() -> None:
    live = replace(PAYMENT, live=True)
    assert cancelled(live, STAGING) == Refusal(code=Code.MODE_NOT_ALLOWED, live=True)
    late = LEAVE.until + timedelta(days=1)
    expired = datetime(late.year, late.month, late.day, tzinfo=UTC)
    refused = Refusal(code=Code.MODE_NOT_ALLOWED, live=True)
    assert cancelled(live, FORCED_STAGING, expired) == refused
    plan = cancelled(live, FORCED_STAGING)
    assert isinstance(plan, Route)
    assert plan.endpoint == BASKET_ACCOUNT.live


def test_a_company_that_lost_its_settings_does_not_keep_its_items() -> None:
    plan = cancelled(PAYMENT, book_with(replace(BASKET_ACCOUNT, test_companies={})))
    assert isinstance(plan, Route)
    assert plan.company == Company(id_societe="1")


# --- look-ups -------------------------------------------------------------------------------------

SEARCHED = replace(LINK_ACCOUNT, look_up=True)
DOUBTFUL = replace(PAYMENT, account="safedebit", live=False, state=State.IN_DOUBT)


def searched(book: RouteBook = STAGING, account: Account = SEARCHED) -> RouteBook:
    return replace(book, accounts={**book.accounts, "safedebit": account})


def test_a_doubt_is_looked_up_where_its_payment_went() -> None:
    assert look_up_endpoint(DOUBTFUL, searched(), NOW) == LINK_ACCOUNT.test
    live = replace(DOUBTFUL, live=True)
    assert look_up_endpoint(live, searched(PRODUCTION), NOW) == LINK_ACCOUNT.live


def test_live_credentials_read_nothing_on_staging_without_leave() -> None:
    live = replace(DOUBTFUL, live=True)
    assert look_up_endpoint(live, searched(), NOW) is None
    assert look_up_endpoint(live, searched(FORCED_STAGING), NOW) == LINK_ACCOUNT.live
    over = NOW + timedelta(days=1)
    assert look_up_endpoint(live, searched(FORCED_STAGING), over) is None


def test_what_is_not_configured_is_not_looked_up() -> None:
    assert look_up_endpoint(DOUBTFUL, STAGING, NOW) is None, "off by default"
    assert look_up_endpoint(replace(DOUBTFUL, account=None), searched(), NOW) is None
    assert look_up_endpoint(replace(DOUBTFUL, account="gone"), searched(), NOW) is None
    assert look_up_endpoint(replace(DOUBTFUL, live=None), searched(), NOW) is None
    without_test = searched(account=replace(SEARCHED, test=None))
    assert look_up_endpoint(DOUBTFUL, without_test, NOW) is None
