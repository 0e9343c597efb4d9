"""Commands are imported when they are run: what a list of them says, and what that saves."""

import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from tests.commands import CHECKOUT
from tests.settings_sample import SAMPLE, SECRETS, write_secrets, write_settings
from worker import __main__ as program
from worker.cli import build_application
from worker.cli.commands import Entry, Listed

LARGE = {"aio_pika", "aiohttp", "asyncpg", "cryptography", "prometheus_client", "structlog"}
"""Packages that take their time to import; pydantic is imported by the command line itself."""


def _listed(command: Any) -> Iterator[tuple[Entry, Any]]:  # noqa: ANN401 - the library names no classes
    for each in command.commands.values():
        whole = each.loaded() if isinstance(each, Listed) else each
        if isinstance(each, Listed):
            yield each.entry, whole
        if hasattr(whole, "commands"):
            yield from _listed(whole)


LISTED = list(_listed(get_command(build_application(is_drawn=False))))


@pytest.mark.parametrize(
    ("entry", "command"), LISTED, ids=lambda each: each.module if isinstance(each, Entry) else ""
)
def test_a_list_says_of_a_command_what_its_own_help_says_first(entry: Entry, command: Any) -> None:  # noqa: ANN401 - as above
    first = inspect.cleandoc(command.help).partition("\n\n")[0]
    assert entry.summary == " ".join(first.split())


def test_no_command_is_listed_twice() -> None:
    assert len({(entry.module, entry.name) for entry, _ in LISTED}) == len(LISTED) > 20


def test_a_mistyped_command_of_a_group_gets_a_suggestion(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert program.run(["dead-letters", "replya"]) == 64
    assert "'replay'" in capsys.readouterr().err


def imported(*arguments: str) -> set[str]:
    """Top-level packages in a process that ran this command; it must have ended well."""
    script = (
        "import sys; from worker.__main__ import run; code = run(sys.argv[1:]);"
        " print(code, *{name.partition('.')[0] for name in sys.modules})"
    )
    ended = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", script, *arguments],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    code, *names = ended.stdout.splitlines()[-1].split()
    assert code == "0", ended.stderr
    return set(names)


@pytest.mark.parametrize("arguments", [["--version"], ["--help"]])
def test_what_needs_no_settings_imports_none_of_the_large_packages(arguments: list[str]) -> None:
    assert not imported(*arguments) & LARGE


def test_a_command_on_a_ledger_in_a_file_imports_neither_web_client_nor_postgresql(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(write_secrets(tmp_path / "secrets", SECRETS)))
    monkeypatch.setenv("PAYMENT_WORKER_LEDGER__PATH", str(tmp_path / "ledger.sqlite3"))
    config = ["--config", str(write_settings(tmp_path, SAMPLE))]
    assert program.run([*config, "ledger", "init"]) == 0
    names = imported(*config, "dead-letters", "list")
    assert "sqlite3" in names
    assert not names & {"aiohttp", "asyncpg", "prometheus_client"}
