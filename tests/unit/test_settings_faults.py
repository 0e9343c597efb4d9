"""Every fault at once, each with its place, none with its value."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.settings_sample import (
    NOWHERE,
    SAMPLE,
    SECRETS,
    TODAY,
    faults_in,
    load_sample,
    write_settings,
)
from worker.settings import SettingsError, load
from worker.settings.loading import CATALOGUE

BROKEN = """
deployment = "Two Words"

[broker]
port = 70000
heartbeat = true
tls = "perhaps"
prefix = "payments"

[ledger]
minimum_free_mib = 1.5

[timing]
call_seconds = nan
max_age = "a day"

[force_live]
until = "31/12/2026"

[log]
format = "yaml"

[[routes]]
target = "PAYPAL"
account = "nobody"

[accounts.bank]
provider = "link"
classes.get_link_payment = { operation_class = "F", reason = "because" }

[accounts.bank.test]
base_url = "http://link.example/ssp?x=1"
login = "with:colon"
link_hosts = ["https://pay.example"]

[accounts.bank.test.companies.1]
beneficiary_reference = "395000000000001"
"""


def test_all_faults_are_reported_at_once_with_their_places(tmp_path: Path) -> None:
    faults = faults_in(
        tmp_path,
        BROKEN,
        without=tuple(SECRETS),
        variables={"TYPO": "1", "BROKER__CONCURRENCY": "many"},
    )
    assert {name: fault.sentence for name, fault in faults.items()} == {
        "accounts.bank.classes.get_link_payment.operation_class": (
            "Input should be 'A', 'B', 'C', 'D' or 'E'."
        ),
        "accounts.bank.classes.get_link_payment.reason": (
            "String should have at least 10 characters."
        ),
        "accounts.bank.test.base_url": (
            "Use https: only a loopback address may be called without TLS."
        ),
        "accounts.bank.test.companies.1.phone_number": "A link company needs it.",
        "accounts.bank.test.companies.1.url_callback": "A link company needs it.",
        "accounts.bank.test.link_hosts.0": ("Give a bare host name, without scheme, port or path."),
        "accounts.bank.test.login": (
            "A Basic login holds no colon (RFC 7617): the rest would be password."
        ),
        "accounts.bank.test.password": "It is missing and has no default.",
        "broker.concurrency": (
            "Input should be a valid integer, unable to parse string as an integer."
        ),
        "broker.heartbeat": "Give a number, not true or false.",
        "broker.password": "It is missing and has no default.",
        "broker.port": "Input should be less than 65536.",
        "broker.prefix": r"String should match pattern '^[a-zA-Z0-9_-]+(\.[a-zA-Z0-9_-]+)*\.$'.",
        "broker.tls": "Input should be a valid boolean, unable to interpret input.",
        "broker.user": "It is missing and has no default.",
        "deployment": "String should match pattern '^[a-z0-9]+([_-][a-z0-9]+)*$'.",
        "environment": "It is missing and has no default.",
        "force_live.max_amount": "It is missing and has no default.",
        "force_live.origins": "It is missing and has no default.",
        "force_live.until": "Give a day as 2026-12-31.",
        "ledger.keys": "It is missing and has no default.",
        "ledger.minimum_free_mib": (
            "Input should be a valid integer, got a number with a fractional part."
        ),
        "log.format": "Input should be 'json' or 'console'.",
        "routes.0.target": "Input should be 'LABANQUEPOSTALE', 'PAYBOX' or 'MILLIET'.",
        "timing.call_seconds": "Input should be a finite number.",
        "timing.max_age": (
            'Give a duration as a number with its unit: "30s", "15m", "24h", "90d".'
        ),
        "typo": "There is no such setting.",
    }
    config = tmp_path / "settings.toml"
    assert faults["typo"].source == "PAYMENT_WORKER_TYPO"
    assert faults["broker.port"].source == f"{config}, broker.port"
    assert faults["broker.user"].source == "not set"
    assert faults["routes.0.target"].source == f"{config}, routes"


def test_rules_over_several_settings_are_checked_in_the_same_run(tmp_path: Path) -> None:
    """A wrong number elsewhere must not hide that time limits do not nest."""
    text = SAMPLE + "\n[timing]\ndrain_seconds = 300\n\n[log]\nlevel = 'loud'\n"
    faults = faults_in(tmp_path, text, without=("PAYMENT_WORKER_BROKER__PASSWORD",))
    assert set(faults) == {"broker.password", "log.level", "timing.stop_grace_seconds"}


def test_a_rule_is_not_applied_to_a_value_that_could_not_be_read(tmp_path: Path) -> None:
    text = SAMPLE + "\n[timing]\nlease_seconds = 20\ncall_seconds = 'x'\n"
    assert set(faults_in(tmp_path, text)) == {"timing.call_seconds"}


def test_the_text_of_the_error_is_one_line_for_each_fault(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load_sample(tmp_path, variables={"TYPO": "1", "BROKER__HOST": ""})
    assert str(caught.value).splitlines() == [
        "2 faults in the settings:",
        "  broker.host (PAYMENT_WORKER_BROKER__HOST): It is empty.",
        "  typo (PAYMENT_WORKER_TYPO): There is no such setting.",
    ]
    with pytest.raises(SettingsError, match=r"^1 fault in the settings:"):
        load_sample(tmp_path, variables={"TYPO": "1"})


def test_an_account_without_a_provider_is_reported_and_spares_the_others(tmp_path: Path) -> None:
    text = SAMPLE.replace('provider = "link"', 'provider = "linc"').replace(
        'regie_id = "cantine"', ""
    )
    assert set(faults_in(tmp_path, text)) == {
        "accounts.safedebit.provider",
        "accounts.combo.test.companies.1.regie_id",
    }


PATHS = [
    "__".join(part.strip("<>").upper() if part != "<name>" else "safedebit" for part in entry.path)
    for entry in CATALOGUE.entries
    if "[]" not in entry.path
]


@given(
    names=st.lists(st.sampled_from(PATHS), min_size=1, max_size=6, unique=True),
    secret=st.text(
        st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\x00"),
        min_size=12,
        max_size=40,
    ).map(lambda noise: f"hunter2-{noise}-tr0ub4dor"),
    shape=st.sampled_from(["{}", "https://u:{}@host/", "[{}", '["{}"]', "{} {}", "12{}"]),
)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_fault_ever_repeats_a_value(
    tmp_path: Path, names: list[str], secret: str, shape: str
) -> None:
    """Whatever is put wherever, neither the error nor its repr nor its causes show it."""
    value = shape.replace("{}", secret)
    environment = {**SECRETS, **{f"PAYMENT_WORKER_{name}": value for name in names}}
    try:
        loaded = load(
            today=TODAY,
            config=write_settings(tmp_path),
            environment=environment,
            container_secrets=NOWHERE,
        )
    except SettingsError as error:
        shown = f"{error} {error!r} {error.faults!r} {error.__cause__!r} {error.__context__!r}"
    else:
        shown = f"{loaded.warnings!r}"
    for planted in ("hunter2", "tr0ub4dor"):
        assert planted not in shown
