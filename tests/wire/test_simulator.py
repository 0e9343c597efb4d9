"""The simulator over HTTP: what it refuses, counts and forgets, and its knobs without magic."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from types import MappingProxyType

import aiohttp
import pytest
from yarl import URL

from tests.fakes_clock import FakeClock
from worker.adapters.clock import SystemClock
from worker.model import Secret
from worker.providers.signature import encoded_query, signed_query
from worker.simulator.book import RepeatReference
from worker.simulator.chance import Chance
from worker.simulator.server import Credentials, Knobs, Simulator

LINK_FIELDS = {
    "beneficiary_reference": "395000000000001",
    "amount": "1005",
    "payment_reference": "9f2c4e7ab01d4c5e8f70112233445566",
    "consumer_reference": "2263",
    "url_callback": "https://pay.example.org/cb/k3x9",
    "consumer_email": "client@example.org",
    "consumer_phone_number": "0600000000",
    "sms_option": "0",
    "email_option": "0",
}
ITEM = {
    "amount": "10.05",
    "display_name": "Commande 42",
    "url": "https://pay.example.org/i/7f3a/",
}
USER = (("email", "client@example.org"), ("regie_id", "cantine"))

Members = Mapping[str, object]
User = tuple[tuple[str, str], ...]
Answer = tuple[int, Members]

NONE: Members = MappingProxyType({})


@pytest.fixture(autouse=True)
async def limit() -> AsyncIterator[None]:
    async with asyncio.timeout(20):
        yield


def basic(login: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{login}:{password}".encode()).decode()


class Portal:
    """A client of a running simulator that signs and authenticates as it should."""

    def __init__(self, simulator: Simulator, session: aiohttp.ClientSession) -> None:
        self.simulator = simulator
        self.session = session
        self.signing = FakeClock()

    async def link(
        self, changes: Members = NONE, *, credentials: tuple[str, str] = ("demo", "demo")
    ) -> Answer:
        """Ask for a link; a field changed to ``None`` is left out."""
        merged = {**LINK_FIELDS, **changes}
        body = {name: value for name, value in merged.items() if value is not None}
        return await self._post(
            f"{self.simulator.link_base_url}/get_link_payment",
            body,
            {"Authorization": basic(*credentials)},
        )

    async def add(self, changes: Members = NONE, user: User = USER) -> Answer:
        """Add an item; a member changed to ``None`` is left out."""
        body = {name: value for name, value in {**ITEM, **changes}.items() if value is not None}
        return await self._signed("add-basket-item", user, body)

    async def remove(self, item_id: object, members: Members = NONE, user: User = USER) -> Answer:
        return await self._signed(
            "remove-basket-item", user, {"basket_item_id": item_id, **members}
        )

    async def _signed(self, call: str, user: User, body: Members) -> Answer:
        query = signed_query(
            encoded_query([*user, ("orig", "demo.example")]),
            secret=Secret("demo"),
            now=self.signing.now(),
            nonce=self.signing.nonce(),
        )
        return await self._post(f"{self.simulator.base_url}/api/lingo/{call}?{query}", body, {})

    async def _post(self, url: str, body: Members, headers: Mapping[str, str]) -> Answer:
        return await self.post_bytes(url, json.dumps(body).encode(), headers)

    async def post_bytes(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        exact = URL(url, encoded=True)
        async with self.session.post(exact, data=body, headers=headers) as answer:
            if answer.content_type != "application/json":
                return answer.status, NONE
            members: Members = await answer.json()
            return answer.status, members


@contextlib.asynccontextmanager
async def portal_to(simulator: Simulator) -> AsyncIterator[Portal]:
    async with simulator, aiohttp.ClientSession() as session:
        yield Portal(simulator, session)


@pytest.fixture
async def portal() -> AsyncIterator[Portal]:
    async with portal_to(Simulator(clock=FakeClock())) as opened:
        yield opened


# --- the link provider ---------------------------------------------------------------------------


async def test_a_link_is_https_on_the_configured_host_and_never_the_same() -> None:
    async with portal_to(Simulator(clock=FakeClock(), link_host="pay.example.org")) as portal:
        links = [(await portal.link())[1]["link"] for _ in range(2)]
    assert links == [f"https://pay.example.org/paypage?SDESSID={number:032x}" for number in (1, 2)]


async def test_any_prefix_is_served(portal: Portal) -> None:
    url = f"{portal.simulator.base_url}/test/v1/get_link_payment"
    headers = {"Authorization": basic("demo", "demo")}
    status, answer = await portal.post_bytes(url, json.dumps(LINK_FIELDS).encode(), headers)
    assert (status, answer["result"]) == (200, True)


@pytest.mark.parametrize(
    ("login", "password", "code"),
    [("other", "demo", "AUTH_001"), ("demo", "other", "AUTH_002"), ("", "", "AUTH_001")],
)
async def test_wrong_credentials_are_refused_by_code(
    portal: Portal, login: str, password: str, code: str
) -> None:
    answer = await portal.link(credentials=(login, password))
    assert answer == (200, {"result": False, "code": code})
    assert portal.simulator.applied.total == 0


@pytest.mark.parametrize("header", [None, "Bearer x", "Basic", "Basic %%%", "Basic eA=="])
async def test_no_credentials_are_a_challenge(portal: Portal, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    url = f"{portal.simulator.link_base_url}/get_link_payment"
    async with portal.session.post(url, json=LINK_FIELDS, headers=headers) as answer:
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"].startswith("Basic ")


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        *((name, None, "missing") for name in LINK_FIELDS if not name.endswith("_option")),
        ("beneficiary_reference", "", "not valid"),
        ("beneficiary_reference", "x" * 33, "not valid"),
        ("beneficiary_reference", 395, "not valid"),
        ("payment_reference", "x" * 65, "not valid"),
        ("consumer_reference", " ", "not valid"),
        ("url_callback", "https://" + "x" * 121, "not valid"),
        ("consumer_email", "nobody", "not valid"),
        ("consumer_email", "a@" + "x" * 69, "not valid"),
        ("consumer_phone_number", "0" * 33, "not valid"),
        ("amount", "0", "not valid"),
        ("amount", "10.05", "not valid"),
        ("amount", "1" * 19, "not valid"),
        ("amount", 1005, "not valid"),
        ("amount", "-1", "not valid"),
        ("sms_option", "10", "not valid"),
        ("email_option", "x", "not valid"),
        ("pay_now", "maybe", "not valid"),
        ("siren", "1" * 10, "not valid"),
    ],
)
async def test_an_invalid_field_is_named_without_its_value(
    portal: Portal, name: str, value: object, fault: str
) -> None:
    status, answer = await portal.link({name: value})
    assert status == 200
    assert answer == {"result": False, "code": "SIM_FIELD", "message": f"{name}: {fault}"}
    assert portal.simulator.applied.total == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("beneficiary_reference", "é" * 32),
        ("payment_reference", "x" * 64),
        ("url_callback", "https://" + "x" * 120),
        ("amount", "1" * 18),
        ("sms_option", 1),
        ("consumer_zip_code", "01000"),
        ("pay_now", True),
        ("pay_now", "false"),
        ("reference_label", ""),
        ("something_new", {"nested": 1}),
    ],
)
async def test_a_field_at_its_limit_is_taken(portal: Portal, name: str, value: object) -> None:
    _, answer = await portal.link({name: value})
    assert answer["result"] is True


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b'"text"'])
async def test_a_link_body_that_is_no_object_is_a_bad_request(portal: Portal, body: bytes) -> None:
    url = f"{portal.simulator.link_base_url}/get_link_payment"
    headers = {"Authorization": basic("demo", "demo")}
    status, answer = await portal.post_bytes(url, body, headers)
    assert (status, answer) == (400, {"result": False, "code": "SIM_JSON"})


@pytest.mark.parametrize(
    ("repeat", "second", "count"),
    [
        (RepeatReference.LINK, "another", 2),
        (RepeatReference.SAME, "same", 1),
        (RepeatReference.REFUSE, "EXIST_005", 1),
    ],
)
async def test_a_repeated_reference_is_what_the_knob_says(
    repeat: RepeatReference, second: str, count: int
) -> None:
    simulator = Simulator(clock=FakeClock(), knobs=Knobs(repeat_reference=repeat))
    async with portal_to(simulator) as portal:
        _, first_answer = await portal.link()
        _, second_answer = await portal.link()
        is_same = first_answer.get("link") == second_answer.get("link")
        said = second_answer.get("code", "same" if is_same else "another")
        assert said == second
        assert simulator.applied.links == {LINK_FIELDS["payment_reference"]: count}
        _, other = await portal.link({"payment_reference": "other"})
        assert other["result"] is True


# --- the basket provider -------------------------------------------------------------------------


async def test_items_are_never_deduplicated(portal: Portal) -> None:
    ids = [(await portal.add())[1]["id"] for _ in range(2)]
    assert ids == [1, 2]
    assert portal.simulator.applied.items == {ITEM["url"]: 2}


@pytest.mark.parametrize("amount", [None, "0.00", "10", "10.5", "10,05", "-1.00", "abc", "", 10.05])
async def test_an_amount_that_is_no_two_decimal_text_is_refused(
    portal: Portal, amount: object
) -> None:
    status, answer = await portal.add({"amount": amount})
    assert (status, answer["err"], answer["err_desc"]) == (400, 1, "amount: not valid")
    assert portal.simulator.applied.total == 0


@pytest.mark.parametrize(
    ("members", "status"),
    [
        ({"capture_date": "2026-11-21"}, 200),
        ({"capture_date": "21/11/2026"}, 400),
        ({"url": 7}, 400),
        ({"display_name": 7}, 400),
        ({"nb_documents": 3}, 200),
    ],
)
async def test_other_members_of_an_item(
    portal: Portal, members: dict[str, object], status: int
) -> None:
    assert (await portal.add(members))[0] == status


@pytest.mark.parametrize(
    "user",
    [(), (("email", ""),), (("email", "a@b.example"), ("NameId", "ab12"))],
    ids=["none", "empty", "both"],
)
async def test_exactly_one_user_is_needed(portal: Portal, user: User) -> None:
    status, answer = await portal.add(user=user)
    assert (status, answer["err"]) == (400, 1)


@pytest.mark.parametrize("call", ["add-basket-item", "remove-basket-item"])
async def test_an_unsigned_call_is_refused_before_its_body_is_read(
    portal: Portal, call: str
) -> None:
    url = f"{portal.simulator.base_url}/api/lingo/{call}?email=client%40example.org"
    status, answer = await portal.post_bytes(url, b"nonsense", {})
    assert (status, answer["err_desc"]) == (403, "not signed")


async def test_a_signed_call_sent_twice_is_refused_the_second_time(portal: Portal) -> None:
    query = signed_query(
        encoded_query([*USER, ("orig", "demo.example")]),
        secret=Secret("demo"),
        now=portal.signing.now(),
        nonce="1",
    )
    url = f"{portal.simulator.base_url}/api/lingo/add-basket-item?{query}"
    answers = [await portal.post_bytes(url, json.dumps(ITEM).encode(), {}) for _ in range(2)]
    assert [status for status, _ in answers] == [200, 403]
    assert portal.simulator.applied.total == 1


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'"text"'])
async def test_a_signed_body_that_is_no_object_is_a_bad_request(
    portal: Portal, body: bytes
) -> None:
    query = signed_query(
        encoded_query([*USER, ("orig", "demo.example")]),
        secret=Secret("demo"),
        now=portal.signing.now(),
        nonce="1",
    )
    url = f"{portal.simulator.base_url}/api/lingo/add-basket-item?{query}"
    assert (await portal.post_bytes(url, body, {}))[0] == 400


@pytest.mark.parametrize("form", [int, str])
async def test_an_item_is_removed_once_by_its_user_only(
    portal: Portal, form: Callable[[object], object]
) -> None:
    item_id = form((await portal.add())[1]["id"])
    other = (("email", "other@example.org"),)
    assert (await portal.remove(item_id, user=other))[0] == 400
    assert (await portal.remove("99"))[0] == 400
    assert await portal.remove(item_id) == (200, {"result": "success"})
    assert (await portal.remove(item_id))[0] == 400
    assert portal.simulator.applied.removals == {"1": 1}


@pytest.mark.parametrize(
    ("item_id", "members"), [(None, {}), (True, {}), ("", {}), ([1], {}), ("1", {"notify": "yes"})]
)
async def test_a_removal_that_names_no_item_is_refused(
    portal: Portal, item_id: object, members: dict[str, object]
) -> None:
    await portal.add()
    assert (await portal.remove(item_id, members))[0] == 400
    assert portal.simulator.applied.removals == {}


# --- knobs, state and silence --------------------------------------------------------------------


async def test_an_unknown_magic_name_is_refused_loudly(portal: Portal) -> None:
    answer = await portal.link({"consumer_email": "sim+timeuot@example.org"})
    assert answer == (200, {"result": False, "code": "SIM_UNKNOWN_NAME"})
    status, refusal = await portal.add(user=(("email", "sim+timeuot@example.org"),))
    assert (status, refusal["err"]) == (200, 1)
    assert portal.simulator.applied.total == 0


async def test_faults_come_at_the_rate_and_in_the_same_order_for_the_same_seed() -> None:
    async def statuses(seed: int) -> list[int]:
        knobs = Knobs(fault_rate=0.5, faults=("http-503-retry", "http-500"), seed=seed)
        async with portal_to(Simulator(clock=FakeClock(), knobs=knobs)) as portal:
            return [(await portal.link())[0] for _ in range(60)]

    first = await statuses(1)
    assert first == await statuses(1)
    assert first != await statuses(2)
    assert {200, 503, 500} == set(first)
    assert 15 <= first.count(200) <= 45


async def test_a_removal_fails_by_rate_too() -> None:
    knobs = Knobs(fault_rate=1.0, faults=("http-500-after",))
    async with portal_to(Simulator(clock=FakeClock(), knobs=knobs)) as portal:
        assert (await portal.add())[0] == 500
        assert (await portal.remove("1"))[0] == 500
        assert portal.simulator.applied.removals == {"1": 1}


async def test_faults_stop_when_told_by_chance_and_by_magic() -> None:
    knobs = Knobs(fault_rate=1.0, faults=("http-500-after",))
    declined = {"consumer_email": "sim+declined@example.org"}
    async with portal_to(Simulator(clock=FakeClock(), knobs=knobs)) as portal:
        assert (await portal.link())[0] == 500
        assert (await portal.link(declined))[1]["result"] is False
        portal.simulator.stop_faults()
        assert (await portal.link())[1]["result"] is True
        assert (await portal.link(declined))[1]["result"] is True


async def test_the_book_tells_every_link_and_item_that_was_made(portal: Portal) -> None:
    """Also those that nobody was told about."""
    told = (await portal.link())[1]["link"]
    await portal.link({"consumer_email": "sim+http-500-after@example.org"})
    item_id = str((await portal.add())[1]["id"])
    await portal.remove(item_id)
    book = portal.simulator.book
    links = book.links[LINK_FIELDS["payment_reference"]]
    assert (links[0], len(set(links))) == (told, 2)
    assert book.item_urls == {item_id: ITEM["url"]}


async def test_latency_delays_every_valid_call() -> None:
    clock = FakeClock()
    async with portal_to(Simulator(clock=clock, knobs=Knobs(latency=0.7))) as portal:
        await portal.link()
        await portal.add()
    assert clock.sleeps == [0.7, 0.7]


@pytest.mark.parametrize(
    ("rate", "faults"), [(-0.1, ("http-500",)), (1.1, ("http-500",)), (0.5, ()), (0.5, ("nope",))]
)
def test_a_knob_that_makes_no_sense_is_refused(rate: float, faults: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"nope|-?\d\.\d|\[\]"):
        Chance(rate, faults)


async def test_the_counts_can_be_asked_for_over_http(portal: Portal) -> None:
    await portal.link()
    item_id = (await portal.add())[1]["id"]
    await portal.remove(item_id)
    async with portal.session.get(f"{portal.simulator.base_url}/simulator/applied") as answer:
        assert await answer.json() == {
            "links": {LINK_FIELDS["payment_reference"]: 1},
            "items": {ITEM["url"]: 1},
            "removals": {"1": 1},
            "total": 3,
        }


async def test_the_payment_page_says_that_it_is_a_simulation(portal: Portal) -> None:
    async with portal.session.get(f"{portal.simulator.base_url}/paypage?SDESSID=1") as answer:
        assert answer.status == 200
        assert "no money moves" in await answer.text()


async def test_the_log_names_the_operation_and_nobody() -> None:
    events: list[tuple[str, dict[str, str | bool | int]]] = []

    def log(event: str, /, **facts: str | bool | int) -> None:
        events.append((event, facts))

    async with portal_to(Simulator(clock=FakeClock(), log=log)) as portal:
        await portal.link({"consumer_email": "sim+declined@example.org"})
        await portal.link({"consumer_email": "sim+typo.marie.martin@example.org"})
        await portal.add()
        await portal.remove("99")
    names = ("operation", "magic", "act", "applied")
    assert [(event, *(facts[name] for name in names)) for event, facts in events] == [
        ("simulator.called", "get_link_payment", "declined", "reject", False),
        ("simulator.called", "get_link_payment", "", "reject", False),
        ("simulator.called", "add_basket_item", "", "succeed", True),
        ("simulator.called", "remove_basket_item", "", "refused", False),
    ]


async def test_other_credentials_can_be_set() -> None:
    credentials = Credentials(login="shop", password=Secret("sésame"))
    async with portal_to(Simulator(clock=FakeClock(), credentials=credentials)) as portal:
        assert (await portal.link(credentials=("shop", "sésame")))[1]["result"] is True
        assert (await portal.link())[1]["code"] == "AUTH_001"


async def test_a_taken_port_is_an_error_at_start(portal: Portal) -> None:
    port = URL(portal.simulator.base_url).port
    assert port is not None
    with pytest.raises(OSError, match="address already in use"):
        await Simulator(port=port, clock=FakeClock()).start()


async def test_stopping_does_not_wait_for_withheld_answers() -> None:
    clock = SystemClock()
    simulator = Simulator(clock=clock)
    base_url = await simulator.start()
    assert base_url == simulator.base_url
    async with aiohttp.ClientSession() as session:
        portal = Portal(simulator, session)
        call = asyncio.create_task(portal.link({"consumer_email": "sim+timeout@example.org"}))
        await until(lambda: simulator.applied.total == 1)
        await simulator.stop()
        with pytest.raises(aiohttp.ClientConnectionError):
            await call


async def until(condition: Callable[[], bool]) -> None:
    """Poll a condition; the test's own limit ends a wait that is in vain."""
    while not condition():
        await FakeClock().sleep(0)
