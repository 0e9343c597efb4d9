"""The management API as the doctor asks it: odd answers from a local server, and a real node."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import aiohttp
import pytest

from tests.amqp import Line
from tests.broker import Broker, private_broker
from tests.certificates import make_certificate
from tests.examined import Place, deployed, failed, verdicts
from tests.proxy import proxy_to
from tests.servers import Behaviour, Connection, RawServer, answer, refused_port
from tests.settings_sample import NOWHERE, TODAY
from tests.waiting import until_true
from worker.adapters.management import ManagementError, look_at
from worker.checks import Row, Verdict
from worker.model import Secret
from worker.rules import ManagementAddress
from worker.settings import load
from worker.topology.picture import Picture
from worker.topology.roles import WORKER, roles

USER, PASSWORD = "watcher", "s3cret:of-the-watcher"
QUEUE = {
    "name": "q",
    "type": "quorum",
    "durable": True,
    "arguments": {"x-queue-type": "quorum"},
    "effective_policy_definition": {},
}
EXCHANGE = {"name": "x", "type": "topic", "durable": True, "internal": False, "arguments": {}}
BINDING = {"source": "x", "destination": "q", "destination_type": "queue", "routing_key": "#"}
POLICY = {"name": "p", "definition": {"delivery-limit": 5}}


def address_of(url: str) -> ManagementAddress:
    return ManagementAddress(
        url=url, user=USER, password=Secret(PASSWORD), virtual_host="pay/ments"
    )


def saying(reply: bytes) -> Behaviour:
    """A server that answers every question so."""

    async def behave(connection: Connection) -> None:
        await connection.request()
        await connection.write(reply)
        connection.finish()

    return behave


def listing(**rows: list[object]) -> Behaviour:
    """A server that answers as the API does, what is named standing for the sound lists."""
    lists = {
        "queues": [QUEUE],
        "exchanges": [EXCHANGE],
        "bindings": [BINDING],
        "policies": [POLICY],
    }

    async def behave(connection: Connection) -> None:
        path = (await connection.request()).target.partition("/api/")[2]
        asked = path.partition("/")[0]
        body = json.dumps({**lists, **rows}[asked]).encode()
        await connection.write(answer(body=body))
        connection.finish()

    return behave


async def say_nothing(connection: Connection) -> None:
    await connection.request()
    await connection.gone()


async def break_off(connection: Connection) -> None:
    await connection.request()
    connection.reset()


# --- odd answers --------------------------------------------------------------------------------


async def test_a_virtual_host_is_pictured_and_nothing_but_read() -> None:
    async with RawServer(listing()) as server:
        picture = await look_at(address_of(server.url("/mq")))
    assert picture.queues["q"].type == "quorum"
    assert picture.policies == {"p": {"delivery-limit": 5}}
    assert [each.destination for each in picture.bound_to("x", "a.b")] == ["q"]
    login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    assert len(server.received) == 4
    for asked in server.received:
        assert asked.method == "GET"
        assert asked.target.startswith("/mq/api/")
        assert "/pay%2Fments?" in asked.target
        assert asked.header("authorization") == f"Basic {login}"


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (saying(answer("401 Unauthorized", b'{"reason":"Login failed"}')), "does not let watcher"),
        (saying(answer("403 Forbidden")), "does not let watcher"),
        (saying(answer("404 Not Found")), "knows no virtual host pay/ments"),
        (saying(answer("503 Service Unavailable")), "answers HTTP 503"),
        (saying(answer("302 Found", headers=(("Location", "/"),))), "answers HTTP 302"),
        (saying(answer(body=b"<html>hello</html>")), "not what a management API answers"),
        (saying(answer(body=b"\xff\xfe")), "not what a management API answers"),
        (saying(answer(body=b'{"queues": []}')), "not what a management API answers"),
        (saying(answer(body=b"[1, 2]")), "not what a management API answers"),
        (saying(answer(body=b"[" * 100_000)), "not what a management API answers"),
        (saying(b"SSH-2.0-OpenSSH_9.2\r\n"), "the exchange broke off"),
        (break_off, "the exchange broke off"),
        (say_nothing, "no answer within 0.3 s"),
        (listing(queues=[{**QUEUE, "durable": "yes"}]), "not what a management API answers"),
        (listing(queues=[{**QUEUE, "name": None}]), "not what a management API answers"),
        (listing(exchanges=[{"name": "x"}]), "not what a management API answers"),
        (listing(bindings=[{**BINDING, "routing_key": 5}]), "not what a management API answers"),
        (listing(policies=[{"name": "p", "definition": []}]), "not what a management API answers"),
    ],
)
async def test_an_odd_answer_is_a_reason_and_never_a_picture(
    behaviour: Behaviour, words: str
) -> None:
    async with RawServer(behaviour) as server:
        with pytest.raises(ManagementError) as caught:
            await look_at(address_of(server.url("")), seconds=0.3)
    assert words in caught.value.reason
    assert caught.value.fix
    assert PASSWORD not in repr(caught.value)
    assert "Login failed" not in caught.value.reason, "what it answers is not repeated"


async def test_an_endless_answer_is_given_up() -> None:
    async def pour(connection: Connection) -> None:
        await connection.request()
        await connection.write(b"HTTP/1.1 200 OK\r\n\r\n[")
        while True:
            await connection.write(b"1," * 500_000)

    async with RawServer(_until_gone(pour)) as server:
        with pytest.raises(ManagementError, match="too long"):
            await look_at(address_of(server.url("")))


def _until_gone(behaviour: Behaviour) -> Behaviour:
    async def behave(connection: Connection) -> None:
        try:
            await behaviour(connection)
        except ConnectionError:
            return

    return behave


async def test_who_is_away_or_not_trusted_is_said_so(tmp_path: Path) -> None:
    with (
        refused_port() as port,
        pytest.raises(ManagementError, match="reached: Connection refused"),
    ):
        await look_at(address_of(f"http://127.0.0.1:{port}"))
    with pytest.raises(ManagementError, match="ca_file cannot be read"):
        await look_at(
            ManagementAddress(
                url="https://127.0.0.1",
                user=USER,
                password=Secret(PASSWORD),
                ca_file=str(tmp_path / "none"),
            )
        )


async def test_a_certificate_is_verified_before_the_login_is_sent(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    async with (
        RawServer(listing()) as server,
        proxy_to(server.port, tls=certificate.server_context()) as proxy,
    ):
        address = address_of(f"https://127.0.0.1:{proxy.port}")
        with pytest.raises(ManagementError, match="certificate is not accepted") as caught:
            await look_at(address)
        assert server.received == [], "nobody was told the password"
        trusting = replace(address, ca_file=str(certificate.certificate))
        assert (await look_at(trusting)).queues.keys() == {"q"}
    assert "ca_file" in caught.value.fix


async def test_policies_that_are_not_told_are_kept_apart_from_none() -> None:
    """Up to some versions an empty table is an empty list."""
    hidden = {name: value for name, value in QUEUE.items() if name != "effective_policy_definition"}
    empty = {**QUEUE, "name": "e", "effective_policy_definition": []}
    async with RawServer(listing(queues=[hidden, empty])) as server:
        picture = await look_at(address_of(server.url("")))
    assert picture.queues["q"].policy is None
    assert picture.queues["e"].policy == {}


# --- a real node --------------------------------------------------------------------------------

on_a_node = pytest.mark.broker
DECIDED = ("AMQP003", "AMQP004", "AMQP005", "AMQP006", "AMQP007", "AMQP011")


@pytest.fixture(scope="module")
def node() -> Iterator[Broker]:
    """A node with the management API, and a user that may only look."""
    with private_broker("--management") as broker:

        async def prepare() -> None:
            # What the API shows of a queue is as old as its last tick, 5 s unless it is set.
            await broker.evaluate("application:set_env(rabbit, quorum_tick_interval, 300).")
            await add_user(broker, USER, PASSWORD, tags="management")

        asyncio.run(prepare())
        yield broker


async def order(node: Broker, method: str, path: str, **body: object) -> None:
    """Tell the node something over its API, as its administrator: quicker than a command."""
    login = {"Authorization": aiohttp.encode_basic_auth("guest", "guest")}
    async with (
        aiohttp.ClientSession(headers=login) as session,
        session.request(method, f"{node.management_url}/api/{path}", json=body) as response,
    ):
        assert response.ok, (path, response.status)


async def add_user(
    node: Broker, name: str, password: str, *, tags: str = "", write: str = "^$", read: str = "^$"
) -> None:
    await order(node, "PUT", f"users/{name}", password=password, tags=tags)
    rights = {"configure": "^$", "write": write, "read": read}
    await order(node, "PUT", f"permissions/payments/{name}", **rights)


def management_table(url: str, password: str = PASSWORD) -> str:
    return f'[broker.management]\nurl = "{url}"\nuser = "{USER}"\npassword = "{password}"\n'


@asynccontextmanager
async def managed(node: Broker, directory: Path) -> AsyncIterator[tuple[Place, "Spoil"]]:
    """A deployment whose settings name the management API; its policies go with it."""
    async with deployed(node, directory) as (place, line):
        place.broker = management_table(node.management_url)
        results = place.topology.result_queue(place.topology.subscribers[0])
        queue = await line.queue(results)
        await queue.bind(place.topology.named("results"), "payment.result.unknown.*")
        spoil = Spoil(node, place, line)
        try:
            yield place, spoil
        finally:
            await spoil.mend()


class Spoil:
    """Lays policies over a deployment, and waits until the API shows them."""

    def __init__(self, node: Broker, place: Place, line: Line) -> None:
        self.channel = line.channel
        self._node = node
        self._place = place
        self._names: list[str] = []

    async def policy(self, name: str, definition: dict[str, object], kind: str = "queues") -> None:
        """Set a policy for one object and wait for it: the API's queues lag by seconds."""
        await order(
            self._node,
            "PUT",
            f"policies/payments/{name}",
            pattern=f"^{name.replace('.', '[.]')}$",
            definition=definition,
            **{"apply-to": kind},
        )
        self._names.append(name)

        async def shown() -> bool:
            picture = await self._picture()
            if kind == "exchanges":
                return picture.exchanges[name].policy == name
            return dict(picture.queues[name].policy or {}) == definition

        await until_true(shown)

    async def settled(self, types: Mapping[str, str] = MappingProxyType({})) -> None:
        """Wait until the API shows every queue, and these as being of these types."""
        wanted = {queue.name: "quorum" for queue in self._place.topology.queues} | dict(types)

        async def shown() -> bool:
            queues = (await self._picture()).queues
            seen = {name: queues[name] for name in wanted if name in queues}
            return {name: each.type for name, each in seen.items()} == wanted and all(
                each.policy is not None for each in seen.values()
            )

        await until_true(shown)

    async def mend(self) -> None:
        for name in self._names:
            await order(self._node, "DELETE", f"policies/payments/{name}")

    async def _picture(self) -> Picture:
        table = load(
            today=TODAY, config=self._place.file(), environment={}, container_secrets=NOWHERE
        )
        address = table.settings.management_address()
        assert address is not None
        return await look_at(address)


