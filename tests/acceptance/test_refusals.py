"""Every message the contract refuses is answered, kept for a person, and stops nothing."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aio_pika.abc import HeadersType

from tests.acceptance.erp import BLANK, basket_order, checked_letter, order, payment_id_of
from tests.acceptance.installation import CHECKOUT, Installation
from tests.acceptance.shared_site import Change, Site

pytestmark = [pytest.mark.broker, pytest.mark.asyncio(loop_scope="module")]

EXAMPLES = CHECKOUT / "schemas" / "examples" / "v1" / "payment-request"
INVALID = sorted((EXAMPLES / "invalid").glob("*.json"))
VALID = sorted((EXAMPLES / "valid").glob("*.json"))


@pytest.fixture(scope="module")
def change() -> Change:
    """Routes for some combinations only; the links take no more than 9,000.00 euros."""

    def bend(installation: Installation) -> None:
        installation.settings["routes"] = [
            {"target": "LABANQUEPOSTALE", "account": "safedebit"},
            {"target": "PAYBOX", "type": "CB", "account": "safedebit"},
            {"target": "MILLIET", "account": "combo"},
        ]
        installation.table("accounts", "safedebit")["max_amount"] = 900_000

    return bend


@dataclass(frozen=True, slots=True)
class Refused:
    """One message that is refused, and the faults it is told."""

    name: str
    body: bytes
    faults: tuple[tuple[str, str], ...]
    code: str = "invalid_message"
    message_id: str | None = None
    routing_key: str = "payment.initiate.dcp"
    headers: Mapping[str, Any] = field(default_factory=dict)


def published(path: Path) -> Refused:
    """An example that the schemas come with."""
    content = json.loads(path.read_text("utf-8"))
    message = content["message"]
    text = message.get("body_text")
    headers = dict(message["headers"])
    if "CC" in headers:
        headers["CC"] = [headers["CC"]]  # the broker takes nothing but a list
    return Refused(
        name=path.stem,
        body=(json.dumps(message["body"]) if text is None else text).encode(),
        faults=tuple((each["field"], each["code"]) for each in content["fields"]),
        code=content["code"],
        message_id=None if message.get("message_id") else BLANK,
        routing_key=message["routing_key"],
        headers=headers,
    )


def body(**changes: object) -> bytes:
    """A request body with these changes, in UTF-8."""
    return json.dumps(order(**changes), ensure_ascii=False).encode()


def bad(field_name: str, code: str, value: object) -> Refused:
    """A request with one wrong field."""
    name = f"{field_name}-{code}-{str(value)[:16]!r}"
    overall = "invalid_amount" if field_name == "amount" else "invalid_message"
    return Refused(name, body(**{field_name: value}), ((field_name, code),), overall)


def whole(name: str, content: bytes, code: str) -> Refused:
    """A body that is wrong as a whole."""
    return Refused(name, content, (("body", code),))


def without(name: str) -> bytes:
    asked = order()
    del asked[name]
    return json.dumps(asked).encode()


def nested(depth: int) -> bytes:
    """A sound request whose unknown property makes it so many levels deep."""
    inside = b"[" * (depth - 1) + b"]" * (depth - 1)
    return body()[:-1] + b', "extra": ' + inside + b"}"


SMALLEST_TOO_LARGE = body()[:-1] + b" " * (64 * 1024 + 1 - len(body())) + b"}"

ROWS = [
    *(published(path) for path in INVALID),
    *(
        Refused(f"missing-{name}", without(name), ((name, "missing"),), code)
        for name, code in (
            *((name, "invalid_message") for name in sorted(order().keys() - {"amount"})),
            ("amount", "invalid_amount"),
        )
    ),
    bad("email", "missing", None),
    bad("payment_target", "unknown_value", "PAYPAL"),
    bad("payment_target", "unknown_value", ""),
    bad("payment_run_mode", "not_a_name", 0),
    bad("payment_run_mode", "unknown_value", "0"),
    bad("type_paiement", "not_a_name", ["SEPA"]),
    bad("id_client", "too_long", "x" * 33),
    bad("id_client", "not_text", 1.5),
    bad("id_client", "control_character", "22\u000063"),
    bad("id_origin", "too_short", "   "),
    bad("id_commande", "not_text", ["1"]),
    bad("amount", "not_cents", "0"),
    bad("amount", "not_cents", " 1250"),
    bad("amount", "not_cents", "+1250"),
    bad("amount", "not_cents", "01250"),
    bad("amount", "not_cents", "1_250"),
    bad("amount", "not_cents", "\u0661\u0662"),
    bad("amount", "not_cents", "1250\n"),
    bad("amount", "not_cents", 12.5),
    bad("amount", "not_cents", 1250.0),
    bad("amount", "not_cents", -1),
    bad("amount", "not_cents", "1" * 13),
    bad("email", "not_an_email", "client.example.org"),
    bad("email", "not_an_email", "@example.org"),
    bad("email", "not_an_email", "a b@example.org"),
    bad("email", "not_an_email", "<a@example.org>"),
    bad("email", "not_an_email", "a@example.org,b@example.org"),
    bad("email", "too_long", "a@" + "x" * 69),
    bad("commentaire", "too_long", "x" * 501),
    bad("commentaire", "control_character", "a\u0007b"),
    whole("nothing", b"", "not_json"),
    whole("list", b"[]", "not_an_object"),
    whole("text", b'"payment"', "not_an_object"),
    whole("cut", body()[:-1], "not_json"),
    whole("byte-order-mark", b"\xef\xbb\xbf" + body(), "byte_order_mark"),
    whole("latin-1", body(id_client="J\u00e9r\u00f4me").decode().encode("latin-1"), "not_utf8"),
    whole("utf-16", body().decode().encode("utf-16-le"), "not_json"),
    whole("infinity", body()[:-1] + b', "extra": -Infinity}', "not_finite"),
    whole("too-deep", nested(17), "too_deep"),
    whole("duplicate-inside", body()[:-1] + b', "extra": {"a": 1, "a": 2}}', "duplicate_key"),
    whole("duplicate-unknown", body()[:-1] + b', "extra": 1, "extra": 2}', "duplicate_key"),
    whole("too-large", SMALLEST_TOO_LARGE, "body_too_large"),
    whole("far-too-large", b"x" * 1_000_000, "body_too_large"),
    Refused(
        "two-spellings",
        body()[:-1] + b', "IdClient": "2263"}',
        (("id_client", "repeated"),),
    ),
    Refused(
        "order-0-without-key",
        body(id_commande="0", id_client="1"),
        (("message_id", "identity_missing"),),
        message_id=BLANK,
    ),
    Refused(
        "order-0-with-empty-guid",
        body(id_commande="0", id_client="2"),
        (("message_id", "identity_missing"),),
        message_id="00000000-0000-0000-0000-000000000000",
    ),
    Refused(
        "long-key",
        body(),
        (("idempotency-key", "too_long"),),
        headers={"idempotency-key": "k" * 256},
    ),
    Refused(
        "time-without-zone",
        body(),
        (("not-after", "not_a_time"),),
        headers={"not-after": "2026-11-21T20:00:00"},
    ),
    Refused(
        "carbon-copies",
        body(),
        (("CC", "not_allowed"),),
        headers={"CC": ["payment.initiate.web", "payment.cancel.web"]},
    ),
    Refused(
        "no-origin-in-key",
        body(),
        (("routing_key", "unknown_routing_key"),),
        routing_key="payment.initiate",
    ),
    Refused(
        "cancel-nothing",
        b"{}",
        (("payment_id", "exactly_one"),),
        routing_key="payment.cancel.dcp",
    ),
    Refused(
        "cancel-no-guid",
        b'{"payment_id": "12"}',
        (("payment_id", "not_a_guid"),),
        routing_key="payment.cancel.dcp",
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_a_message_that_cannot_be_read_is_answered_and_kept(site: Site, row: Refused) -> None:
    called = site.simulator.applied.total
    sent = await site.erp.send(
        row.body, routing_key=row.routing_key, message_id=row.message_id, headers=dict(row.headers)
    )
    event = await site.erp.answer(sent)
    is_cancel = row.routing_key.startswith("payment.cancel")
    assert event.status == ("cancel_failed" if is_cancel else "failed")
    assert (event["code"], event.faults) == (row.code, list(row.faults))
    assert (event["error"]["category"], event["error"]["retryable"]) == ("request", False)
    assert (event["result"], event["link"], event["attempts"]) == (False, None, 0)
    letter = await site.erp.letter(sent)
    assert letter.body == row.body
    checked_letter(letter, event)
    assert site.simulator.applied.total == called
    assert len(site.erp.answers(sent)) == 1


async def test_the_next_request_is_answered_after_all_of_them(site: Site) -> None:
    await site.erp.is_answered()


@pytest.mark.parametrize(
    "text", [pytest.param(path.read_text("utf-8"), id=path.stem) for path in VALID]
)
async def test_every_published_example_of_a_sound_request_is_accepted(
    site: Site, text: str
) -> None:
    """Some of them ask for what this site does not do; none is told that it cannot be read."""
    event = await site.erp.answer(await site.erp.send(text))
    assert event["code"] not in {"invalid_message", "internal_error"}


async def test_all_faults_come_together_and_no_value_comes_back(site: Site) -> None:
    asked = order(payment_type=None, id_client=" ", amount="12,50", email="secret-person")
    asked["CLIENT"] = "ignored"
    sent = await site.erp.send(asked, headers={"not-after": "soon"})
    event = await site.erp.answer(sent)
    assert event.faults == [
        ("not-after", "not_a_time"),
        ("payment_type", "missing"),
        ("id_client", "too_short"),
        ("amount", "not_cents"),
        ("email", "not_an_email"),
    ]
    assert all(each["message"] for each in event["error"]["fields"])
    assert b"secret-person" not in event.message.body


async def test_a_corrected_body_under_the_same_key_is_a_first_request(site: Site) -> None:
    sent = await site.erp.send(order(amount="12.50"))
    refused = await site.erp.answer(sent)
    corrected = await site.erp.send(order(amount="1250"), message_id=sent.message_id)
    event = await site.erp.answer(corrected)
    assert (event.status, event["sequence"]) == ("succeeded", 1)
    assert event["payment_id"] == payment_id_of("dcp", sent.message_id)
    assert event["payment_id"] != refused["payment_id"]


@pytest.mark.parametrize(
    ("changes", "code", "category", "faults"),
    [
        pytest.param(
            {"payment_target": "PAYBOX", "payment_type": "AMEX"},
            "unsupported_combination",
            "request",
            [],
            id="no-route",
        ),
        pytest.param(
            {"id_societe": "77"},
            "company_not_configured",
            "config",
            [("id_societe", "company_unknown")],
            id="company",
        ),
        pytest.param({"payment_run_mode": "LIVE"}, "mode_not_allowed", "config", [], id="live"),
        pytest.param(
            {"payment_run_mode": "FORCE_LIVE"}, "mode_not_allowed", "config", [], id="force-live"
        ),
        pytest.param(
            {"amount": "900001"},
            "invalid_amount",
            "request",
            [("amount", "too_large")],
            id="more-than-the-account-takes",
        ),
    ],
)
async def test_a_request_this_site_does_not_serve_is_answered_and_kept(
    site: Site,
    changes: dict[str, object],
    code: str,
    category: str,
    faults: list[tuple[str, str]],
) -> None:
    called = site.simulator.applied.total
    asked = order(**changes)
    sent = await site.erp.send(asked)
    event = await site.erp.answer(sent)
    assert (event.status, event["code"], event["error"]["category"]) == ("failed", code, category)
    assert event.faults == faults
    assert event["payment_id"] == payment_id_of("dcp", sent.message_id)
    assert {name: event[name] for name in asked.keys() - {"email"}} == {
        name: value for name, value in asked.items() if name != "email"
    }
    letter = await site.erp.letter(sent)
    assert json.loads(letter.body) == asked
    checked_letter(letter, event)
    assert site.simulator.applied.total == called
    await site.erp.is_answered()


async def test_a_copy_with_our_own_headers_is_not_believed_from_outside(site: Site) -> None:
    """Only the two internal exchanges may say who a message is."""
    forged: HeadersType = {
        "identity": "web\u001fstolen",
        "payment-id": payment_id_of("web", "stolen"),
        "sequence": 7,
        "attempts": 5,
        "first-seen": "2020-01-01T00:00:00Z",
        "origin-routing-key": "payment.initiate.web",
    }
    sent = await site.erp.send(basket_order(), headers=forged)
    event = await site.erp.answer(sent)
    assert (event.status, event["sequence"], event["attempts"]) == ("succeeded", 1, 1)
    assert event["payment_id"] == payment_id_of("dcp", sent.message_id)
