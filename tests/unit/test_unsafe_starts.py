"""``run`` on an unsafe set-up: exit 78, one sentence for each fault, and nothing is touched."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.settings_sample import (
    LIVE,
    LIVE_SECRETS,
    SAMPLE,
    SECRETS,
    write_secrets,
    write_settings,
)
from worker import __main__ as program

CONFIGURATION = 78
ENDED_LEAVE = """
[force_live]
until = 2000-01-01
origins = ["dcp"]
max_amount = 100
"""
Start = Callable[..., list[str]]


@pytest.fixture
def start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Start:
    """Start a worker that must be refused; gives its sentences."""
    for name in os.environ:  # noqa: TID251 - what surrounds the tests is taken away
        if name.upper().startswith("PAYMENT_WORKER_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "none"))

    def run(text: str, *, mode: int = 0o600, **variables: str) -> list[str]:
        for name, value in {**SECRETS, **variables}.items():
            monkeypatch.setenv(name, value)
        place = f'\n[ledger]\npath = "{tmp_path}/ledger.sqlite3"\n'
        file = write_settings(tmp_path, text + place)
        file.chmod(mode)
        code = program.run(["run", "--config", str(file)])
        shown = capsys.readouterr()
        assert code == CONFIGURATION
        assert shown.out == ""
        secrets = {**SECRETS, **LIVE_SECRETS}.values()
        assert [secret for secret in secrets if secret in shown.err] == []
        return [line for line in shown.err.splitlines() if line.startswith("error: ")]

    return run


def test_live_credentials_on_staging_are_refused_without_leave(start: Start) -> None:
    said = start(SAMPLE + LIVE, **LIVE_SECRETS)
    assert [line.split(": ")[1] for line in said] == [
        "accounts.combo.live",
        "accounts.safedebit.live",
    ]
    assert all("do not belong on staging: force_live.until is not set" in line for line in said)


def test_live_credentials_on_staging_are_refused_once_the_leave_has_ended(start: Start) -> None:
    said = start(SAMPLE + LIVE + ENDED_LEAVE, **LIVE_SECRETS)
    assert len(said) == 2
    assert all("force_live.until is past" in line for line in said)


def test_credentials_in_a_file_that_everybody_may_read_are_refused(start: Start) -> None:
    text = SAMPLE.replace("[broker]", '[broker]\npassword = "in-the-file"')
    (said,) = start(text, mode=0o644)
    assert "Everybody may read this file, and it holds a secret" in said
    assert "in-the-file" not in said


def test_an_unknown_variable_is_refused_with_the_nearest_known_name(start: Start) -> None:
    (said,) = start(SAMPLE, PAYMENT_WORKER_BROKER__PREFECH="7")
    assert "error: broker.prefech: " in said
    assert "The nearest known name is broker.prefetch." in said
    assert "PAYMENT_WORKER_BROKER__PREFECH, CFG002" in said


def test_faults_of_every_kind_are_told_together(start: Start, tmp_path: Path) -> None:
    key = tmp_path / "client.key"
    key.write_text("a key", encoding="utf-8")
    key.chmod(0o644)
    text = SAMPLE.replace(
        "[broker]", f'[broker]\nprefetch = 0\ncertificate_file = "{key}"\nkey_file = "{key}"'
    )
    said = start(text + LIVE, PAYMENT_WORKER_LOGS="x", **LIVE_SECRETS)
    assert [line.split(": ")[1] for line in said] == [
        "accounts.combo.live",
        "accounts.safedebit.live",
        "broker.key_file",
        "broker.prefetch",
        "logs",
    ]


# --- one fault for each row, with the check that knows it ----------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoilt:
    """The sample with one thing wrong: ``files`` are secret files, each with its mode."""

    text: str = SAMPLE
    mode: int = 0o600
    variables: dict[str, str] = field(default_factory=dict)
    files: dict[str, tuple[str, int]] = field(default_factory=dict)
    key_mode: int = 0o400


def with_broker(*lines: str) -> str:
    return SAMPLE.replace("[broker]", "\n".join(["[broker]", *lines]))


LEAVE = ENDED_LEAVE.replace("2000", "2999")
CLIENT_KEY = with_broker('certificate_file = "client.key"', 'key_file = "client.key"')
PRODUCTION = SAMPLE.replace('"staging"', '"production"')

REFUSED = {
    "a required setting is missing": (
        Spoilt(text=SAMPLE.replace('user = "payworker"', "")),
        "CFG001",
        "broker.user",
    ),
    "a value cannot be read": (Spoilt(text=with_broker("port = 0")), "CFG001", "broker.port"),
    "an unknown name in the file": (
        Spoilt(text=with_broker("hots = 1")),
        "CFG002",
        "broker.hots",
    ),
    "an unknown name in the environment": (
        Spoilt(variables={"PAYMENT_WORKER_TIMING__LEASE_SECOND": "1"}),
        "CFG002",
        "timing.lease_second",
    ),
    "an unknown name among the secret files": (
        Spoilt(files={"payment_worker_broker__pasword": ("secret-text", 0o400)}),
        "CFG002",
        "broker.pasword",
    ),
    "live credentials on staging": (
        Spoilt(text=SAMPLE + LIVE, variables=LIVE_SECRETS),
        "CFG003",
        "accounts.safedebit.live",
    ),
    "live credentials on staging whose leave has ended": (
        Spoilt(text=SAMPLE + LIVE + ENDED_LEAVE, variables=LIVE_SECRETS),
        "CFG003",
        "accounts.safedebit.live",
    ),
    "production without a live endpoint": (
        Spoilt(text=PRODUCTION),
        "CFG003",
        "accounts.safedebit.live",
    ),
    "a live password that is a test password": (
        Spoilt(
            text=PRODUCTION + LIVE,
            variables=LIVE_SECRETS
            | {"PAYMENT_WORKER_ACCOUNTS__COMBO__LIVE__PASSWORD": "basket-password"},
        ),
        "CFG003",
        "accounts.combo.live.password",
    ),
    "time limits that do not nest": (
        Spoilt(text=f"{SAMPLE}\n[timing]\nlease_seconds = 10\n"),
        "CFG004",
        "timing.lease_seconds",
    ),
    "a route without an account": (
        Spoilt(text=f'{SAMPLE}\n[[routes]]\ntarget = "PAYBOX"\naccount = "nobody"\n'),
        "CFG006",
        "routes.0.account",
    ),
    "a company without what its provider needs": (
        Spoilt(text=SAMPLE.replace('phone_number = "0600000000"', "")),
        "CFG006",
        "accounts.safedebit.test.companies.1.phone_number",
    ),
    "a settings file with a secret that everybody may read": (
        Spoilt(text=with_broker('password = "in-the-file"'), mode=0o644),
        "SEC001",
        "config",
    ),
    "a secret file that everybody may read": (
        Spoilt(
            files={"payment_worker_accounts__combo__test__password": ("basket-password", 0o444)}
        ),
        "SEC001",
        "accounts.combo.test.password",
    ),
    "an empty secret file": (
        Spoilt(files={"payment_worker_broker__password": ("", 0o400)}),
        "SEC001",
        "broker.password",
    ),
    "a client key that everybody may read": (
        Spoilt(text=CLIENT_KEY, key_mode=0o644),
        "SEC001",
        "broker.key_file",
    ),
    "no ledger": (Spoilt(), "LED001", "ledger.path"),
}
"""Each with the id of its check and the setting it is told under."""

WARNED = {
    "a leave that holds": (
        Spoilt(text=SAMPLE + LIVE + LEAVE, variables=LIVE_SECRETS),
        "CFG003",
        "force_live.until",
    ),
    "a leave that has ended, the live credentials gone": (
        Spoilt(text=SAMPLE + ENDED_LEAVE),
        "CFG003",
        "force_live.until",
    ),
    "a secret in the environment": (
        Spoilt(variables={"PAYMENT_WORKER_BROKER__PASSWORD": "elsewhere"}),
        "SEC002",
        "broker.password",
    ),
    "a settings file that everybody may write": (Spoilt(mode=0o602), "SEC001", "config"),
    "a broker without TLS": (
        Spoilt(text=with_broker('host = "rabbit.example"')),
        "SEC003",
        "broker.tls",
    ),
    "a drain that the supervisor may cut short": (
        Spoilt(text=f"{SAMPLE}\n[timing]\nstop_grace_seconds = 131\n"),
        "CFG004",
        "timing.stop_grace_seconds",
    ),
}


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Spoilt], list[str]]:
    """Put a set-up in place; gives the arguments that name it."""
    for name in os.environ:  # noqa: TID251 - what surrounds the tests is taken away
        if name.upper().startswith("PAYMENT_WORKER_"):
            monkeypatch.delenv(name)

    def install(spoilt: Spoilt) -> list[str]:
        directory = write_secrets(tmp_path / "credentials", SECRETS)
        for name, (value, mode) in spoilt.files.items():
            file = directory / name
            file.unlink(missing_ok=True)
            file.write_text(value, encoding="utf-8")
            file.chmod(mode)
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(directory))
        for name, value in spoilt.variables.items():
            monkeypatch.setenv(name, value)
        key = tmp_path / "client.key"
        key.write_text("a key", encoding="utf-8")
        key.chmod(spoilt.key_mode)
        text = spoilt.text.replace("client.key", str(key))
        place = f'\n[ledger]\npath = "{tmp_path}/ledger.sqlite3"\n'
        file = write_settings(tmp_path, text + place)
        file.chmod(spoilt.mode)
        return ["--config", str(file)]

    return install


Installed = Callable[[Spoilt], list[str]]


@pytest.mark.parametrize(("spoilt", "check", "name"), REFUSED.values(), ids=REFUSED)
def test_an_unsafe_set_up_is_refused_by_run_and_by_the_check_of_a_start(
    installed: Installed,
    capsys: pytest.CaptureFixture[str],
    spoilt: Spoilt,
    check: str,
    name: str,
) -> None:
    """Both say the same: the unit runs the check first, and ``run`` may be started without it."""
    arguments = installed(spoilt)
    assert program.run(["run", *arguments]) == CONFIGURATION
    refused = capsys.readouterr()
    assert refused.out == "" or check == "LED001", "a log that has not begun"
    (said,) = [line for line in refused.err.splitlines() if line.startswith(f"error: {name}: ")]
    assert check in said or check == "LED001"
    assert program.run(["check", *arguments, "--profile", "start", "--json"]) == CONFIGURATION
    shown = capsys.readouterr()
    failed = [row for row in json.loads(shown.out) if row["verdict"] == "fail"]
    assert check in {row["check"] for row in failed}
    assert all(row["cause"] and row["fix"] for row in failed)
    told = refused.err + shown.out + shown.err
    secrets = {**SECRETS, **spoilt.variables, **LIVE_SECRETS}.values()
    assert [secret for secret in secrets if len(secret) > 3 and secret in told] == []


@pytest.mark.parametrize(("spoilt", "check", "name"), WARNED.values(), ids=WARNED)
def test_what_is_unwise_is_warned_of_and_bars_no_start(
    installed: Installed,
    capsys: pytest.CaptureFixture[str],
    spoilt: Spoilt,
    check: str,
    name: str,
) -> None:
    arguments = installed(spoilt)
    assert program.run(["config", "check", *arguments, "--json"]) == 0
    found = {(row["check"], row["name"]) for row in json.loads(capsys.readouterr().out)}
    assert (check, name) in found
    assert program.run(["config", "check", *arguments, "--strict"]) == 3
    capsys.readouterr()
    assert program.run(["check", *arguments, "--only", check, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert (check, "warn") in {(row["check"], row["verdict"]) for row in rows}
