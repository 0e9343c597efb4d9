"""Where settings come from, which source wins, and what is refused at the door."""

import logging
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.settings_sample import (
    KEY,
    NOWHERE,
    SAMPLE,
    SECRETS,
    TODAY,
    faults_in,
    load_sample,
    write_secrets,
    write_settings,
)
from worker.settings import SettingsError, environment_without_settings, load, load_broker

HOST = "PAYMENT_WORKER_BROKER__HOST"


def test_flag_beats_environment_beats_secret_file_beats_toml_beats_default(tmp_path: Path) -> None:
    config = write_settings(tmp_path, SAMPLE.replace("[broker]", '[broker]\nhost = "toml"'))
    secrets = write_secrets(tmp_path / "secrets", SECRETS)
    credentials = write_secrets(tmp_path / "credentials", {HOST: "credentials"})

    def host(**more: str) -> str:
        loaded = load(
            today=TODAY,
            config=config,
            environment={name: each for name, each in more.items() if name != "flag"},
            flags={"broker.host": more.get("flag")},
            container_secrets=secrets,
        )
        return loaded.settings.broker.host

    directory = {"CREDENTIALS_DIRECTORY": str(credentials)}
    assert host() == "toml"
    write_secrets(secrets, {HOST: "mount"})
    assert host() == "mount"
    assert host(**directory) == "credentials", "of two directories the last one wins"
    assert host(**directory, **{HOST: "environment"}) == "environment"
    assert host(**directory, **{HOST: "environment"}, flag="flag") == "flag"


def test_tables_are_merged_name_by_name(tmp_path: Path) -> None:
    loaded = load_sample(tmp_path, variables={"BROKER__PORT": "5673"})
    assert (loaded.settings.broker.user, loaded.settings.broker.port) == ("payworker", 5673)


def test_every_value_knows_its_place(tmp_path: Path) -> None:
    loaded = load_sample(tmp_path, variables={"BROKER__PORT": "5673"})
    config = tmp_path / "settings.toml"
    assert loaded.sources.source_of(("broker", "port")) == "PAYMENT_WORKER_BROKER__PORT"
    assert loaded.sources.source_of(("broker", "user")) == f"{config}, broker.user"
    assert loaded.sources.source_of(("broker", "host")) == "default"


def test_the_file_is_found_by_option_variable_or_not_at_all(tmp_path: Path) -> None:
    config = write_settings(tmp_path)
    named = {**SECRETS, "PAYMENT_WORKER_CONFIG": str(config)}
    assert load(today=TODAY, environment=named, container_secrets=NOWHERE).settings.broker.user
    named["PAYMENT_WORKER_CONFIG"] = str(tmp_path / "missing.toml")
    with pytest.raises(SettingsError) as caught:
        load(today=TODAY, environment=named, container_secrets=NOWHERE)
    (fault,) = caught.value.faults  # and not everything that the file may have held
    assert fault.name == "config"
    assert fault.source == str(tmp_path / "missing.toml")
    assert "No such file" in fault.sentence


def test_a_broken_file_is_told_by_its_place_and_not_by_its_text(tmp_path: Path) -> None:
    faults = faults_in(tmp_path, 'password = "hunter2" hunter2')
    assert faults["config"].sentence == "Not valid TOML: at line 1, column 22."
    assert "hunter2" not in faults["config"].sentence


def test_a_file_that_is_no_text_or_too_large_is_a_fault(tmp_path: Path) -> None:
    config = tmp_path / "settings.toml"
    for content, sentence in ((b"\xff", "not UTF-8"), (b"#" * (1 << 21), "larger than 1 MiB")):
        config.write_bytes(content)
        with pytest.raises(SettingsError, match=sentence):
            load(today=TODAY, config=config, environment=SECRETS, container_secrets=NOWHERE)


@pytest.mark.parametrize(
    ("variable", "name", "nearest"),
    [
        ("TYPO", "typo", ""),
        ("BROKER__HOTS", "broker.hots", "broker.host"),
        ("BROKERHOST", "brokerhost", "broker.host"),
        ("ACCOUNTS__SAFEDEBIT__TEST__BASEURL", "accounts.safedebit.test.baseurl", "base_url"),
        ("TIMING__CALL_TIMEOUT", "timing.call_timeout", "timing.call_seconds"),
    ],
)
def test_an_unknown_variable_is_refused_with_the_nearest_known_name(
    tmp_path: Path, variable: str, name: str, nearest: str
) -> None:
    fault = faults_in(tmp_path, variables={variable: "1"})[name]
    assert fault.check == "CFG002"
    assert fault.source == f"PAYMENT_WORKER_{variable}"
    assert fault.sentence.startswith("There is no such setting.")
    assert nearest in fault.sentence


