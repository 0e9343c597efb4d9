"""What the rest of the program gets out of the settings, and what people are told about them."""

import re
import tomllib
from datetime import date, timedelta
from pathlib import Path

import pytest

from tests.settings_sample import (
    KEY,
    LIVE,
    LIVE_SECRETS,
    NOWHERE,
    SAMPLE,
    SECRETS,
    TODAY,
    faults_in,
    load_sample,
    write_settings,
)
from worker.model import (
    Cents,
    Company,
    Endpoint,
    Environment,
    Limits,
    Operation,
    OperationClass,
    Origin,
    PaymentTarget,
    PaymentType,
    ProviderKind,
    Secret,
)
from worker.rules import BrokerAddress, ForceLive, PostgresAddress, Rules, Subscriber
from worker.settings import (
    BrokerUrlError,
    broker_url_from_environment,
    explain,
    load,
    reference,
    split_broker_url,
)
from worker.settings.loading import CATALOGUE

EXAMPLE = Path(__file__).parents[2] / "deploy" / "settings.example.toml"


def test_defaults_are_the_rules_of_the_core(tmp_path: Path) -> None:
    assert load_sample(tmp_path).settings.rules() == Rules()


def test_every_rule_can_be_set(tmp_path: Path) -> None:
    text = """
[timing]
call_seconds = 1
tries = 2
tries_seconds = 3
lease_seconds = 50
permit_seconds = 4
publish_seconds = 5
delivery_seconds = 60
max_age = "2d"
duplicate_window = 0
tombstone_age = "90m"
"""
    assert load_sample(tmp_path, SAMPLE + text).settings.rules() == Rules(
        call_seconds=1,
        tries=2,
        tries_seconds=3,
        lease_seconds=50,
        permit_seconds=4,
        publish_seconds=5,
        delivery_seconds=60,
        max_age=timedelta(days=2),
        duplicate_window=timedelta(0),
        tombstone_age=timedelta(minutes=90),
    )


@pytest.mark.parametrize(
    ("role", "name"), [("consume", "demo consume"), ("operate", "demo operate")]
)
def test_the_broker_address_carries_everything_the_connection_needs(
    tmp_path: Path, role: str, name: str
) -> None:
    text = SAMPLE.replace(
        "[broker]",
        'deployment = "demo"\n[broker]\nhost = "rabbit"\nport = 5671\nvirtual_host = "v"\n'
        'tls = true\nca_file = "/ca"\ncertificate_file = "/c"\nkey_file = "/k"\nheartbeat = 10',
    )
    settings = load_sample(tmp_path, text).settings
    address = settings.broker_address("consume" if role == "consume" else "operate")
    assert address == BrokerAddress(
        host="rabbit",
        port=5671,
        virtual_host="v",
        user="payworker",
        password=Secret("broker-password"),
        tls=True,
        ca_file="/ca",
        certificate_file="/c",
        key_file="/k",
        heartbeat=10,
        connection_name=name,
    )


def test_subscribers_are_ordered_and_read_from_the_environment_too(tmp_path: Path) -> None:
    loaded = load_sample(tmp_path, variables={"RESULTS__SUBSCRIBERS__AUDIT": "web, ibar"})
    assert loaded.settings.subscribers() == (
        Subscriber(name="audit", origins=(Origin("web"), Origin("ibar"))),
        Subscriber(name="dcp", origins=(Origin("dcp"), Origin("web"))),
    )


@pytest.mark.parametrize("origins", ["Télévente", "dcp,dcp", "a" * 33, '["dcp"', "[]"])
def test_an_origin_is_written_as_it_stands_in_routing_keys(tmp_path: Path, origins: str) -> None:
    faults = faults_in(tmp_path, variables={"RESULTS__SUBSCRIBERS__AUDIT": origins})
    (name,) = faults
    assert name.startswith("results.subscribers.audit")


def test_the_default_routes_are_those_of_the_contract(tmp_path: Path) -> None:
    book = load_sample(tmp_path).settings.route_book()
    assert book.environment is Environment.STAGING
    for target, account in (
        (PaymentTarget.LABANQUEPOSTALE, "safedebit"),
        (PaymentTarget.PAYBOX, "safedebit"),
        (PaymentTarget.MILLIET, "combo"),
    ):
        assert {book.routes[target, each] for each in PaymentType} == {account}


