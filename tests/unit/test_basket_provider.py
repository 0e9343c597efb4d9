"""The basket provider: what is signed and sent, and what every answer means."""

import json
from dataclasses import replace
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.provider_examples import (
    BASKET_ACCOUNT,
    BASKET_COMPANY,
    BASKET_REQUEST,
    BASKET_ROUTE,
    CANCEL,
    NOW,
    REFERENCE,
    REMOVAL_ROUTE,
    FixedSigning,
    endpoint,
    reply,
)
from worker.calls import Declined, HttpReply, Misconfigured, Outcome, Succeeded, Unknown
from worker.codes import Code
from worker.model import Cents, Company, OperationClass, ProviderKind, Route, Secret
from worker.outcomes import of_status
from worker.providers import PROVIDERS, check_company
from worker.providers.basket import euros
from worker.providers.signature import encoded_query, signed_query

PROVIDER = PROVIDERS[ProviderKind.BASKET]
LINK = "https://pay.example.org/mon-item"
PAGE = "https://portal.example.org/basket"


def added(answer: HttpReply, route: Route = BASKET_ROUTE) -> Outcome:
    return PROVIDER.read_initiation(answer, route)


def removed(answer: HttpReply) -> Outcome:
    return PROVIDER.read_cancellation(answer, REMOVAL_ROUTE)


def answer_of(**members: object) -> HttpReply:
    return reply(json.dumps(members))


def declined(provider_code: str | None) -> Declined:
    return Declined(
        code=Code.PROVIDER_REFUSED, provider_code=provider_code, http_status=200, known=False
    )


def test_an_item_is_added_by_one_signed_post() -> None:
    request = PROVIDER.initiate(BASKET_REQUEST, BASKET_ROUTE, REFERENCE, FixedSigning())
    address, _, query = request.url.partition("?")
    assert address == "https://test.example.org/ssp/api/lingo/add-basket-item"
    assert query == signed_query(
        "email=client%40example.org&regie_id=cantine&orig=test-login",
        secret=Secret("test-sésame"),
        now=NOW,
        nonce="deadbeef",
    )
    assert dict(request.headers) == {
        "Content-Type": "application/json",
        "Accept": "application/json",
    }
    assert json.loads(request.body) == {
        "amount": "10.05",
        "display_name": "Commande 40017",
        "url": f"https://pay.example.org/i/{REFERENCE}/",
    }


@pytest.mark.parametrize(("cancellable", "word"), [(True, ["yes"]), (False, ["no"]), (None, [])])
def test_cancellable_is_sent_when_configured(
    cancellable: bool | None,  # noqa: FBT001 - a column of the table
    word: list[str],
) -> None:
    route = replace(BASKET_ROUTE, account=replace(BASKET_ACCOUNT, cancellable=cancellable))
    request = PROVIDER.initiate(BASKET_REQUEST, route, REFERENCE, FixedSigning())
    query = parse_qsl(urlsplit(request.url).query)
    assert [value for name, value in query if name == "cancellable"] == word


def test_each_try_is_signed_anew() -> None:
    first = PROVIDER.initiate(BASKET_REQUEST, BASKET_ROUTE, REFERENCE, FixedSigning(nonce="1"))
    second = PROVIDER.initiate(BASKET_REQUEST, BASKET_ROUTE, REFERENCE, FixedSigning(nonce="2"))
    assert first.url != second.url
    assert first.body == second.body


def test_an_address_and_an_origin_are_percent_encoded_before_they_are_signed() -> None:
    request = replace(BASKET_REQUEST, email=Secret("éléa+x&y@example.org"))
    route = replace(
        BASKET_ROUTE,
        endpoint=replace(endpoint("test"), login="o r&g", base_url="https://t.example/"),
    )
    url = PROVIDER.initiate(request, route, REFERENCE, FixedSigning()).url
    query = encoded_query(
        [("email", "éléa+x&y@example.org"), ("regie_id", "cantine"), ("orig", "o r&g")]
    )
    assert url.startswith(f"https://t.example/api/lingo/add-basket-item?{query}&algo=sha256&")
    assert url.isascii()


