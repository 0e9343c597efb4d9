"""The doctor against a real broker, real ports and real certificates."""

import asyncio
import json
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from tests.broker import Broker, free_port
from tests.certificates import make_certificate
from tests.commands import run
from tests.examined import PASSWORD, deployed, failed, telling, verdicts
from tests.proxy import proxy_to
from tests.servers import Connection, RawServer, refused_port, silent_port
from tests.settings_sample import KEY
from worker import __main__ as program
from worker.adapters.probes import ProbeServer
from worker.checks import CHECKS, Blame, Verdict, gravest
from worker.checks.reach import reach, reach_all
from worker.topology.roles import REPLAYER, WORKER, roles

pytestmark = pytest.mark.broker


async def _say_nothing(connection: Connection) -> None:
    await connection.request()
    connection.finish()


async def test_a_healthy_deployment_has_nothing_wrong_and_nothing_is_left_behind(
    broker: Broker, tmp_path: Path
) -> None:
    async with deployed(broker, tmp_path) as (place, line):
        rows = await place.rows()
        depths = [await line.depth(queue.name) for queue in place.topology.queues]
    bad = [row for row in rows if row.verdict in {Verdict.FAIL, Verdict.WARN}]
    assert [row.check for row in bad if row.check != "SYS004"] == []
    assert {row.check for row in rows} == {check.id for check in CHECKS}
    assert verdicts(rows, "AMQP002") == [Verdict.OK, Verdict.OK]
    for proven in ("AMQP003", "AMQP005", "AMQP006"):
        assert verdicts(rows, proven) == [Verdict.OK], proven
    assert verdicts(rows, "AMQP004") == [Verdict.SKIP]
    assert verdicts(rows, "AMQP007") == [Verdict.OK, Verdict.SKIP]
    assert verdicts(rows, "AMQP008") == [Verdict.OK] * 3
    assert set(depths) == {0}
    assert PASSWORD not in repr(rows)
    assert KEY not in repr(rows)


async def test_the_start_profile_looks_and_publishes_nothing(
    broker: Broker, tmp_path: Path
) -> None:
    async with deployed(broker, tmp_path) as (place, _):
        rows = await place.rows(at_start=True)
    assert {row.verdict for row in rows} == {Verdict.OK}
    assert verdicts(rows, "AMQP002") == [Verdict.OK, Verdict.OK]
    assert "AMQP008" not in {row.check for row in rows}


async def test_a_classic_queue_fails_a_start_where_it_can_be_seen(
    broker: Broker, tmp_path: Path
) -> None:
    """It keeps one copy of every request, on one node."""
    async with deployed(broker, tmp_path) as (place, line):
        queue = place.topology.work_queue
        await line.channel.queue_delete(queue)
        await line.channel.declare_queue(queue, durable=True)
        rows = await place.rows("AMQP002", at_start=True)
    assert failed(rows) == [("AMQP002", f"queue {queue}")]
    assert "x-queue-type" in next(row.cause for row in rows if row.verdict is Verdict.FAIL)


async def test_the_brokers_version_is_the_one_it_tells(broker: Broker, tmp_path: Path) -> None:
    async with deployed(broker, tmp_path) as (place, _):
        (row,) = await place.rows("AMQP009")
    told = (await broker.control("version")).strip()
    assert row.cause.startswith(f"{told}")
    assert row.verdict is Verdict.OK


@pytest.mark.parametrize(
    ("seconds", "verdict"), [(0, Verdict.OK), (-12, Verdict.WARN), (300, Verdict.FAIL)]
)
async def test_a_providers_clock_is_compared_with_ours(
    broker: Broker, tmp_path: Path, seconds: int, verdict: Verdict
) -> None:
    """A signed request is refused at 30 s, and the refusal does not say why."""
    async with (
        deployed(broker, tmp_path) as (place, _),
        RawServer(telling(timedelta(seconds=seconds))) as other,
    ):
        place.base_url = other.url("/ssp")
        (row,) = await place.rows("SYS002")
        with refused_port() as port:
            place.base_url = f"http://127.0.0.1:{port}"
            (silent,) = await place.rows("SYS002")
    assert (row.verdict, row.about) == (verdict, "accounts.safedebit.test")
    assert silent.verdict is Verdict.SKIP
    assert [(asked.method, asked.target) for asked in other.received] == [("HEAD", "/")]


