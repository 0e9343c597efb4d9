"""``payments find``, ``doubtful`` and ``settle`` as an operator sees them, without a broker."""

import io
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.ledger_desk import (
    DOUBT,
    Captured,
    Desk,
    basket_doubt,
    doubt,
    ledger_desk,
    now,
    put_doubt,
    seen,
)
from tests.rows import closed
from tests.store_samples import number, sample_record
from worker.cli.exit_codes import ExitCode
from worker.model import Origin, RunMode, Secret
from worker.records import Kind, State, Status

LINK = "https://pay.test.example/p/planted-link"
SAID = ["--reason", "seen in the portal", "--yes"]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> Desk:
    return ledger_desk(tmp_path, monkeypatch, capsys)


# --- find --------------------------------------------------------------------------------------


def test_find_shows_the_newest_first_and_says_where_it_stopped(desk: Desk) -> None:
    desk.put(*(seen(value, ago=timedelta(hours=value)) for value in range(1, 6)))
    code, out, err = desk.run("find", "--limit", "2")
    assert code == ExitCode.OK
    assert [line.split("\t")[0] for line in out.splitlines()] == [str(number(1)), str(number(2))]
    place = err.split("--after ")[1].strip()
    _code, out, err = desk.run("find", "--limit", "9", "--after", place)
    assert [line.split("\t")[0] for line in out.splitlines()] == [
        str(number(value)) for value in (3, 4, 5)
    ]
    assert "There are more" not in err
    assert len(desk.objects("find", "--all")) == 5
    assert len(desk.objects("find", "--since", "150m")) == 2


def test_find_tells_an_operation_by_every_name_it_has(desk: Desk) -> None:
    desk.put(seen(1), seen(2, account="combo"))
    for words in (
        ["--order", "40017", "--account", "combo"],
        ["--message-id", "message-2"],
        ["--reference", f"{2:032x}"],
        ["--payment", str(number(2))],
        ["--client", "2263", "--company", "1", "--origin", "DCP", "--account", "combo"],
    ):
        (found,) = desk.objects("find", *words)
        assert found["payment_id"] == str(number(2))
        assert found["amount_cents"] == 1250


def test_find_without_a_match_says_so(desk: Desk) -> None:
    code, out, err = desk.run("find", "--order", "1")
    assert (code, out) == (ExitCode.OK, "")
    assert "No such payment." in err
    assert desk.run("find", "--order", "1", "--fail-if-empty")[0] == ExitCode.NOTHING_MATCHED
    assert desk.run("find", "--after", "there")[0] == ExitCode.USAGE


# --- report ------------------------------------------------------------------------------------


def test_the_books_are_told_apart_by_what_is_asked(desk: Desk) -> None:
    live = replace(sample_record().facts, payment_run_mode=RunMode.LIVE)
    desk.put(
        seen(1, ago=timedelta(days=1), state=State.SUCCEEDED),
        seen(2, state=State.SUCCEEDED, origin=Origin("web")),
        seen(3, state=State.FAILED, facts=live),
    )
    since = (now() - timedelta(days=2)).isoformat(timespec="seconds").replace("+00:00", "Z")
    report = ("report", "--no-broker", "--since", since)
    _code, out, _err = desk.run(*report, "--by", "origin", "--by", "mode", "--by", "origin")
    assert sorted(out.splitlines()) == [
        "dcp\tLIVE\t1\t1250",
        "dcp\tTEST\t1\t1250",
        "web\tTEST\t1\t1250",
    ]
    (data,) = desk.objects(*report)
    assert data["sums"] == {"EUR": {"LIVE": {"failed": 1250}, "TEST": {"succeeded": 2500}}}
    days = {line["day"] for line in data["lines"]}
    assert days == {str((now() - timedelta(hours=hours)).date()) for hours in (1, 24)}
    assert sum(line["count"] for line in data["lines"]) == data["received"] == 3
    _code, out, _err = desk.run(*report, "--output", "human")
    assert "TEST: 25.00 EUR asked for: 25.00 EUR succeeded" in out
    assert "LIVE: 12.50 EUR asked for: 12.50 EUR failed" in out
    assert "3 initiations: 2 succeeded, 1 failed" in out


def test_the_books_count_one_as_one(desk: Desk) -> None:
    put_doubt(desk)
    since = (now() - timedelta(days=1)).isoformat(timespec="seconds").replace("+00:00", "Z")
    report = ("report", "--no-broker", "--since", since, "--output", "human")
    lines = desk.run(*report)[1].splitlines()
    assert {"1 initiation: 1 in doubt", "1 dead letter: outcome_unknown"} <= set(lines)


# --- doubtful ----------------------------------------------------------------------------------