def test_templates_are_filled_once_and_an_order_number_cannot_break_the_address() -> None:
    request = replace(BASKET_REQUEST, id_commande="A/1?{reference}")
    company = replace(BASKET_COMPANY, item_url="https://p.example/{id_commande}/{reference}/")
    sent = PROVIDER.initiate(
        request, replace(BASKET_ROUTE, company=company), REFERENCE, FixedSigning()
    )
    body = json.loads(sent.body)
    assert body["display_name"] == "Commande A/1?{reference}"
    assert body["url"] == f"https://p.example/A%2F1%3F%7Breference%7D/{REFERENCE}/"


@pytest.mark.parametrize(
    ("cents", "text"),
    [
        (1, "0.01"),
        (5, "0.05"),
        (29, "0.29"),
        (100, "1.00"),
        (1005, "10.05"),
        (123_456_789_012, "1234567890.12"),
    ],
)
def test_amounts_are_two_decimal_texts(cents: int, text: str) -> None:
    assert euros(Cents(cents)) == text


@given(st.integers(1, 999_999_999_999))
def test_no_cent_is_lost_on_the_way_to_euros(cents: int) -> None:
    whole, _, rest = euros(Cents(cents)).partition(".")
    assert len(rest) == 2
    assert int(whole) * 100 + int(rest) == cents


def test_an_item_is_removed_as_the_same_user() -> None:
    request = PROVIDER.cancel(CANCEL, "12", BASKET_REQUEST.email, REMOVAL_ROUTE, FixedSigning())
    address, _, query = request.url.partition("?")
    assert address == "https://test.example.org/ssp/api/lingo/remove-basket-item"
    assert query == signed_query(
        "email=client%40example.org&orig=test-login",
        secret=Secret("test-sésame"),
        now=NOW,
        nonce="deadbeef",
    )
    assert json.loads(request.body) == {"basket_item_id": "12"}


@pytest.mark.parametrize("notify", [True, False])
def test_notify_is_sent_only_when_it_is_asked_for(
    notify: bool,  # noqa: FBT001 - a column of the table
) -> None:
    cancel = replace(CANCEL, notify=notify)
    request = PROVIDER.cancel(cancel, "12", BASKET_REQUEST.email, REMOVAL_ROUTE, FixedSigning())
    assert json.loads(request.body) == {"basket_item_id": "12", "notify": notify}


@pytest.mark.parametrize(
    ("raw", "item_id"), [(12, "12"), ("12", "12"), (0, "0"), ("a-b/c", "a-b/c"), ("é", "é")]
)
@pytest.mark.parametrize("word", ["succes", "success", "succès", "SUCCES", True, "maybe", False])
def test_an_id_is_success_whatever_result_says(raw: object, item_id: str, word: object) -> None:
    outcome = added(answer_of(result=word, id=raw, payement_url=LINK))
    assert outcome == Succeeded(link=Secret(LINK), item_id=item_id, http_status=200)


@pytest.mark.parametrize("status", [200, 201, 202, 299])
def test_every_2xx_with_an_id_is_success(status: int) -> None:
    assert added(reply('{"id": 12}', status)) == Succeeded(
        link=None, item_id="12", http_status=status
    )


