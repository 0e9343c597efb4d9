"""``run`` on an unsafe set-up: exit 78, one sentence for each fault, and nothing is touched."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.settings_sample import LIVE, LIVE_SECRETS, SAMPLE, SECRETS, write_settings
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
