"""Every command there is, found by walking the application: what all of them promise alike."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.commands import whole_application
from tests.servers import refused_port
from tests.settings_sample import SAMPLE, SECRETS, write_secrets, write_settings
from worker import __main__ as program
from worker.cli.exit_codes import ExitCode

Captured = pytest.CaptureFixture[str]
SOME_ID = "5b1f0c1e-0000-4000-8000-000000000001"
_ENDS = {"|", "||", "&&", ";", ">", ">>", "<"}

WITHOUT_JSON = {("run",), ("config", "reference"), ("ledger", "key")}
"""A log in a format of its own, a Markdown table for a file, a key for a file."""

READING = {
    "doubtful",
    "find",
    "list",
    "show",
    "explain",
    "check",
    "report",
    "verify",
    "history",
    "status",
}
"""Words of commands that change nothing; with ``dead-letters`` itself, which groups."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One command of the application, or a group that does something without a word after it."""

    words: tuple[str, ...]
    command: Any  # the command-line library vendors its own classes and names none of them

    @property
    def name(self) -> str:
        return " ".join(self.words)

    @property
    def options(self) -> set[str]:
        return {name for each in self.command.params for name in (*each.opts, *each.secondary_opts)}

    @property
    def example(self) -> list[str]:
        """The words after the program's name, as a shell would hand them over."""
        line = self.command.epilog.removeprefix("Example: ").replace(SOME_ID[:9] + "...", SOME_ID)
        shell = shlex.shlex(line, posix=True, punctuation_chars=True)
        shell.whitespace_split = True
        words = list(shell)
        end = next((place for place, word in enumerate(words) if word in _ENDS), len(words))
        # `sudo -u payment-worker payment-worker ledger init` names a user first.
        begin = max(place for place, word in enumerate(words) if word == "payment-worker")
        return words[begin + 1 : end]


def _found(command: Any, words: tuple[str, ...] = ()) -> Iterator[Entry]:  # noqa: ANN401 - as Entry.command
    for name, each in getattr(command, "commands", {}).items():
        yield from _found(each, (*words, name))
    if words and (not hasattr(command, "commands") or command.invoke_without_command):
        yield Entry(words, command)


def _groups(command: Any, words: tuple[str, ...] = ()) -> Iterator[Entry]:  # noqa: ANN401 - as Entry.command
    for name, each in command.commands.items():
        if hasattr(each, "commands"):
            yield Entry((*words, name), each)
            yield from _groups(each, (*words, name))