async def test_a_wrong_password_is_unreachable_and_what_asks_the_broker_is_skipped(
    broker: Broker, tmp_path: Path
) -> None:
    async with deployed(broker, tmp_path) as (place, _):
        place.password = "wrong-password"  # noqa: S105 - it is refused
        rows = await place.rows()
        alone = await place.rows("AMQP010")
    assert failed(rows) == [("AMQP001", "")]
    assert "refuses this user or its password" in next(
        row.cause for row in rows if row.check == "AMQP001"
    )
    skipped = {row.check for row in rows if row.cause == "needs AMQP001"}
    assert {"AMQP002", "AMQP008", "AMQP010", "DLQ001"} <= skipped
    assert verdicts(rows, "LED001") == [Verdict.OK]
    assert gravest(rows) is gravest(alone) is Blame.UNREACHABLE
    assert "wrong-password" not in repr(rows)


async def test_a_broker_that_is_not_there_is_unreachable(broker: Broker, tmp_path: Path) -> None:
    async with deployed(broker, tmp_path) as (place, _):
        with refused_port() as port:
            place.port = port
            rows = await place.rows("AMQP001")
    assert failed(rows) == [("AMQP001", "")]
    assert rows[0].fix.startswith("Start the broker")


async def test_a_missing_object_is_named(broker: Broker, tmp_path: Path) -> None:
    async with deployed(broker, tmp_path) as (place, line):
        queue = place.topology.dead_letter_queue
        await line.channel.queue_delete(queue)
        rows = await place.rows("AMQP", "DLQ")
    assert failed(rows) == [("AMQP002", f"queue {queue}")]
    assert verdicts(rows, "DLQ001") == [Verdict.SKIP, Verdict.OK, Verdict.OK, Verdict.OK]
    assert gravest(rows) is Blame.DEFECT


async def test_an_object_with_other_arguments_is_told_in_the_brokers_words(
    broker: Broker, tmp_path: Path
) -> None:
    async with deployed(broker, tmp_path) as (place, line):
        queue = place.topology.work_queue
        await line.channel.queue_delete(queue)
        await line.channel.declare_queue(
            queue, durable=True, arguments={"x-queue-type": "quorum", "x-delivery-limit": 3}
        )
        rows = await place.rows("AMQP002", "AMQP003")
    assert failed(rows) == [("AMQP002", f"queue {queue}")]
    assert "inequivalent arg" in next(row.cause for row in rows if row.verdict is Verdict.FAIL)
    assert verdicts(rows, "AMQP003") == [Verdict.SKIP], "a policy may still hold the limits"


async def test_limits_that_come_from_policies_are_not_promised(
    broker: Broker, tmp_path: Path
) -> None:
    """A queue made of its structure alone is as it must be, but its limits cannot be seen."""
    async with deployed(broker, tmp_path) as (place, line):
        queue = place.topology.work_queue
        await line.channel.queue_delete(queue)
        await line.channel.declare_queue(queue, durable=True, arguments={"x-queue-type": "quorum"})
        rows = await place.rows("AMQP002", "AMQP003")
    assert failed(rows) == []
    assert verdicts(rows, "AMQP003") == [Verdict.SKIP]


async def test_the_other_environments_broker_is_refused(broker: Broker, tmp_path: Path) -> None:
    async with deployed(broker, tmp_path) as (place, _):
        place.environment = "production"
        rows = await place.rows("AMQP010")
    assert failed(rows) == [
        ("AMQP010", place.topology.named("environment.production")),
        ("AMQP010", place.topology.named("environment.staging")),
    ]
    assert gravest(rows) is Blame.CONFIGURATION


async def test_a_catch_all_binding_is_found_by_what_does_not_come_back(
    broker: Broker, tmp_path: Path
) -> None:
    async with deployed(broker, tmp_path) as (place, line):
        results = place.topology.named("results")
        queue = await line.channel.declare_queue(exclusive=True)
        await queue.bind(results, "#")
        rows = await place.rows("AMQP007", "AMQP008")
        taken = await line.take(queue.name)
    assert failed(rows) == [("AMQP007", results)]
    assert taken.type == "check"
    assert taken.routing_key is not None
    assert taken.routing_key.startswith("payment.result.check-")


async def test_dead_letters_warn_with_their_number(broker: Broker, tmp_path: Path) -> None:
    async with deployed(broker, tmp_path) as (place, line):
        for _ in range(2):
            await line.send(b"{}", exchange="dlx", key="dead")
        letters, *others = await place.rows("DLQ001")
    assert (letters.verdict, letters.cause) == (Verdict.WARN, "2 waiting for a person")
    assert "`payment-worker dead-letters`" in letters.fix
    assert [row.verdict for row in others] == [Verdict.OK] * 3


async def test_a_request_nobody_took_warns_too(broker: Broker, tmp_path: Path) -> None:
    """The alternate exchange makes it routed, so its producer was not told."""
    async with deployed(broker, tmp_path) as (place, line):
        await line.send(b"{}", exchange="requests", key="payment.initate.dcp")
        rows = await place.rows("DLQ001")
    assert [row.verdict for row in rows] == [Verdict.OK, Verdict.WARN, Verdict.OK, Verdict.OK]


