"""The basket provider: adds an item to a citizen's basket and removes it again (Publik combo).

Pure: no I/O; time and nonce come with each call, because the query is signed for 30 seconds.
Adding is not idempotent and cannot be looked up: one doubt too many is a debt shown twice.
Success is 2xx, no error marker and an ``id``, link or not. The vendor's page documents no error
answers, so the status class and the family's ``err`` convention decide, never a text.
"""

import json
from collections.abc import Mapping
from urllib.parse import quote

from worker.calls import Declined, HttpReply, HttpRequest, Outcome, Succeeded, Unknown
from worker.codes import Code
from worker.look_ups import LookUpQuestion, LookUpReading
from worker.model import (
    CancelRequest,
    Cents,
    Company,
    Endpoint,
    PaymentRequest,
    Route,
    Secret,
)
from worker.outcomes import clean_provider_code, of_status
from worker.ports import Signing
from worker.providers.answers import is_listed, read_object
from worker.providers.signature import encoded_query, signed_query
from worker.providers.templates import check_template, fill_template

LONGEST_ITEM_ID = 200
"""Characters of an item id: the page shows ``12``; more than this is not an id."""

_PLACEHOLDERS = ("id_commande", "reference")
# The page says "succes"; its siblings spell it otherwise.
_SUCCESS_WORDS = frozenset({"success", "succes", "succès", "true"})


class BasketProvider:
    """Builds and reads ``add-basket-item`` and ``remove-basket-item``."""

    def initiate(
        self, request: PaymentRequest, route: Route, reference: str, signing: Signing
    ) -> HttpRequest:
        """Build the signed POST; our reference stands in ``url``, so staff can find duplicates."""
        company = route.company
        query = [("email", request.email.reveal()), ("regie_id", company.regie_id or "")]
        if route.account.cancellable is not None:
            query.append(("cancellable", "yes" if route.account.cancellable else "no"))
        # Exactly one amount, in the body: how several combine is not documented.
        body = {
            "amount": euros(request.amount),
            "display_name": fill_template(
                company.display_name or "",
                {"id_commande": request.id_commande, "reference": reference},
            ),
            "url": fill_template(
                company.item_url or "",
                {"id_commande": quote(request.id_commande, safe=""), "reference": reference},
            ),
        }
        return _signed_post("add-basket-item", query, body, route, signing)

    def read_initiation(self, reply: HttpReply, route: Route) -> Outcome:
        """Return what the answer amounts to: payment rules R3; an ``id`` decides."""
        answer = read_object(reply.body)
        refusal = _refusal(reply, answer, route)
        item_id = read_item_id(answer.get("id")) if answer is not None else None
        if isinstance(refusal, Declined) and _is_success(reply) and item_id is not None:
            # An error marker beside an id contradicts itself: an item may stand in the basket.
            return Unknown(http_status=reply.status)
        if refusal is not None:
            return refusal
        if answer is None or item_id is None:
            return Unknown(http_status=reply.status)
        given = _first_text(answer.get("payment_url"), answer.get("payement_url"))
        link = given if given is not None and is_listed(given, route.endpoint) else None
        return Succeeded(
            link=Secret.maybe(link or route.account.basket_page_url),
            item_id=item_id,
            http_status=reply.status,
            link_dropped=given is not None and link is None,
        )

    def cancel(
        self, request: CancelRequest, item_id: str, email: Secret, route: Route, signing: Signing
    ) -> HttpRequest:
        """Build the signed removal, as the same user as the add.

        ``notify`` is sent only when the request says so: with it the removal depends on a second
        call, from the portal to the item's ``url``.
        """
        body: dict[str, str | bool] = {"basket_item_id": item_id}
        if request.notify is not None:
            body["notify"] = request.notify
        query = [("email", email.reveal())]
        return _signed_post("remove-basket-item", query, body, route, signing)

    def read_cancellation(self, reply: HttpReply, route: Route) -> Outcome:
        """Return what the answer amounts to: a JSON object without an error marker is success.

        A ``result`` that is neither absent nor a success word leaves the removal unknown.
        """
        answer = read_object(reply.body)
        refusal = _refusal(reply, answer, route)
        if refusal is not None:
            return refusal
        if answer is None or not _says_success(answer.get("result", "success")):
            return Unknown(http_status=reply.status)
        return Succeeded(link=None, http_status=reply.status)

    def look_up(self, asked: LookUpQuestion, endpoint: Endpoint) -> HttpRequest:
        """Raise ``NotImplementedError``: no read is documented (payment rules, rule set 3)."""
        raise NotImplementedError

    def read_look_up(
        self, reply: HttpReply, asked: LookUpQuestion, endpoint: Endpoint
    ) -> LookUpReading:
        """Raise ``NotImplementedError``, as ``look_up`` does."""
        raise NotImplementedError


