"""Files that are there whole or not at all, readable by their owner alone."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


class NotWrittenError(Exception):
    """The file could not be made or brought to the disk; ``reason`` is the system's own."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror)
        self.reason = error.strerror


class Stream:
    """Where bytes are written to; what the system refuses is told in one way."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, data: bytes) -> None:
        """Write bytes; raises ``NotWrittenError``."""
        try:
            self._stream.write(data)
        except OSError as error:
            raise NotWrittenError(error) from error

    def flush(self) -> None:
        """Hand everything to the system; raises ``NotWrittenError``."""
        try:
            self._stream.flush()
        except OSError as error:
            raise NotWrittenError(error) from error


class WholeFile(Stream):
    """A file that is being written beside its place; see ``writing_whole``."""

    def __init__(self, stream: BinaryIO, unfinished: Path, path: Path) -> None:
        super().__init__(stream)
        self._unfinished = unfinished
        self._path = path

    def finish(self) -> None:
        """Bring the bytes to the disk, then the name, which is safe only with its directory.

        What was there under the name is replaced. Raises ``NotWrittenError``.
        """
        self.flush()
        try:
            os.fsync(self._stream.fileno())
            self._unfinished.replace(self._path)
            directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            raise NotWrittenError(error) from error


@contextmanager
def writing_whole(path: Path) -> Iterator[WholeFile]:
    """Write a file of mode 0600; unless it is finished inside nothing of it is left.

    Raises ``NotWrittenError``.
    """
    try:
        number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise NotWrittenError(error) from error
    unfinished = Path(name)
    try:
        with open(number, "wb") as stream:  # noqa: PTH123 - a descriptor, made with mode 0600
            yield WholeFile(stream, unfinished, path)
    finally:
        with suppress(FileNotFoundError):
            unfinished.unlink()
