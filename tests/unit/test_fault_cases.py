"""Each of the forty failure cases has a test by its number, or a reason why it has none."""

import re
from pathlib import Path

import pytest

FAULTS = Path(__file__).parents[1] / "faults"
TEXT = (FAULTS / "README.md").read_text(encoding="utf-8")
ROWS = {
    int(number): where
    for number, where in re.findall(r"^\| (\d+) \| [^|]+ \| ([^|]+) \|$", TEXT, re.MULTILINE)
}
CASES = range(1, 41)


def named_by(number: int) -> set[str]:
    """Files that name a case in a test's name, or in the id of one of its parameters."""
    named = re.compile(rf"def test_case_{number:02}_|id=\"case-(?:\d\d-and-)*{number:02}[-\"]")
    return {path.name for path in FAULTS.glob("test_*.py") if named.search(path.read_text("utf-8"))}


def test_the_table_names_every_case_once_and_in_order() -> None:
    assert list(ROWS) == list(CASES)


@pytest.mark.parametrize("number", CASES)
def test_a_case_names_the_files_that_prove_it_or_a_reason(number: int) -> None:
    named = set(re.findall(r"\]\((test_\w+\.py)\)", ROWS[number]))
    assert named >= named_by(number)
    if not named_by(number):
        assert len(ROWS[number]) > 60


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)\)", TEXT))))
def test_every_link_leads_somewhere(target: str) -> None:
    assert (FAULTS / target).exists()
