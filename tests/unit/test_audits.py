"""The audit as a file, and its commands: whatever was tampered with is found and named."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import store_samples as some
from tests.settings_sample import SAMPLE, SECRETS, write_secrets, write_settings
from worker import __main__ as program
from worker.acts import BEGINNING, KeptAct, next_place
from worker.operators.audits import verify_acts, verify_file, write_acts
from worker.operators.whole_files import Stream
from worker.records import AuditEntry

Captured = pytest.CaptureFixture[str]
entries = st.lists(some.audit_entries, min_size=1, max_size=6)


async def kept(entries: list[AuditEntry], *, first: int = 0) -> AsyncIterator[KeptAct]:
    place = BEGINNING
    for row, entry in enumerate(entries):
        place = next_place(place, entry)
        if row >= first:
            yield KeptAct(row=row + 1, entry=entry, place=place)


def exported(entries: list[AuditEntry], *, first: int = 0) -> tuple[bytes, bytes]:
    """A file of these acts from one on, and the head of it."""
    start = BEGINNING
    for entry in entries[:first]:
        start = next_place(start, entry)
    file = BytesIO()
    verdict = asyncio.run(write_acts(kept(entries, first=first), Stream(file), start=start))
    assert verdict.is_whole
    return file.getvalue(), verdict.head.digest


@given(entries=entries, data=st.data())
def test_an_export_is_verified_by_itself_also_from_the_middle(
    entries: list[AuditEntry], data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, len(entries) - 1))
    file, head = exported(entries, first=first)
    verdict = verify_file(BytesIO(file), kept=head)
    assert verdict.is_whole
    assert (verdict.count, verdict.head.position) == (len(entries) - first, len(entries))
    whole = asyncio.run(verify_acts(kept(entries), kept=head))
    assert (whole.is_whole, whole.head.digest) == (True, head)


@given(entries=entries, data=st.data())
def test_any_changed_byte_of_a_file_is_found(
    entries: list[AuditEntry], data: st.DataObject
) -> None:
    file, head = exported(entries)
    place = data.draw(st.integers(0, len(file) - 1))
    byte = data.draw(st.integers(1, 255))
    changed = file[:place] + bytes([file[place] ^ byte]) + file[place + 1 :]
    assert not verify_file(BytesIO(changed), kept=head).is_whole


@given(entries=entries, data=st.data())
def test_any_line_taken_out_or_cut_off_is_found(
    entries: list[AuditEntry], data: st.DataObject
) -> None:
    file, head = exported(entries)
    lines = file.splitlines(keepends=True)
    which = data.draw(st.integers(0, len(lines) - 1))
    rest = b"".join(lines[:which] + lines[which + 1 :])
    found = verify_file(BytesIO(rest), kept=head)
    if which:  # the file of a later period is a file too
        assert not found.is_whole
    cut = data.draw(st.integers(0, len(file) - 1))
    assert not verify_file(BytesIO(file[:cut]), kept=head).is_whole


def test_a_line_has_the_names_of_the_common_schema_and_what_can_be_counted() -> None:
    (line,) = exported([some.sample_act(1)])[0].splitlines()
    record = json.loads(line)
    assert record.pop("labels.hash")
    assert record.pop("labels.previous_hash") == "0" * 64
    assert record == {
        "@timestamp": "2026-11-21T20:14:03.123000Z",
        "event.action": "reopen",
        "event.type": "allowed",
        "event.outcome": "success",
        "event.reason": "run 7",
        "user.name": "o.perator",
        "labels.operation_id": str(some.number(1)),
        "labels.position": 1,
    }


@pytest.mark.parametrize("line", [b"{}\n", b"[]\n", b"null\n", b"\xff\n", b'{"@timestamp":1}\n'])
def test_a_line_that_is_no_act_is_named(line: bytes) -> None:
    verdict = verify_file(BytesIO(exported([some.sample_act(1)])[0] + line), kept=None)
    assert verdict.broken is not None
    assert verdict.broken.where == "line 2"


TWICE = (
    "INSERT INTO audit SELECT 99, at, actor, action, operation_id, detail, denied, facts,"
    " position, hash FROM audit WHERE entry = 6"
)


# --- the commands --------------------------------------------------------------------------------


@pytest.fixture
def sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> list[str]:
    """Arguments that name sound settings with a ledger in which operators did six things."""
    monkeypatch.delenv("PAYMENT_WORKER_CONFIG", raising=False)
    directory = write_secrets(tmp_path / "credentials", SECRETS)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(directory))
    monkeypatch.setenv("PAYMENT_WORKER_LEDGER__PATH", str(tmp_path / "ledger.sqlite3"))
    arguments = ["--config", str(write_settings(tmp_path, SAMPLE))]
    assert program.run([*arguments, "ledger", "init"]) == 0
    for act in ("pause", "resume") * 3:
        words = ("accounts", act, "--all", "--reason", "ticket 4711", "--wait", "0")
        assert program.run([*arguments, *words]) == 0
    capsys.readouterr()
    return arguments


def verified(sound: list[str], capsys: Captured, *words: str) -> tuple[int, dict[str, object]]:
    code = program.run([*sound, "audit", "verify", *words, "--json"])
    record: dict[str, object] = json.loads(capsys.readouterr().out)
    return code, record


def tampered(sound: list[str], statement: str) -> None:
    path = Path(sound[1]).parent / "ledger.sqlite3"
    with closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute(statement).rowcount > 0


def test_a_sound_ledger_prints_its_head_and_an_export_of_it_is_verified(
    sound: list[str], capsys: Captured, tmp_path: Path
) -> None:
    code, record = verified(sound, capsys)
    assert (code, record["acts"], record["whole"]) == (0, 6, True)
    head = str(record["head"])
    file = tmp_path / "audit.jsonl"
    assert program.run([*sound, "audit", "export", "--output", str(file)]) == 0
    assert file.stat().st_mode & 0o777 == 0o600
    assert len(file.read_bytes().splitlines()) == 6
    code, record = verified(sound, capsys, str(file), "--head", head)
    assert (code, record["acts"]) == (0, 6)
    code, record = verified(sound, capsys, "--head", head)
    assert (code, record["acts"]) == (0, 7), "the export is an act too; the head is still met"
    assert program.run([*sound, "audit", "export", "--since", "1h"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 7
    assert program.run([*sound, "audit", "export", "--until", "1h"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("statement", "where"),
    [
        ("UPDATE audit SET detail = 'ticket 4712' WHERE entry = 3", "act 3"),
        ("UPDATE audit SET actor = 'somebody' WHERE entry = 1", "act 1"),
        ("UPDATE audit SET denied = 1 WHERE entry = 6", "act 6"),
        ("DELETE FROM audit WHERE entry = 2", "act 3"),
        ("UPDATE audit SET hash = zeroblob(32) WHERE entry = 4", "act 4"),
        ("UPDATE audit SET hash = NULL WHERE entry = 4", "row 5"),
        ("UPDATE audit SET position = 9 WHERE entry = 6", "act 9"),
        (TWICE, "act 6"),
        ("UPDATE audit SET facts = 'no JSON' WHERE entry = 2", "act 2"),
        ("UPDATE audit SET operation_id = x'00' WHERE entry = 2", "act 2"),
    ],
)
def test_what_was_tampered_with_is_named(
    sound: list[str], capsys: Captured, statement: str, where: str
) -> None:
    tampered(sound, statement)
    code, record = verified(sound, capsys)
    assert (code, record["whole"], record["broken_at"]) == (1, False, where)


def test_a_tail_that_was_cut_off_is_found_with_the_kept_head_alone(
    sound: list[str], capsys: Captured
) -> None:
    _, record = verified(sound, capsys)
    tampered(sound, "DELETE FROM audit WHERE entry > 4")
    assert verified(sound, capsys)[0] == 0, "what is left is whole"
    code, found = verified(sound, capsys, "--head", str(record["head"]))
    assert (code, found["kept_head_missing"]) == (1, True)


def test_heads_and_files_that_are_none_are_refused(
    sound: list[str], capsys: Captured, tmp_path: Path
) -> None:
    assert program.run([*sound, "audit", "verify", "--head", "12ab"]) == 64
    assert program.run([*sound, "audit", "verify", str(tmp_path / "none")]) == 64
    assert program.run([*sound, "audit", "export", "--output", str(tmp_path / "no" / "x")]) == 1
    assert program.run([*sound, "audit", "export", "--since", "noon"]) == 64
    kept = tmp_path / "kept.jsonl"
    kept.touch()
    assert program.run([*sound, "audit", "verify", str(kept)]) == 1, "no act proves nothing"
    assert program.run([*sound, "audit", "export", "--output", str(kept)]) == 64
    assert kept.read_bytes() == b"", "evidence is never written over"
    assert "Traceback" not in capsys.readouterr().err
