"""What the three original documents print: their requests, their answers, their DTO class."""

import base64
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from tests.acceptance.erp import Erp, basket_order, checked_letter, order
from tests.acceptance.installation import Installation, basket_account, link_account
from tests.acceptance.shared_site import site_of
from tests.broker import Broker
from tests.payment_dto import Kind, Mode, PaymentInitiate, Target
from tests.servers import Connection, RawServer, Received, answer

pytestmark = [pytest.mark.broker, pytest.mark.asyncio(loop_scope="module")]

SAMPLE = (
    '{"payment_target":"LABANQUEPOSTALE","payment_run_mode":"TEST","payment_type":"DIRECT_SEPA",'
    '"id_origin":"String","id_societe":"String","id_client":"String","id_commande":"String",'
    '"type_paiement":"DIRECT_SEPA","amount":"String","email":"String","commentaire":"String"}'
)
"""The HTTP sample of the DTO page, placeholders and all."""

LINK_ANSWER = b"""{
    "result": true,
    "link": "https://xxxxxxxx/paypage?SDESSID=xxxxx"
}"""
LINK_REFUSAL = b"""{
    "result": false,
    "code": "XXXX"
}"""
ITEM_ANSWER = (
    b'{"result": "succes", "id": 12, "payement_url": "https://payement-operator/mon-item"}'
)
REMOVAL_ANSWER = b'{"result": "succes"}'

REFUSED_AMOUNT = "66600"
"""Cents of the one order that the link provider below refuses."""


@dataclass(frozen=True, slots=True)
class PrintedSite:
    """An ERP, and providers that answer with the documents' own words."""

    erp: Erp
    provider: RawServer

    def last_call(self) -> Received:
        return self.provider.received[-1]

    def last_body(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.last_call().body)
        return body