def test_a_rule_for_one_type_beats_the_rule_for_all_and_unnamed_targets_have_no_route(
    tmp_path: Path,
) -> None:
    text = """
[[routes]]
target = "PAYBOX"
type = "CB"
account = "combo"
[[routes]]
target = "PAYBOX"
account = "safedebit"
"""
    routes = load_sample(tmp_path, SAMPLE + text).settings.route_book().routes
    assert routes[PaymentTarget.PAYBOX, PaymentType.CB] == "combo"
    assert routes[PaymentTarget.PAYBOX, PaymentType.AMEX] == "safedebit"
    assert (PaymentTarget.MILLIET, PaymentType.CB) not in routes


def test_routes_may_come_from_the_environment_as_json(tmp_path: Path) -> None:
    rules = '[{"target": "MILLIET", "account": "combo"}]'
    routes = load_sample(tmp_path, variables={"ROUTES": rules}).settings.route_book().routes
    assert set(routes.values()) == {"combo"}


def test_an_account_becomes_the_value_the_core_knows(tmp_path: Path) -> None:
    text = (
        (SAMPLE + LIVE).replace("staging", "production")
        + """
[accounts.safedebit.fields]
payment_lang = "fr"
[accounts.safedebit.limits]
concurrent_calls = 7
calls_per_second = 2.5
[accounts.safedebit.classes.get_link_payment]
operation_class = "C"
reason = "confirmed on the test account"
"""
    )
    variables = {name.removeprefix("PAYMENT_WORKER_"): each for name, each in LIVE_SECRETS.items()}
    variables |= {"ACCOUNTS__COMBO__CANCELLABLE": "no", "ACCOUNTS__COMBO__MAX_AMOUNT": "500"}
    variables["ACCOUNTS__SAFEDEBIT__LOOK_UP"] = "true"
    accounts = load_sample(tmp_path, text, variables=variables).settings.route_book().accounts
    link, basket = accounts["safedebit"], accounts["combo"]
    assert link.provider is ProviderKind.LINK
    assert link.live == Endpoint(
        base_url="https://link.example/ssp",
        login="merchant-live",
        password=Secret("link-password-live"),
        link_hosts=frozenset({"pay.example"}),
    )
    assert link.test is not None
    assert link.test.password == Secret("link-password")
    assert link.test_companies["1"] == Company(
        id_societe="1",
        beneficiary_reference="395000000000001",
        phone_number="0600000000",
        url_callback="https://back.test.example/cb/{reference}",
    )
    assert link.live_companies["1"].url_callback == "https://back.example/cb/{reference}"
    assert dict(link.fields) == {"payment_lang": "fr"}
    assert dict(link.classes) == {Operation.GET_LINK_PAYMENT: OperationClass.KEYED}
    assert link.limits == Limits(concurrent_calls=7, calls_per_second=2.5, waiting_calls=5)
    assert basket.limits == Limits(concurrent_calls=20, waiting_calls=5)
    assert (link.look_up, basket.look_up) == (True, False)
    assert (basket.cancellable, basket.max_amount, basket.classes) == (False, Cents(500), {})


@pytest.mark.parametrize("until", ["until = 2026-12-31", 'until = "2026-12-31"'])
def test_force_live_is_a_day_named_origins_and_an_amount(tmp_path: Path, until: str) -> None:
    text = f'\n[force_live]\n{until}\norigins = ["dcp"]\nmax_amount = 100\n'
    assert load_sample(tmp_path, SAMPLE + text).settings.route_book().force_live == ForceLive(
        until=date(2026, 12, 31), origins=frozenset({Origin("dcp")}), max_amount=Cents(100)
    )


@pytest.mark.parametrize("until", ["2026-12-31T00:00:00Z", "1798675200", "true", "'soon'"])
def test_the_last_day_of_force_live_is_never_a_time_or_a_number(tmp_path: Path, until: str) -> None:
    text = f"\n[force_live]\nuntil = {until}\norigins = ['dcp']\nmax_amount = 100\n"
    assert faults_in(tmp_path, SAMPLE + text)["force_live.until"].sentence == (
        "Give a day as 2026-12-31."
    )


@pytest.mark.parametrize("key", [KEY[:-1], "short", "é" * 44, KEY * 2])
def test_a_key_that_is_not_one_is_refused(tmp_path: Path, key: str) -> None:
    fault = faults_in(tmp_path, variables={"LEDGER__KEYS": key})["ledger.keys.0"]
    assert fault.sentence == "A key is 32 random bytes in URL-safe base64 (44 characters)."


