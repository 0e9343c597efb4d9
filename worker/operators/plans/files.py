"""Plan files: written whole or not at all, and used only as they were written.

A plan is written into a file of its own beside its place and renamed into it once it is on the
disk, readable by its owner alone: it holds amounts and order. Reading goes over the whole file
before the first row is used, and a plan that was changed, cut off, that has expired or was made
for another environment is refused, each with a word of its own (operations 1.4).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from worker.model import Environment
from worker.operators.plans.lines import (
    LONGEST_LINE,
    VERSION,
    LineError,
    PlanSums,
    header_line,
    is_seal,
    read_header,
    read_row,
    read_sums,
    row_line,
    seal_line,
    sums_line,
    version_in,
)
from worker.operators.plans.rows import Plan, PlanHeader, PlanRow, Tally
from worker.operators.whole_files import NotWrittenError, WholeFile, writing_whole

__all__ = ["Plan", "PlanError", "PlanRow", "PlanWriter", "plan_rows", "read_plan", "writing_plan"]

_MAKE_ANOTHER = "Make a new one: payment-worker dead-letters plan ... --output FILE"


class PlanError(Exception):
    """A plan cannot be used, or not be written: ``code`` for scripts, ``fix`` for people."""

    def __init__(self, code: str, message: str, fix: str = _MAKE_ANOTHER) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.fix = fix


class PlanWriter:
    """Writes the rows of one plan as they come; see ``writing_plan``."""

    def __init__(self, file: WholeFile, path: Path, header: PlanHeader) -> None:
        self._file = file
        self._path = path
        self._header = header
        self._digest = sha256()
        self._tally = Tally()
        self._rows = 0
        self.is_sealed = False
        self._write(header_line(header))

    def add(self, row: PlanRow) -> None:
        """Write one row."""
        self._write(row_line(row))
        self._tally.add(row)
        self._rows += 1

    def seal(self) -> Plan:
        """Write the sums and the seal; the file takes its place when the writing ends."""
        sums = PlanSums(rows=self._rows, totals=self._tally.totals())
        self._write(sums_line(sums))
        digest = self._digest.hexdigest()
        self._write(seal_line(digest))
        self.is_sealed = True
        return _plan(self._path, digest, self._header, sums)

    def _write(self, line: bytes) -> None:
        try:
            self._file.write(line)
        except NotWrittenError as error:
            raise _not_written(self._path, error) from error
        self._digest.update(line)


@contextmanager
def writing_plan(path: Path, header: PlanHeader) -> Iterator[PlanWriter]:
    """Write a plan to ``path``; without its seal nothing of it is left, and what was there stays.

    An older plan is replaced, anything else is not. Raises ``PlanError``.
    """
    if path.exists() and not _holds_plan(path):
        raise PlanError(
            "plan_place_taken",
            f"{path} is there already and is no plan.",
            "Name a file that does not exist yet.",
        )
    try:
        with writing_whole(path) as file:
            writer = PlanWriter(file, path, header)
            yield writer
            if writer.is_sealed:
                file.finish()
    except NotWrittenError as error:
        raise _not_written(path, error) from error


def read_plan(path: Path, *, now: datetime, environment: Environment) -> Plan:
    """Read a plan and prove that it is whole and still holds; raises ``PlanError``.

    ``environment`` is the deployment's own: the ids of another one's ledger mean nothing here.
    """
    with _opened(path) as stream:
        plan = _verified(stream, path)
    if plan.environment is not environment:
        raise PlanError(
            "plan_foreign",
            f"{path} was made for {plan.environment}, and this is {environment}.",
            f"Use it where it was made. {_MAKE_ANOTHER}",
        )
    if plan.expires_at <= now:
        raise PlanError(
            "plan_expired",
            f"{path} held until {plan.expires_at:%Y-%m-%d %H:%MZ}: what it says may be over.",
        )
    return plan


def plan_rows(path: Path, *, sha256_wanted: str | None = None) -> Iterator[PlanRow]:
    """The rows of a plan, one by one; the file is proven whole before the first of them.

    ``sha256_wanted`` is that of the plan meant, where one was read before. Raises ``PlanError``.
    """
    with _opened(path) as stream:
        plan = _verified(stream, path)
        if sha256_wanted not in {None, plan.sha256}:
            raise PlanError("plan_changed", f"{path} is another plan than it was a moment ago.")
        stream.seek(0)
        digest = sha256(stream.readline(LONGEST_LINE))
        for _ in range(plan.size):
            line = stream.readline(LONGEST_LINE)
            digest.update(line)
            yield _row(line, path)
        digest.update(stream.readline(LONGEST_LINE))
        if digest.hexdigest() != plan.sha256:
            raise PlanError("plan_changed", f"{path} was changed while it was read.")


def _verified(stream: BinaryIO, path: Path) -> Plan:
    first = stream.readline(LONGEST_LINE)
    version = version_in(first)
    if version is None:
        raise PlanError("plan_unreadable", f"{path} is no plan.")
    if version > VERSION:
        raise PlanError(
            "plan_newer",
            f"{path} is of format {version}, and this version reads {VERSION}.",
            "Use it with the version of payment-worker that wrote it, or make a new one.",
        )
    digest, rows, before, last = sha256(), -2, b"", first
    while line := stream.readline(LONGEST_LINE):
        digest.update(last)
        rows, before, last = rows + 1, last, line
    if not is_seal(last):
        raise PlanError("plan_truncated", f"{path} is cut off: its last line is missing.")
    if last != seal_line(digest.hexdigest()):
        raise PlanError("plan_changed", f"{path} was changed after it was made.")
    try:
        header, sums = read_header(first), read_sums(before)
    except LineError as error:
        raise _unreadable(path) from error
    plan = _plan(path, digest.hexdigest(), header, sums)
    if not rows == sums.rows == plan.size:
        raise _unreadable(path)
    return plan


def _plan(path: Path, digest: str, header: PlanHeader, sums: PlanSums) -> Plan:
    return Plan(
        path=path,
        sha256=digest,
        environment=header.environment,
        created_at=header.created_at,
        expires_at=header.expires_at,
        actor=header.actor,
        wanted=header.wanted,
        totals=sums.totals,
    )


def _row(line: bytes, path: Path) -> PlanRow:
    try:
        return read_row(line)
    except LineError as error:
        raise _unreadable(path) from error


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        stream = path.open("rb")
    except OSError as error:
        raise PlanError(
            "plan_missing", f"{path} cannot be read: {error.strerror}.", "Name a plan file."
        ) from error
    with stream:
        yield stream


def _holds_plan(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return version_in(stream.readline(LONGEST_LINE)) is not None
    except OSError:
        return False


def _unreadable(path: Path) -> PlanError:
    return PlanError("plan_unreadable", f"{path} has lines that no plan has.")


def _not_written(path: Path, error: NotWrittenError) -> PlanError:
    return PlanError(
        "plan_not_written",
        f"{path} cannot be written: {error.reason}.",
        "Name a file in a directory that exists, may be written and has room.",
    )
