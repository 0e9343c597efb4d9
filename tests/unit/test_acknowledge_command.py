"""``payments acknowledge`` as an operator sees it, with what the report and the history say."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.ledger_desk import DOUBT, Captured, Desk, ledger_desk, now, seen
from tests.rows import closed
from tests.store_samples import number
from worker.calls import Succeeded, Try
from worker.cli.exit_codes import ExitCode
from worker.lifecycle.contradiction import TOO_LATE
from worker.model import Secret
from worker.records import AttemptEntry, State

ONE = str(number(1))
REASON = ("--reason", "booked by hand, ticket 4711")
REPORT = ("report", "--no-broker")
FLAW = "applied_but_told_otherwise"


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> Desk:
    """With a payment that was told as failed, and whose link came a minute later."""
    desk = ledger_desk(tmp_path, monkeypatch, capsys)
    at = now() - timedelta(minutes=30)
    told, answer = closed(replace(seen(1), version=2), State.FAILED, reason=DOUBT, at=at)
    outcome = Succeeded(link=Secret("https://pay.test.example/p/planted"), http_status=200)
    came = at + timedelta(minutes=1)
    late = AttemptEntry(
        operation_id=number(1),
        token=number(99),
        number=1,
        reference=told.reference,
        tries=(Try(started_at=at, ended_at=came, outcome=outcome),),
        ended_at=came,
        note=TOO_LATE,
    )
    confirmed = replace(answer, letter=None, event_confirmed=True, letter_confirmed=True)
    desk.put(replace(told, version=1), answers=[confirmed], attempts=[late])
    return desk


def test_what_was_applied_but_told_otherwise_is_an_exception_until_it_is_acknowledged(
    desk: Desk,
) -> None:
    (before,) = desk.objects(*REPORT)
    assert [(each["flaw"], each["id"]) for each in before["exceptions"]] == [(FLAW, ONE)]
    code, out, _err = desk.run(*REPORT, "--output", "human")
    assert code == ExitCode.FAILED
    assert "1 exception in the whole ledger:" in out.splitlines()
    assert f"{ONE}  applied but told otherwise" in out
    (told,) = desk.objects("acknowledge", ONE, *REASON)
    assert str(told.pop("evidence")).startswith("attempt 1 ended succeeded at 20")
    assert told == {"payment_id": ONE, "result": "acknowledged", "state": "failed"}
    (after,) = desk.objects(*REPORT)
    assert after["exceptions"] == []
    code, _out, err = desk.run("acknowledge", ONE, *REASON)
    assert (code, "Nothing was changed." in err) == (ExitCode.OK, True)


def test_what_has_nothing_to_be_seen_to_is_told_as_it_stands(desk: Desk) -> None:
    desk.put(seen(2, state=State.SUCCEEDED))
    code, _out, err = desk.run("acknowledge", str(number(2)), *REASON)
    assert code == ExitCode.FAILED
    assert "it was told as succeeded, and its provider has said nothing else since" in err
    assert "does not know it" in desk.run("acknowledge", str(number(3)), *REASON)[2]
    assert desk.run("acknowledge", ONE, "--reason", " ")[0] == ExitCode.USAGE


def test_its_history_says_what_comes_next_until_it_is_acknowledged(desk: Desk) -> None:
    assert desk.objects("show", ONE)[0][FLAW] is True
    shown = desk.run("show", ONE, "--output", "human")[1]
    assert "told as failed, and its provider applied it after all: attempt 1" in shown
    assert f"then: payment-worker payments acknowledge {ONE} --reason ..." in shown
    code, _out, err = desk.run("acknowledge", ONE, *REASON)
    assert (code, "It stays failed, and is no exception" in err) == (
        ExitCode.OK,
        True,
    )
    assert desk.objects("show", ONE)[0][FLAW] is False
    shown = desk.run("show", ONE, "--output", "human")[1]
    assert "what next" not in shown
    assert "action acknowledge" in shown