@pytest.mark.parametrize(
    ("members", "link", "dropped"),
    [
        ({}, None, False),
        ({"payment_url": None}, None, False),
        ({"payment_url": ""}, None, False),
        ({"payment_url": 12}, None, False),
        ({"payment_url": LINK}, LINK, False),
        ({"payement_url": LINK}, LINK, False),
        ({"payment_url": LINK, "payement_url": LINK + "2"}, LINK, False),
        ({"payment_url": " ", "payement_url": LINK}, LINK, False),
        ({"payment_url": "http://pay.example.org/p"}, None, True),
        ({"payment_url": "https://evil.example/p"}, None, True),
        ({"payment_url": "https://evil.example/p", "payement_url": LINK}, None, True),
        ({"payment_url": "https://u@pay.example.org/p"}, None, True),
        ({"payment_url": "/p"}, None, True),
    ],
)
def test_the_link_of_an_item_never_decides_its_success(
    members: dict[str, object],
    link: str | None,
    dropped: bool,  # noqa: FBT001 - a column of the table
) -> None:
    answer = answer_of(id=12, **members)
    assert added(answer) == Succeeded(
        link=Secret.maybe(link), item_id="12", http_status=200, link_dropped=dropped
    )
    with_page = replace(BASKET_ROUTE, account=replace(BASKET_ACCOUNT, basket_page_url=PAGE))
    assert added(answer, with_page) == Succeeded(
        link=Secret(link or PAGE), item_id="12", http_status=200, link_dropped=dropped
    )


@pytest.mark.parametrize(
    "body",
    [
        None,
        "",
        "null",
        "[12]",
        "12",
        "<html>login</html>",
        '{"result": "succes", "id": 1',
        '{"result": "succes"}',
        '{"id": null}',
        '{"id": ""}',
        '{"id": " "}',
        '{"id": true}',
        '{"id": 1.5}',
        '{"id": [12]}',
        '{"id": {"id": 12}}',
        '{"id": "a\\nb"}',
        r'{"id": "\ud800"}',
        '{"id": 12, "id": 13}',
        '{"id": 12, "x": NaN}',
        '{"id": "' + "x" * 201 + '"}',
        '{"id": 1' + "0" * 200 + "}",
        b'{"id": "\xff"}',
    ],
)
def test_a_2xx_without_a_usable_id_is_unknown(body: bytes | str | None) -> None:
    assert added(reply(body)) == Unknown(http_status=200)


def test_an_empty_204_is_unknown() -> None:
    assert added(reply(b"", 204)) == Unknown(http_status=204)
    assert removed(reply(b"", 204)) == Unknown(http_status=204)


@pytest.mark.parametrize(
    ("err", "provider_code"),
    [
        (1, "1"),
        ("1", "1"),
        (-1, "-1"),
        ("no-such-user", "no-such-user"),
        ("client@example.org is unknown", None),
        (True, None),
        ([1], None),
        (0.5, None),
    ],
)
def test_an_error_marker_in_the_body_is_a_refusal(err: object, provider_code: str | None) -> None:
    answer = answer_of(err=err, err_desc="Jean Dupont is unknown")
    assert added(answer) == declined(provider_code)
    assert removed(answer) == declined(provider_code)


@pytest.mark.parametrize("err", [0, "0", "", None, False, 0.0, [], {}])
def test_a_zero_or_empty_err_is_no_error(err: object) -> None:
    answer = answer_of(err=err, id=12)
    assert added(answer) == Succeeded(link=None, item_id="12", http_status=200)
    assert removed(answer) == Succeeded(link=None, http_status=200)


@pytest.mark.parametrize(("code", "shown"), [("1", "1"), ("text", "text"), ("no user", None)])
@pytest.mark.parametrize("body", ["{}", "", "<html>", None])
def test_an_error_marker_in_the_header_is_a_refusal(
    code: str, shown: str | None, body: str | None
) -> None:
    answer = reply(body, headers={"x-error-code": code})
    assert added(answer) == declined(shown)
    assert removed(answer) == declined(shown)


@pytest.mark.parametrize("code", ["0", " 0 ", ""])
def test_a_zero_error_header_is_no_error(code: str) -> None:
    answer = reply('{"id": 12}', headers={"x-error-code": code})
    assert added(answer) == Succeeded(link=None, item_id="12", http_status=200)


def test_an_error_marker_beside_an_id_contradicts_itself_and_stays_in_doubt() -> None:
    assert added(answer_of(err=1, id=12)) == Unknown(http_status=200)
    with_header = reply('{"id": 12}', headers={"x-error-code": "1"})
    assert added(with_header) == Unknown(http_status=200)


