"""The magic names: ``sim+<name>@...`` as customer e-mail chooses what the simulator does.

The e-mail is the one field both providers receive. This table is the only list of the names;
``schemas/examples/simulator.json`` is written from it.
"""

import json
from collections.abc import Mapping
from types import MappingProxyType

from worker.codes import Code, category_of, is_retryable
from worker.records import Status
from worker.simulator.effects import (
    Break,
    Breakage,
    Flaky,
    Reject,
    Respond,
    Search,
    Shape,
    Succeed,
)
from worker.simulator.expected import (
    Decided,
    Expected,
    Magic,
    answering,
    breaking,
    doubt,
    failure,
    postponing,
    refusing,
    rejecting,
    removing,
    searching,
    succeeding,
    success,
    unclear,
)

PREFIX = "sim+"

_BUSY = Respond(status=429, applied=False)
_SOON = (("Retry-After", "1"),)
_AWAY = (("Location", "https://elsewhere.invalid/"),)
_PAGE = b"<!doctype html><title>Login</title><p>Please log in."

EVERY_MAGIC = (
    # --- success, sooner or later ---
    succeeding("success", "Succeeds.", Succeed()),
    succeeding("slow-5s", "Succeeds after 5 seconds.", Succeed(after=5)),
    succeeding("slow-20s", "Succeeds after 20 seconds.", Succeed(after=20)),
    succeeding(
        "flaky-2",
        "Answers HTTP 429 twice, then succeeds: tried again within one delivery.",
        Flaky(2, _BUSY),
    ),
    succeeding(
        "flaky-4",
        "Answers HTTP 429 four times, then succeeds: tried again through the delay ladder.",
        Flaky(4, _BUSY),
        decided=Decided.LATER,
    ),
    # --- refusals ---
    refusing(
        "refuse-once",
        "Refuses the first call with a code nobody knows; replaying the dead letter succeeds.",
        Flaky(1, Reject("SIM_NEW_CODE")),
        Code.PROVIDER_REFUSED,
    ),
    rejecting("NOK_001", Code.DECLINED, name="declined"),
    rejecting("AUTH_001", Code.PROVIDER_CREDENTIALS),
    rejecting("AUTH_002", Code.PROVIDER_CREDENTIALS),
    rejecting("AUTH_003", Code.PROVIDER_IP_REFUSED),
    rejecting("AUTH_004", Code.PROVIDER_CREDENTIALS),
    rejecting("AUTH_005", Code.PROVIDER_CREDENTIALS),
    rejecting("EXIST_001", Code.REFERENCE_ALREADY_USED),
    rejecting("EXIST_002", Code.CUSTOMER_UNKNOWN),
    rejecting("EXIST_003", Code.REFERENCE_ALREADY_USED),
    rejecting("EXIST_004", Code.REFERENCE_ALREADY_USED),
    rejecting("EXIST_005", Code.REFERENCE_ALREADY_USED),
    rejecting("NOK_001", Code.DECLINED),
    rejecting("NEW_999", Code.PROVIDER_REFUSED),
    answering(400, Code.PROVIDER_REFUSED),
    answering(401, Code.PROVIDER_CREDENTIALS),
    answering(403, Code.PROVIDER_CREDENTIALS),
    answering(404, Code.PROVIDER_ENDPOINT),
    answering(409, Code.PROVIDER_REFUSED),
    answering(415, Code.PROVIDER_ENDPOINT),
    answering(422, Code.PROVIDER_REFUSED),
    refusing(
        "redirect",
        "Answers HTTP 307 to another host.",
        Respond(status=307, applied=False, headers=_AWAY),
        Code.PROVIDER_REDIRECT,
    ),
    # --- not now ---
    postponing(
        "http-408",
        "Answers HTTP 408.",
        Respond(status=408, applied=False),
        Code.PROVIDER_UNAVAILABLE,
    ),
    postponing("http-429", "Answers HTTP 429.", _BUSY, Code.PROVIDER_RATE_LIMITED),
    postponing(
        "http-429-retry",
        "Answers HTTP 429 with Retry-After.",
        Respond(status=429, applied=False, headers=_SOON),
        Code.PROVIDER_RATE_LIMITED,
    ),
    postponing(
        "http-503-retry",
        "Answers HTTP 503 with Retry-After.",
        Respond(status=503, applied=False, headers=_SOON),
        Code.PROVIDER_UNAVAILABLE,
    ),
    # --- nobody knows ---
    breaking("timeout", "Applies it and never answers.", Breakage.HOLD, applied=True),
    breaking("timeout-before", "Never answers, applies nothing.", Breakage.HOLD, applied=False),
    breaking("reset-after", "Applies it and resets the connection.", Breakage.RESET, applied=True),
    breaking("reset-before", "Resets the connection.", Breakage.RESET, applied=False),
    breaking("close-after", "Applies it and closes the connection.", Breakage.CLOSE, applied=True),
    breaking("garbage", "Applies it and does not speak HTTP.", Breakage.GARBAGE, applied=True),
    breaking("truncated-head", "Applies it; the head is cut.", Breakage.CUT_HEAD, applied=True),
    breaking("truncated", "Applies it; the body is cut.", Breakage.CUT_BODY, applied=True),
    breaking("trickle", "Applies it; the body never ends.", Breakage.TRICKLE, applied=True),
    unclear("slow-60s", "Succeeds past every limit.", Succeed(after=60), applied=True),
    unclear("cut-json", "Succeeds in half a JSON text.", Succeed(Shape.CUT_JSON), applied=True),
    unclear("oversized", "Succeeds in a body of 1 MiB.", Succeed(Shape.OVERSIZED), applied=True),
    unclear(
        "empty",
        "Applies it and answers HTTP 200 without a body.",
        Respond(status=200, applied=True),
        applied=True,
    ),
    unclear(
        "html",
        "Applies it and answers HTTP 200 with a page.",
        Respond(status=200, applied=True, body=_PAGE),
        applied=True,
    ),
    unclear("http-500", "Answers HTTP 500.", Respond(status=500, applied=False), applied=False),
    unclear(
        "http-500-after",
        "Applies it and answers HTTP 500.",
        Respond(status=500, applied=True),
        applied=True,
    ),
    unclear("http-502", "Answers HTTP 502.", Respond(status=502, applied=False), applied=False),
    unclear(
        "http-504-after",
        "Applies it and answers HTTP 504.",
        Respond(status=504, applied=True),
        applied=True,
    ),
    # --- where the providers differ ---
    Magic(
        name="lost-once",
        does="Applies it and resets the connection; the payment's next call succeeds.",
        effect=Flaky(1, Break(how=Breakage.RESET, applied=True)),
        link=Expected(Status.SUCCEEDED, None, 2, Decided.SENT_AGAIN),
        basket=doubt(applied=1),
    ),
    Magic(
        name="http-503",
        does="Answers HTTP 503 without Retry-After: a proxy may say so after sending.",
        effect=Respond(status=503, applied=False),
        link=failure(Code.PROVIDER_UNAVAILABLE, Decided.USED_UP),
        basket=doubt(applied=0),
    ),
    Magic(
        name="redirect-303",
        does="Answers HTTP 303, which may mean that it was done.",
        effect=Respond(status=303, applied=False, headers=_AWAY),
        link=failure(Code.PROVIDER_REDIRECT),
        basket=doubt(applied=0),
    ),
    *(
        Magic(name=name, does=does, effect=Succeed(shape), link=doubt(applied=1), basket=success())
        for name, does, shape in (
            ("unlisted-host", "Succeeds; the link is on another host.", Shape.UNLISTED_HOST),
            ("http-link", "Succeeds; the link is not https.", Shape.HTTP_LINK),
            ("link-with-user", "Succeeds; the link holds a user name.", Shape.LINK_WITH_USER),
        )
    ),
    *(
        Magic(
            name=name,
            does=does,
            effect=Succeed(shape),
            link=doubt(applied=2, decided=Decided.SENT_AGAIN),
            basket=success(),
        )
        for name, does, shape in (
            ("no-link", "Succeeds without a link.", Shape.NO_LINK),
            ("result-text", 'Succeeds; the result is the text "true".', Shape.TEXT_RESULT),
        )
    ),
    Magic(
        name="no-id",
        does="Succeeds; the basket does not tell the item's id.",
        effect=Succeed(Shape.NO_ID),
        link=success(),
        basket=doubt(applied=1),
    ),
    succeeding(
        "misspelt", "Succeeds; the basket says succes and payement_url.", Succeed(Shape.MISSPELT)
    ),
    # --- look-up of a payment in doubt ---
    searching("search-other-amount", "a look-up lists another amount.", Search.OTHER_AMOUNT),
    searching("search-no-link", "a look-up lists it without its link.", Search.WITHOUT_LINK),
    searching("search-empty-2", "two look-ups list nothing, the next it.", Search.EMPTY_TWICE),
    searching("search-failing", "a look-up answers HTTP 500.", Search.FAILING),
    searching("search-slow", "a look-up answers after 20 seconds.", Search.SLOW),
    # --- removal of a basket item ---
    removing(
        "remove-declined",
        "Succeeds; the removal is refused with an error marker.",
        Reject("NOK_001"),
        Expected(Status.CANCEL_FAILED, Code.PROVIDER_REFUSED, 0),
    ),
    removing(
        "remove-flaky-2",
        "Succeeds; the removal answers HTTP 429 twice, then succeeds.",
        Flaky(2, _BUSY),
        Expected(Status.CANCELLED, None, 1),
    ),
    removing(
        "remove-http-401",
        "Succeeds; the removal answers HTTP 401.",
        Respond(status=401, applied=False),
        Expected(Status.CANCEL_FAILED, Code.PROVIDER_CREDENTIALS, 0),
    ),
    removing(
        "remove-http-503-retry",
        "Succeeds; the removal answers HTTP 503 with Retry-After.",
        Respond(status=503, applied=False, headers=_SOON),
        Expected(Status.CANCEL_FAILED, Code.PROVIDER_UNAVAILABLE, 0, Decided.USED_UP),
    ),
    removing(
        "remove-timeout",
        "Succeeds; the removal is never answered.",
        Break(how=Breakage.HOLD, applied=False),
        Expected(Status.CANCEL_IN_DOUBT, Code.OUTCOME_UNKNOWN, 0, Decided.USED_UP),
    ),
)