def test_doubts_are_listed_the_oldest_first_with_what_to_look_up(desk: Desk) -> None:
    put_doubt(desk, 1)
    put_doubt(desk, 2, ago=timedelta(hours=3))
    desk.put(seen(3))
    old, new = desk.objects("doubtful")
    assert [old["payment_id"], new["payment_id"]] == [str(number(2)), str(number(1))]
    assert 3600 < old["age_seconds"] < 4 * 3600
    assert (new["account"], new["class"], new["amount_cents"]) == ("safedebit", "E", 1250)
    (call,) = new["attempts"][0]["calls"]
    assert call["said"] == "no complete answer came"
    assert new["references"] == [f"{1:032x}"]
    assert f"{1:032x}" in new["look_up"]
    assert "12.50 EUR" in new["look_up"]
    assert new["settle"] == ["succeeded", "failed", "retry"]


def test_a_person_reads_the_commands_that_end_a_doubt(desk: Desk) -> None:
    basket_doubt(desk)
    _code, out, _err = desk.run("doubtful", "--output", "human")
    assert f"payments settle {number(1)} --succeeded --item ID --reason ..." in out
    assert "at combo (test), the basket of client 2263: an item of 12.50 EUR" in out
    assert "TEST 12.50 EUR" in out


def test_the_history_of_a_doubt_ends_with_what_to_look_at_and_what_to_type(desk: Desk) -> None:
    one = str(basket_doubt(desk))
    _code, out, _err = desk.run("show", one, "--output", "human")
    told = out.partition("what next\n")[2].splitlines()
    assert told[0].startswith("    look up: at combo (test), the basket of client 2263")
    assert told[1:] == [
        f"    then: payment-worker payments settle {one} --succeeded --item ID --reason ...",
        f"    then: payment-worker payments settle {one} --failed --reason ...",
        f"    then: payment-worker payments settle {one} --retry --reason ...",
    ]
    (row,) = desk.objects("show", one)
    assert row["settle"] == ["succeeded", "failed", "retry"]
    assert row["look_up"].startswith("at combo (test)")
    desk.put(seen(2, state=State.SUCCEEDED))
    assert "what next" not in desk.run("show", str(number(2)), "--output", "human")[1]
    (other,) = desk.objects("show", str(number(2)))
    assert (other["look_up"], other["settle"]) == (None, [])


def test_what_is_too_old_for_another_attempt_cannot_be_retried(desk: Desk) -> None:
    put_doubt(desk, ago=timedelta(days=3))
    (row,) = desk.objects("doubtful")
    assert row["settle"] == ["succeeded", "failed"]
    code, _out, err = desk.run("settle", str(number(1)), "--retry", *SAID)
    assert code == ExitCode.FAILED
    assert "settle it as failed" in err


def test_no_doubt_is_no_line(desk: Desk) -> None:
    assert desk.run("doubtful")[:2] == (ExitCode.OK, "")
    assert desk.run("doubtful", "--fail-if-empty")[0] == ExitCode.NOTHING_MATCHED


# --- settle ------------------------------------------------------------------------------------


def test_a_link_settles_a_doubt_once(desk: Desk) -> None:
    one = str(put_doubt(desk))
    words = ["settle", one, "--succeeded", "--link", LINK, *SAID]
    code, _out, err = desk.run(*words)
    assert code == ExitCode.OK
    assert "Settled: succeeded, sequence 2." in err
    record, answer = desk.read(number(1))
    assert (record.state, record.sequence) == (State.SUCCEEDED, 2)
    assert answer is not None
    assert answer.event.link == Secret(LINK)
    assert answer.letter is None
    code, _out, err = desk.run(*words)
    assert code == ExitCode.OK
    assert "Nothing was changed." in err
    assert desk.run("settle", one, "--failed", *SAID)[0] == ExitCode.FAILED