@pytest.mark.parametrize("operation_class", OperationClass)
def test_every_other_status_is_read_from_the_status_alone(
    operation_class: OperationClass,
) -> None:
    route = replace(BASKET_ROUTE, operation_class=operation_class)
    for status in (*range(100, 200), *range(300, 600)):
        answer = reply('{"id": 12}', status)
        assert added(answer, route) == of_status(answer, operation_class), status
        assert PROVIDER.read_cancellation(answer, route) == of_status(answer, operation_class)


def test_a_403_and_a_400_carry_the_providers_code() -> None:
    body = '{"err": "InvalidSignature", "err_desc": "client@example.org"}'
    assert added(reply(body, 403)) == Misconfigured(
        code=Code.PROVIDER_CREDENTIALS, http_status=403, provider_code="InvalidSignature"
    )
    assert added(reply(body, 400)) == Declined(
        code=Code.PROVIDER_REFUSED,
        provider_code="InvalidSignature",
        http_status=400,
        known=False,
    )


@pytest.mark.parametrize(
    "body",
    ['{"result": "succes"}', '{"result": "Success"}', '{"result": true}', '{"err": 0}', "{}"],
)
def test_a_removal_without_an_error_marker_succeeds(body: str) -> None:
    assert removed(reply(body)) == Succeeded(link=None, http_status=200)


@pytest.mark.parametrize(
    "body",
    [
        None,
        "",
        "<html>login</html>",
        "[]",
        '{"result": "error"}',
        '{"result": false}',
        '{"result": null}',
        '{"result": 1}',
        '{"result": "succes", "result": "succes"}',
    ],
)
def test_a_removal_that_cannot_be_understood_is_unknown(body: str | None) -> None:
    assert removed(reply(body)) == Unknown(http_status=200)


@given(body=st.binary(max_size=200), status=st.integers(100, 599))
def test_no_bytes_ever_raise(body: bytes, status: int) -> None:
    assert not isinstance(added(reply(body, status)), Succeeded)
    removed(reply(body, status))


def test_nothing_personal_stands_in_a_repr() -> None:
    request = PROVIDER.initiate(BASKET_REQUEST, BASKET_ROUTE, REFERENCE, FixedSigning())
    outcome = added(answer_of(id=12, payment_url=LINK))
    shown = repr(request) + repr(outcome)
    for secret in ("client", "sésame", "signature", "mon-item"):
        assert secret not in shown


def test_a_sound_company_has_no_faults_and_a_bare_one_neither() -> None:
    assert check_company(ProviderKind.BASKET, BASKET_COMPANY) == []
    assert check_company(ProviderKind.BASKET, Company(id_societe="1")) == []


@pytest.mark.parametrize(
    ("company", "complaints"),
    [
        (
            replace(BASKET_COMPANY, item_url="https://p.example/i/"),
            ["item_url: the placeholder {reference} is missing"],
        ),
        (
            replace(BASKET_COMPANY, item_url="https://p.example/{reference}"),
            ["item_url: it does not end with /"],
        ),
        (
            replace(BASKET_COMPANY, item_url="http://p.example/{reference}/"),
            ["item_url: it does not start with https://"],
        ),
        (
            replace(BASKET_COMPANY, item_url="https://p.example/{reference}/{email}/"),
            ["item_url: the placeholder {email} is unknown; known are {id_commande}, {reference}"],
        ),
        (
            replace(BASKET_COMPANY, display_name="Commande {Id_commande} {"),
            [
                (
                    "display_name: the placeholder {Id_commande} is unknown; known are"
                    " {id_commande}, {reference}"
                ),
                "display_name: a brace is left over",
            ],
        ),
        (
            replace(BASKET_COMPANY, display_name=" "),
            ["display_name: it is empty or holds control characters"],
        ),
        (
            replace(BASKET_COMPANY, regie_id=" "),
            ["regie_id: it is empty or holds control characters"],
        ),
    ],
)
def test_a_company_value_that_cannot_work_is_named(company: Company, complaints: list[str]) -> None:
    assert check_company(ProviderKind.BASKET, company) == complaints
