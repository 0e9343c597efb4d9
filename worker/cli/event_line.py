"""A result event as one line for people, or as JSON; links masked unless asked for.

Events are read as a careful subscriber reads them: unknown fields stay, missing ones are empty,
a body that is no event at all is shown as that.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from worker.cli.money import euros
from worker.contract.fields import AMOUNT_PATTERN
from worker.model import Delivery
from worker.telemetry.patterns import link_mark

_CENTS = re.compile(AMOUNT_PATTERN, re.ASCII)
_LONGEST = 200
_STATUS_WIDTH = 9
_MODES = {"True": "LIVE", "False": "test"}


@dataclass(frozen=True, slots=True)
class EventLine:
    """What is shown of one event: ``row`` for tables and pipes, ``document`` for JSON."""

    row: Mapping[str, str] = field(repr=False)
    document: Mapping[str, object] = field(repr=False)

    @property
    def sentence(self) -> str:
        """The event on one line for people."""
        shown = {
            **self.row,
            "status": self.row["status"].ljust(_STATUS_WIDTH),
            "order": f"order {self.row['order']}" if self.row["order"] else "",
        }
        return "  ".join(text for text in shown.values() if text)


def event_line(delivery: Delivery, *, shows_links: bool) -> EventLine:
    """Read one delivered event; its status is the last word of the routing key."""
    status = delivery.routing_key.rpartition(".")[2]
    event = _object(delivery.body)
    if event is None:
        document = {"unreadable": True, "routing_key": delivery.routing_key}
        row = _row(time="", status=status, about="a message that is no event")
        return EventLine(row=row, document=document)
    link = event.get("link")
    if isinstance(link, str) and not shows_links:
        event = {**event, "link": link_mark(link)}
    row = _row(
        time=_text(event.get("occurred_at")),
        status=status,
        payment_id=_text(event.get("payment_id")),
        order=_text(event.get("id_commande")),
        amount=_amount(event),
        mode=_MODES.get(str(event.get("livemode")), ""),
        link=_text(event.get("link")),
        code=_code(event),
    )
    return EventLine(row=row, document=event)


def _row(
    *,
    time: str,
    status: str,
    payment_id: str = "",
    order: str = "",
    amount: str = "",
    mode: str = "",
    link: str = "",
    code: str = "",
    about: str = "",
) -> dict[str, str]:
    return {
        "time": time,
        "status": _text(status),
        "payment_id": payment_id,
        "order": order,
        "amount": amount,
        "mode": mode,
        "link": link,
        "code": code or about,
    }


def _object(body: bytes) -> dict[str, object] | None:
    try:
        value: object = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _amount(event: Mapping[str, object]) -> str:
    """Write the amount in euros; another currency, or no whole cents, as it stands."""
    amount, currency = _text(event.get("amount")), _text(event.get("currency"))
    if currency == "EUR" and _CENTS.fullmatch(amount):
        return euros(int(amount))
    return f"{amount} {currency}" if amount else ""


def _code(event: Mapping[str, object]) -> str:
    """Write our code with its English sentence, and the provider's code where there is one."""
    code, error = _text(event.get("code")), event.get("error")
    if not isinstance(error, dict):
        return code
    message = error.get("message")
    english = _text(message.get("en")) if isinstance(message, dict) else ""
    provider_code = _text(error.get("provider_code"))
    told = f"{code}: {english}" if english else code
    return f"{told} ({provider_code})" if provider_code else told


def _text(value: object) -> str:
    """One value as text that a terminal takes for nothing else."""
    text = "" if value is None else str(value)
    return "".join(letter if letter.isprintable() else "?" for letter in text[:_LONGEST])
