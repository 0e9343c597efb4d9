"""SCH001: the schema files beside the package say what the code does."""

from collections.abc import Sequence
from pathlib import Path

import worker
from worker.checks.check import Check
from worker.checks.deployment import Deployment
from worker.checks.verdicts import Group, Remark, fail, ok, skip
from worker.contract.schemas import documents


def file_remarks(directory: Path) -> list[Remark]:
    """Compare the files below a directory with what would be exported there."""
    expected = documents()
    there = {name for name in expected if (directory / name).is_file()}
    if not there:
        # An installed package comes without them.
        return [skip("there are no schema files beside the package", about="Schema files")]
    differing = [
        fail("it is missing" if name not in there else "it differs", about=name)
        for name, text in sorted(expected.items())
        if name not in there or (directory / name).read_bytes() != text.encode()
    ]
    return differing or [ok(f"{len(expected)} files are as exported", about=str(directory))]


async def _look(_deployment: Deployment) -> Sequence[Remark]:
    return file_remarks(Path(worker.__file__).parents[1] / "schemas")


CHECKS = (
    Check(
        id="SCH001",
        group=Group.SCHEMAS,
        title="Schema files equal the models",
        fix="Run `payment-worker schemas export schemas`.",
        look=_look,
    ),
)