async def speak_as_printed(connection: Connection) -> None:
    """Answer each operation as its page does, then close."""
    request = await connection.request()
    if "remove-basket-item" in request.target:
        text = REMOVAL_ANSWER
    elif "add-basket-item" in request.target:
        text = ITEM_ANSWER
    elif REFUSED_AMOUNT.encode() in request.body:
        text = LINK_REFUSAL
    else:
        text = LINK_ANSWER
    headers = (("Content-Type", "application/json"), ("Connection", "close"))
    await connection.write(answer(body=text, headers=headers))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def printed(
    broker: Broker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[PrintedSite]:
    """A worker whose two accounts lead to the printed answers; company "String" exists."""
    async with RawServer(speak_as_printed) as provider:

        def change(installation: Installation) -> None:
            link = link_account(provider.url("/xxxx"), hosts=["xxxxxxxx"])
            basket = basket_account(provider.url(""), hosts=["payement-operator"])
            installation.table("accounts").update(safedebit=link, combo=basket)
            companies = installation.table("accounts", "safedebit", "test", "companies")
            companies["String"] = companies["1"]

        directory = tmp_path_factory.mktemp("printed")
        async with site_of(broker, directory, change) as site:
            yield PrintedSite(site.erp, provider)


async def test_the_printed_request_with_real_values_gets_the_printed_link(
    printed: PrintedSite,
) -> None:
    asked = json.loads(SAMPLE) | {"amount": "1000000", "email": "test@test.com"}
    sent = await printed.erp.send(asked, routing_key="payment.initiate.string")
    event = await printed.erp.answer(sent)
    assert event.message.routing_key == "payment.result.string.succeeded"
    assert (event["result"], event["link"]) == (True, "https://xxxxxxxx/paypage?SDESSID=xxxxx")
    assert (event["code"], event["error"]) == (None, None)
    assert event["id_origin"] == "String"
    assert event["payment_type"] == event["type_paiement"] == "DIRECT_SEPA"
    assert event["request_id"] == sent.message_id


async def test_the_provider_gets_the_documented_request(printed: PrintedSite) -> None:
    asked = order(amount="1000000", id_client="C-17", email="test@test.com")
    event = await printed.erp.answer(await printed.erp.send(asked))
    call, body = printed.last_call(), printed.last_body()
    assert (call.method, call.target) == ("POST", "/xxxx/get_link_payment")
    assert call.header("authorization") == f"Basic {base64.b64encode(b'demo:demo').decode()}"
    assert (call.header("content-type"), call.header("accept")) == ("application/json",) * 2
    reference = event["provider_reference"]
    assert body == {
        "beneficiary_reference": "395000000000001",
        "amount": "1000000",
        "payment_reference": reference,
        "consumer_reference": "C-17",
        "url_callback": f"https://back.example.org/cb/{reference}",
        "consumer_email": "test@test.com",
        "consumer_phone_number": "0600000000",
        # The class of a link call rests on these two: the provider itself sends nothing.
        "email_option": "0",
        "sms_option": "0",
    }


async def test_the_printed_refusal_is_answered_and_waits_for_a_person(
    printed: PrintedSite,
) -> None:
    """Nobody has said what the code XXXX means, so it is kept to be replayed once it is known."""
    sent = await printed.erp.send(order(amount=REFUSED_AMOUNT))
    event = await printed.erp.answer(sent)
    assert (event.status, event["code"]) == ("failed", "provider_refused")
    assert event["error"]["provider_code"] == "XXXX"
    assert event["error"]["http_status"] == 200
    checked_letter(await printed.erp.letter(sent), event)


async def test_the_printed_basket_answer_gives_item_and_link(printed: PrintedSite) -> None:
    """The page writes ``succes`` and ``payement_url``."""
    asked = basket_order(amount="1005", email="gerard.lambert@rungis.fr")
    event = await printed.erp.answer(await printed.erp.send(asked))
    assert event.status == "succeeded"
    assert (event["basket_item_id"], event["link"]) == ("12", "https://payement-operator/mon-item")
    call, body = printed.last_call(), printed.last_body()
    path, _, query = call.target.partition("?")
    assert (call.method, path) == ("POST", "/api/lingo/add-basket-item")
    assert "email=gerard.lambert%40rungis.fr" in query
    assert "regie_id=cantine" in query
    assert body["amount"] == "10.05"
    assert body["display_name"] == f"Commande {asked['id_commande']}"
    assert body["url"] == f"https://back.example.org/i/{event['provider_reference']}/"


async def test_the_printed_removal_is_asked_for_and_understood(printed: PrintedSite) -> None:
    payment = await printed.erp.answer(await printed.erp.send(basket_order()))
    sent = await printed.erp.cancel(payment_id=payment["payment_id"], notify=True)
    event = await printed.erp.answer(sent)
    assert (event.status, event["event_type"]) == ("cancelled", "payment.cancellation.succeeded")
    assert printed.last_call().target.startswith("/api/lingo/remove-basket-item?")
    assert printed.last_body() == {"basket_item_id": "12", "notify": True}


async def test_the_printed_request_itself_is_refused_for_its_placeholders(
    printed: PrintedSite,
) -> None:
    calls = printed.provider.posts
    sent = await printed.erp.send(SAMPLE, routing_key="payment.initiate.string")
    event = await printed.erp.answer(sent)
    assert (event.status, event["code"]) == ("failed", "invalid_message")
    assert event.faults == [("amount", "not_cents"), ("email", "not_an_email")]
    assert printed.provider.posts == calls


async def test_a_message_of_the_dto_class_is_answered(printed: PrintedSite) -> None:
    text = PaymentInitiate(
        payment_target=Target.PAYBOX,
        payment_run_mode=Mode.TEST,
        payment_type=Kind.DIREC_T__S_E_P_A,
        id_origin="Télévente",
        id_societe="1",
        id_client="13846",
        id_commande="0",
        type_paiement=Kind.CB,
        amount="250",
        email="fabien@example.org",
    ).to_json()
    assert '"paymentTarget": "PAYBOX"' in text
    assert '"commentaire": null' in text
    sent = await printed.erp.send(text, routing_key="payment.initiate.televente")
    event = await printed.erp.answer(sent)
    assert event.message.routing_key == "payment.result.televente.succeeded"
    assert (event["id_origin"], event["id_commande"]) == ("Télévente", "0")
    assert (event["payment_type"], event["type_paiement"]) == ("DIRECT_SEPA", "CB")


async def test_a_dto_that_was_not_filled_in_is_told_everything_it_lacks(
    printed: PrintedSite,
) -> None:
    event = await printed.erp.answer(await printed.erp.send(PaymentInitiate().to_json()))
    assert event.message.routing_key == "payment.result.unknown.failed"
    required = set(PaymentInitiate.__dataclass_fields__) - {"commentaire"}
    assert {field for field, _ in event.faults} == required
    assert {code for _, code in event.faults} == {"missing"}


def pascal(name: str) -> str:
    """A property name as .NET serialisers of this product line write it."""
    return "".join(word.capitalize() for word in name.split("_"))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"payment_target": "LA BANQUE POSTALE"}, id="target-as-described"),
        pytest.param({"payment_target": "labanquepostale"}, id="lower-case"),
        pytest.param({"payment_type": "SEPA_DIRECT"}, id="type-as-described"),
        pytest.param({"type_paiement": "sepa_direct"}, id="second-type"),
        pytest.param({"payment_run_mode": "Test"}, id="mode"),
        pytest.param({"amount": 1250}, id="amount-as-integer"),
        pytest.param({"id_societe": 1, "id_client": 2263}, id="ids-as-integers"),
        pytest.param({"id_client": "  2263 "}, id="trimmed"),
        pytest.param({"commentaire": "ligne\r\n\tdeux"}, id="comment-with-breaks"),
        pytest.param({"unbekannt": {"n": [10**400, 0.5]}, "Amount2": 3}, id="unknown-properties"),
    ],
)
@pytest.mark.parametrize("spelling", [str, pascal], ids=["snake_case", "PascalCase"])
async def test_every_spelling_of_the_clients_is_read(
    printed: PrintedSite, changes: dict[str, object], spelling: Callable[[str], str]
) -> None:
    asked = {spelling(name): value for name, value in order(**changes).items()}
    event = await printed.erp.answer(await printed.erp.send(asked))
    assert event.status == "succeeded"
    assert event["payment_target"] == "LABANQUEPOSTALE"
    assert event["payment_run_mode"] == "TEST"
    assert event["amount"] == "1250"
    assert (event["id_societe"], event["id_client"]) == ("1", "2263")
    for name in ("payment_type", "type_paiement"):
        wanted = "DIRECT_SEPA" if name in changes else "SEPA"
        assert event[name] == wanted
