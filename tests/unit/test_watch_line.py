"""One result event as people and programs see it."""

import json
from dataclasses import replace

import pytest

from tests.builders import PAYMENT_ID, make_delivery, make_event
from worker.cli.event_line import EventLine, event_line
from worker.cli.money import euros
from worker.codes import Code
from worker.contract.events import event_body
from worker.model import Secret
from worker.records import Event, Status

LINK = "https://pay.example/s/abc?token=secret"


def line_of(event: Event | bytes, *, shows_links: bool = False) -> EventLine:
    status, body = "failed", event
    if isinstance(event, Event):
        status, body = event.status.value, event_body(event)
    assert isinstance(body, bytes)
    delivery = make_delivery(body, routing_key=f"payment.result.dcp.{status}")
    return event_line(delivery, shows_links=shows_links)


def test_a_success_names_payment_order_amount_and_a_masked_link() -> None:
    line = line_of(replace(make_event(), link=Secret(LINK)))
    assert line.sentence == (
        f"2026-11-21T12:00:00.123Z  succeeded  {PAYMENT_ID}  order 40017  12.50 EUR  test  "
        "[link pay.example 3d2565aafd60]"
    )
    assert "secret" not in json.dumps(dict(line.document)) + repr(line)


def test_links_are_shown_only_when_asked_for() -> None:
    event = replace(make_event(), link=Secret(LINK))
    assert line_of(event, shows_links=True).row["link"] == LINK
    assert line_of(event, shows_links=True).document["link"] == LINK


def test_a_failure_tells_our_code_in_english_and_the_providers() -> None:
    event = replace(
        make_event(Status.FAILED), code=Code.DECLINED, provider_code="05", livemode=True
    )
    row = line_of(event).row
    assert (row["code"], row["mode"]) == ("declined: Payment declined (05)", "LIVE")


def test_whether_money_can_move_is_left_open_where_the_event_leaves_it_open() -> None:
    event = replace(make_event(Status.FAILED), code=Code.INVALID_MESSAGE, livemode=None)
    row = line_of(event).row
    assert (row["code"], row["mode"]) == ("invalid_message: Invalid payment message", "")


def test_the_document_is_the_event_but_for_the_link() -> None:
    event = make_event(Status.IN_DOUBT)
    assert line_of(event).document == json.loads(event_body(event))


def test_unknown_codes_fields_and_currencies_are_shown_as_they_stand() -> None:
    body = {"code": "new", "error": {"message": "text"}, "amount": "5", "currency": "CHF"}
    line = line_of(json.dumps(body).encode())
    assert (line.row["code"], line.row["amount"]) == ("new", "5 CHF")
    assert line_of(b'{"error": 1, "amount": "-5", "currency": "EUR"}').row["amount"] == "-5 EUR"


@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b"7", b"[" * 100_000])
def test_what_is_no_event_is_said_to_be_none(body: bytes) -> None:
    line = line_of(body)
    assert line.sentence == "failed     a message that is no event"
    assert line.document == {"unreadable": True, "routing_key": "payment.result.dcp.failed"}


def test_nothing_an_event_holds_can_command_the_terminal() -> None:
    line = line_of(b'{"id_commande": "\\u001b[2J", "link": "\\u001b]0;x"}', shows_links=True)
    assert "\x1b" not in line.sentence


@pytest.mark.parametrize(
    ("cents", "text"),
    [(1, "0.01 EUR"), (1250, "12.50 EUR"), (999999999999, "9999999999.99 EUR")],
)
def test_amounts_are_written_exactly(cents: int, text: str) -> None:
    assert euros(cents) == text