def test_an_unknown_secret_file_with_our_prefix_is_refused_and_others_are_left_alone(
    tmp_path: Path,
) -> None:
    secrets = write_secrets(
        tmp_path / "secrets",
        {**SECRETS, "PAYMENT_WORKER_BROKER__PASWORD": "x", "KUBERNETES_TOKEN": "x"},
    )
    with pytest.raises(SettingsError) as caught:
        load(
            today=TODAY,
            config=write_settings(tmp_path),
            environment={},
            container_secrets=secrets,
        )
    (fault,) = caught.value.faults
    assert fault.name == "broker.pasword"
    assert "broker.password" in fault.sentence


def test_an_unknown_key_of_the_file_is_refused(tmp_path: Path) -> None:
    fault = faults_in(tmp_path, SAMPLE + "\n[brokr]\nhost = 'x'\n")["brokr"]
    assert fault.sentence == "There is no such setting. The nearest known name is broker."


def test_names_in_the_environment_are_read_in_any_case_but_once(tmp_path: Path) -> None:
    environment = {**SECRETS, "payment_worker_broker__host": "lower"}
    config = write_settings(tmp_path)
    loaded = load(today=TODAY, config=config, environment=environment, container_secrets=NOWHERE)
    assert loaded.settings.broker.host == "lower"
    with pytest.raises(SettingsError, match="a second time"):
        load(
            today=TODAY,
            config=config,
            environment={**environment, HOST: "upper"},
            container_secrets=NOWHERE,
        )


@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_value_is_a_fault_and_never_an_empty_text(tmp_path: Path, value: str) -> None:
    fault = faults_in(tmp_path, variables={"BROKER__HOST": value, "TIMING__CALL_SECONDS": value})
    assert fault["broker.host"].sentence == "It is empty."
    assert fault["timing.call_seconds"].sentence == "It is empty."


def test_a_digits_only_password_stays_text(tmp_path: Path) -> None:
    loaded = load_sample(tmp_path, variables={"BROKER__PASSWORD": "0012345"})
    assert loaded.settings.broker_address("consume").password.reveal() == "0012345"


def test_a_newline_at_the_end_of_a_secret_file_is_not_part_of_the_secret(tmp_path: Path) -> None:
    secrets = write_secrets(tmp_path / "secrets", SECRETS)
    loaded = load(
        today=TODAY, config=write_settings(tmp_path), environment={}, container_secrets=secrets
    )
    assert loaded.settings.broker_address("publish").password.reveal() == "broker-password"
    assert not loaded.warnings


def test_two_keys_in_one_secret_file_are_read_newest_first(tmp_path: Path) -> None:
    older = KEY.replace("c3Vj", "c3Vk")
    loaded = load_sample(tmp_path, variables={"LEDGER__KEYS": f"{KEY}\n{older}"})
    assert [key.reveal() for key in loaded.settings.ledger_keys()] == [KEY, older]


def test_a_secret_file_everybody_may_read_is_refused_outside_a_container_mount(
    tmp_path: Path,
) -> None:
    config = write_settings(tmp_path)
    secrets = write_secrets(tmp_path / "secrets", SECRETS)
    for file in secrets.iterdir():
        file.chmod(0o444)
    loaded = load(today=TODAY, config=config, environment={}, container_secrets=secrets)
    assert {each.check for each in loaded.warnings} == {"SEC001"}
    with pytest.raises(SettingsError) as caught:
        load(
            today=TODAY,
            config=config,
            environment={"CREDENTIALS_DIRECTORY": str(secrets)},
            container_secrets=NOWHERE,
        )
    assert len(caught.value.faults) == len(SECRETS)
    assert all(each.check == "SEC001" for each in caught.value.faults)