def test_the_heartbeat_file_stands_beside_the_ledger_unless_named(tmp_path: Path) -> None:
    settings = load_sample(tmp_path, variables={"LEDGER__PATH": "/data/ledger.db"}).settings
    assert settings.heartbeat_file() == Path("/data/heartbeat")
    named = load_sample(tmp_path, variables={"PROBES__HEARTBEAT_FILE": "/run/tick"}).settings
    assert named.heartbeat_file() == Path("/run/tick")


def test_a_table_of_its_own_puts_the_ledger_into_postgresql(tmp_path: Path) -> None:
    assert load_sample(tmp_path).settings.ledger_place() == Path(
        "/var/lib/payment-worker/ledger.sqlite3"
    )
    settings = load_sample(
        tmp_path,
        variables={
            "DEPLOYMENT": "south",
            "LEDGER__POSTGRES__HOST": "db.example",
            "LEDGER__POSTGRES__PASSWORD": "database-password",
            "LEDGER__POSTGRES__TLS": "true",
            "LEDGER__POSTGRES__CA_FILE": "/etc/ca.pem",
        },
    ).settings
    assert settings.ledger_place() == PostgresAddress(
        host="db.example",
        port=5432,
        database="payment_worker",
        user="payment_worker",
        password=Secret("database-password"),
        tls=True,
        ca_file="/etc/ca.pem",
        application_name="south",
    )
    assert settings.heartbeat_file() == Path("/var/lib/payment-worker/heartbeat")


def test_the_password_of_the_database_is_shown_nowhere(tmp_path: Path) -> None:
    secret = "database-password"  # noqa: S105 - must not show up
    variables = {"LEDGER__POSTGRES__HOST": "db.example", "LEDGER__POSTGRES__PASSWORD": secret}
    loaded = load_sample(tmp_path, variables=variables)
    rows = {row.name: row.value for row in explain(loaded, "ledger.postgres")}
    assert (rows["ledger.postgres.password"], rows["ledger.postgres.host"]) == ("***", "db.example")
    for text in (repr(loaded.settings), repr(loaded.settings.ledger_place()), str(rows)):
        assert secret not in text


# --- what people are told ------------------------------------------------------------------------


def test_explain_masks_secrets_and_names_every_source(tmp_path: Path) -> None:
    loaded = load_sample(tmp_path)
    rows = {row.name: row for row in explain(loaded)}
    assert rows["broker.password"].value == "***"
    assert rows["broker.password"].source == "PAYMENT_WORKER_BROKER__PASSWORD"
    assert rows["ledger.keys"].value == "***"
    assert rows["accounts.safedebit.test.companies.1.phone_number"].value == "***"
    assert rows["broker.heartbeat"].value == "15"
    assert rows["timing.max_age"].value == "24h"
    assert rows["results.subscribers.dcp"].value == "dcp, web"
    shown = repr(rows)
    assert not any(secret in shown for secret in SECRETS.values())
    assert all(row.meaning for row in rows.values())


def test_explain_can_be_asked_for_one_setting_or_one_table(tmp_path: Path) -> None:
    loaded = load_sample(tmp_path, SAMPLE + "\n[[routes]]\ntarget = 'MILLIET'\naccount = 'combo'\n")
    assert [row.name for row in explain(loaded, "broker.host")] == ["broker.host"]
    assert {row.name for row in explain(loaded, "log")} == {"log.format", "log.level"}
    assert {row.name: row.value for row in explain(loaded, "routes")} == {
        "routes.0.target": "MILLIET",
        "routes.0.type": "",
        "routes.0.account": "combo",
    }
    assert explain(loaded, "brok") == []


def test_the_reference_names_every_setting_once_with_its_meaning() -> None:
    lines = reference().splitlines()
    assert len(lines) == len(CATALOGUE.entries) + 2
    assert "| `broker.heartbeat` | `PAYMENT_WORKER_BROKER__HEARTBEAT` | `15` |" in reference()
    assert all(entry.meaning for entry in CATALOGUE.entries)
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 5 for line in lines)


def example_settings() -> str:
    """The example with every commented setting taken in."""
    return re.sub(r"^#(?=[\w\[])", "", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)


