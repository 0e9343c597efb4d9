"""``payment-worker publish`` as far as it goes without a broker."""

import io
import json
import sys
from pathlib import Path

import pytest

from tests.builders import payment_body
from worker import __main__ as program

Captured = pytest.CaptureFixture[str]

FIELDS = [
    *("--target", "PAYBOX", "--mode", "TEST", "--type", "CB", "--origin", "dcp"),
    *("--company", "1", "--client", "2263", "--order", "40017", "--amount", "1250"),
    *("--email", "client@example.org"),
]


def dry(*arguments: str) -> int:
    return program.run(["publish", "--dry-run", "--json", *arguments])


def records(captured: Captured) -> list[dict[str, object]]:
    return [json.loads(line) for line in captured.readouterr().out.splitlines()]


def write(tmp_path: Path, *bodies: dict[str, object], name: str = "requests.jsonl") -> str:
    file = tmp_path / name
    file.write_text("\n".join(json.dumps(body) for body in bodies), encoding="utf-8")
    return str(file)


def test_a_dry_run_gives_one_record_per_row_and_a_summary(tmp_path: Path, capsys: Captured) -> None:
    file = write(tmp_path, payment_body(), payment_body(amount="0"))
    assert dry(file) == 3
    refused, valid, summary = records(capsys)
    assert (refused["row"], refused["line"], refused["status"]) == (2, 2, "refused")
    assert refused["faults"] == [
        {
            "field": "amount",
            "code": "not_cents",
            "message": "The amount must be whole cents, 1 to 12 digits without a leading zero, "
            "as a JSON string.",
        }
    ]
    assert (valid["row"], valid["status"], valid["faults"]) == (1, "valid", [])
    assert summary == {
        "event": "summary",
        "total": 2,
        "valid": 1,
        "refused": 1,
        "returned": 0,
        "unknown": 0,
        "not_sent": 0,
    }


def test_a_second_run_has_the_same_ids_and_a_new_intent_others(
    tmp_path: Path, capsys: Captured
) -> None:
    file = write(tmp_path, payment_body())
    runs: list[object] = []
    for arguments in ([], [], ["--new-intent"], ["--new-intent"]):
        assert dry(file, *arguments) == 0
        runs.append(records(capsys)[0]["payment_id"])
    assert runs[0] == runs[1]
    assert len(set(runs)) == 3


def test_a_new_intent_can_be_repeated_by_its_id(tmp_path: Path, capsys: Captured) -> None:
    file = write(tmp_path, payment_body())
    intent = "3f0c2a52-6d0e-4f0e-9a55-0d3c1a7b9e10"
    ids: list[object] = []
    for _ in range(2):
        assert dry(file, "--intent", intent) == 0
        ids.append(records(capsys)[0]["message_id"])
    assert ids[0] == ids[1]


def test_standard_input_is_read_as_any_file(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    body = "payment_target;Amount;e_mail\r\nPAYBOX;0;x\r\n".encode("utf-8-sig")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(body)))
    assert dry("-") == 1
    row, summary = records(capsys)
    faults = row["faults"]
    assert isinstance(faults, list)
    assert {"field": "amount", "code": "not_cents"}.items() <= faults[-2].items()
    assert summary["refused"] == 1


def test_people_get_plain_lines_in_a_pipe_and_sentences_beside(
    tmp_path: Path, capsys: Captured
) -> None:
    file = write(tmp_path, payment_body(nom="Dupont"), payment_body(email="x"))
    assert program.run(["publish", "-n", file]) == 3
    captured = capsys.readouterr()
    first, second = (line.split("\t") for line in captured.out.splitlines())
    assert first[:3] == ["2", "2", "refused"]
    assert first[-1] == "email: too_short"
    assert second[:3] == ["1", "1", "valid"]
    assert "no request has such a field: nom" in captured.err
    assert "1 valid, 1 refused of 2." in captured.err


def test_no_value_of_a_request_is_ever_printed(tmp_path: Path, capsys: Captured) -> None:
    body = payment_body(email="very personal", commentaire="confidential", id_client="7" * 40)
    assert dry(write(tmp_path, body)) == 1
    captured = capsys.readouterr()
    for secret in ("personal", "confidential", "7777"):
        assert secret not in captured.out + captured.err


def test_an_empty_file_is_no_failure_but_is_said(tmp_path: Path, capsys: Captured) -> None:
    assert dry(write(tmp_path)) == 0
    assert "There was nothing to send." in capsys.readouterr().err


def test_one_request_by_its_fields(capsys: Captured) -> None:
    assert dry(*FIELDS, "--key", "facture 17", "--comment", "x") == 0
    first = records(capsys)[0]
    assert dry(*FIELDS, "--key", "facture 17", "--payment-type", "SEPA") == 0
    assert records(capsys)[0]["payment_id"] == first["payment_id"]
    assert dry(*FIELDS) == 0
    assert records(capsys)[0]["payment_id"] != first["payment_id"]


def test_one_request_the_worker_would_refuse(capsys: Captured) -> None:
    assert dry(*FIELDS, "--amount", "12.50") == 1
    row, _ = records(capsys)
    assert row["status"] == "refused"


def test_a_cancellation_names_the_payment(capsys: Captured) -> None:
    payment = "9dcc836a-9a09-5961-9d33-fc24235a29d4"
    assert dry("--cancel", payment, "--origin", "dcp", "--no-notify") == 0
    assert records(capsys)[0]["payment_id"] == payment
    assert dry("--cancel-key", "facture 17", "--origin", "dcp") == 0
    assert records(capsys)[0]["payment_id"] not in {None, payment}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Give a file"),
        (["--target", "PAYBOX"], "--mode, --type, --origin"),
        (["--cancel-key", "k"], "the payment's own origin"),
        (["--cancel-key", "k", "--origin", "dcp", "--amount", "1"], "--amount"),
        (["--cancel-key", "k", "--origin", "dcp", "--not-after", "2099-01-01T00:00:00Z"], "--not-"),
        ([*FIELDS, "--notify"], "--notify"),
        ([*FIELDS, "--key-column", "x"], "--key-column"),
        ([*FIELDS, "--key", " "], "says nothing"),
        ([*FIELDS, "--not-after", "tomorrow"], "time with its zone"),
        ([*FIELDS, "--not-after", "2020-01-01T00:00:00Z"], "is past"),
        (["nowhere.csv"], "cannot be read"),
        (["nowhere.csv", "--key", "k"], "--key"),
        (["nowhere.csv", "--new-intent", "--intent", str("0" * 32)], "--intent"),
        (["--cancel", "no guid", "--origin", "dcp"], "cancel"),
    ],
)
def test_wrong_use_is_told_and_nothing_is_checked(
    arguments: list[str], words: str, capsys: Captured
) -> None:
    assert dry(*arguments) == 64
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in captured.err


def test_a_file_that_cannot_be_trusted_sends_nothing(tmp_path: Path, capsys: Captured) -> None:
    file = tmp_path / "requests.csv"
    file.write_text('amount,email\n1,"never closed\n', encoding="utf-8")
    assert dry(str(file)) == 1
    error = json.loads(capsys.readouterr().err)["error"]
    assert error["code"] == "not_csv"
    assert "Nothing was sent." in error["message"]
    assert "csv" in error["fix"]


def test_a_file_beyond_the_limit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr("worker.cli.publish_input.MAX_FILE_BYTES", 10)
    assert dry(write(tmp_path, payment_body())) == 64
    assert "larger than" in capsys.readouterr().err
