"""Export files: written whole or not at all, believed only as they were written.

A file is written beside its place, readable by its owner alone, and takes its name once it is on
the disk: it holds whole requests, e-mail addresses among them. Nothing is ever written over: it
may be the only copy there is. Reading goes over the whole file before the first letter is used.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from worker.model import Environment
from worker.operators.exports.lines import (
    LONGEST_LINE,
    VERSION,
    ExportedLetter,
    ExportHeader,
    LineError,
    Seal,
    header_line,
    letter_line,
    read_header,
    read_letter,
    read_seal,
    seal_line,
    version_in,
)
from worker.operators.whole_files import NotWrittenError, Stream, writing_whole


class ExportError(Exception):
    """A file cannot be used, or not be written: ``code`` for scripts, ``fix`` for people."""

    def __init__(self, code: str, message: str, fix: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.fix = fix


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """A file that was read to its end and is whole; ``sha256`` as its last line tells it."""

    path: Path
    environment: Environment
    exported_at: datetime
    letters: int
    sha256: str


class ExportWriter:
    """Writes letters as they come, then the seal; see ``writing_export``."""

    def __init__(self, stream: Stream, header: ExportHeader) -> None:
        self._stream = stream
        self._digest = sha256()
        self._letters = 0
        self.is_sealed = False
        self._write(header_line(header))

    def add(self, letter: ExportedLetter) -> None:
        """Write one letter; raises ``ExportError``."""
        self._write(letter_line(letter))
        self._letters += 1

    def seal(self) -> Seal:
        """Write the last line: without it a file is not believed. Raises ``ExportError``."""
        seal = Seal(self._letters, self._digest.hexdigest())
        self._write(seal_line(seal))
        try:
            self._stream.flush()
        except NotWrittenError as error:
            raise _not_written(error) from error
        self.is_sealed = True
        return seal

    def _write(self, line: bytes) -> None:
        try:
            self._stream.write(line)
        except NotWrittenError as error:
            raise _not_written(error) from error
        self._digest.update(line)


@contextmanager
def writing_export(path: Path, header: ExportHeader) -> Iterator[ExportWriter]:
    """Write an export to ``path``; without its seal nothing of it is left.

    Raises ``ExportError``, before anything else where the place is taken.
    """
    _refuse_taken(path)
    try:
        with writing_whole(path) as file:
            writer = ExportWriter(file, header)
            yield writer
            if writer.is_sealed:
                _refuse_taken(path)
                file.finish()
    except NotWrittenError as error:
        raise _not_written(error) from error


def read_export(path: Path) -> Export:
    """Read a file and prove that it is whole and every line sound; raises ``ExportError``."""
    with _opened(path) as stream:
        return _verified(stream, path)


def letters_of(export: Export) -> Iterator[ExportedLetter]:
    """The letters of a file that was read before, one by one; raises ``ExportError``.

    Each line is judged again: what was changed meanwhile is not used.
    """
    with _opened(export.path) as stream:
        digest = sha256(_next(stream))
        for number in range(export.letters):
            line = _next(stream)
            digest.update(line)
            yield _letter(line, export.path, number + 2)
    if digest.hexdigest() != export.sha256:
        raise _changed(export.path)


def _verified(stream: BinaryIO, path: Path) -> Export:
    first = _next(stream)
    version = version_in(first)
    if version is None:
        raise ExportError(
            "export_unreadable",
            f"{path} is no export of dead letters.",
            "Name a file that `payment-worker dead-letters export` wrote.",
        )
    if version > VERSION:
        raise ExportError(
            "export_newer",
            f"{path} is of format {version}, and this version reads {VERSION}.",
            "Import it with the version of payment-worker that wrote it, or a later one.",
        )
    digest, count, last = sha256(first), 0, b""
    while line := _next(stream):
        if last:
            digest.update(last)
            count += 1
        last = line
    seal = read_seal(last)
    if seal is None:
        raise ExportError(
            "export_truncated",
            f"{path} is cut off: its last line is missing.",
            "Export again; nothing of this file was used.",
        )
    if seal != Seal(count, digest.hexdigest()):
        raise _changed(path)
    try:
        header = read_header(first)
    except LineError as error:
        raise _unsound(path, 1) from error
    _judge_letters(stream, path, count)
    return Export(
        path=path,
        environment=header.environment,
        exported_at=header.exported_at,
        letters=seal.letters,
        sha256=seal.sha256,
    )


def _judge_letters(stream: BinaryIO, path: Path, count: int) -> None:
    """Only after the seal: a file that was damaged is told as damaged, not as a lie."""
    stream.seek(0)
    _next(stream)
    for number in range(count):
        _letter(_next(stream), path, number + 2)


def _letter(line: bytes, path: Path, number: int) -> ExportedLetter:
    try:
        return read_letter(line)
    except LineError as error:
        raise _unsound(path, number) from error


def _next(stream: BinaryIO) -> bytes:
    return stream.readline(LONGEST_LINE)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        stream = path.open("rb")
    except OSError as error:
        raise ExportError(
            "export_missing", f"{path} cannot be read: {error.strerror}.", "Name an export's file."
        ) from error
    with stream:
        yield stream


def _refuse_taken(path: Path) -> None:
    if path.exists():
        raise ExportError(
            "export_place_taken",
            f"{path} is there already.",
            "Name a file that does not exist yet: it may be the only copy of something.",
        )


def _changed(path: Path) -> ExportError:
    return ExportError(
        "export_changed",
        f"{path} was changed after it was written.",
        "Take another copy of it, or export again.",
    )


def _unsound(path: Path, number: int) -> ExportError:
    return ExportError(
        "export_unsound",
        f"Line {number} of {path} is no letter that says truthfully whose it is.",
        "Export again; whoever changed this file sealed it anew.",
    )


def _not_written(error: NotWrittenError) -> ExportError:
    return ExportError(
        "export_not_written",
        f"The export cannot be written: {error.reason}.",
        "Name a file in a directory that exists, may be written and has room.",
    )