def test_the_example_is_sound_as_it_stands(tmp_path: Path) -> None:
    loaded = load_sample(tmp_path, EXAMPLE.read_text(encoding="utf-8"))
    assert loaded.settings.environment is Environment.STAGING


@pytest.mark.parametrize(
    ("other", "is_shared"),
    [(r"^path = .*\n", True), (r"^\[ledger\.postgres\]\n(.+\n)*", False)],
    ids=["PostgreSQL", "SQLite"],
)
def test_the_example_is_sound_with_everything_in_it_switched_on(
    tmp_path: Path, other: str, *, is_shared: bool
) -> None:
    """But for the ledger's place: the example shows both, a deployment has one."""
    text, taken_out = re.subn(other, "", example_settings(), flags=re.MULTILINE)
    assert taken_out == 1
    loaded = load(
        today=TODAY,
        config=write_settings(tmp_path, text),
        environment={},
        container_secrets=NOWHERE,
    )
    assert loaded.settings.force_live is not None
    assert isinstance(loaded.settings.ledger_place(), PostgresAddress) is is_shared


def test_the_example_shows_every_setting_and_its_true_default() -> None:
    shown = tomllib.loads(example_settings())
    found: dict[tuple[str, ...], object] = {}

    def collect(value: object, path: tuple[str, ...]) -> None:
        entry = CATALOGUE.entry(path)
        if isinstance(value, dict):
            for name, each in value.items():
                collect(each, (*path, name))
        elif entry is None and isinstance(value, list):
            for place, each in enumerate(value):
                collect(each, (*path, str(place)))
        else:
            assert entry is not None, path
            found.setdefault(entry.path, value)

    collect(shown, ())
    missing = {
        entry.path
        for entry in CATALOGUE.entries
        # Companies look alike in both modes and depend on the provider.
        if entry.path not in found and "live" not in entry.path
    }
    assert missing == set()
    for entry in CATALOGUE.entries:
        if entry.default and entry.path in found and len(entry.path) <= 2:
            value = found[entry.path]
            text = str(value).lower() if isinstance(value, bool) else str(value)
            if entry.path != ("deployment",):
                assert text == entry.default, entry.path


# --- the demonstration's URL ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("amqp://localhost", ("localhost", 5672, "/", "guest", "guest", False, 15)),
        ("amqp://h:1/", ("h", 1, "/", "guest", "guest", False, 15)),
        ("amqps://u:p%40%2F@h/a%2Fb", ("h", 5671, "a/b", "u", "p@/", True, 15)),
        ("amqp://u:p@[::1]:5673/v?heartbeat=10", ("::1", 5673, "v", "u", "p", False, 10)),
    ],
)
def test_a_broker_url_is_split_at_once(url: str, parts: tuple[object, ...]) -> None:
    address = split_broker_url(url)
    assert (
        address.host,
        address.port,
        address.virtual_host,
        address.user,
        address.password.reveal(),
        address.tls,
        address.heartbeat,
    ) == parts


def test_a_broker_url_may_name_certificates() -> None:
    address = split_broker_url(
        "amqps://h/v?cafile=/ca&certfile=/c&keyfile=/k", connection_name="demo"
    )
    assert (address.ca_file, address.certificate_file, address.key_file) == ("/ca", "/c", "/k")
    assert address.connection_name == "demo"


@pytest.mark.parametrize(
    "url",
    [
        "http://u:hunter2@h/",
        "amqp://u:hunter2@",
        "amqp://u:hunter2@h:port/",
        "amqp://u:hunter2@[h/",
        "amqps://u:hunter2@h/?no_verify_ssl=1",
        "amqp://u:hunter2@h/?heartbeat=0",
        "amqp://u:hunter2@h/?heartbeat=61",
        "amqp://u:hunter2@h/?heartbeat=10&heartbeat=20",
        "amqp://u:hunter2@h/?auth=external",
    ],
)
def test_a_broker_url_that_cannot_be_used_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(BrokerUrlError) as caught:
        split_broker_url(url)
    assert "hunter2" not in f"{caught.value!r}"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_the_demonstration_may_be_given_a_broker_by_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert broker_url_from_environment({}) is None
    address = broker_url_from_environment({"AMQP_URL": "amqp://u:p@h/v"})
    assert address is not None
    assert "p@" not in repr(address)
    monkeypatch.setenv("AMQP_URL", "amqp://other")
    from_process = broker_url_from_environment()
    assert from_process is not None
    assert from_process.host == "other"
