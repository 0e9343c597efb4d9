"""``payment-worker schemas``: exported bytes, and the worker's own verdict on a message."""

import io
import json
from pathlib import Path

import pytest

from worker import __main__ as program
from worker.contract.schemas import documents

Captured = pytest.CaptureFixture[str]

REQUEST = {
    "payment_target": "PAYBOX",
    "payment_run_mode": "TEST",
    "payment_type": "CB",
    "id_origin": "dcp",
    "id_societe": "1",
    "id_client": "2263",
    "id_commande": "40017",
    "type_paiement": "CB",
    "amount": "1250",
    "email": "client@example.org",
}


def write(tmp_path: Path, body: dict[str, object] | bytes) -> str:
    file = tmp_path / "message.json"
    file.write_bytes(body if isinstance(body, bytes) else json.dumps(body).encode())
    return str(file)


def test_export_writes_every_document_byte_for_byte_and_again_changes_nothing(
    tmp_path: Path, capsys: Captured
) -> None:
    target = tmp_path / "schemas"
    assert program.run(["schemas", "export", str(target)]) == 0
    written = {
        file.relative_to(target).as_posix(): file.read_bytes().decode()
        for file in target.rglob("*")
        if file.is_file()
    }
    assert written == documents()
    capsys.readouterr()
    assert program.run(["schemas", "export", str(target), "--json"]) == 0
    assert {row["state"] for row in json.loads(capsys.readouterr().out)} == {"same"}


def test_check_fails_where_a_file_differs_and_writes_nothing(
    tmp_path: Path, capsys: Captured
) -> None:
    assert program.run(["schemas", "export", str(tmp_path), "--check"]) == 1
    assert list(tmp_path.iterdir()) == []
    assert "fix: payment-worker schemas export" in capsys.readouterr().err
    program.run(["schemas", "export", str(tmp_path)])
    assert program.run(["schemas", "export", str(tmp_path), "--check"]) == 0


def test_export_to_where_nothing_can_be_written_is_an_error(
    tmp_path: Path, capsys: Captured
) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    assert program.run(["schemas", "export", str(in_the_way)]) == 1
    assert "asyncapi.yaml cannot be written: File exists." in capsys.readouterr().err


def test_a_canonical_message_is_accepted_without_a_word_on_standard_output(
    tmp_path: Path, capsys: Captured
) -> None:
    assert program.run(["schemas", "validate", write(tmp_path, dict(REQUEST))]) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "would accept this message." in shown.err


def test_what_the_schema_does_not_describe_is_named_and_still_accepted(
    tmp_path: Path, capsys: Captured
) -> None:
    body: dict[str, object] = {**REQUEST, "id_client": 2263, "framework": {"x": 1}}
    body["paymentTarget"] = body.pop("payment_target")
    assert program.run(["schemas", "validate", write(tmp_path, body), "--json"]) == 0
    shown = capsys.readouterr()
    rows = json.loads(shown.out)
    assert {row["verdict"] for row in rows} == {"departs"}
    assert {row["field"] for row in rows} == {
        "paymentTarget",
        "framework",
        "payment_target",
        "id_client",
    }
    assert "client@example.org" not in shown.out + shown.err


def test_a_refused_message_is_exit_1_with_every_fault(tmp_path: Path, capsys: Captured) -> None:
    body: dict[str, object] = {**REQUEST, "amount": "12,50", "email": "nobody"}
    assert program.run(["schemas", "validate", write(tmp_path, body)]) == 1
    shown = capsys.readouterr()
    rows = [line.split("\t") for line in shown.out.splitlines()]
    assert {row[1] for row in rows} == {"amount", "email"}
    assert {row[0] for row in rows} == {"refused"}
    assert "nobody" not in shown.out


@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b"{", b'{"a":1,"a":2}', b"[" * 100])
def test_what_is_no_object_is_refused_too(tmp_path: Path, body: bytes) -> None:
    assert program.run(["schemas", "validate", write(tmp_path, body)]) == 1


def test_a_cancel_request_is_read_as_one(tmp_path: Path) -> None:
    body: dict[str, object] = {"payment_id": "3f0c2a52-6d0e-5f0e-9a55-0d3c1a7b9e10"}
    assert program.run(["schemas", "validate", "--cancel", write(tmp_path, body)]) == 0
    assert program.run(["schemas", "validate", "--cancel", write(tmp_path, {})]) == 1


def test_standard_input_is_read_and_a_missing_file_is_wrong_use(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(json.dumps(REQUEST).encode())))
    assert program.run(["schemas", "validate", "-"]) == 0
    assert program.run(["schemas", "validate", "/nonexistent/message.json"]) == 64
    assert "cannot be read: No such file" in capsys.readouterr().err
