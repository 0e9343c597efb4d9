"""``search_payment``: its bytes as documented, and no more read into an answer than it says."""

import base64
import json
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.provider_examples import NOW, REFERENCE, endpoint
from worker.calls import HttpReply
from worker.look_ups import (
    Listed,
    ListedOtherwise,
    LookUpQuestion,
    LookUpReading,
    NotListed,
    ReadFailed,
)
from worker.model import Cents, Secret
from worker.providers.basket import BasketProvider
from worker.providers.link import LinkProvider

ENDPOINT = endpoint("test")
LINK = "https://pay.example.org/paypage?SDESSID=1"
ASKED = LookUpQuestion(
    reference=REFERENCE, amount=Cents(1005), since=date(2026, 11, 20), until=date(2026, 12, 1)
)


def replied(body: bytes | None, status: int = 200) -> HttpReply:
    return HttpReply(status=status, headers={}, body=body, received_at=NOW)


def read(*records: object, **members: object) -> LookUpReading:
    document = {"result": True, "datas": list(records), **members}
    return LinkProvider().read_look_up(replied(json.dumps(document).encode()), ASKED, ENDPOINT)


def record(**members: object) -> dict[str, object]:
    """A record of ours with what is documented, and what we read beyond that."""
    known = {"payment_reference": REFERENCE, "beneficiary_reference": "395", "umr": None}
    return {**known, "amount": "1005", "link": LINK, **members}


def test_the_question_is_a_get_of_the_documented_bytes() -> None:
    request = LinkProvider().look_up(ASKED, ENDPOINT)
    assert request.method == "GET"
    assert request.body == b""
    assert request.url == (
        "https://test.example.org/ssp/search_payment"
        f"?payment_reference={REFERENCE}"
        "&creation_date_min=20%2F11%2F2026&creation_date_max=01%2F12%2F2026"
    )
    headers = dict(request.headers)
    login = base64.b64decode(headers.pop("Authorization").removeprefix("Basic ")).decode()
    assert login == "test-login:test-sésame"
    assert headers == {"Accept": "application/json"}
    assert "sésame" not in repr(request)


def test_the_basket_provider_has_no_read() -> None:
    with pytest.raises(NotImplementedError):
        BasketProvider().look_up(ASKED, ENDPOINT)
    with pytest.raises(NotImplementedError):
        BasketProvider().read_look_up(replied(b"{}"), ASKED, ENDPOINT)


@pytest.mark.parametrize("amount", ["1005", 1005, "10.05"])
def test_our_reference_with_our_amount_is_found_however_the_amount_is_written(
    amount: object,
) -> None:
    assert read(record(amount=amount)) == Listed(http_status=200, link=Secret(LINK))


@pytest.mark.parametrize("amount", ["1006", 1004, "10.50", "1005.00", "0.01", "100500"])
def test_another_amount_is_told_in_cents(amount: object) -> None:
    reading = read(record(amount=amount))
    assert isinstance(reading, ListedOtherwise)
    assert reading.amount != ASKED.amount


@pytest.mark.parametrize(
    "amount",
    [
        *(None, "", "0", 0, -1005, "-1005", "01005", "1,005", "10.0", "10.055", " 1005", "1005 "),
        *("1e3", 10.05, True, [], {}, "\N{ARABIC-INDIC DIGIT ONE}", "1_005", 10**12, "9" * 5000),
    ],
)
def test_an_amount_that_cannot_be_read_proves_nothing(amount: object) -> None:
    assert read(record(amount=amount)) == ReadFailed(reason="no_amount", http_status=200)


def test_an_amount_that_is_not_told_proves_nothing() -> None:
    untold = {name: value for name, value in record().items() if name != "amount"}
    assert read(untold) == ReadFailed(reason="no_amount", http_status=200)


def test_an_empty_list_is_not_found() -> None:
    assert read() == NotListed(http_status=200)