async def test_the_workers_own_user_sees_what_it_may_and_promises_no_more(
    broker: Broker, tmp_path: Path
) -> None:
    """With the rights of the definitions: publish, but neither configure nor read letters."""
    async with deployed(broker, tmp_path) as (place, _):
        (role,) = (each for each in roles(place.topology, []) if each.user == WORKER)
        place.user, place.password = "doctored", "doctored"
        await broker.control("add_user", place.user, place.password)
        try:
            rights = ("-p", "payments", place.user, "^$", role.write, role.read)
            await broker.control("set_permissions", *rights)
            rows = await place.rows("AMQP", "DLQ")
            await broker.control("set_permissions", *rights[:3], "^$", "^$", role.read)
            poorer = await place.rows("AMQP008")
        finally:
            await broker.control("delete_user", place.user)
    assert failed(rows) == []
    assert verdicts(rows, "AMQP002") == [Verdict.OK, Verdict.SKIP]
    assert verdicts(rows, "AMQP003") == [Verdict.SKIP]
    assert verdicts(rows, "AMQP008") == [Verdict.OK] * 3
    assert verdicts(rows, "AMQP010") == [Verdict.OK]
    assert verdicts(poorer, "AMQP008") == [Verdict.FAIL] * 3
    assert "ACCESS_REFUSED" in poorer[0].cause


async def test_the_operators_login_is_not_asked_for_the_workers_rights(
    broker: Broker, tmp_path: Path
) -> None:
    """It has none of them on purpose: a failure would have an operator mend what is right."""
    async with deployed(broker, tmp_path) as (place, _):
        (role,) = (each for each in roles(place.topology, []) if each.user == REPLAYER)
        place.user = place.password = REPLAYER
        await broker.control("add_user", place.user, place.password)
        try:
            rights = ("-p", "payments", place.user, "^$", role.write, role.read)
            await broker.control("set_permissions", *rights)
            rows = await place.rows("AMQP", "DLQ")
        finally:
            await broker.control("delete_user", place.user)
    assert failed(rows) == []
    assert verdicts(rows, "AMQP008") == [Verdict.SKIP]
    assert verdicts(rows, "DLQ001") == [Verdict.OK] * 4


async def test_a_missing_ledger_is_a_fault_of_configuration(broker: Broker, tmp_path: Path) -> None:
    async with deployed(broker, tmp_path) as (place, _):
        (tmp_path / "ledger.sqlite3").unlink()
        rows = await place.rows("LED", "AMQP001")
    assert failed(rows) == [("LED001", "")]
    assert gravest(rows) is Blame.CONFIGURATION
    assert verdicts(rows, "AMQP001") == [Verdict.OK]


