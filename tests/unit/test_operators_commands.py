"""``payments``, ``results`` and ``ledger restored`` as their user sees them, without a broker."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import NOON
from tests.servers import refused_port
from tests.settings_sample import SAMPLE, SECRETS, write_secrets, write_settings
from tests.unit.test_export_lines import sound as sound_letter
from worker import __main__ as program
from worker.cli.letter_filter import wanted_codes
from worker.codes import Category, Code
from worker.model import Environment
from worker.operators.exports.files import writing_export
from worker.operators.exports.lines import ExportHeader

Captured = pytest.CaptureFixture[str]
SOME_ID = "5b1f0c1e-0000-4000-8000-000000000001"


@pytest.fixture
def sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> Iterator[list[str]]:
    """Arguments that name sound settings with a fresh ledger, and a broker that is not there."""
    monkeypatch.delenv("PAYMENT_WORKER_CONFIG", raising=False)
    directory = write_secrets(tmp_path / "credentials", SECRETS)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(directory))
    monkeypatch.setenv("PAYMENT_WORKER_BROKER__HOST", "127.0.0.1")
    monkeypatch.setenv("PAYMENT_WORKER_LEDGER__PATH", str(tmp_path / "ledger.sqlite3"))
    arguments = ["--config", str(write_settings(tmp_path, SAMPLE))]
    assert program.run([*arguments, "ledger", "init"]) == 0
    capsys.readouterr()
    with refused_port() as port:
        monkeypatch.setenv("PAYMENT_WORKER_BROKER__PORT", str(port))
        yield arguments


@pytest.mark.parametrize(
    "words",
    [
        ("payments", "report", "yesterday"),
        ("payments", "report", "--since", "noon"),
        ("payments", "report", "2026-11-21", "--since", "2026-11-21T00:00:00Z"),
        ("payments", "report", "--until", "2026-11-21T00:00:00Z"),
        ("payments", "report", "--no-broker", "--walk"),
        ("dead-letters", "list", "--since", "yesterday"),
        ("dead-letters", "list", "--since", "1h", "--until", "2h"),
        ("dead-letters", "list", "--since", f"{10**9}d"),
        ("dead-letters", "list", "--code", "bad_luck"),
        ("dead-letters", "list", "--target", "BANK"),
        ("dead-letters", "list", "--after", "the-last-one"),
        ("dead-letters", "export", "--all"),
        ("dead-letters", "export", "--output", "letters.jsonl"),
        ("dead-letters", "export", SOME_ID, "--all", "--output", "letters.jsonl"),
        ("dead-letters", "export", SOME_ID, "--code", "declined", "--output", "letters.jsonl"),
        ("dead-letters", "export", "--all", "--output", "-", "--json"),
        ("dead-letters", "import"),
        ("accounts", "pause", "--reason", "x"),
        ("accounts", "pause", "bank", "--all", "--reason", "x"),
        ("accounts", "pause", "nobody", "--reason", "x"),
        ("accounts", "resume", "nobody", "--reason", "x"),
        ("accounts", "probe", "nobody"),
        ("accounts", "pause", "--all", "--reason", " "),
        ("results", "resend"),
        ("results", "resend", "--unclaimed", "--payment", SOME_ID),
        ("results", "resend", "--unclaimed", "--origin", "dcp", "--since", "2h"),
        ("results", "resend", "--unclaimed", "--since", "2h"),
        ("results", "resend", "--payment", SOME_ID, "--until", "2h"),
        ("results", "resend", "--origin", "dcp"),
        ("results", "resend", "--origin", "dcp", "--until", "2h"),
        ("results", "resend", "--origin", "dcp", "--since", "noon"),
        ("results", "resend", "--origin", "dcp", "--since", "2999-01-01T00:00:00Z"),
        ("ledger", "restored", "--at", "yesterday", "--yes"),
        ("ledger", "restored", "--at", "2999-01-01T00:00:00Z", "--yes"),
        ("ledger", "restored", "--at", "2026-01-01T00:00:00Z"),
    ],
    ids=" ".join,
)
def test_what_makes_no_sense_is_refused_as_wrong_use(
    sound: list[str], words: tuple[str, ...]
) -> None:
    """The last one: nobody is there to confirm, and silence is no yes."""
    assert program.run([*sound, *words]) == 64


@pytest.mark.parametrize(
    "words",
    [
        ("payments", "report"),
        ("results", "resend", "--unclaimed"),
        ("dead-letters", "export", "--all", "--output", "letters.jsonl"),
    ],
    ids=" ".join,
)
def test_a_broker_that_is_away_is_69(sound: list[str], words: tuple[str, ...]) -> None:
    assert program.run([*sound, *words]) == 69


@pytest.mark.parametrize("name", ["5b1f0c1e", "the-last-one", SOME_ID[:-1]])
@pytest.mark.parametrize(
    ("words", "lister"),
    [
        (("dead-letters", "show"), "dead-letters list"),
        (("payments", "show"), "payments find"),
        (("payments", "find", "--payment"), "payments find"),
        (("results", "resend", "--payment"), "payments find"),
    ],
)
def test_what_is_no_id_is_told_in_words_with_where_ids_are_found(
    sound: list[str], capsys: Captured, name: str, words: tuple[str, ...], lister: str
) -> None:
    assert program.run([*sound, *words, name, "--json"]) == 64
    error = json.loads(capsys.readouterr().err)["error"]
    assert error["message"].endswith("That is no id: one has 36 characters, four of them dashes.")
    assert f"payment-worker {lister}`" in error["fix"]


@pytest.mark.parametrize(
    ("group", "lister"), [("dead-letters", "dead-letters list"), ("payments", "payments find")]
)
def test_an_id_that_nobody_knows_is_told_with_the_list_of_its_own_group(
    sound: list[str], capsys: Captured, group: str, lister: str
) -> None:
    assert program.run([*sound, group, "show", SOME_ID, "--json"]) == 1
    assert f"payment-worker {lister}" in json.loads(capsys.readouterr().err)["error"]["fix"]


def test_a_paused_account_is_named_once(sound: list[str], capsys: Captured) -> None:
    pause = ("accounts", "pause", "safedebit", "--reason", "ticket 4711", "--wait", "0")
    assert program.run([*sound, *pause]) == 0
    capsys.readouterr()
    assert program.run([*sound, "accounts", "probe", "safedebit", "--wait", "0"]) == 1
    message = capsys.readouterr().err.partition("\n")[0]
    assert message.startswith("error: safedebit: It is paused by ")
    assert message.endswith(": ticket 4711")


def test_an_output_without_room_is_no_unexpected_error(
    sound: list[str], capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        monkeypatch.setattr("sys.stdout", full)
        assert program.run([*sound, "dead-letters", "--json"]) == 1
        monkeypatch.undo()
        with contextlib.suppress(OSError):
            full.close()
    *_, error = capsys.readouterr().err.splitlines()
    assert json.loads(error)["error"]["code"] == "no_room"


def test_a_file_that_is_no_export_is_refused_before_the_broker_is_asked(
    sound: list[str], tmp_path: Path, capsys: Captured
) -> None:
    """And one of another environment, whose payments mean nothing here."""
    path = tmp_path / "letters.jsonl"
    path.write_text("hello\n", encoding="utf-8")
    command = [*sound, "dead-letters", "import", str(path), "--yes", "--json"]
    assert program.run(command) == 1
    assert json.loads(capsys.readouterr().err)["error"]["code"] == "export_unreadable"
    path.unlink()
    header = ExportHeader(environment=Environment.PRODUCTION, exported_at=NOON)
    with writing_export(path, header) as writer:
        writer.seal()
    assert program.run(command) == 1
    assert json.loads(capsys.readouterr().err)["error"]["code"] == "export_foreign"


def test_a_rehearsed_import_tells_of_each_letter_without_the_broker(
    sound: list[str], tmp_path: Path, capsys: Captured
) -> None:
    path = tmp_path / "letters.jsonl"
    with writing_export(
        path, ExportHeader(environment=Environment.STAGING, exported_at=NOON)
    ) as writer:
        writer.add(sound_letter())
        writer.seal()
    assert program.run([*sound, "dead-letters", "import", str(path), "--dry-run", "--json"]) == 0
    letter, report = map(json.loads, capsys.readouterr().out.splitlines())
    assert letter == {
        "payment_id": str(sound_letter().operation_id),
        "sequence": 2,
        "fate": "unknown",
    }
    assert (report["unknown"], report["imported"], report["dry_run"]) == (1, 0, True)
    assert program.run([*sound, "dead-letters", "import", str(path), "-n", "-o", "human"]) == 0
    people = capsys.readouterr()
    assert people.out == "", "only what is left out for good is told one by one"
    assert "1 letters are not known to this ledger" in people.err


def test_nothing_is_sent_again_where_nothing_was_decided(
    sound: list[str], capsys: Captured
) -> None:
    command = [*sound, "results", "resend", "--origin", "Télévente", "--since", "2h", "--json"]
    assert program.run(command) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["origin"], shown["found"], shown["marked"]) == ("televente", 0, 0)


def test_an_empty_ledger_has_sound_books_and_says_what_it_did_not_look_at(
    sound: list[str], capsys: Captured
) -> None:
    assert program.run([*sound, "payments", "report", "--no-broker", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["received"], shown["lines"], shown["exceptions"]) == (0, [], [])
    assert (shown["queue"], shown["unclaimed"]) == (None, None)
    assert shown["not_looked_at"][0].startswith("the broker")
    assert program.run([*sound, "payments", "report", "--no-broker", "-o", "human"]) == 0
    people = capsys.readouterr()
    assert "No exceptions" in people.err
    assert "Not looked at: the broker" in people.err


def test_an_empty_index_has_no_groups_and_needs_no_broker(
    sound: list[str], capsys: Captured
) -> None:
    assert program.run([*sound, "dead-letters", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert program.run([*sound, "dead-letters", "-o", "human"]) == 0
    assert "No dead letters" in capsys.readouterr().err


def test_the_shape_of_the_data_may_stand_before_the_word_of_the_command(
    sound: list[str], capsys: Captured
) -> None:
    assert program.run([*sound, "dead-letters", "--json", "list"]) == 0
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize("group", ["payments", "dead-letters"])
def test_an_operation_that_the_ledger_does_not_know_is_said_so(
    sound: list[str], capsys: Captured, group: str
) -> None:
    assert program.run([*sound, group, "show", SOME_ID, "--json"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert json.loads(shown.err)["error"]["code"] == "unknown_payment"
    assert program.run([*sound, group, "show", "12"]) == 64


def test_codes_and_categories_are_met_together() -> None:
    assert wanted_codes(None, []) is None
    lost = frozenset({Code.LINK_LOST})
    assert wanted_codes([Code.LINK_LOST], None) == lost
    assert wanted_codes([], [Category.TRANSIENT]) == frozenset(
        {Code.PROVIDER_UNAVAILABLE, Code.PROVIDER_RATE_LIMITED, Code.REQUEST_EXPIRED}
    )
    assert wanted_codes([Code.LINK_LOST, Code.INTERNAL_ERROR], [Category.IN_DOUBT]) == lost
    assert wanted_codes([Code.LINK_LOST], [Category.TRANSIENT]) == frozenset()


def test_an_answer_of_nobody_is_not_sent_again(sound: list[str], capsys: Captured) -> None:
    assert program.run([*sound, "results", "resend", "--payment", SOME_ID, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["result"] == "unknown"


def test_a_restoration_is_recorded_once_and_checked_while_in_force(
    sound: list[str], capsys: Captured
) -> None:
    words = [*sound, "ledger", "restored", "--at", "2026-01-01T00:00:00Z", "--yes", "--json"]
    assert program.run(words) == 0
    first = json.loads(capsys.readouterr().out)
    assert (first["recorded"], first["in_doubt"]) == (True, 0)
    assert program.run(words) == 0
    again = json.loads(capsys.readouterr().out)
    assert again == first | {"recorded": False}
    assert program.run([*sound, "check", "--only", "LED", "--strict"]) == 3
    assert "came back from a backup" in capsys.readouterr().out


def test_a_ledger_with_nothing_past_its_time_is_left_as_it_is(
    sound: list[str], capsys: Captured
) -> None:
    for words in (("ledger", "maintain"), ("ledger", "maintain", "--dry-run")):
        assert program.run([*sound, *words, "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told.pop("dry_run") is ("--dry-run" in words)
        assert set(told) == {
            "emails",
            "links",
            "rows",
            "runs",
            "tombstones",
            "held",
            "overdue_letters",
        }
        assert not any(told.values())
    assert program.run([*sound, "ledger", "maintain"]) == 0
    assert "Erased 0 e-mails, 0 links, 0 operations" in capsys.readouterr().err


def test_keys_are_counted_by_id_and_replaced_only_when_somebody_says_so(
    sound: list[str], capsys: Captured
) -> None:
    assert program.run([*sound, "ledger", "keys", "--json"]) == 0
    (key,) = json.loads(capsys.readouterr().out)
    assert (key["use"], key["values"], key["marks"]) == ("seals", 0, 0)
    assert program.run([*sound, "ledger", "rekey"]) == 64
    assert "--yes" in capsys.readouterr().err
    assert program.run([*sound, "ledger", "rekey", "--yes", "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert (done["renewed"], done["unused"], done["keys"]) == (0, [], [key])