def test_a_settings_file_with_a_secret_may_not_be_readable_by_everybody(tmp_path: Path) -> None:
    config = write_settings(
        tmp_path, SAMPLE.replace("[broker]", '[broker]\npassword = "in the file"')
    )
    config.chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 0640"):
        load(today=TODAY, config=config, environment=SECRETS, container_secrets=NOWHERE)


def test_a_settings_file_that_everybody_may_write_is_a_warning(tmp_path: Path) -> None:
    """It holds no secret, and names the hosts that payments are sent to."""
    config = write_settings(tmp_path)
    for mode, checks in ((0o644, set[str]()), (0o646, {"SEC001"})):
        config.chmod(mode)
        loaded = load(today=TODAY, config=config, environment=SECRETS, container_secrets=NOWHERE)
        assert {each.check for each in loaded.warnings} - {"SEC002"} == checks


def test_a_secret_in_the_environment_or_in_two_places_is_a_warning(tmp_path: Path) -> None:
    secrets = write_secrets(tmp_path / "secrets", SECRETS)
    loaded = load(
        today=TODAY,
        config=write_settings(tmp_path),
        environment={"PAYMENT_WORKER_BROKER__PASSWORD": "other"},
        container_secrets=secrets,
    )
    sentences = [each.sentence for each in loaded.warnings if each.check == "SEC002"]
    assert [each.name for each in loaded.warnings] == ["broker.password", "broker.password"]
    assert any("is ignored" in each for each in sentences)
    assert any("process lists" in each for each in sentences)


def test_a_value_and_a_table_under_one_name_are_told_apart(tmp_path: Path) -> None:
    fault = faults_in(tmp_path, variables={"BROKER": "rabbit"})["broker"]
    assert fault.sentence == "It is given as one value and as a table of values."
    fault = faults_in(tmp_path, variables={"BROKER__HOST__NAME": "rabbit"})["broker.host"]
    assert "string" in fault.sentence


def test_settings_are_frozen_all_the_way_down(tmp_path: Path) -> None:
    settings = load_sample(tmp_path).settings
    with pytest.raises(ValidationError, match="frozen"):
        settings.deployment = "other"  # type: ignore[misc]  # what is refused
    with pytest.raises(ValidationError, match="frozen"):
        settings.broker.host = "other"  # type: ignore[misc]  # what is refused


def test_the_library_cannot_be_made_to_log_its_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PYDANTIC_SETTINGS_DEBUG", "1")
    with caplog.at_level(logging.DEBUG):
        load_sample(tmp_path)
    assert "broker-password" not in caplog.text
    assert not logging.getLogger("pydantic_settings").isEnabledFor(logging.DEBUG)


def test_the_process_environment_is_read_when_no_other_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PAYMENT_WORKER_CONFIG", str(write_settings(tmp_path)))
    assert load(today=TODAY, container_secrets=NOWHERE).settings.broker.user == "payworker"


def test_a_publisher_needs_the_broker_and_nothing_else(tmp_path: Path) -> None:
    variables = {
        "PAYMENT_WORKER_BROKER__USER": "erp-dcp",
        "PAYMENT_WORKER_BROKER__PASSWORD": "secret",
    }
    address, prefix = load_broker("publish", environment=variables, container_secrets=NOWHERE)
    assert (address.user, address.connection_name, prefix) == (
        "erp-dcp",
        "payment-worker publish",
        "payments.",
    )
    with pytest.raises(SettingsError) as caught:
        load_broker(
            "publish",
            environment={"PAYMENT_WORKER_BROKER__PORT": "x", "PAYMENT_WORKER_TYPO": "1"},
            container_secrets=NOWHERE,
        )
    assert [each.name for each in caught.value.faults] == [
        "broker.password",
        "broker.port",
        "broker.user",
        "typo",
    ]
    full, _ = load_broker(
        "operate",
        config=write_settings(tmp_path),
        environment=SECRETS,
        container_secrets=NOWHERE,
    )
    assert full.user == "payworker"


def test_a_worker_with_its_own_file_inherits_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAYMENT_WORKER_BROKER__HOST", "elsewhere")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/elsewhere")
    monkeypatch.setenv("LANG", "C.UTF-8")
    inherited = environment_without_settings()
    assert inherited["LANG"] == "C.UTF-8"
    assert not {"PAYMENT_WORKER_BROKER__HOST", "CREDENTIALS_DIRECTORY"} & inherited.keys()