def decided(rows: list[Row]) -> dict[str, set[Verdict]]:
    return {check: set(verdicts(rows, check)) for check in DECIDED}


@on_a_node
async def test_what_amqp_does_not_show_is_decided_for_the_workers_own_user_too(
    node: Broker, tmp_path: Path
) -> None:
    """It may not configure, so that AMQP alone shows no argument of anything."""
    async with managed(node, tmp_path) as (place, spoil):
        await spoil.settled()
        rows = await place.rows("AMQP")
        (role,) = (each for each in roles(place.topology, []) if each.user == WORKER)
        place.user, place.password = "least", "least"
        await add_user(node, place.user, place.password, write=role.write, read=role.read)
        try:
            least = await place.rows("AMQP002", "AMQP003", "AMQP005")
            started = await place.rows("AMQP002", at_start=True)
            queue = place.topology.dead_letter_queue
            await spoil.channel.queue_delete(queue)
            await spoil.channel.declare_queue(queue, durable=True)
            await spoil.settled(types={queue: "classic"})
            (classic,) = failed(await place.rows("AMQP002"))
        finally:
            await order(node, "DELETE", f"users/{place.user}")
    assert failed(rows) == []
    assert decided(rows) == {check: {Verdict.OK} for check in DECIDED}
    assert verdicts(rows, "AMQP002") == [Verdict.OK] * 3
    assert PASSWORD not in repr(rows)
    assert {row.verdict for row in least} == {Verdict.OK}
    assert Verdict.SKIP in verdicts(started, "AMQP002"), "a start does not depend on the API"
    assert classic == ("AMQP002", f"queue {queue}")


