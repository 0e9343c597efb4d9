"""What the doctor makes of settings: every fault and warning under its id, credentials apart."""

import hashlib
import re
from pathlib import Path

import pytest

import worker.settings
from tests.fakes_clock import FakeClock
from tests.settings_sample import LIVE, LIVE_SECRETS, SAMPLE, SECRETS, faults_in, load_sample
from worker.checks import CHECKS, Deployment, Row, Verdict, choose, examine
from worker.checks.configuration import fingerprint
from worker.model import Endpoint, Secret
from worker.settings import SettingsFault

_LIVE_VARIABLES = {name.removeprefix("PAYMENT_WORKER_"): v for name, v in LIVE_SECRETS.items()}


async def rows_of(deployment: Deployment, *only: str) -> list[Row]:
    chosen = choose(CHECKS, only=only or ("CFG", "SEC001", "SEC002"), at_start=False)
    return [row async for row in examine(deployment, CHECKS, chosen)]


def refused(tmp_path: Path, text: str) -> Deployment:
    return Deployment(clock=FakeClock(), faults=list(faults_in(tmp_path, text).values()))


async def test_each_fault_is_a_failure_under_its_id_with_source_and_fix(tmp_path: Path) -> None:
    text = SAMPLE.replace('user = "payworker"', "prefetch = 0\n[brokr]\nport = 1") + (
        "[timing]\ndrain_seconds = 1\n"
    )
    rows = await rows_of(refused(tmp_path, text))
    failed = {(row.check, row.about): row for row in rows if row.verdict is Verdict.FAIL}
    assert failed.keys() == {
        ("CFG001", "broker.user"),
        ("CFG001", "broker.prefetch"),
        ("CFG002", "brokr"),
        ("CFG004", "timing.drain_seconds"),
    }
    assert "settings.toml" in failed["CFG001", "broker.prefetch"].cause
    assert failed["CFG001", "broker.user"].fix == "Set broker.user in the settings file."
    assert all(row.fix for row in failed.values())


async def test_nothing_is_promised_about_settings_that_were_refused(tmp_path: Path) -> None:
    """One fault may hide others, so a check without a fault of its own is no ok."""
    rows = await rows_of(refused(tmp_path, SAMPLE.replace("staging", "moon")))
    assert {row.verdict for row in rows} == {Verdict.FAIL, Verdict.SKIP}


async def test_what_reads_the_settings_is_skipped_without_them(tmp_path: Path) -> None:
    deployment = refused(tmp_path, "environment = 1")
    rows = await rows_of(deployment, "LED", "AMQP", "PRV", "TEL", "SYS", "SEC003", "DLQ")
    by_check = {row.check: row.verdict for row in rows}
    assert by_check.pop("SYS001") is Verdict.OK
    by_check.pop("SYS004")
    assert by_check.pop("CFG001") is Verdict.FAIL
    assert set(by_check.values()) == {Verdict.SKIP}
    assert {"LED001", "AMQP001", "AMQP010", "PRV001", "TEL001", "DLQ001"} <= by_check.keys()


async def test_a_fault_under_an_id_without_a_check_is_never_lost() -> None:
    fault = SettingsFault("broker.tls", "flag", "It is wrong.", "SEC999")
    rows = await rows_of(Deployment(clock=FakeClock(), faults=[fault]))
    assert ("CFG001", "broker.tls") in {(r.check, r.about) for r in rows}


def test_every_id_the_settings_use_is_a_check() -> None:
    folder = Path(worker.settings.__file__).parent
    used = {
        found
        for file in folder.glob("*.py")
        for found in re.findall(r'"((?:CFG|SEC)\d{3})"', file.read_text())
    }
    assert {"CFG001", "CFG003", "SEC001", "SEC003"} <= used
    assert used <= {check.id for check in CHECKS}


async def test_sound_settings_are_ok_and_their_warnings_warn(tmp_path: Path) -> None:
    loaded = load_sample(tmp_path)
    rows = await rows_of(Deployment(clock=FakeClock(), loaded=loaded))
    verdicts = {(row.check, row.verdict) for row in rows}
    assert {("CFG001", Verdict.OK), ("CFG006", Verdict.OK)} <= verdicts
    assert ("CFG005", Verdict.OK) in verdicts
    warned = [row for row in rows if row.verdict is Verdict.WARN]
    assert {row.check for row in warned} == {"SEC002"}
    assert {row.about for row in warned} >= {"broker.password", "ledger.keys"}
    assert all(row.fix for row in warned)


async def test_environment_host_and_fingerprint_are_told_for_each_account_and_mode(
    tmp_path: Path,
) -> None:
    """Payment rules M7."""
    loaded = load_sample(
        tmp_path,
        SAMPLE.replace('"staging"', '"production"') + LIVE,
        variables=_LIVE_VARIABLES,
    )
    rows = await rows_of(Deployment(clock=FakeClock(), loaded=loaded), "CFG003")
    told = {row.about: row.cause for row in rows if row.about}
    assert told.keys() == {
        "accounts.combo.live",
        "accounts.combo.test",
        "accounts.safedebit.live",
        "accounts.safedebit.test",
    }
    expected = hashlib.sha256(b"merchant-live:link-password-live").hexdigest()[:8]
    assert told["accounts.safedebit.live"] == f"production, link.example, credential {expected}"


async def test_no_row_holds_a_secret(tmp_path: Path) -> None:
    sound = await rows_of(Deployment(clock=FakeClock(), loaded=load_sample(tmp_path)))
    broken = await rows_of(refused(tmp_path, SAMPLE.replace("staging", "moon")))
    shown = repr([*sound, *broken])
    assert not [secret for secret in SECRETS.values() if secret in shown]


@pytest.mark.parametrize(
    ("login", "password", "is_same"),
    [("a", "bc", True), ("ab", "c", False), ("a", "bd", False)],
)
def test_the_fingerprint_is_of_login_and_password_together(
    *, login: str, password: str, is_same: bool
) -> None:
    def endpoint(login: str, password: str) -> Endpoint:
        return Endpoint(
            base_url="https://x.example",
            login=login,
            password=Secret(password),
            link_hosts=frozenset(),
        )

    first = fingerprint(endpoint("a", "bc"))
    assert re.fullmatch(r"[0-9a-f]{8}", first)
    assert (fingerprint(endpoint(login, password)) == first) is is_same
