"""The broker's table: endpoints, and a login that is read again."""

from pathlib import Path

import pytest

from tests.settings_sample import (
    NOWHERE,
    SAMPLE,
    SECRETS,
    TODAY,
    faults_in,
    load_sample,
    write_secrets,
    write_settings,
)
from worker.settings import Loaded, load

PASSWORD = "PAYMENT_WORKER_BROKER__PASSWORD"  # noqa: S105 (a variable's name)


def with_broker(*lines: str) -> str:
    return SAMPLE.replace("[broker]", "\n".join(["[broker]", *lines]))


def test_one_host_is_one_endpoint(tmp_path: Path) -> None:
    address = load_sample(tmp_path).settings.broker_address("consume")
    assert [each.place for each in address.addresses()] == ["localhost:5672"]


def test_endpoints_stand_instead_of_the_host_and_share_its_port(tmp_path: Path) -> None:
    text = with_broker('endpoints = ["rabbit-1", "rabbit-2:5673", "[::1]:5674"]', "port = 5671")
    address = load_sample(tmp_path, text).settings.broker_address("consume")
    assert [(each.host, each.port) for each in address.addresses()] == [
        ("rabbit-1", 5671),
        ("rabbit-2", 5673),
        ("::1", 5674),
    ]


def test_endpoints_come_from_the_environment_too(tmp_path: Path) -> None:
    loaded = load_sample(tmp_path, variables={"BROKER__ENDPOINTS": "rabbit-1, rabbit-2:5673"})
    address = loaded.settings.broker_address("publish")
    assert [each.place for each in address.addresses()] == ["rabbit-1:5672", "rabbit-2:5673"]


@pytest.mark.parametrize(
    "endpoint", ["amqp://rabbit", "rabbit:0", "rabbit:65536", "rabbit:", "a/b", "u@rabbit", "a b:1"]
)
def test_an_endpoint_that_is_none_is_refused_in_words(tmp_path: Path, endpoint: str) -> None:
    fault = faults_in(tmp_path, with_broker(f'endpoints = ["{endpoint}"]'))["broker.endpoints.0"]
    assert fault.sentence.startswith("Give each endpoint as host or host:port")


def test_a_host_beside_endpoints_is_not_used_and_warned_of(tmp_path: Path) -> None:
    text = with_broker('host = "rabbit"', 'endpoints = ["rabbit-1"]', "tls = true")
    loaded = load_sample(tmp_path, text)
    assert ("broker.endpoints", "CFG001") in {(each.name, each.check) for each in loaded.warnings}
    assert loaded.settings.broker_address("consume").place == "rabbit-1:5672"


def test_one_endpoint_outside_this_machine_without_tls_is_warned_of(tmp_path: Path) -> None:
    loaded = load_sample(tmp_path, with_broker('endpoints = ["localhost", "rabbit-2"]'))
    assert "broker.tls" in {warning.name for warning in loaded.warnings}


def loaded_with_files(tmp_path: Path) -> tuple[Loaded, Path]:
    """Settings whose secrets are files, and the file of the broker's password."""
    secrets = write_secrets(tmp_path / "secrets", SECRETS)
    config = write_settings(tmp_path)
    loaded = load(
        today=TODAY,
        config=config,
        environment={"CREDENTIALS_DIRECTORY": str(secrets)},
        container_secrets=NOWHERE,
    )
    return loaded, secrets / PASSWORD.lower()


def rewrite(file: Path, text: str) -> None:
    file.unlink(missing_ok=True)
    file.touch(mode=0o600)
    file.write_text(text, encoding="utf-8")


def test_a_new_secret_file_counts_from_the_next_connection_on(tmp_path: Path) -> None:
    loaded, file = loaded_with_files(tmp_path)
    directory = loaded.broker("consume")
    assert directory.addresses()[0].password.reveal() == "broker-password"
    rewrite(file, "rotated\n")
    assert directory.addresses()[0].password.reveal() == "rotated"


@pytest.mark.parametrize("fate", ["gone", "empty", "not text"])
def test_a_secret_file_in_the_middle_of_its_change_leaves_the_login_as_it_was(
    tmp_path: Path, fate: str
) -> None:
    loaded, file = loaded_with_files(tmp_path)
    directory = loaded.broker("consume")
    rewrite(file, "second")
    assert directory.addresses()[0].password.reveal() == "second"
    file.chmod(0o600)
    match fate:
        case "gone":
            file.unlink()
        case "empty":
            file.write_bytes(b"")
        case _:
            file.write_bytes(b"\xff\xfe")
    assert directory.addresses()[0].password.reveal() == "second"
    rewrite(file, "third")
    assert directory.addresses()[0].password.reveal() == "third"


def test_a_secret_file_that_goes_while_it_is_read_ends_no_connection_keeper(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Raised here, it would end the task that keeps the connection, which nobody would notice."""
    loaded, file = loaded_with_files(tmp_path)
    directory = loaded.broker("consume")
    rewrite(file, "second")
    file.chmod(0o600)
    read_text = Path.read_text

    def read_and_lose(path: Path, encoding: str | None = None) -> str:
        text = read_text(path, encoding=encoding)
        if path == file:
            path.unlink()
        return text

    monkeypatch.setattr(Path, "read_text", read_and_lose)
    assert directory.addresses()[0].password.reveal() == "second"
    assert not file.exists()


def test_nothing_but_the_login_is_read_again(tmp_path: Path) -> None:
    """Somebody editing the settings file must not move a running worker to another broker."""
    loaded, _ = loaded_with_files(tmp_path)
    directory = loaded.broker("consume")
    write_settings(tmp_path, with_broker('host = "elsewhere"').replace("payworker", "successor"))
    (address,) = directory.addresses()
    assert (address.host, address.user) == ("localhost", "successor")
