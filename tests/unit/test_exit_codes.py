"""Every way out of the command line has its documented code."""

import json
import sys
from pathlib import Path

import pytest
import typer

from tests.settings_sample import SAMPLE, SECRETS, write_secrets, write_settings
from worker import __main__ as program
from worker import __version__, cli
from worker.cli.commands import Entry
from worker.cli.exit_codes import CommandError, ExitCode, exit_code_table

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Commands read the process environment: only what a test sets may be there."""
    monkeypatch.delenv("PAYMENT_WORKER_CONFIG", raising=False)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "none"))


def sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str = SAMPLE) -> list[str]:
    """Arguments that name a sound settings file, its secrets being in place."""
    directory = write_secrets(tmp_path / "credentials", SECRETS)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(directory))
    return ["--config", str(write_settings(tmp_path, text))]


class Added:
    """A command ``added`` that does what a test asks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error: BaseException | None = None
        self.answer: ExitCode | None = None
        monkeypatch.setitem(sys.modules, "added", self)
        added = Entry("added", "added", "Does what a test asks.")
        monkeypatch.setattr(cli, "COMMANDS", (*cli.COMMANDS, added))

    def register(self, app: typer.Typer) -> None:
        app.command("added")(self._run)

    def _run(self) -> ExitCode | None:
        if self.error is not None:
            raise self.error
        return self.answer


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> Added:
    return Added(monkeypatch)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CommandError("a", "b", exit_code=ExitCode.UNREACHABLE), 69),
        (CommandError("a", "b", exit_code=ExitCode.PARTIAL), 3),
        (CommandError("a", "b", exit_code=ExitCode.NOTHING_MATCHED), 5),
        (typer.Abort(), 2),
        (typer.Exit(5), 5),
        (typer.BadParameter("no"), 64),
        (KeyboardInterrupt(), 130),
        (RuntimeError("Jean Dupont"), 1),
    ],
)
def test_each_ending_has_its_code(added: Added, error: BaseException, code: int) -> None:
    added.error = error
    assert program.run(["added"]) == code


@pytest.mark.parametrize(("answer", "code"), [(None, 0), (ExitCode.OK, 0), (ExitCode.PARTIAL, 3)])
def test_a_command_may_return_its_code(added: Added, answer: ExitCode | None, code: int) -> None:
    added.answer = answer
    assert program.run(["added"]) == code


def test_an_unexpected_error_is_one_line_with_an_id_and_no_traceback(
    added: Added, capsys: Captured
) -> None:
    added.error = RuntimeError("https://pay.example/SDESSID=1")
    assert program.run(["added"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    first, fix = shown.err.splitlines()
    assert first.startswith("error: Unexpected RuntimeError, id ")
    assert "--verbose" in fix
    assert "pay.example" not in shown.err
    program.run(["--verbose", "added"])
    assert "Added._run" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["nope"], ["config", "nope"], ["config", "check", "--nope"], ["--output", "xml"]]
)
def test_wrong_use_is_64_with_a_hint(arguments: list[str], capsys: Captured) -> None:
    assert program.run(arguments) == 64
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert "--help" in shown.err


def test_an_error_is_json_where_json_was_asked_for(capsys: Captured) -> None:
    assert program.run(["config", "nope", "--json"]) == 64
    error = json.loads(capsys.readouterr().err)["error"]
    assert error.keys() == {"code", "message", "field", "fix"}
    assert error["code"] == "usage"


def test_wrong_settings_are_78_with_every_fault_on_a_line(tmp_path: Path, capsys: Captured) -> None:
    file = write_settings(tmp_path, "environment = 'moon'\n[brokr]\nport = 1\n")
    assert program.run(["--config", str(file), "config", "check"]) == 78
    shown = capsys.readouterr()
    assert shown.out == ""
    assert f"error: environment: Input should be 'production' or 'staging'. ({file}" in shown.err
    assert "error: brokr: There is no such setting." in shown.err
    assert "error: broker.password: It is missing" in shown.err
    assert "secret file named payment_worker_broker__password" in shown.err
    assert program.run(["config", "check", "--config", str(file), "--json"]) == 78
    faults = [json.loads(line)["error"] for line in capsys.readouterr().err.splitlines()]
    assert {each["code"] for each in faults} == {"configuration"}
    assert "environment" in {each["field"] for each in faults}


def test_sound_settings_are_0_and_warnings_are_3_when_strict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    arguments = sound(tmp_path, monkeypatch)
    assert program.run([*arguments, "config", "check", "--strict"]) == 0
    monkeypatch.setenv("PAYMENT_WORKER_BROKER__HOST", "rabbit.example")
    capsys.readouterr()
    assert program.run([*arguments, "config", "check"]) == 0
    shown = capsys.readouterr()
    assert shown.out.split("\t")[:3] == ["SEC003", "warn", "broker.tls"]
    assert "1 warning" in shown.err
    assert program.run([*arguments, "config", "check", "--strict"]) == 3


def test_explain_into_a_pipe_is_tab_separated_and_masked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    arguments = sound(tmp_path, monkeypatch)
    assert program.run([*arguments, "config", "explain", "broker"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert all(len(row) == 4 for row in rows)
    values = {name: value for name, value, _, _ in rows}
    assert values["broker.password"] == "***"
    assert values["broker.user"] == "payworker"
    assert program.run(["config", "explain", "broker.user", *arguments, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["value"] == "payworker"
    assert program.run([*arguments, "config", "explain", "quux"]) == 64
    assert "config reference" in capsys.readouterr().err
    assert program.run([*arguments, "config", "explain", "broker.prefech"]) == 64
    assert "The nearest known name is broker.prefetch." in capsys.readouterr().err


def test_a_setting_of_a_table_that_is_not_there_is_explained_as_not_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    arguments = sound(tmp_path, monkeypatch)
    assert program.run([*arguments, "config", "explain", "broker.management", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["broker.management.url"]["source"] == "not set"
    assert "management API" in rows["broker.management.url"]["meaning"]
    assert rows["broker.management.password"]["value"] == ""


def test_the_reference_and_the_version_need_no_settings(capsys: Captured) -> None:
    assert program.run(["config", "reference"]) == 0
    assert capsys.readouterr().out.startswith("| Setting |")
    assert program.run(["--version"]) == 0
    assert capsys.readouterr().out == f"payment-worker {__version__}\n"


def test_without_a_command_there_is_help_with_the_exit_codes(capsys: Captured) -> None:
    assert program.run([]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "Usage: payment-worker" in text
    assert "69 broker or ledger unreachable" in text
    assert "─" not in text, "nothing is drawn into a pipe"
    assert exit_code_table().count(";") == len(ExitCode) - 1


def test_main_leaves_with_the_code(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setattr("sys.argv", ["payment-worker", "nope"])
    with pytest.raises(SystemExit) as caught:
        program.main()
    assert caught.value.code == 64
    assert "nope" in capsys.readouterr().err
