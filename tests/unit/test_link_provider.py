"""The link provider: what is sent, field by field, and what every answer means."""

import base64
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.provider_examples import (
    CANCEL,
    LINK_ACCOUNT,
    LINK_COMPANY,
    LINK_ROUTE,
    REFERENCE,
    REQUEST,
    FixedSigning,
    endpoint,
    reply,
)
from worker.calls import Declined, HttpReply, Misconfigured, NotApplied, Outcome, Succeeded, Unknown
from worker.codes import Code
from worker.model import Cents, OperationClass, ProviderKind, Route, Secret
from worker.outcomes import of_status
from worker.providers import PROVIDERS
from worker.providers.link import LINK_CODES, LinkProvider

PROVIDER = PROVIDERS[ProviderKind.LINK]
LINK = "https://pay.example.org/paypage?SDESSID=abc"
KEYED_ROUTE = replace(LINK_ROUTE, operation_class=OperationClass.KEYED)
SENDING_ROUTE = replace(
    LINK_ROUTE,
    account=replace(LINK_ACCOUNT, fields={"sms_option": "1", "reference_label": "Été"}),
    operation_class=OperationClass.NON_IDEMPOTENT,
)


def sent(route: Route = LINK_ROUTE) -> dict[str, object]:
    body = PROVIDER.initiate(REQUEST, route, REFERENCE, FixedSigning()).body
    members: dict[str, object] = json.loads(body)
    return members


def read(answer: HttpReply, route: Route = LINK_ROUTE) -> Outcome:
    return PROVIDER.read_initiation(answer, route)


def refused(code: object, status: int = 200) -> HttpReply:
    return reply(json.dumps({"result": False, "code": code}), status)


def test_the_request_is_the_documented_post() -> None:
    request = PROVIDER.initiate(REQUEST, LINK_ROUTE, REFERENCE, FixedSigning())
    headers = dict(request.headers)
    assert request.url == "https://test.example.org/ssp/get_link_payment"
    assert headers.pop("Authorization").startswith("Basic ")
    assert headers == {"Content-Type": "application/json", "Accept": "application/json"}
    assert json.loads(request.body) == {
        "beneficiary_reference": "395000000000001",
        "amount": "1005",
        "payment_reference": REFERENCE,
        "consumer_reference": "2263",
        "url_callback": f"https://pay.example.org/cb/{REFERENCE}",
        "consumer_email": "client@example.org",
        "consumer_phone_number": "0600000000",
        "sms_option": "0",
        "email_option": "0",
    }


def test_basic_credentials_are_encoded_as_utf_8() -> None:
    request = PROVIDER.initiate(REQUEST, LINK_ROUTE, REFERENCE, FixedSigning())
    encoded = dict(request.headers)["Authorization"].removeprefix("Basic ")
    assert base64.b64decode(encoded).decode() == "test-login:test-sésame"


def test_a_base_url_may_end_with_a_slash() -> None:
    route = replace(LINK_ROUTE, endpoint=replace(endpoint("test"), base_url="https://t.example/"))
    request = PROVIDER.initiate(REQUEST, route, REFERENCE, FixedSigning())
    assert request.url == "https://t.example/get_link_payment"


def test_the_fields_of_the_account_are_sent_and_may_make_the_provider_send_the_link() -> None:
    members = sent(SENDING_ROUTE)
    assert members["reference_label"] == "Été"
    assert members["sms_option"] == "1"
    assert members["email_option"] == "0"


def test_a_payment_kept_under_another_class_than_e_is_never_sent_by_the_provider() -> None:
    members = sent(replace(SENDING_ROUTE, operation_class=OperationClass.ORPHAN_SAFE))
    assert members["sms_option"] == "0"
    assert members["email_option"] == "0"
    assert members["reference_label"] == "Été"


def test_the_fields_of_the_account_never_override_the_required_seven() -> None:
    fields = {"amount": "1", "consumer_email": "other@example.org"}
    members = sent(replace(LINK_ROUTE, account=replace(LINK_ACCOUNT, fields=fields)))
    assert members["amount"] == "1005"
    assert members["consumer_email"] == "client@example.org"


def test_every_member_is_a_string_and_the_largest_amount_keeps_its_digits() -> None:
    request = replace(REQUEST, amount=Cents(999_999_999_999))
    body = PROVIDER.initiate(request, LINK_ROUTE, REFERENCE, FixedSigning()).body
    members = json.loads(body)
    assert all(isinstance(member, str) for member in members.values())
    assert members["amount"] == "999999999999"


def test_nothing_personal_or_secret_stands_in_a_repr() -> None:
    request = PROVIDER.initiate(REQUEST, LINK_ROUTE, REFERENCE, FixedSigning())
    shown = repr(request) + repr(LINK_ROUTE) + repr(REQUEST)
    for secret in ("client@example.org", "sésame", "Basic"):
        assert secret not in shown


def test_a_link_on_a_listed_host_is_success() -> None:
    answer = reply(json.dumps({"result": True, "link": LINK, "message": "unknown member"}))
    assert read(answer) == Succeeded(link=Secret(LINK), http_status=200)


