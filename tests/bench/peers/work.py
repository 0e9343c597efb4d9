"""The work that every peer does for a request: the same call, the same event, nothing checked.

No validation, no ledger, no log line. What the provider is asked for and what is published have
the shape and about the size of the product's.
"""

import hashlib
import json
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from worker.adapters.clock import SystemClock

RESULT_KEY = "payment.result.dcp.succeeded"

HEADERS: Mapping[str, str] = {
    "Authorization": f"Basic {b64encode(b'demo:demo').decode()}",
    "Content-Type": "application/json",
    "Accept": "application/json",
}

_clock = SystemClock()


class RefusedError(Exception):
    """The provider did not give a link; the bench's stub always does."""


def provider_request(request: Mapping[str, Any], key: str) -> bytes:
    """Body of ``get_link_payment``."""
    return json.dumps(
        {
            "sms_option": "0",
            "email_option": "0",
            "beneficiary_reference": "395000000000001",
            "amount": request["amount"],
            "payment_reference": hashlib.sha256(f"{key}:0".encode()).hexdigest()[:32],
            "consumer_reference": request["id_client"],
            "url_callback": "https://back.example.org/cb/0",
            "consumer_email": request["email"],
            "consumer_phone_number": "0600000000",
        }
    ).encode()


def link_in(status: int, body: bytes) -> str:
    """The link of an answer; raises ``RefusedError`` for any other answer."""
    answer = json.loads(body)
    if status != 200 or answer["result"] is not True:
        raise RefusedError
    return str(answer["link"])


def result_event(request: Mapping[str, Any], key: str, link: str) -> tuple[str, bytes]:
    """A new ``event_id``, and the body of contract section 3."""
    event_id = str(_clock.new_id())
    event = {
        "event_id": event_id,
        "event_type": "payment.initiation.succeeded",
        "event_version": "1.0",
        "occurred_at": _clock.now().isoformat(),
        "payment_id": key,
        "request_id": key,
        "sequence": 1,
        "result": True,
        "link": link,
        "code": None,
        "error": None,
        "provider": "safedebit",
        "provider_reference": key,
        "basket_item_id": None,
        "payment_target": request["payment_target"],
        "payment_run_mode": request["payment_run_mode"],
        "livemode": False,
        "payment_type": request["payment_type"],
        "type_paiement": request["type_paiement"],
        "id_origin": request["id_origin"],
        "id_societe": request["id_societe"],
        "id_client": request["id_client"],
        "id_commande": request["id_commande"],
        "amount": request["amount"],
        "currency": "EUR",
        "attempts": 1,
        "duplicate_of": None,
        "conflicts_with": None,
    }
    return event_id, json.dumps(event).encode()