def test_a_list_of_other_payments_is_no_answer_to_the_question() -> None:
    """Whether the provider matches exactly is not documented; a part of a reference is not ours."""
    for other in (REFERENCE[:-1], REFERENCE.upper(), f"{REFERENCE}1", None, 7):
        reading = read(record(payment_reference=other))
        assert reading == ReadFailed(reason="other_references", http_status=200)
    both = read(record(payment_reference="x", amount="1"), record())
    assert isinstance(both, Listed)


def test_of_several_records_under_our_reference_every_amount_counts() -> None:
    assert isinstance(read(record(), record(amount="7")), ListedOtherwise)
    assert read(record(), record(amount=None)) == ReadFailed(reason="no_amount", http_status=200)
    twice = read(record(link=None), record())
    assert twice == Listed(http_status=200, link=Secret(LINK))


@pytest.mark.parametrize("link", [None, "", " ", 7, True, ["https://pay.example.org/"]])
def test_a_record_without_a_readable_link_is_found_all_the_same(link: object) -> None:
    assert read(record(link=link)) == Listed(http_status=200)


@pytest.mark.parametrize(
    "link",
    [
        "https://elsewhere.example.org/p",
        "http://pay.example.org/p",
        "https://a@pay.example.org/p",
        "\ud800",
    ],
)
def test_a_link_on_no_listed_host_is_kept_and_not_handed_out(link: str) -> None:
    reading = read(record(link=link))
    assert isinstance(reading, Listed)
    assert reading.link is None
    assert reading.unlisted_link is not None
    assert link not in repr(reading)


@pytest.mark.parametrize(
    ("body", "status", "failed"),
    [
        (b'{"result": false, "code": "AUTH_002"}', 200, ("refused", "AUTH_002")),
        (b'{"result": false}', 200, ("refused", None)),
        (b'{"result": false, "code": "m.durand@example.org"}', 200, ("refused", None)),
        (b"", 401, ("refused", None)),
        (b'{"code": "X_1"}', 500, ("refused", "X_1")),
        (b"", 302, ("refused", None)),
        (b'{"result": true, "datas": []}', 206, ("refused", None)),
        (b"", 200, ("unreadable", None)),
        (None, 200, ("unreadable", None)),
        (b"<html>", 200, ("unreadable", None)),
        (b"[]", 200, ("unreadable", None)),
        (b'{"result": true}', 200, ("unreadable", None)),
        (b'{"result": "true", "datas": []}', 200, ("unreadable", None)),
        (b'{"result": 1, "datas": []}', 200, ("unreadable", None)),
        (b'{"result": true, "datas": {}}', 200, ("unreadable", None)),
        (b'{"result": true, "datas": [7]}', 200, ("unreadable", None)),
        (b'{"result": true, "datas": [], "datas": []}', 200, ("unreadable", None)),
    ],
)
def test_whatever_else_is_answered_is_a_read_that_failed(
    body: bytes | None, status: int, failed: tuple[str, str | None]
) -> None:
    reading = LinkProvider().read_look_up(replied(body, status), ASKED, ENDPOINT)
    assert isinstance(reading, ReadFailed)
    assert (reading.reason, reading.provider_code) == failed
    assert reading.http_status == status


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["payment_reference", "amount", "link", "x"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)


@given(datas=json_values, result=json_values)
def test_no_answer_whatever_raises_or_is_found_without_our_reference(
    datas: object, result: object
) -> None:
    document = json.dumps({"result": result, "datas": datas}).encode()
    reading = LinkProvider().read_look_up(replied(document), ASKED, ENDPOINT)
    assert not isinstance(reading, Listed | ListedOtherwise)


@given(body=st.binary(max_size=60), status=st.integers(100, 599))
def test_no_bytes_whatever_are_found(body: bytes, status: int) -> None:
    reading = LinkProvider().read_look_up(replied(body, status), ASKED, ENDPOINT)
    assert isinstance(reading, ReadFailed)