@pytest.mark.parametrize(
    "link",
    [
        "https://pay.example.org",
        "HTTPS://PAY.EXAMPLE.ORG/p",
        "https://pay.example.org:443/p",
        "https://pay.example.org/p#frag/@b",
        "https://pay.example.org/" + "x" * (2048 - 24),
    ],
)
def test_these_links_are_listed(link: str) -> None:
    answer = reply(json.dumps({"result": True, "link": link}))
    assert read(answer) == Succeeded(link=Secret(link), http_status=200)


@pytest.mark.parametrize(
    "link",
    [
        "http://pay.example.org/p",
        "https://evil.example/p",
        "https://pay.example.org.evil.example/p",
        "https://www.pay.example.org/p",
        "https://pay.example.org./p",
        "https://user@pay.example.org/p",
        "https://user:word@pay.example.org/p",
        "https://@pay.example.org/p",
        "https://pay.example.org:8443/p",
        "https://pay.example.org:99999/p",
        "https://pay.example.org:x/p",
        "https://evil.example\\@pay.example.org/p",
        "https://evil.example/\n.pay.example.org/p",
        " https://pay.example.org/p",
        "https://pay.example.org/\u00e9",
        "https://pa\u0443.example.org/p",
        "https://[::1/p",
        "https:///p",
        "//pay.example.org/p",
        "javascript:alert(1)",
        "pay.example.org",
        "https://pay.example.org/" + "x" * (2049 - 24),
    ],
)
def test_any_other_link_is_kept_in_doubt_and_never_asked_for_again(link: str) -> None:
    answer = reply(json.dumps({"result": True, "link": link}))
    unlisted = Unknown(http_status=200, never_resend=True, link=Secret(link))
    assert read(answer) == unlisted


def test_a_port_counts_only_when_it_is_listed_with_its_host() -> None:
    hosts = frozenset({"127.0.0.1:8443"})
    route = replace(LINK_ROUTE, endpoint=replace(endpoint("test"), link_hosts=hosts))
    listed = reply(json.dumps({"result": True, "link": "https://127.0.0.1:8443/p"}))
    other = reply(json.dumps({"result": True, "link": "https://127.0.0.1/p"}))
    assert isinstance(read(listed, route), Succeeded)
    assert isinstance(read(other, route), Unknown)


def test_half_a_surrogate_pair_in_a_link_can_still_be_stored() -> None:
    outcome = read(reply(r'{"result": true, "link": "https://pay.example.org/\ud800"}'))
    assert isinstance(outcome, Unknown)
    assert outcome.link is not None
    assert outcome.link.reveal().encode() == b"https://pay.example.org/?"


@pytest.mark.parametrize(
    "body",
    [
        None,
        "",
        "null",
        "[]",
        "true",
        "<html><body>login</body></html>",
        '{"result": true, "link": "https://pay.exam',
        '{"result": "true", "link": "https://pay.example.org/p"}',
        '{"result": 1, "link": "https://pay.example.org/p"}',
        '{"result": null, "link": "https://pay.example.org/p"}',
        '{"link": "https://pay.example.org/p"}',
        '{"result": true}',
        '{"result": true, "link": null}',
        '{"result": true, "link": ""}',
        '{"result": true, "link": " "}',
        '{"result": true, "link": ["https://pay.example.org/p"]}',
        '{"result": true, "result": true, "link": "https://pay.example.org/p"}',
        '{"result": false, "code": "NOK_001", "code": "NOK_001"}',
        '{"result": false, "code": "NOK_001", "x": {"a": 1, "a": 1}}',
        '{"result": true, "link": "https://pay.example.org/p", "x": NaN}',
        '{"result": true, "link": "https://pay.example.org/p", "x": -Infinity}',
        '{"x": ' + "9" * 5000 + "}",
        "[" * 60_000,
        b'{"result": true, "link": "https://pay.example.org/\xff"}',
        '{"result": true, "link": "https://pay.example.org/p"}'.encode("utf-16"),
    ],
)
def test_a_200_that_cannot_be_understood_is_unknown(body: bytes | str | None) -> None:
    assert read(reply(body)) == Unknown(http_status=200)


@pytest.mark.parametrize("status", [201, 202, 204, 206, 299])
def test_only_a_200_is_an_answer(status: int) -> None:
    answer = reply(json.dumps({"result": True, "link": LINK}), status)
    assert read(answer) == Unknown(http_status=status)


def test_a_byte_order_mark_is_skipped() -> None:
    answer = reply(b"\xef\xbb\xbf" + json.dumps({"result": True, "link": LINK}).encode())
    assert isinstance(read(answer), Succeeded)