def euros(cents: Cents) -> str:
    """Return an amount as the page wants it: a dot and two decimals, never through a float."""
    return f"{cents // 100}.{cents % 100:02d}"


def check_basket_company(company: Company) -> list[str]:
    """Return what is wrong with the set values of a company; a missing one is routing's business.

    ``item_url`` holds ``{reference}`` (one address per charge) and ends with ``/``, because the
    portal appends ``jump/trigger/paid`` to it.
    """
    complaints = []
    if company.display_name is not None:
        faults = check_template(company.display_name, allowed=_PLACEHOLDERS)
        complaints += [f"display_name: {fault}" for fault in faults]
    if company.item_url is not None:
        faults = check_template(company.item_url, allowed=_PLACEHOLDERS, required=("reference",))
        if not company.item_url.startswith("https://"):
            faults.append("it does not start with https://")
        if not company.item_url.endswith("/"):
            faults.append("it does not end with /")
        complaints += [f"item_url: {fault}" for fault in faults]
    if company.regie_id is not None and not (
        company.regie_id.strip() and company.regie_id.isprintable()
    ):
        complaints.append("regie_id: it is empty or holds control characters")
    return complaints


def _signed_post(
    call: str,
    query: list[tuple[str, str]],
    body: Mapping[str, str | bool],
    route: Route,
    signing: Signing,
) -> HttpRequest:
    endpoint = route.endpoint
    signed = signed_query(
        encoded_query([*query, ("orig", endpoint.login)]),
        secret=endpoint.password,
        now=signing.now(),
        nonce=signing.nonce(),
    )
    return HttpRequest(
        url=f"{endpoint.base_url.rstrip('/')}/api/lingo/{call}?{signed}",
        headers=(("Content-Type", "application/json"), ("Accept", "application/json")),
        body=json.dumps(body).encode("ascii"),
    )


def _refusal(reply: HttpReply, answer: Mapping[str, object] | None, route: Route) -> Outcome | None:
    """What the status or an error marker decides; ``None`` for a 2xx without a marker.

    A marker is a header ``x-error-code`` or a member ``err`` that is neither empty nor zero.
    """
    in_header = reply.headers.get("x-error-code", "").strip()
    in_body = answer.get("err") if answer is not None else None
    has_header = in_header not in {"", "0"}
    has_body = bool(in_body) and in_body != "0"
    provider_code = clean_provider_code(in_body if has_body else in_header if has_header else None)
    by_status = of_status(reply, route.operation_class, provider_code=provider_code)
    if by_status is not None or not (has_header or has_body):
        return by_status
    return Declined(
        code=Code.PROVIDER_REFUSED,
        provider_code=provider_code,
        http_status=reply.status,
        known=False,
    )


def _is_success(reply: HttpReply) -> bool:
    return 200 <= reply.status <= 299  # noqa: PLR2004 - RFC 9110 section 15.3


def _says_success(result: object) -> bool:
    return result is True or (isinstance(result, str) and result.casefold() in _SUCCESS_WORDS)


def read_item_id(raw: object) -> str | None:
    """The item's id as opaque text; the page shows a number and does not tell its JSON type."""
    if isinstance(raw, int) and not isinstance(raw, bool):
        raw = str(raw) if abs(raw) < 10**LONGEST_ITEM_ID else None
    if not isinstance(raw, str) or not raw.strip() or not raw.isprintable():
        return None
    return raw if len(raw) <= LONGEST_ITEM_ID else None


def fault_of_typed_item_id(typed: str) -> str | None:
    """Why a provider cannot have given this as an item's id, in words that follow "it".

    Stricter than what is read from an answer, because an answer is taken as it is: the page shows
    a number, and what a person copies beside it is an address, or a piece of a line.
    """
    if not typed.strip():
        return "is empty"
    if not typed.isprintable():
        return "holds a character that cannot be printed"
    if any(letter.isspace() for letter in typed):
        return "holds a blank"
    if "://" in typed:
        return "is an address"
    if len(typed) > LONGEST_ITEM_ID:
        return f"is longer than {LONGEST_ITEM_ID} characters"
    return None


def _first_text(*candidates: object) -> str | None:
    """The first that is a text with something in it: the page misspells ``payement_url``."""
    for candidate in candidates:
        if isinstance(candidate, str) and candidate.strip():
            return candidate
    return None