@on_a_node
async def test_a_policy_that_lets_dead_letters_expire_is_found(
    node: Broker, tmp_path: Path
) -> None:
    async with managed(node, tmp_path) as (place, spoil):
        letters, work = place.topology.dead_letter_queue, place.topology.work_queue
        await asyncio.gather(
            spoil.policy(letters, {"message-ttl": 86_400_000, "delivery-limit": 20}),
            spoil.policy(work, {"overflow": "drop-head", "delivery-limit": 20}),
        )
        rows = await place.rows("AMQP002", "AMQP003", "AMQP005", "AMQP006")
    assert failed(rows) == [
        ("AMQP003", work),
        ("AMQP003", work),
        ("AMQP005", letters),
        ("AMQP006", letters),
    ]
    assert "message-ttl is 86400000 ms" in rows[-2].cause
    assert all(row.fix for row in rows if row.verdict is Verdict.FAIL)


@on_a_node
async def test_missing_bindings_are_found(node: Broker, tmp_path: Path) -> None:
    async with managed(node, tmp_path) as (place, spoil):
        named, channel = place.topology.named, spoil.channel
        answers = place.topology.result_queue(place.topology.subscribers[0])
        for queue, exchange, key in (
            (named("dlq"), named("dlx"), "dead"),
            (named("work"), named("requests"), "payment.cancel.#"),
            (answers, named("results"), "payment.result.dcp.*"),
        ):
            await (await channel.get_queue(queue, ensure=False)).unbind(exchange, key)
        rows = await place.rows("AMQP002", "AMQP004", "AMQP007")
    assert failed(rows) == [
        ("AMQP002", f"{named('requests')}, key payment.cancel.#"),
        ("AMQP004", f"{named('dlx')}, key dead"),
    ]
    assert [(row.check, row.about) for row in rows if row.verdict is Verdict.WARN] == [
        ("AMQP007", "Origin dcp")
    ]