CONFIGURATION = {
    "AUTH_001": Code.PROVIDER_CREDENTIALS,
    "AUTH_002": Code.PROVIDER_CREDENTIALS,
    "AUTH_003": Code.PROVIDER_IP_REFUSED,
    "AUTH_004": Code.PROVIDER_CREDENTIALS,
    "AUTH_005": Code.PROVIDER_CREDENTIALS,
}
BUSINESS = {
    "EXIST_001": Code.REFERENCE_ALREADY_USED,
    "EXIST_002": Code.CUSTOMER_UNKNOWN,
    "EXIST_003": Code.REFERENCE_ALREADY_USED,
    "EXIST_004": Code.REFERENCE_ALREADY_USED,
    "EXIST_005": Code.REFERENCE_ALREADY_USED,
    "NOK_001": Code.DECLINED,
}


def test_the_code_table_is_the_documented_one() -> None:
    assert LINK_CODES == CONFIGURATION | BUSINESS


@pytest.mark.parametrize("status", [200, 400, 409, 422, 402, 418, 451])
@pytest.mark.parametrize("provider_code", CONFIGURATION)
def test_an_auth_code_is_our_configuration(provider_code: str, status: int) -> None:
    assert read(refused(provider_code, status)) == Misconfigured(
        code=CONFIGURATION[provider_code], http_status=status, provider_code=provider_code
    )


@pytest.mark.parametrize("route", [LINK_ROUTE, KEYED_ROUTE])
@pytest.mark.parametrize("status", [200, 400, 409, 422, 402, 418, 451])
@pytest.mark.parametrize("provider_code", BUSINESS)
def test_a_business_code_is_a_known_decline(provider_code: str, status: int, route: Route) -> None:
    assert read(refused(provider_code, status), route) == Declined(
        code=BUSINESS[provider_code], provider_code=provider_code, http_status=status, known=True
    )


@pytest.mark.parametrize("status", [200, 400, 409, 422])
@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("EXIST_006", "EXIST_006"),
        ("exist_005", "exist_005"),
        ("EXIST_005 ", "EXIST_005"),
        (5, "5"),
        (None, None),
        ("", None),
        ({}, None),
        (["NOK_001"], None),
        ("client@example.org", None),
    ],
)
def test_an_unknown_code_is_refused_and_marked_as_unknown(
    raw: object, shown: str | None, status: int
) -> None:
    assert read(refused(raw, status)) == Declined(
        code=Code.PROVIDER_REFUSED, provider_code=shown, http_status=status, known=False
    )


def test_a_refusal_without_a_code_is_refused() -> None:
    assert read(reply('{"result": false}')) == Declined(
        code=Code.PROVIDER_REFUSED, provider_code=None, http_status=200, known=False
    )


def test_a_code_learned_later_is_data() -> None:
    provider = LinkProvider(codes={**LINK_CODES, "NOK_002": Code.DECLINED})
    assert provider.read_initiation(refused("NOK_002"), LINK_ROUTE) == Declined(
        code=Code.DECLINED, provider_code="NOK_002", http_status=200, known=True
    )


@pytest.mark.parametrize("operation_class", OperationClass)
def test_every_other_status_is_read_from_the_status_alone(
    operation_class: OperationClass,
) -> None:
    route = replace(LINK_ROUTE, operation_class=operation_class)
    body = json.dumps({"result": True, "link": LINK})
    for status in (*range(100, 200), *range(300, 600)):
        answer = reply(body, status)
        assert read(answer, route) == of_status(answer, operation_class), status


def test_a_401_keeps_the_providers_code() -> None:
    assert read(refused("AUTH_003", 401)) == Misconfigured(
        code=Code.PROVIDER_CREDENTIALS, http_status=401, provider_code="AUTH_003"
    )


def test_a_429_says_how_long_to_wait() -> None:
    answer = reply("slow down", 429, {"retry-after": "12"})
    assert read(answer) == NotApplied(
        code=Code.PROVIDER_RATE_LIMITED, http_status=429, retry_after=12.0
    )


def test_a_bare_409_under_class_c_waits_for_the_same_key() -> None:
    assert read(reply("", 409), KEYED_ROUTE) == Unknown(http_status=409)


@given(body=st.binary(max_size=200), status=st.integers(100, 599))
def test_no_bytes_ever_raise_or_succeed_by_chance(body: bytes, status: int) -> None:
    assert not isinstance(read(reply(body, status)), Succeeded)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["result", "link", "code", "x"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(value=JSON)
def test_success_needs_a_json_true_and_a_listed_link(value: object) -> None:
    outcome = read(reply(json.dumps(value)))
    if isinstance(outcome, Succeeded):
        assert isinstance(value, dict)
        assert value["result"] is True
        assert value["link"].lower().startswith("https://pay.example.org")


def test_a_link_cannot_be_withdrawn() -> None:
    with pytest.raises(NotImplementedError):
        PROVIDER.cancel(CANCEL, "12", REQUEST.email, LINK_ROUTE, FixedSigning())
    with pytest.raises(NotImplementedError):
        PROVIDER.read_cancellation(reply("{}"), LINK_ROUTE)


def test_a_company_without_a_placeholder_sends_its_callback_as_it_stands() -> None:
    company = replace(LINK_COMPANY, url_callback="https://pay.example.org/back")
    members = sent(replace(LINK_ROUTE, company=company))
    assert members["url_callback"] == "https://pay.example.org/back"
