"""The runbook as a test reads it: sections, their commands, and what these are said to print."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.acceptance.installation import CHECKOUT

RUNBOOK: Path = CHECKOUT / "deploy" / "runbook.md"

LEFT_OUT = "…"
"""A line of the page that stands for lines it leaves out, or the end of a line that is cut."""

_SAME: Sequence[tuple[re.Pattern[str], str]] = (
    (re.compile(r"\x1b\[[0-9;?]*[A-Za-z]"), ""),
    (re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "<id>"),
    (re.compile(r"\bR-\w+"), "<run>"),
    (re.compile(r"\b[0-9a-f]{32,64}\b"), "<hash>"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|\+00:00)"), "<time>"),
    (re.compile(r"\d+(?:[.:]\d+)*"), "<n>"),
    (re.compile(r"─+"), "─"),
    (re.compile(r"\s+"), " "),
)
"""What differs from one night to the next, and is no part of a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """A command as the page prints it, and the lines of output that the page shows below it."""

    command: str
    output: tuple[str, ...]
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A second-level heading with everything printed below it.

    ``quoted`` are lines that the page shows without a command that an operator should type.
    """

    title: str
    commands: tuple[Printed, ...]
    quoted: tuple[str, ...] = ()


def read_runbook(text: str | None = None) -> tuple[Section, ...]:
    """The page's sections in order, those without a command included."""
    page = RUNBOOK.read_text("utf-8") if text is None else text
    sections = [Section(title="", commands=())]
    lines = enumerate(page.splitlines(), start=1)
    for _, line in lines:
        last = sections[-1]
        if line.startswith("## "):
            sections.append(Section(title=line.removeprefix("## ").strip(), commands=()))
        elif line == "```console":
            sections[-1] = replace(last, commands=(*last.commands, *_block(lines)))
        elif line == "```text":
            sections[-1] = replace(last, quoted=(*last.quoted, *_text(lines)))
    return tuple(sections[1:])


def anchor(title: str) -> str:
    """The name under which a link on the page finds a heading."""
    kept = "".join(letter for letter in title.lower() if letter.isalnum() or letter in " -_")
    return kept.replace(" ", "-")


def unprinted(quoted: Sequence[str], shown: str, *, actor: str) -> str | None:
    """The first quoted line that was not shown, in its order; ``None`` when all were."""
    lines = iter([same(line, actor=actor) for line in shown.splitlines()])
    for line in quoted:
        if line.strip() == LEFT_OUT:
            continue
        cut = line.rstrip().endswith(LEFT_OUT)
        wanted = same(line.rstrip().removesuffix(LEFT_OUT), actor=actor)
        if not any(each.startswith(wanted) if cut else each == wanted for each in lines):
            return line
    return None


def same(line: str, *, actor: str) -> str:
    """A line without what differs each time; the page's operator is ``m.durand``."""
    for pattern, instead in _SAME:
        line = pattern.sub(instead, line)
    return re.sub(rf"\b(?:{re.escape(actor)}|m\.durand)\b", "<actor>", line).strip()


def _text(lines: Iterator[tuple[int, str]]) -> Iterator[str]:
    for _, text in lines:
        if text == "```":
            return
        yield text


def _block(lines: Iterator[tuple[int, str]]) -> Iterator[Printed]:
    command, output, begun = "", list[str](), 0
    for number, text in lines:
        if text == "```":
            break
        if text.startswith("$ "):
            if command:
                yield Printed(command=command, output=tuple(output), line=begun)
            command, output, begun = text.removeprefix("$ "), [], number
        elif command.endswith("\\") and not output:
            command += f"\n{text}"
        elif text.strip():
            output.append(text)
    if command:
        yield Printed(command=command, output=tuple(output), line=begun)
