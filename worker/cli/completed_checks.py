"""What the shell completes of the ids of checks, apart from what needs no checks imported."""

from collections.abc import Iterator

from worker.checks import CHECKS
from worker.cli.completions import Completion


def check_ids(incomplete: str) -> Iterator[Completion]:
    """Ids of checks and their beginnings; the last one of a list."""
    done, comma, _ = incomplete.rpartition(",")
    groups = dict.fromkeys(check.id.rstrip("0123456789") for check in CHECKS)
    for group in groups:
        yield f"{done}{comma}{group}", "every check of this kind"
    for check in CHECKS:
        yield f"{done}{comma}{check.id}", check.title