async def test_a_ledger_that_another_program_locks_is_unreachable(
    broker: Broker, tmp_path: Path
) -> None:
    async with deployed(broker, tmp_path) as (place, _):
        with closing(sqlite3.connect(tmp_path / "ledger.sqlite3", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            rows = await place.rows("LED")
    assert failed(rows) == [("LED001", "")]
    assert "is locked by another program" in rows[0].cause
    assert gravest(rows) is Blame.UNREACHABLE


async def test_a_dead_provider_warns_and_costs_only_its_own_time(
    broker: Broker, tmp_path: Path
) -> None:
    async with deployed(broker, tmp_path) as (place, _):
        with refused_port() as port:
            place.base_url = f"http://127.0.0.1:{port}"
            rows = await place.rows("PRV001", "LED", "SEC003")
    (row,) = (each for each in rows if each.check == "PRV001")
    assert (row.verdict, row.about) == (Verdict.WARN, "accounts.safedebit.test")
    assert "the connection is refused" in row.cause
    assert verdicts(rows, "SEC003") == [Verdict.SKIP]
    assert gravest(rows) is None


async def test_a_certificate_is_verified_as_for_a_payment(broker: Broker, tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    async with (
        deployed(broker, tmp_path) as (place, _),
        proxy_to(broker.port, tls=certificate.server_context()) as proxy,
    ):
        place.base_url = f"https://127.0.0.1:{proxy.port}"
        (doubted,) = await place.rows("PRV001")
        place.trusted = certificate.certificate
        (trusted,) = await place.rows("PRV001")
        (expiry,) = await place.rows("SEC003")
    assert doubted.verdict is Verdict.WARN
    assert "its certificate is not accepted: self-signed certificate" in doubted.cause
    assert (trusted.verdict, trusted.cause[-12:]) == (Verdict.OK, "TLS verified")
    assert expiry.verdict is Verdict.OK


async def test_each_endpoint_of_the_broker_is_tried_and_named(
    broker: Broker, tmp_path: Path
) -> None:
    """One that answers is enough to go on, and one that does not is worth a look."""
    async with deployed(broker, tmp_path) as (place, _):
        away = free_port()
        place.broker = f'endpoints = ["127.0.0.1:{away}", "127.0.0.1:{broker.port}"]'
        first, second, *objects = await place.rows("AMQP001", "AMQP002")
        place.broker = f'endpoints = ["127.0.0.1:{away}", "localhost:{away}"]'
        (nobody,) = await place.rows("AMQP001")
    assert (first.verdict, second.verdict) == (Verdict.WARN, Verdict.OK)
    assert f"127.0.0.1:{away}" in first.cause
    assert second.about.startswith(f"127.0.0.1:{broker.port},")
    assert {each.verdict for each in objects} == {Verdict.OK}
    assert nobody.verdict is Verdict.FAIL


async def test_the_brokers_certificate_is_looked_at_too(broker: Broker, tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    async with (
        deployed(broker, tmp_path) as (place, _),
        proxy_to(broker.port, tls=certificate.server_context()) as proxy,
    ):
        place.port = proxy.port
        place.broker = f'tls = true\nca_file = "{certificate.certificate}"'
        rows = await place.rows("SEC003", "AMQP001")
        place.broker = "tls = true"
        doubted = await place.rows("SEC003", "AMQP001")
    seen = [(row.check, row.verdict) for row in rows if row.about != "accounts.safedebit.test"]
    assert seen == [("SEC003", Verdict.OK), ("AMQP001", Verdict.OK)]
    assert "logged in with TLS" in rows[-1].cause
    assert failed(doubted) == [("AMQP001", "")]
    assert verdicts(doubted, "SEC003") == [Verdict.SKIP, Verdict.SKIP]


async def test_reaching_gives_up_in_time_and_names_what_went_wrong(broker: Broker) -> None:
    with silent_port() as port:
        silent = await reach("127.0.0.1", port, None, seconds=0.2)
    assert silent.trouble == "no answer within 0 s"
    (nameless, plain) = await reach_all(
        ["https://nowhere.invalid", f"https://127.0.0.1:{broker.port}"]
    )
    assert nameless.trouble is not None
    assert "its name cannot be resolved" in nameless.trouble
    assert plain.trouble is not None
    assert "TLS failed" in plain.trouble


async def test_the_probe_port_is_free_or_a_workers_or_taken(broker: Broker, tmp_path: Path) -> None:
    async with deployed(broker, tmp_path) as (place, _):
        (free,) = await place.rows("TEL")
        async with ProbeServer(
            port=place.probes,
            is_alive=lambda: True,
            readiness=dict,
            registry=CollectorRegistry(),
        ):
            (ours,) = await place.rows("TEL")
        async with RawServer(_say_nothing) as other:
            place.probes = other.port
            (taken,) = await place.rows("TEL")
    assert (free.verdict, free.cause) == (Verdict.OK, "free to listen on")
    assert (ours.verdict, ours.cause) == (Verdict.OK, "a worker listens there")
    assert taken.verdict is Verdict.FAIL
    assert "in use" in taken.cause


async def test_the_whole_command_prints_its_rows_and_ends_with_its_code(
    broker: Broker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "none"))
    arguments = ["check", "--json", "--config"]
    async with deployed(broker, tmp_path) as (place, _):
        file = str(place.file())
        assert await asyncio.to_thread(program.run, [*arguments, file]) == 0
        rows = json.loads(capsys.readouterr().out)
        place.password = "wrong-password"  # noqa: S105 - it is refused
        place.file()
        assert await asyncio.to_thread(program.run, [*arguments, file, "--only", "AMQP010"]) == 69
    assert {"CFG001", "AMQP008", "TEL001"} <= {row["check"] for row in rows}
    shown = capsys.readouterr()
    assert "wrong-password" not in shown.out + shown.err


async def test_a_dead_broker_is_told_in_our_words_alone(broker: Broker, tmp_path: Path) -> None:
    """The client library's own lines name the address once more, and nothing to do."""
    async with deployed(broker, tmp_path) as (place, _):
        with refused_port() as port:
            place.port = port
            ended = await run(place.file(), "check", "--only", "AMQP001", "--json")
    assert ended.code == 69
    (row,) = json.loads(ended.out)
    assert row["cause"].endswith("cannot be reached: Connection refused")
    (said,) = ended.err.splitlines()
    assert json.loads(said)["error"]["code"] == "check_failed"