def test_a_link_is_read_from_standard_input(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    one = str(put_doubt(desk))
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{LINK}\n"))
    assert desk.run("settle", one, "--succeeded", "--link", "-", *SAID)[0] == ExitCode.OK
    assert desk.read(number(1))[0].link == Secret(LINK)


@pytest.mark.parametrize(
    "link",
    [
        "http://pay.test.example/p/1",
        "https://user@pay.test.example/p/1",
        "https://elsewhere.example/p/1",
        "https://pay.test.example:8443/p/1",
        "pay.test.example/p/1",
    ],
)
def test_a_link_that_no_customer_may_be_sent_to_is_refused(desk: Desk, link: str) -> None:
    one = str(put_doubt(desk))
    code, _out, err = desk.run("settle", one, "--succeeded", "--link", link, *SAID)
    assert code == ExitCode.FAILED
    assert "link_hosts of safedebit: pay.test.example" in err
    assert link not in err
    assert desk.read(number(1))[0].state is State.IN_DOUBT


def test_a_link_that_was_kept_back_can_be_handed_out_once_its_host_is_listed(desk: Desk) -> None:
    one = str(put_doubt(desk, 1, ago=timedelta(hours=1)))
    assert (
        "no link of it was kept" in desk.run("settle", one, "--succeeded", "--kept-link", *SAID)[2]
    )
    made = doubt(2)
    kept = replace(made["records"], link=Secret(LINK))
    desk.put(kept, answers=[made["answer"]])
    two = str(number(2))
    assert f"{two} --succeeded --kept-link" in desk.run("doubtful", "--output", "human")[1]
    assert desk.run("settle", two, "--succeeded", "--kept-link", *SAID)[0] == ExitCode.OK
    assert desk.read(number(2))[0].link_published


def test_a_link_that_was_kept_says_what_it_waits_for(desk: Desk) -> None:
    """Its settings are wanting: without a word of that, nobody would know of --kept-link."""
    made = doubt()
    kept = replace(made["records"], link=Secret("https://elsewhere.example/p/planted"))
    desk.put(kept, answers=[made["answer"]])
    shown = desk.run("doubtful", "--output", "human")[1]
    assert "link_hosts of safedebit does not have: once it has, settle with" in shown
    assert f"{number(1)} --succeeded --link URL" in shown


def test_nobody_is_asked_to_confirm_what_would_be_refused(desk: Desk) -> None:
    """Here nobody is there to be asked, which would be told first."""
    link, basket = str(put_doubt(desk)), str(basket_doubt(desk, 2))
    why = ("--reason", "seen in the portal")
    for words, told in (
        ([link, "--link", "https://elsewhere.example/p/1"], "link_hosts of safedebit"),
        ([basket], "named by its id"),
    ):
        code, _out, err = desk.run("settle", *words, "--succeeded", *why)
        assert (code, told in err) == (ExitCode.FAILED, True)
    code, _out, err = desk.run("settle", basket, "--succeeded", "--item", "17", *why)
    assert code == ExitCode.USAGE
    assert "The provider has item 17." in err


def test_a_person_at_a_terminal_is_asked_for_the_link(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = io.StringIO(f"{LINK}\n")
    monkeypatch.setattr(typed, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", typed)
    one = str(put_doubt(desk))
    code, _out, err = desk.run("settle", one, "--succeeded", "--link", "-", *SAID)
    assert (code, err.startswith("Link: ")) == (ExitCode.OK, True)


def test_a_basket_is_settled_by_its_item_and_a_link_by_no_item(desk: Desk) -> None:
    basket, link = str(basket_doubt(desk, 1)), str(put_doubt(desk, 2))
    assert "named by its id" in desk.run("settle", basket, "--succeeded", *SAID)[2]
    assert "no basket items" in desk.run("settle", link, "--succeeded", "--item", "17", *SAID)[2]
    assert "has to be given" in desk.run("settle", link, "--succeeded", *SAID)[2]
    assert desk.run("settle", basket, "--succeeded", "--item", "17", *SAID)[0] == ExitCode.OK
    assert desk.read(number(1))[0].item_id == "17"


@pytest.mark.parametrize(
    ("item", "fault"),
    [
        ("", "it is empty"),
        (" ", "it is empty"),
        ("17\x07", "it holds a character that cannot be printed"),
        ("item 17", "it holds a blank"),
        ("17 ", "it holds a blank"),
        ("https://combo.test.example/i/17", "it is an address"),
        ("1" * 201, "it is longer than 200 characters"),
        (f"{1:032x}", "it is our own reference"),
    ],
)
def test_what_no_provider_gives_as_an_items_id_is_refused_with_what_is_wrong(
    desk: Desk, item: str, fault: str
) -> None:
    one = str(basket_doubt(desk))
    code, _out, err = desk.run("settle", one, "--succeeded", "--item", item, *SAID)
    assert (code, fault in err) == (ExitCode.FAILED, True), err
    assert desk.read(number(1))[0].state is State.IN_DOUBT


@pytest.mark.parametrize("item", ["0", "17", "a-b/c", "é", "1" * 200])
def test_every_id_that_an_answer_may_hold_settles_its_doubt(desk: Desk, item: str) -> None:
    one = str(basket_doubt(desk))
    assert desk.run("settle", one, "--succeeded", "--item", item, *SAID)[0] == ExitCode.OK
    assert desk.read(number(1))[0].item_id == item


def test_what_was_not_applied_fails_and_its_letter_leaves_the_list(desk: Desk) -> None:
    one = str(put_doubt(desk))
    (told,) = desk.objects("settle", one, "--failed", *SAID)
    assert (told["result"], told["state"], told["code"]) == (
        "settled",
        "failed",
        "provider_unavailable",
    )
    _record, answer = desk.read(number(1))
    assert answer is not None
    assert answer.event.status is Status.FAILED
    assert answer.letter is None


def test_a_retry_unlocks_and_the_letter_is_called_replayable(desk: Desk) -> None:
    one = str(put_doubt(desk))
    before = desk.objects("show", one)[0]
    assert before["verdict"] == "unknown"
    (told,) = desk.objects("settle", one, "--retry", *SAID)
    assert (told["result"], told["state"], told["sequence"]) == ("unlocked", "in_doubt", 1)
    after = desk.objects("show", one)[0]
    assert (after["verdict"], after["unlocked"]) == ("safe", True)
    acts = [each for each in after["timeline"] if each["what"] == "acted_on"]
    assert [each["action"] for each in acts] == ["unlock"]
    (again,) = desk.objects("settle", one, "--retry", *SAID)
    assert again["result"] == "unlocked_before"
    message = desk.run("settle", one, "--retry", *SAID)[2]
    assert "It was unlocked before. Nothing was changed." in message
    assert f"payment-worker dead-letters replay {one}" in message


def test_an_early_word_is_warned_about_and_counts(desk: Desk) -> None:
    """A provider may still be at work; a person may know better."""
    one = str(put_doubt(desk, ago=timedelta(minutes=2)))
    code, _out, err = desk.run("settle", one, "--failed", *SAID)
    assert code == ExitCode.OK
    assert "less than 15 minutes ago" in err


def test_a_copy_of_a_doubt_is_settled_with_it_alone(desk: Desk) -> None:
    one = put_doubt(desk)
    put_doubt(desk, 2, duplicate_of=one)
    code, _out, err = desk.run("settle", str(number(2)), "--failed", *SAID)
    assert code == ExitCode.FAILED
    assert f"it repeats payment {one}" in err
    (shown,) = desk.objects("show", str(one))
    assert [each["payment_id"] for each in shown["copies"]] == [str(number(2))]
    assert desk.objects("show", str(number(2)))[0]["duplicate_of"] == str(one)
    assert f"answered alike   {number(2)}" in desk.run("show", str(one), "--output", "human")[1]
    (told,) = desk.objects("settle", str(one), "--failed", *SAID)
    assert told["copies"] == 1


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--failed", "--retry"],
        ["--failed", "--item", "17"],
        ["--retry", "--link", LINK],
        ["--succeeded", "--link", LINK, "--kept-link"],
    ],
)
def test_what_cannot_be_meant_is_wrong_use(desk: Desk, words: list[str]) -> None:
    one = str(put_doubt(desk))
    assert desk.run("settle", one, *words, *SAID)[0] == ExitCode.USAGE


def test_nothing_is_settled_without_a_reason_or_without_a_yes(desk: Desk) -> None:
    one = str(put_doubt(desk))
    assert desk.run("settle", one, "--failed", "--reason", " ", "--yes")[0] == ExitCode.USAGE
    assert desk.run("settle", one, "--failed", "--reason", "seen")[0] == ExitCode.USAGE
    assert desk.read(number(1))[0].state is State.IN_DOUBT


def test_what_is_no_doubt_is_told_as_it_stands(desk: Desk) -> None:
    desk.put(seen(1), seen(2, kind=Kind.INITIATION, state=State.RETRY_WAIT))
    assert "being called" in desk.run("settle", str(number(1)), "--failed", *SAID)[2]
    assert "a worker decides it" in desk.run("settle", str(number(2)), "--failed", *SAID)[2]
    code, _out, err = desk.run("settle", str(number(3)), "--failed", *SAID)
    assert code == ExitCode.FAILED
    assert "knows no such operation" in err


# --- erase -------------------------------------------------------------------------------------


def test_a_look_before_an_erasure_says_of_each_what_would_come_of_it(desk: Desk) -> None:
    """What can be erased has no reason against it; what is in doubt has one."""
    over, answer = closed(seen(2), State.FAILED, reason=DOUBT)
    desk.put(
        replace(over, version=1),
        answers=[replace(answer, event_confirmed=True, letter_confirmed=True)],
    )
    put_doubt(desk)
    client = sample_record(1).facts.id_client
    assert client is not None
    words = ("erase", "--client", client, "--reason", "request 4711", "--dry-run")
    assert {(row["payment_id"], row["result"], row["reason"]) for row in desk.objects(*words)} == {
        (str(number(1)), "would leave", "in doubt: settle it first"),
        (str(number(2)), "would erase", None),
    }
