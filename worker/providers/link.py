"""The link provider: ``get_link_payment`` answers a payment link or a code, both as HTTP 200.

Pure: no I/O, no clock. The JSON decides, never the status alone, and a code is read by its exact
text, never by its prefix: EXIST_002 is no duplicate. There is no idempotency key, so what
cannot be understood is ``Unknown``. Source: the provider's get_link_payment and annex pages.
"""

import json
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType

from worker.calls import (
    Declined,
    HttpReply,
    HttpRequest,
    Misconfigured,
    Outcome,
    Succeeded,
    Unknown,
)
from worker.codes import Category, Code, category_of
from worker.look_ups import LookUpQuestion, LookUpReading
from worker.model import (
    CancelRequest,
    Endpoint,
    OperationClass,
    PaymentRequest,
    Route,
    Secret,
)
from worker.outcomes import clean_provider_code, of_status
from worker.ports import Signing
from worker.providers.answers import is_listed, read_object, storable
from worker.providers.link_search import basic_login, read_search, search
from worker.providers.templates import fill_template

LINK_CODES: Mapping[str, Code] = MappingProxyType(
    {
        "AUTH_001": Code.PROVIDER_CREDENTIALS,
        "AUTH_002": Code.PROVIDER_CREDENTIALS,
        "AUTH_003": Code.PROVIDER_IP_REFUSED,
        "AUTH_004": Code.PROVIDER_CREDENTIALS,
        "AUTH_005": Code.PROVIDER_CREDENTIALS,
        "EXIST_001": Code.REFERENCE_ALREADY_USED,
        "EXIST_002": Code.CUSTOMER_UNKNOWN,
        "EXIST_003": Code.REFERENCE_ALREADY_USED,
        "EXIST_004": Code.REFERENCE_ALREADY_USED,
        "EXIST_005": Code.REFERENCE_ALREADY_USED,
        "NOK_001": Code.DECLINED,
    }
)
"""The provider's documented codes and ours; the annex could be read up to EXIST_005 only."""

_SENDING_NOTHING = {"sms_option": "0", "email_option": "0"}


class LinkProvider:
    """Builds and reads ``get_link_payment``; ``codes`` replaces the table of provider codes."""

    def __init__(self, codes: Mapping[str, Code] = LINK_CODES) -> None:
        self._codes = codes

    def initiate(
        self,
        request: PaymentRequest,
        route: Route,
        reference: str,
        signing: Signing,  # noqa: ARG002 - Basic credentials need neither time nor nonce
    ) -> HttpRequest:
        """Build the POST: the required seven, both sending options and the account's fields.

        ``sms_option`` and ``email_option`` are always explicit: their default is not documented,
        and 1 makes the provider contact the customer. They are 1 under class E only, so a payment
        that began under another class is never sent by the provider when it is repeated.
        """
        company = route.company
        members = {
            "beneficiary_reference": company.beneficiary_reference or "",
            "amount": str(request.amount),
            "payment_reference": reference,
            "consumer_reference": request.id_client,
            "url_callback": fill_template(company.url_callback or "", {"reference": reference}),
            "consumer_email": request.email.reveal(),
            "consumer_phone_number": company.phone_number or "",
        }
        body = {**_SENDING_NOTHING, **route.account.fields, **members}
        if route.operation_class is not OperationClass.NON_IDEMPOTENT:
            body |= _SENDING_NOTHING
        return HttpRequest(
            url=f"{route.endpoint.base_url.rstrip('/')}/get_link_payment",
            headers=(
                ("Authorization", basic_login(route.endpoint)),
                ("Content-Type", "application/json"),
                ("Accept", "application/json"),
            ),
            body=json.dumps(body).encode("ascii"),
        )

    def read_initiation(self, reply: HttpReply, route: Route) -> Outcome:
        """Return what the answer amounts to: payment rules R3."""
        answer = read_object(reply.body)
        raw_code = answer.get("code") if answer is not None else None
        has_known_code = isinstance(raw_code, str) and raw_code in self._codes
        by_status = of_status(
            reply, route.operation_class, provider_code=clean_provider_code(raw_code)
        )
        if isinstance(by_status, Declined) or (
            # A known code in the body of a 409 says more than the class C rule for a bare one.
            reply.status == HTTPStatus.CONFLICT and has_known_code
        ):
            return self._by_code(raw_code, reply.status)
        if by_status is not None:
            return by_status
        if reply.status != HTTPStatus.OK or answer is None:
            return Unknown(http_status=reply.status)
        match answer.get("result"):
            case True:
                return _read_link(answer.get("link"), reply.status, route.endpoint)
            case False:
                return self._by_code(raw_code, reply.status)
            case _:
                return Unknown(http_status=reply.status)

    def cancel(
        self, request: CancelRequest, item_id: str, email: Secret, route: Route, signing: Signing
    ) -> HttpRequest:
        """Raise ``NotImplementedError``: no call is known to withdraw an unpaid link."""
        raise NotImplementedError

    def read_cancellation(self, reply: HttpReply, route: Route) -> Outcome:
        """Raise ``NotImplementedError``, as ``cancel`` does."""
        raise NotImplementedError

    def look_up(self, asked: LookUpQuestion, endpoint: Endpoint) -> HttpRequest:
        """Build ``search_payment`` for one reference of ours."""
        return search(asked, endpoint)

    def read_look_up(
        self, reply: HttpReply, asked: LookUpQuestion, endpoint: Endpoint
    ) -> LookUpReading:
        """Return what the provider lists under that reference, as far as it can be read."""
        return read_search(reply, asked, endpoint)

    def _by_code(self, raw_code: object, status: int) -> Outcome:
        provider_code = clean_provider_code(raw_code)
        code = self._codes.get(raw_code) if isinstance(raw_code, str) else None
        if code is None:
            return Declined(
                code=Code.PROVIDER_REFUSED,
                provider_code=provider_code,
                http_status=status,
                known=False,
            )
        if category_of(code) is Category.CONFIG:
            return Misconfigured(code=code, http_status=status, provider_code=provider_code)
        return Declined(code=code, provider_code=provider_code, http_status=status, known=True)


def _read_link(link: object, status: int, endpoint: Endpoint) -> Outcome:
    if not isinstance(link, str) or not link.strip():
        return Unknown(http_status=status)
    if not is_listed(link, endpoint):
        # A wrong list of hosts on the first day must not double every payment (R3).
        return Unknown(http_status=status, never_resend=True, link=Secret(storable(link)))
    return Succeeded(link=Secret(link), http_status=status)