ROOT: Any = whole_application()
GROUPS = sorted(_groups(ROOT), key=lambda entry: entry.words)
COMMANDS = sorted(_found(ROOT), key=lambda entry: entry.words)
each_command = pytest.mark.parametrize("entry", COMMANDS, ids=lambda entry: entry.name)


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the surroundings, and a directory of its own to work in."""
    for name in os.environ:  # noqa: TID251 - what surrounds the tests is taken away
        if name.upper().startswith("PAYMENT_WORKER_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "none"))
    monkeypatch.chdir(tmp_path)


def test_the_walk_finds_commands_in_groups_and_groups_that_are_commands() -> None:
    words = {entry.words for entry in COMMANDS}
    assert {("run",), ("config", "explain"), ("dead-letters",), ("dead-letters", "list")} <= words
    assert ("config",) not in words


@each_command
def test_its_help_says_what_it_does_and_each_option_what_it_is_for(entry: Entry) -> None:
    assert entry.command.help.strip().partition("\n")[0].endswith("."), "a whole sentence"
    for parameter in entry.command.params:
        assert parameter.help, parameter.name


@each_command
def test_its_help_shows_one_example_of_this_very_command(entry: Entry, capsys: Captured) -> None:
    assert program.run([*entry.words, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.count("Example: ") == 1
    assert f"payment-worker {entry.name}" in text.partition("Example: ")[2]


@each_command
def test_its_example_is_a_sound_invocation_of_this_very_command(entry: Entry) -> None:
    assert reached_by(entry) == entry.words


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
def test_the_help_of_a_group_shows_one_example_of_a_command_of_its_own(
    group: Entry, capsys: Captured
) -> None:
    assert program.run([*group.words, "--help"]) == 0
    assert capsys.readouterr().out.count("Example: ") == 1
    reached = reached_by(group)
    assert reached[: len(group.words)] == group.words
    assert reached in {entry.words for entry in COMMANDS}


def reached_by(entry: Entry) -> tuple[str, ...]:
    """The command that an example invokes, every word of it understood."""
    assert entry.command.epilog.startswith("Example: ")
    words = entry.example
    for word in words:
        if "." in word and not word.startswith("-"):
            Path(word).touch()  # where a file must exist
    context = ROOT.make_context("payment-worker", list(words))
    rest = [*context._protected_args, *context.args]  # noqa: SLF001 - the library has no other way to go on
    command, reached = ROOT, []
    while rest and (subcommand := getattr(command, "commands", {}).get(rest[0])) is not None:
        reached.append(rest[0])
        command = subcommand
        context = command.make_context(rest[0], rest[1:], parent=context)
        rest = [*getattr(context, "_protected_args", []), *context.args]
    assert rest == [], "nothing is left over"
    return tuple(reached)


@each_command
def test_what_prints_data_prints_it_as_json_too(entry: Entry) -> None:
    assert ("--json" in entry.options) is (entry.words not in WITHOUT_JSON)


def test_the_exit_codes_stand_in_the_help_of_the_program(capsys: Captured) -> None:
    assert program.run(["--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for code in ExitCode:
        assert f"{code.value} {code.meaning}" in text


# --- an installation where nothing has happened yet ----------------------------------------------


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> Iterator[list[str]]:
    """Arguments that name sound settings, an empty ledger, and a broker that is not there."""
    directory = write_secrets(tmp_path / "credentials", SECRETS)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(directory))
    monkeypatch.setenv("PAYMENT_WORKER_BROKER__HOST", "127.0.0.1")
    monkeypatch.setenv("PAYMENT_WORKER_LEDGER__PATH", str(tmp_path / "ledger.sqlite3"))
    arguments = ["--config", str(write_settings(tmp_path, SAMPLE))]
    assert program.run([*arguments, "ledger", "init"]) == 0
    capsys.readouterr()
    with refused_port() as port:
        monkeypatch.setenv("PAYMENT_WORKER_BROKER__PORT", str(port))
        yield arguments


def reads_only(entry: Entry) -> bool:
    return entry.words[-1] in READING or entry.words == ("dead-letters",)


@pytest.mark.parametrize(
    "entry", [each for each in COMMANDS if reads_only(each)], ids=lambda entry: entry.name
)
def test_with_json_nothing_but_json_is_on_standard_output(
    entry: Entry, fresh: list[str], capsys: Captured
) -> None:
    """Whatever else there is to say, errors included, is on standard error."""
    needed = [SOME_ID for each in entry.command.params if each.required]
    for shape in ("json", "jsonl"):
        code = program.run([*fresh, *entry.words, *needed, "--output", shape])
        shown = capsys.readouterr()
        if shape == "jsonl":
            assert all(isinstance(json.loads(line), dict) for line in shown.out.splitlines())
        elif shown.out:
            json.loads(shown.out)
        if code not in {ExitCode.OK, ExitCode.PARTIAL}:
            errors = [json.loads(line) for line in shown.err.splitlines() if line[:1] == "{"]
            assert errors, shown.err
            assert all(each["error"]["message"] for each in errors)


@pytest.mark.parametrize(
    "entry",
    [each for each in COMMANDS if "--yes" in each.options],
    ids=lambda entry: entry.name,
)
def test_without_a_terminal_nothing_is_asked(entry: Entry, fresh: list[str]) -> None:
    """Its own example without ``--yes``, with nobody there: an end in time, never a question."""
    words = [word for word in entry.example if word not in {"--yes", "-y"}]
    ended = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "worker", *fresh, *words],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode in {*ExitCode} - {ExitCode.CANCELLED}, ended.stderr
    assert "[y/N]" not in ended.stdout + ended.stderr


def test_a_confirmation_that_nobody_can_give_is_wrong_use(
    fresh: list[str], capsys: Captured
) -> None:
    words = ["ledger", "restored", "--at", "2026-11-21T03:00:00Z"]
    assert program.run([*fresh, *words, "--json"]) == ExitCode.USAGE
    *_, last = capsys.readouterr().err.splitlines()
    error = json.loads(last)["error"]
    assert error["code"] == "confirmation_needed"
    assert "--yes" in error["fix"]
