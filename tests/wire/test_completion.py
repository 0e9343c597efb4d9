"""Shell completion as its user switches it on: a real bash, the printed script, a Tab."""

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from select import select

import pytest

from tests.settings_sample import SAMPLE, SECRETS, write_secrets, write_settings

CHECKOUT = Path(__file__).parents[2]
SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Home:
    """A home directory of nobody's, with the program on its path."""

    directory: Path

    def variables(self, **more: str) -> dict[str, str]:
        """Everything a process there sees."""
        return {
            "HOME": str(self.directory),
            "PATH": f"{self.directory / 'bin'}:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "PS1": "ready> ",
            "CREDENTIALS_DIRECTORY": str(self.directory / "credentials"),
            "PAYMENT_WORKER_CONFIG": str(self.directory / "settings.toml"),
            **more,
        }

    def run(self, *command: str, **more: str) -> str:
        """Standard output of a command; it must end well and say nothing else."""
        ended = subprocess.run(  # noqa: S603 - bash and our own program
            command,
            env=self.variables(**more),
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert ended.stderr == ""
        assert ended.returncode == 0
        return ended.stdout


@pytest.fixture(scope="module")
def prepared(home: Home) -> Home:
    """The script as bash is shown it, in a file: printed once for all."""
    script = home.run("bash", "--norc", "-c", "payment-worker --show-completion; true")
    (home.directory / "completion").write_text(script, encoding="utf-8")
    return home


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    directory = tmp_path_factory.mktemp("home")
    program = directory / "bin" / "payment-worker"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\nPYTHONPATH="{CHECKOUT}" exec "{sys.executable}" -m worker "$@"\n', "utf-8"
    )
    program.chmod(0o700)
    write_settings(directory, SAMPLE)
    write_secrets(directory / "credentials", SECRETS)
    return Home(directory)


COMPLETE = """
. ./completion
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_payment_worker_completion payment-worker
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (("dead-l",), {"dead-letters"}),
        (("dead-letters", "list", "--code", "provider_un"), {"provider_unavailable"}),
        (("dead-letters", "list", "--target", "MI"), {"MILLIET"}),
        (("dead-letters", "list", "--origin", ""), {"dcp", "web"}),
        (("check", "--only", "LED,CFG00"), {f"LED,CFG00{number}" for number in range(1, 7)}),
        (
            ("config", "explain", "accounts.combo.lim"),
            {
                "accounts.combo.limits",
                "accounts.combo.limits.calls_per_second",
                "accounts.combo.limits.concurrent_calls",
            },
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bash_completes_with_the_script_that_is_printed(
    prepared: Home, typed: tuple[str, ...], offered: set[str]
) -> None:
    """Commands, options' values, and what only the settings know."""
    shown = prepared.run("bash", "--norc", "-c", COMPLETE, "bash", "payment-worker", *typed)
    assert set(shown.split()) == offered


def test_nothing_is_said_while_somebody_types_where_there_are_no_settings(prepared: Home) -> None:
    typed = ("payment-worker", "dead-letters", "list", "--origin", "")
    nowhere = str(prepared.directory / "none.toml")
    shown = prepared.run(
        "bash", "--norc", "-c", COMPLETE, "bash", *typed, PAYMENT_WORKER_CONFIG=nowhere
    )
    assert shown.strip() == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script_for_the_installed_name(home: Home, shell: str) -> None:
    script = home.run("payment-worker", _PAYMENT_WORKER_COMPLETE=f"source_{shell}")
    assert "_PAYMENT_WORKER_COMPLETE" in script
    assert f"complete_{shell}" in script


def test_zsh_and_fish_show_what_a_value_means(home: Home) -> None:
    asked = {"_TYPER_COMPLETE_ARGS": "payment-worker check --only SYS00"}
    zsh = home.run("payment-worker", _PAYMENT_WORKER_COMPLETE="complete_zsh", **asked)
    assert '"SYS001":"Python is recent enough"' in zsh
    fish = home.run(
        "payment-worker",
        _PAYMENT_WORKER_COMPLETE="complete_fish",
        _TYPER_COMPLETE_FISH_ACTION="get-args",
        **asked,
    )
    assert "SYS001\tPython is recent enough" in fish


class Terminal:
    """An interactive bash at a terminal of its own."""

    def __init__(self, master: int) -> None:
        self._master = master
        self._seen = b""

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def shows(self, words: bytes) -> None:
        """Wait until these words have been shown since the last ones."""
        while words not in self._seen:
            ready, _, _ = select([self._master], [], [], SECONDS)
            assert ready, self._seen
            self._seen += os.read(self._master, 4096)
        self._seen = self._seen.partition(words)[2]


@contextmanager
def interactive_bash(home: Home) -> Iterator[Terminal]:
    master, slave = pty.openpty()
    process = subprocess.Popen(
        ["/bin/bash", "-i"],
        env=home.variables(),
        cwd=home.directory,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    try:
        yield Terminal(master)
    finally:
        process.kill()
        process.wait()
        os.close(master)


def test_a_tab_completes_after_the_installation_of_the_readme(home: Home) -> None:
    (home.directory / ".bashrc").write_text("PS1='ready> '\n", encoding="utf-8")
    home.run("bash", "--norc", "-c", "payment-worker --install-completion; true")
    with interactive_bash(home) as terminal:
        terminal.shows(b"ready> ")
        terminal.type(b"payment-worker dead-l\t")
        terminal.shows(b"payment-worker dead-letters ")
        terminal.type(b"list --code provider_una\t")
        terminal.shows(b"provider_unavailable ")
