"""``payment-worker check`` as its user sees it, without a broker."""

import io
import json
from pathlib import Path

import pytest
from typing_extensions import override

from tests.settings_sample import SAMPLE, SECRETS, write_secrets, write_settings
from worker import __main__ as program
from worker.checks import CHECKS, Group, Row, Verdict
from worker.checks.verdicts import Blame
from worker.cli.check import Page, drawn
from worker.cli.output import Format, Output

Captured = pytest.CaptureFixture[str]


def row(
    check: str,
    verdict: Verdict,
    cause: str,
    *,
    about: str = "",
    fix: str = "",
    group: Group = Group.BROKER,
) -> Row:
    return Row(
        check=check,
        group=group,
        verdict=verdict,
        about=about,
        cause=cause,
        fix=fix,
        blame=Blame.DEFECT,
    )


class Terminal(io.StringIO):
    @override
    def isatty(self) -> bool:
        return True


def page_of(*rows: Row) -> str:
    screen = Terminal()
    page = Page(Output(Format.HUMAN, has_colour=False, stdout=screen, stderr=screen))
    for each in rows:
        page.add(each)
    page.end()
    return screen.getvalue()


@pytest.fixture
def sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Arguments that name sound settings, whose ledger nobody has created."""
    monkeypatch.delenv("PAYMENT_WORKER_CONFIG", raising=False)
    directory = write_secrets(tmp_path / "credentials", SECRETS)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(directory))
    text = f'{SAMPLE}\n[ledger]\npath = "{tmp_path}/ledger.sqlite3"\n'
    return ["--config", str(write_settings(tmp_path, text))]


def test_verdict_id_text_and_fix_stand_in_columns() -> None:
    shown = drawn(
        row("AMQP001", Verdict.FAIL, "it is refused", about="broker", fix="Start it."), 100
    )
    assert shown.splitlines() == [
        "  FAIL  AMQP001  broker: it is refused",
        "                 fix: Start it.",
    ]


def test_a_long_text_is_wrapped_below_its_column() -> None:
    shown = drawn(row("CFG001", Verdict.OK, "word " * 30), 60).splitlines()
    assert len(shown) > 2
    assert all(len(line) <= 60 for line in shown)
    assert all(line.startswith(" " * 19) for line in shown[1:])


def test_rows_stand_under_their_headings() -> None:
    shown = page_of(
        row("SYS001", Verdict.OK, "fine", group=Group.SYSTEM),
        row("AMQP001", Verdict.OK, "fine"),
        row("AMQP002", Verdict.OK, "all there"),
    )
    assert shown.splitlines() == [
        "System",
        "  ok    SYS001   fine",
        "",
        "Broker",
        "  ok    AMQP001  fine",
        "  ok    AMQP002  all there",
    ]


def test_what_is_said_of_many_things_is_said_once() -> None:
    shown = page_of(
        row("AMQP002", Verdict.FAIL, "missing", about="a", fix="Make it."),
        row("AMQP002", Verdict.FAIL, "missing", about="b", fix="Make it."),
        row("AMQP002", Verdict.OK, "there", about="c"),
    )
    assert shown.splitlines()[1:] == [
        "  FAIL  AMQP002  a, b: missing",
        "                 fix: Make it.",
        "  ok    AMQP002  c: there",
    ]


def test_what_is_skipped_because_of_a_failure_takes_one_line() -> None:
    shown = page_of(
        row("AMQP001", Verdict.FAIL, "gone"),
        row("AMQP002", Verdict.SKIP, "needs AMQP001", about="Objects"),
        row("AMQP010", Verdict.SKIP, "needs AMQP001", about="Mark"),
    )
    assert shown.splitlines()[2:] == ["  skip           AMQP002, AMQP010: needs AMQP001"]


def test_what_is_not_seen_for_one_reason_is_told_once_after_what_is_seen() -> None:
    """Five checks that need the management API are one line, with the fix they share."""
    shown = page_of(
        row("AMQP003", Verdict.SKIP, "not visible over AMQP", about="payments.work", fix="Set it."),
        row("AMQP004", Verdict.SKIP, "not visible over AMQP", about="Route", fix="Set it."),
        row("AMQP007", Verdict.OK, "comes back"),
        row("AMQP007", Verdict.SKIP, "not visible over AMQP", about="Origins", fix="Set it."),
        row("AMQP007", Verdict.SKIP, "not visible over AMQP", about="More", fix="Set it."),
        row("DLQ001", Verdict.OK, "empty", group=Group.LETTERS),
    )
    assert shown.splitlines() == [
        "Broker",
        "  ok    AMQP007  comes back",
        "  skip           AMQP003, AMQP004, AMQP007: not visible over AMQP",
        "                 fix: Set it.",
        "",
        "Dead letters",
        "  ok    DLQ001   empty",
    ]


def test_failures_are_shown_again_where_they_have_left_the_screen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def shown_on(lines: int) -> list[str]:
        monkeypatch.setenv("LINES", str(lines))
        screen = Terminal()
        page = Page(Output(Format.HUMAN, has_colour=False, stdout=screen, stderr=screen))
        page.add(row("AMQP001", Verdict.FAIL, "gone", fix="Start it."))
        page.add(row("SYS001", Verdict.OK, "fine", group=Group.SYSTEM))
        page.end()
        page.repeat_failures()
        return screen.getvalue().splitlines()

    again = ["", "What failed", "  FAIL  AMQP001  gone", "                 fix: Start it."]
    assert shown_on(5)[-4:] == again
    assert "What failed" not in shown_on(50)


def test_every_check_is_explained_without_looking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    """Also where there are no settings at all: who reads the manual needs no installation."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "none"))
    nowhere = ["--config", str(tmp_path / "none.toml")]
    assert program.run([*nowhere, "check", "--explain", "all", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [each["check"] for each in rows] == [check.id for check in CHECKS]
    assert all(each["title"] and each["fix"].endswith(".") for each in rows)
    assert {each["exit_code"] for each in rows} == {1, 69, 78}
    assert program.run(["check", "--explain", "amqp01,LED", "-o", "human"]) == 0
    shown = capsys.readouterr().out
    assert "  LED001   The ledger is there and can be written. A start needs it." in shown
    assert "fix: " in shown
    assert shown.index("Ledger") < shown.index("Broker") < shown.index("AMQP010")
    assert program.run(["check", "--explain", "NOPE"]) == 64
    assert "--explain" in capsys.readouterr().err


def test_a_missing_ledger_is_78_with_the_command_that_creates_one(
    sound: list[str], capsys: Captured
) -> None:
    assert program.run([*sound, "check", "--only", "LED001"]) == 78
    shown = capsys.readouterr()
    check, group, verdict, _, cause, fix = shown.out.rstrip("\n").split("\t")
    assert (check, group, verdict) == ("LED001", "Ledger", "fail")
    assert "there is no ledger" in cause
    assert "payment-worker ledger init" in fix
    assert shown.err == "error: Failed: LED001 (1 fail).\n"


def test_a_sound_ledger_is_ok_and_names_its_keys_by_their_ids(
    sound: list[str], capsys: Captured
) -> None:
    assert program.run([*sound, "ledger", "init"]) == 0
    capsys.readouterr()
    assert program.run([*sound, "check", "--only", "led,SYS"]) == 0
    shown = capsys.readouterr()
    assert "can be written; keys " in shown.out
    assert "Nothing is wrong" in shown.err or "Works; look at SYS004" in shown.err
    assert not [each for each in SECRETS.values() if each in shown.out + shown.err]


def test_wrong_keys_are_told_without_showing_one(
    sound: list[str], tmp_path: Path, capsys: Captured
) -> None:
    key = SECRETS["PAYMENT_WORKER_LEDGER__KEYS"]
    file = tmp_path / "credentials" / "payment_worker_ledger__keys"
    file.chmod(0o600)
    file.write_text(f"{key}\n{key}\n")
    assert program.run([*sound, "ledger", "init"]) == 0
    capsys.readouterr()
    assert program.run([*sound, "check", "--only", "LED"]) == 78
    shown = capsys.readouterr().out
    assert "encryption key 2 has the same id" in shown
    assert key not in shown


def test_json_is_one_document_of_rows(sound: list[str], capsys: Captured) -> None:
    assert program.run([*sound, "check", "--only", "CFG003,SCH", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {each["check"] for each in rows} == {"CFG003", "SCH001"}
    assert all(
        each.keys() == {"check", "group", "verdict", "about", "cause", "fix"} for each in rows
    )


def test_warnings_are_3_when_strict(
    sound: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setenv("PAYMENT_WORKER_BROKER__PASSWORD", "elsewhere")
    assert program.run([*sound, "check", "--only", "SEC002"]) == 0
    shown = capsys.readouterr()
    assert shown.err.startswith("warning: Works; look at SEC002")
    assert "elsewhere" not in shown.out
    assert program.run([*sound, "check", "--only", "SEC002", "--strict"]) == 3


def test_wrong_settings_are_rows_and_not_an_error_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "none"))
    file = write_settings(tmp_path, "environment = 'moon'\n[brokr]\nport = 1\n")
    assert program.run(["check", "--config", str(file), "--profile", "start"]) == 78
    shown = capsys.readouterr()
    found = {tuple(line.split("\t")[:4:3]) for line in shown.out.splitlines() if "\tfail\t" in line}
    assert {("CFG001", "environment"), ("CFG002", "brokr"), ("CFG001", "broker.password")} <= found
    assert "AMQP001" in shown.out
    assert "AMQP003" not in shown.out
    assert shown.err.startswith("error: Failed: CFG001, CFG002")


def test_an_unknown_check_is_wrong_use(capsys: Captured) -> None:
    assert program.run(["check", "--only", "CFG,NOPE"]) == 64
    shown = capsys.readouterr().err
    assert "There is no check NOPE." in shown
    assert "CFG001" in shown


def test_a_profile_that_leaves_nothing_to_look_at_is_wrong_use(
    sound: list[str], capsys: Captured
) -> None:
    """Exit code 0 would say that the port is well."""
    assert program.run(["check", *sound, "--only", "TEL001", "--profile", "start"]) == 64
    shown = capsys.readouterr()
    assert "The start profile has no check TEL001." in shown.err
    assert "name one of CFG001, " in shown.err
