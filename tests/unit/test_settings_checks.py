"""Rules that tie several settings together: each broken once, by name and sentence."""

from datetime import date
from pathlib import Path

import pytest

from tests.settings_sample import (
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
from worker.model import Limits
from worker.rules import fair_share
from worker.settings import SettingsError, load

PRODUCTION = (SAMPLE + LIVE).replace("staging", "production")
LIVE_VARIABLES = {
    name.removeprefix("PAYMENT_WORKER_"): value for name, value in LIVE_SECRETS.items()
}


def test_the_sample_is_sound_for_staging_and_for_production(tmp_path: Path) -> None:
    assert faults_in(tmp_path) == {}
    assert faults_in(tmp_path, PRODUCTION, variables=LIVE_VARIABLES) == {}


@pytest.mark.parametrize(
    ("changes", "name", "words"),
    [
        ({"TIMING__LEASE_SECONDS": "60"}, "timing.lease_seconds", "call_seconds < lease_seconds"),
        ({"TIMING__CALL_SECONDS": "95"}, "timing.lease_seconds", "tries_seconds + call_seconds"),
        ({"TIMING__PUBLISH_SECONDS": "29.5"}, "timing.delivery_seconds", "2 x publish_seconds"),
        ({"TIMING__DRAIN_SECONDS": "120"}, "timing.drain_seconds", "delivery_seconds < drain"),
        ({"TIMING__STOP_GRACE_SECONDS": "130"}, "timing.stop_grace_seconds", "drain_seconds <"),
        ({"BROKER__CONCURRENCY": "3"}, "broker.prefetch", "ceil(prefetch / concurrency)"),
        ({"BROKER__CERTIFICATE_FILE": "/x"}, "broker.key_file", "come together"),
        ({"RETENTION__LETTERS": "397d"}, "retention.rows", "letters + max_age <= rows"),
        ({"RETENTION__LINKS": "398d"}, "retention.rows", "links <= rows"),
        ({"RETENTION__EMAILS": "121d"}, "retention.links", "emails <= links"),
        ({"TIMING__MAX_AGE": "31d"}, "retention.emails", "max_age, duplicate_window and"),
        ({"TIMING__DUPLICATE_WINDOW": "31d"}, "retention.emails", "<= emails"),
    ],
)
def test_numbers_that_do_not_fit_together_are_refused(
    tmp_path: Path, changes: dict[str, str], name: str, words: str
) -> None:
    faults = faults_in(tmp_path, variables=changes)
    assert words in faults[name].sentence
    assert all(f"PAYMENT_WORKER_{each}" in faults[name].source for each in changes)


@pytest.mark.parametrize(
    ("changes", "limit"),
    [
        ({"TIMING__LEASE_SECONDS": "60.001"}, "lease"),
        ({"BROKER__CONCURRENCY": "4"}, "rounds"),
        ({"TIMING__DRAIN_SECONDS": "120.001"}, "drain"),
    ],
)
def test_numbers_just_inside_their_limits_are_accepted(
    tmp_path: Path, changes: dict[str, str], limit: str
) -> None:
    assert faults_in(tmp_path, variables=changes) == {}, limit


@pytest.mark.parametrize(
    ("changes", "name", "words"),
    [
        (
            {"TIMING__STOP_GRACE_SECONDS": "148"},
            "timing.stop_grace_seconds",
            "a stop may take 20 s",
        ),
        (
            {"ACCOUNTS__COMBO__LIMITS__CONCURRENT_CALLS": "50"},
            "accounts.combo.limits.concurrent_calls",
            "keep it well below",
        ),
    ],
)
def test_numbers_that_leave_too_little_room_are_warned_of(
    tmp_path: Path, changes: dict[str, str], name: str, words: str
) -> None:
    loaded = load_sample(tmp_path, SAMPLE, variables=changes)
    (sentence,) = [each.sentence for each in loaded.warnings if each.name == name]
    assert words in sentence


@pytest.mark.parametrize(
    ("places", "accounts", "calls", "waiting"),
    [(50, 1, 50, 50), (50, 2, 20, 5), (50, 4, 10, 2), (50, 20, 10, 1), (4, 2, 2, 1), (1, 3, 1, 1)],
)
def test_accounts_share_the_places_evenly(
    places: int, accounts: int, calls: int, waiting: int
) -> None:
    assert fair_share(places, accounts) == Limits(concurrent_calls=calls, waiting_calls=waiting)


LEAVE = '\n[force_live]\nuntil = 2026-11-21\norigins = ["dcp"]\nmax_amount = 100\n'


@pytest.mark.parametrize(
    ("leave", "today", "sentence"),
    [
        ("", TODAY, "force_live.until is not set"),
        (LEAVE, TODAY, None),
        (LEAVE, date(2026, 11, 22), "force_live.until is past"),
    ],
)
def test_live_credentials_reach_staging_only_while_force_live_holds(
    tmp_path: Path, leave: str, today: date, sentence: str | None
) -> None:
    faults = faults_in(tmp_path, SAMPLE + LIVE + leave, today=today, variables=LIVE_VARIABLES)
    if sentence is None:
        assert faults == {}
        return
    assert set(faults) == {"accounts.safedebit.live", "accounts.combo.live"}
    assert sentence in faults["accounts.combo.live"].sentence


def test_an_expired_leave_is_only_a_warning_once_the_live_credentials_are_gone(
    tmp_path: Path,
) -> None:
    loaded = load_sample(tmp_path, SAMPLE + LEAVE, today=date(2027, 1, 1))
    assert "force_live.until" in {each.name for each in loaded.warnings}
    loaded = load_sample(tmp_path, SAMPLE + LIVE + LEAVE, today=TODAY, variables=LIVE_VARIABLES)
    (warning,) = [each for each in loaded.warnings if each.name == "force_live.until"]
    assert warning.sentence == "Staging may call live endpoints until that day."


@pytest.mark.parametrize(
    ("old", "new", "name", "words"),
    [
        ("https://link.example/ssp", "http://link.example/ssp", "live.base_url", "Use https"),
        ("https://link.example/ssp", "https://a:b@link.example", "live.base_url", "Credentials"),
        ("https://link.example/ssp", "https://preprod-x.example", "live.base_url", "test host"),
        ("https://link.example/ssp", "https:///ssp", "live.base_url", "whole URL"),
        ("https://link.example/ssp", "https://h:99999/", "live.base_url", "not a URL"),
        ("https://link.example/ssp", "https://h/a b", "live.base_url", "no spaces"),
        ("https://link.example/ssp", "https://h/?a", "live.base_url", "neither a query"),
        ('link_hosts = ["pay.example"]', "", "live.link_hosts", "must list the hosts"),
        (
            'base_url = "https://link.example/ssp"\nlogin = "merchant-live"',
            'base_url = "https://link.test.example/ssp/"\nlogin = "merchant-test"',
            "live.login",
            "also the test set of safedebit",
        ),
    ],
)
def test_a_wrong_live_endpoint_is_refused(
    tmp_path: Path, old: str, new: str, name: str, words: str
) -> None:
    assert old in PRODUCTION
    faults = faults_in(tmp_path, PRODUCTION.replace(old, new), variables=LIVE_VARIABLES)
    assert set(faults) == {f"accounts.safedebit.{name}"}
    assert words in faults[f"accounts.safedebit.{name}"].sentence


@pytest.mark.parametrize(
    ("mode", "password", "words"),
    [
        ("LIVE", SECRETS["PAYMENT_WORKER_ACCOUNTS__COMBO__TEST__PASSWORD"], "password of combo"),
        ("LIVE", "testpassword_123", "like a test password"),
        ("TEST", "prodpassword_123", "like a live password"),
    ],
)
def test_test_and_live_passwords_are_kept_apart(
    tmp_path: Path, mode: str, password: str, words: str
) -> None:
    variables = {**LIVE_VARIABLES, f"ACCOUNTS__SAFEDEBIT__{mode}__PASSWORD": password}
    faults = faults_in(tmp_path, PRODUCTION, variables=variables)
    name = f"accounts.safedebit.{mode.lower()}.password"
    assert set(faults) == {name}
    assert words in faults[name].sentence
    assert password not in faults[name].sentence


COMBO_TEST = ("PAYMENT_WORKER_ACCOUNTS__COMBO__TEST__PASSWORD",)


def test_every_deployment_has_the_endpoints_it_needs(tmp_path: Path) -> None:
    faults = faults_in(tmp_path, SAMPLE.replace("staging", "production"))
    assert set(faults) == {"accounts.safedebit.live", "accounts.combo.live"}
    moved = (SAMPLE + LEAVE).replace("[accounts.combo.test", "[accounts.combo.live")
    faults = faults_in(
        tmp_path,
        moved,
        without=COMBO_TEST,
        variables={"ACCOUNTS__COMBO__LIVE__PASSWORD": "basket-password-live"},
    )
    assert set(faults) == {"accounts.combo.test"}


def test_production_without_a_test_endpoint_is_a_warning(tmp_path: Path) -> None:
    before, _, after = PRODUCTION.partition("[accounts.combo.test]")
    without_test = before + after[after.index("[accounts.safedebit.live]") :]
    loaded = load_sample(tmp_path, without_test, without=COMBO_TEST, variables=LIVE_VARIABLES)
    assert "accounts.combo.test" in {each.name for each in loaded.warnings}


@pytest.mark.parametrize(
    ("more", "name", "words"),
    [
        ("[[routes]]\ntarget = 'PAYBOX'\naccount = 'bank'\n", "routes.0.account", "no account"),
        (
            "[[routes]]\ntarget = 'PAYBOX'\naccount = 'safedebit'\n" * 2,
            "routes.1",
            "Another rule before it",
        ),
        ("[accounts.other]\nprovider = 'link'\n", "routes", "Several link accounts"),
        (
            "[accounts.safedebit.fields]\nlink_duratoin = '30'\n",
            "accounts.safedebit.fields.link_duratoin",
            "no such field",
        ),
        (
            "[accounts.safedebit.fields]\namount = '1'\n",
            "accounts.safedebit.fields.amount",
            "cannot be set here",
        ),
        (
            "[accounts.combo.fields]\nsms_option = '1'\n",
            "accounts.combo.fields",
            "no use for it",
        ),
        (
            (
                "[accounts.safedebit.classes.add_basket_item]\n"
                "operation_class = 'B'\nreason = 'confirmed by nobody'\n"
            ),
            "accounts.safedebit.classes.add_basket_item",
            "no such operation",
        ),
        (
            "[accounts.safedebit.test.companies.2]\nurl_callback = 'https://x.example/{who}'\n",
            "accounts.safedebit.test.companies.2.url_callback",
            "placeholder",
        ),
        (
            "[accounts.combo.test.companies.2]\nregie_id = 'r'\n",
            "accounts.combo.test.companies.2.item_url",
            "company needs it",
        ),
    ],
)
def test_accounts_routes_and_companies_are_checked_before_the_first_message(
    tmp_path: Path, more: str, name: str, words: str
) -> None:
    assert words in faults_in(tmp_path, f"{SAMPLE}\n{more}")[name].sentence


def test_a_basket_account_cannot_be_looked_up(tmp_path: Path) -> None:
    """The provider has no read; whoever sets it would wait for something that never comes."""
    text = SAMPLE.replace('provider = "basket"', 'provider = "basket"\nlook_up = true')
    fault = faults_in(tmp_path, text)["accounts.combo.look_up"]
    assert "no use for it" in fault.sentence


def test_a_worker_without_accounts_or_an_account_without_companies_is_refused(
    tmp_path: Path,
) -> None:
    bare = SAMPLE.partition("[accounts")[0]
    accounts = tuple(name for name in SECRETS if "ACCOUNTS" in name)
    assert set(faults_in(tmp_path, bare, without=accounts)) == {"accounts"}
    text = SAMPLE.partition("[accounts.combo.test.companies")[0]
    assert set(faults_in(tmp_path, text)) == {"accounts.combo.test.companies"}


def test_what_is_unwise_is_a_warning_and_no_fault(tmp_path: Path) -> None:
    text = (
        SAMPLE
        + "\n[accounts.spare]\nprovider = 'basket'\n[accounts.spare.test]\n"
        + "base_url = 'http://127.0.0.1:8080'\nlogin = 'x'\n[accounts.spare.test.companies.1]\n"
        + "regie_id = 'r'\nitem_url = 'https://x.example/{reference}/'\ndisplay_name = 'x'\n"
        + "[[routes]]\ntarget = 'PAYBOX'\naccount = 'safedebit'\n"
        + "[[routes]]\ntarget = 'MILLIET'\ntype = 'CB'\naccount = 'combo'\n"
    )
    loaded = load_sample(
        tmp_path,
        text,
        variables={
            "ACCOUNTS__SPARE__TEST__PASSWORD": "x",
            "BROKER__CONCURRENCY": "60",
            "BROKER__HOST": "rabbit.example",
        },
    )
    warned = {each.name for each in loaded.warnings if each.check not in {"SEC001", "SEC002"}}
    assert warned == {"accounts.spare", "broker.concurrency", "broker.tls"}


def test_faults_keep_the_places_of_all_values_they_compare(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load(
            today=TODAY,
            config=write_settings(tmp_path, SAMPLE + "\n[timing]\nlease_seconds = 30\n"),
            environment={**SECRETS, "PAYMENT_WORKER_TIMING__CALL_SECONDS": "40"},
            container_secrets=NOWHERE,
        )
    (fault,) = caught.value.faults
    assert fault.source == (
        f"{tmp_path / 'settings.toml'}, timing.lease_seconds; PAYMENT_WORKER_TIMING__CALL_SECONDS"
    )


POSTGRES = '\n[ledger.postgres]\nhost = "db.example"\ntls = true\n'


@pytest.mark.parametrize(
    ("extra", "name", "words"),
    [
        ({"LEDGER__PATH": "/data/ledger"}, "ledger.path", "for a SQLite file or ledger.postgres"),
        ({"LEDGER__POSTGRES__KEY_FILE": "/x"}, "ledger.postgres.key_file", "come together"),
        ({"LEDGER__POSTGRES__HOSTNAME": "x"}, "ledger.postgres.hostname", "ledger.postgres.host."),
        ({"LEDGER__POSTGRES__PORT": "0"}, "ledger.postgres.port", "greater than 0"),
    ],
)
def test_a_ledger_that_is_told_two_things_or_half_of_one_is_refused(
    tmp_path: Path, extra: dict[str, str], name: str, words: str
) -> None:
    faults = faults_in(tmp_path, SAMPLE + POSTGRES, variables=extra)
    assert set(faults) == {name}
    assert words in faults[name].sentence


def test_a_forgotten_secret_file_alone_chooses_no_other_ledger(tmp_path: Path) -> None:
    """Else a file left in /run/secrets would send payments to an empty ledger."""
    faults = faults_in(tmp_path, variables={"LEDGER__POSTGRES__PASSWORD": "x"})
    assert faults["ledger.postgres.host"].sentence == "It is missing and has no default."


@pytest.mark.parametrize(
    ("extra", "warned"),
    [
        ({}, set()),
        ({"LEDGER__MINIMUM_FREE_MIB": "50"}, {"ledger.minimum_free_mib"}),
        ({"LEDGER__POSTGRES__TLS": "false"}, {"ledger.postgres.tls"}),
        ({"LEDGER__POSTGRES__TLS": "false", "LEDGER__POSTGRES__HOST": "127.0.0.1"}, set()),
        ({"LEDGER__POSTGRES__TLS": "false", "LEDGER__POSTGRES__HOST": "/run/postgresql"}, set()),
    ],
)
def test_what_is_unwise_about_a_database_is_said(
    tmp_path: Path, extra: dict[str, str], warned: set[str]
) -> None:
    loaded = load_sample(tmp_path, SAMPLE + POSTGRES, variables=extra)
    assert {each.name for each in loaded.warnings if each.name.startswith("ledger.")} - {
        "ledger.keys"
    } == warned


def test_a_key_that_is_forgotten_sooner_than_the_contract_says_is_told(tmp_path: Path) -> None:
    loaded = load_sample(tmp_path, variables={"RETENTION__ROWS": "200d"})
    (warning,) = [each for each in loaded.warnings if each.check == "CFG005"]
    assert warning.name == "retention.rows"
    assert "13 months" in warning.sentence
