"""An export's file is there whole or not at all, and is used only as it was written."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.builders import NOON
from tests.unit.test_export_lines import sound
from worker.identity import digest_of
from worker.model import Environment
from worker.operators.exports.files import (
    Export,
    ExportError,
    ExportWriter,
    letters_of,
    read_export,
    writing_export,
)
from worker.operators.exports.lines import ExportHeader, Seal, header_line, letter_line, seal_line

HEADER = ExportHeader(environment=Environment.STAGING, exported_at=NOON)


def written(path: Path, *, letters: int = 2) -> Export:
    """A sound file."""
    with writing_export(path, HEADER) as writer:
        for _ in range(letters):
            writer.add(sound())
        seal = writer.seal()
    return Export(
        path=path,
        environment=Environment.STAGING,
        exported_at=NOON,
        letters=seal.letters,
        sha256=seal.sha256,
    )


def names(directory: Path) -> list[str]:
    return sorted(each.name for each in directory.iterdir())


@pytest.mark.parametrize("letters", [0, 1, 3])
def test_what_was_written_is_read(tmp_path: Path, letters: int) -> None:
    path = tmp_path / "letters.jsonl"
    export = written(path, letters=letters)
    assert read_export(path) == export
    assert list(letters_of(export)) == [sound()] * letters
    assert path.stat().st_mode & 0o777 == 0o600
    assert names(tmp_path) == ["letters.jsonl"]


def test_until_it_is_sealed_nobody_sees_a_file(tmp_path: Path) -> None:
    path = tmp_path / "letters.jsonl"
    with writing_export(path, HEADER) as writer:
        writer.add(sound())
        assert not path.exists()
        (unfinished,) = tmp_path.iterdir()
        assert unfinished.stat().st_mode & 0o777 == 0o600
    assert names(tmp_path) == []


def test_a_walk_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail(writer: ExportWriter) -> None:
        writer.add(sound())
        writer.seal()
        raise LookupError

    with (
        pytest.raises(LookupError),
        writing_export(tmp_path / "letters.jsonl", HEADER) as writer,
    ):
        fail(writer)
    assert names(tmp_path) == []


def test_what_is_there_is_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "letters.jsonl"
    written(path)
    before = path.read_bytes()
    with pytest.raises(ExportError) as taken, writing_export(path, HEADER):
        pytest.fail("it must not begin")
    assert taken.value.code == "export_place_taken"
    assert path.read_bytes() == before


def test_a_place_that_is_taken_meanwhile_stays_the_others(tmp_path: Path) -> None:
    path = tmp_path / "letters.jsonl"

    def end(writer: ExportWriter) -> None:
        writer.seal()
        path.write_text("another's", encoding="utf-8")

    with pytest.raises(ExportError) as taken, writing_export(path, HEADER) as writer:
        end(writer)
    assert taken.value.code == "export_place_taken"
    assert path.read_text(encoding="utf-8") == "another's"
    assert names(tmp_path) == ["letters.jsonl"]


def test_a_directory_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with (
        pytest.raises(ExportError) as refused,
        writing_export(tmp_path / "no" / "letters.jsonl", HEADER),
    ):
        pytest.fail("it must not begin")
    assert refused.value.code == "export_not_written"


def sealed(*lines: bytes) -> bytes:
    """A file that somebody changed and sealed anew."""
    body = b"".join(lines)
    return body + seal_line(Seal(len(lines) - 1, digest_of(body)))


FIRST, LINE = header_line(HEADER), letter_line(sound())

DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "nothing in it": (lambda _: b"", "export_unreadable"),
    "no export": (lambda _: b"hello\n", "export_unreadable"),
    "of a later format": (
        lambda whole: whole.replace(b'"version":1', b'"version":2'),
        "export_newer",
    ),
    "without its last line": (
        lambda whole: whole[: whole.rindex(b'{"letters"')],
        "export_truncated",
    ),
    "cut in its last line": (lambda whole: whole[:-5], "export_truncated"),
    "without its last newline": (lambda whole: whole[:-1], "export_truncated"),
    "a header alone": (lambda _: FIRST, "export_truncated"),
    "one bit changed": (
        lambda whole: whole.replace(b"order-1", b"order-2", 1),
        "export_changed",
    ),
    "a letter less": (lambda whole: whole.replace(LINE, b"", 1), "export_changed"),
    "something behind its end": (lambda whole: whole + whole[-10:], "export_truncated"),
    "sealed anew with a lie": (
        lambda _: sealed(FIRST, LINE, LINE.replace(b'"sequence":2', b'"sequence":3', 1)),
        "export_unsound",
    ),
    "sealed anew with rubbish": (lambda _: sealed(FIRST, b"{}\n"), "export_unsound"),
    "sealed anew with a wrong header": (
        lambda _: sealed(FIRST.replace(b"staging", b"moon"), LINE),
        "export_unsound",
    ),
}


@pytest.mark.parametrize(("damage", "code"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_refused_as_a_whole(
    tmp_path: Path, damage: Callable[[bytes], bytes], code: str
) -> None:
    path = tmp_path / "letters.jsonl"
    written(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ExportError) as refused:
        read_export(path)
    assert refused.value.code == code
    assert "order" not in refused.value.message


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ExportError) as refused:
        read_export(tmp_path / "letters.jsonl")
    assert refused.value.code == "export_missing"


def test_what_was_changed_after_it_was_proven_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "letters.jsonl"
    export = written(path)
    path.write_bytes(sealed(FIRST, LINE, LINE.replace(b'"sequence":2', b'"sequence":3', 1)))
    letters = letters_of(export)
    assert next(letters) == sound()
    with pytest.raises(ExportError) as refused:
        next(letters)
    assert refused.value.code == "export_unsound"
    path.write_bytes(sealed(FIRST, LINE, LINE.replace(b"order-1", b"order-2")))
    with pytest.raises(ExportError) as changed:
        list(letters_of(export))
    assert changed.value.code == "export_changed"
