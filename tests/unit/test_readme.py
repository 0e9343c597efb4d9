"""The README says what the code does: its tables, its commands, its links."""

import re

import pytest

from tests.readme import README, rendered
from worker.__main__ import run

TEXT = README.read_text(encoding="utf-8")


def test_the_generated_tables_are_current() -> None:
    """Rewrite them with ``python -m tests.readme``."""
    assert rendered(TEXT) == TEXT


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)\)", TEXT))))
def test_every_relative_link_leads_somewhere(target: str) -> None:
    assert (README.parent / target).exists()


def commands_shown() -> list[tuple[str, ...]]:
    """The words of every command line in the text that name a command."""
    lines = re.findall(r"^\$ payment-worker ([a-z-]+)(?: ([a-z-]+))?", TEXT, re.MULTILINE)
    return sorted({tuple(word for word in words if word) for words in lines})


@pytest.mark.parametrize("command", commands_shown())
def test_every_command_shown_exists(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """The second word may be an argument and not a command: then the first one counts."""
    statuses = {run([*command, "--help"]), run([command[0], "--help"])}
    assert 0 in statuses
    assert "Usage" in capsys.readouterr().out
