"""``dead-letters edit`` as its user sees it before any broker is asked."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.servers import refused_port
from tests.settings_sample import SAMPLE, SECRETS, write_secrets, write_settings
from tests.store_samples import decided_record, number, sample_answer, sample_letter, write
from worker import __main__ as program
from worker.adapters.clock import SystemClock
from worker.adapters.encryption import Vault
from worker.adapters.ledgers import open_ledger
from worker.model import Secret
from worker.records import State

Captured = pytest.CaptureFixture[str]
NEW = "planted.person@example.test"
FAILED, DONE = str(number(1)), str(number(2))
ALLOWED = {"PAYMENT_WORKER_OPERATORS__MAY_EDIT_EMAIL": "true"}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The ledger of sound settings, under which operators may edit e-mails."""
    monkeypatch.delenv("PAYMENT_WORKER_CONFIG", raising=False)
    monkeypatch.setenv("PAYMENT_WORKER_LEDGER__PATH", str(tmp_path / "ledger.sqlite3"))
    directory = write_secrets(tmp_path / "credentials", SECRETS)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(directory))
    for name, value in ALLOWED.items():
        monkeypatch.setenv(name, value)
    return tmp_path / "ledger.sqlite3"


@pytest.fixture
def sound(place: Path, tmp_path: Path, capsys: Captured) -> list[str]:
    """Arguments that name them; the ledger holds a payment that failed and one that went well."""
    arguments = ["--config", str(write_settings(tmp_path, SAMPLE))]
    assert program.run([*arguments, "ledger", "init"]) == 0
    asyncio.run(fill(place))
    capsys.readouterr()
    return [*arguments, "dead-letters", "edit"]


async def fill(place: Path) -> None:
    vault = Vault([Secret(SECRETS["PAYMENT_WORKER_LEDGER__KEYS"])])
    store = await open_ledger(place, vault=vault, clock=SystemClock())
    failed = replace(decided_record(1, state=State.FAILED), version=1)
    await write(
        store,
        failed,
        replace(decided_record(2), version=1),
        answers=(sample_answer(1, letter=sample_letter()), sample_answer(2)),
    )
    await store.close()


def options(email: str = NEW, reason: str = "customer called") -> list[str]:
    return ["--email", email, "--reason", reason, "--json"]


def error_in(capsys: Captured) -> dict[str, str]:
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "planted" not in shown.err
    error: dict[str, str] = json.loads(shown.err)["error"]
    return error


def test_it_is_off_by_default_and_says_how_to_switch_it_on(
    sound: list[str], capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PAYMENT_WORKER_OPERATORS__MAY_EDIT_EMAIL")
    assert program.run([*sound, FAILED, *options(), "--yes"]) == 78
    error = error_in(capsys)
    assert (error["code"], error["field"]) == ("edit_switched_off", "operators.may_edit_email")
    assert "PAYMENT_WORKER_OPERATORS__MAY_EDIT_EMAIL=true" in error["fix"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (options(), "confirmation_needed"),
        ([*options(email="planted"), "--yes"], "wrong_email"),
        ([*options(email="planted person@a"), "--yes"], "wrong_email"),
        ([*options(reason=" "), "--yes"], "reason_missing"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_looked_at(
    sound: list[str], capsys: Captured, arguments: list[str], code: str
) -> None:
    """The first: nobody is there to confirm, and silence is no yes."""
    assert program.run([*sound, FAILED, *arguments]) == 64
    assert error_in(capsys)["code"] == code


@pytest.mark.parametrize(
    ("payment", "reason"),
    [(DONE, "it is decided: succeeded"), (str(number(9)), "the ledger does not know it")],
)
def test_what_may_not_be_edited_is_said_without_the_broker(
    sound: list[str], capsys: Captured, payment: str, reason: str
) -> None:
    assert program.run([*sound, payment, *options(), "--yes"]) == 1
    shown = json.loads(capsys.readouterr().out)
    assert (shown["result"], shown["reason"]) == ("not_edited", reason)


def test_a_broker_that_is_away_is_69(
    sound: list[str], capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAYMENT_WORKER_BROKER__HOST", "127.0.0.1")
    with refused_port() as port:
        monkeypatch.setenv("PAYMENT_WORKER_BROKER__PORT", str(port))
        assert program.run([*sound, FAILED, *options(), "--yes"]) == 69
    assert error_in(capsys)["code"] == "broker_unreachable"


def test_there_is_no_option_for_money_parties_or_mode(sound: list[str]) -> None:
    for option in ("--amount", "--id-client", "--payment-run-mode", "--message-id"):
        assert program.run([*sound, FAILED, *options(), option, "1"]) == 64