MAGIC: Mapping[str, Magic] = MappingProxyType({magic.name: magic for magic in EVERY_MAGIC})
"""Every name, in the order of the document."""


def magic_name(email: str) -> str | None:
    """Return the name an e-mail asks for, known or not; ``None`` when it asks for nothing."""
    local_part = email.rpartition("@")[0].lower()
    return local_part.removeprefix(PREFIX) if local_part.startswith(PREFIX) else None


def search_of(email: str) -> Search:
    """What a look-up finds of a payment that was applied for this e-mail."""
    magic = MAGIC.get(magic_name(email) or "")
    return Search.FOUND if magic is None or magic.search is None else magic.search


def magic_document() -> str:
    """Return ``schemas/examples/simulator.json``: every name and what the worker answers."""
    document = {
        "description": (
            "What the provider simulator does for a payment whose e-mail is sim+<name>@<any host>,"
            " and what the worker answers: the link provider under operation class D, the basket"
            " provider under E, a removal under B. A config answer also opens the account's"
            " circuit breaker. A name that is not listed is refused."
        ),
        "email": f"{PREFIX}<name>@example.org",
        "names": [_entry(magic) for magic in MAGIC.values()],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _entry(magic: Magic) -> dict[str, object]:
    entry: dict[str, object] = {
        "name": magic.name,
        "does": magic.does,
        "link": _answer(magic.link),
        "basket": _answer(magic.basket),
    }
    if magic.removal is not None:
        entry["removal"] = _answer(magic.removal)
    if magic.search is not None:
        entry["look_up"] = magic.search
    return entry


def _answer(expected: Expected) -> dict[str, object]:
    code = expected.code
    return {
        "status": expected.status,
        "code": code,
        "category": None if code is None else category_of(code),
        "retryable": code is not None and is_retryable(code),
        "decided": expected.decided,
        "applied": expected.applied,
    }