@on_a_node
async def test_what_swallows_answers_is_found_and_named(node: Broker, tmp_path: Path) -> None:
    async with managed(node, tmp_path) as (place, spoil):
        results = place.topology.named("results")
        queue = await spoil.channel.declare_queue(exclusive=True)
        await queue.bind(results, "payment.result.#")
        await spoil.policy(results, {"alternate-exchange": "amq.fanout"}, "exchanges")
        rows = await place.rows("AMQP007")
    causes = [row.cause for row in rows if row.verdict is Verdict.FAIL]
    assert len(causes) == 3, "what came of a message, and both reasons"
    assert any("alternate exchange amq.fanout" in cause for cause in causes)
    assert any("payment.result.#" in cause and queue.name in cause for cause in causes)


@on_a_node
async def test_an_api_that_shows_nothing_warns_once_and_leaves_the_rest_unseen(
    node: Broker, tmp_path: Path
) -> None:
    async with managed(node, tmp_path) as (place, _):
        place.broker = management_table(node.management_url, password="wrong")  # noqa: S106 - it is refused
        refused = await place.rows("AMQP")
        async with RawServer(saying(answer(body=b"<html>"))) as server:
            place.broker = management_table(server.url(""))
            foreign = await place.rows("AMQP004", "AMQP007", "AMQP011")
        place.broker = ""
        unset = await place.rows("AMQP004", "AMQP007", "AMQP011")
    for rows in (refused, foreign):
        assert failed(rows) == []
        (warned,) = [row for row in rows if row.verdict is Verdict.WARN]
        assert warned.check == "AMQP011"
        assert warned.fix
        assert verdicts(rows, "AMQP004") == [Verdict.SKIP]
        assert verdicts(rows, "AMQP007") == [Verdict.OK, Verdict.SKIP]
        assert "see AMQP011" in next(row.cause for row in rows if row.check == "AMQP004")
    assert "does not let watcher see" in next(r.cause for r in refused if r.check == "AMQP011")
    for row in unset:
        if row.verdict is Verdict.SKIP:
            assert "broker.management" in row.fix
    assert verdicts(unset, "AMQP011") == [Verdict.SKIP]
