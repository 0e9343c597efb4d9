"""``dead-letters plan``: what is frozen, what is refused, and what its reader is told."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from tests.fakes_clock import START, FakeClock
from tests.fakes_store import MemoryStore
from tests.settings_sample import SAMPLE, SECRETS, write_secrets, write_settings
from tests.store_samples import decided_record, number, sample_answer, sample_letter, write
from worker import __main__ as program
from worker.adapters.clock import SystemClock
from worker.adapters.encryption import Vault
from worker.adapters.ledgers import open_ledger
from worker.codes import Code
from worker.ledger import Ledger
from worker.letters import EVERY_LETTER, LetterFilter, Verdict
from worker.model import Cents, Environment, Origin, PaymentTarget, RunMode, Secret
from worker.operators.plans.files import plan_rows, read_plan
from worker.operators.plans.making import UnknownOperationsError, in_words, rows_named, rows_wanted
from worker.operators.plans.rows import PlanRow
from worker.ports import Store
from worker.records import Answer, Record, State
from worker.rules import Rules

Captured = pytest.CaptureFixture[str]
SECOND = timedelta(seconds=1)


def letter(
    value: int, *, code: Code = Code.PROVIDER_UNAVAILABLE, seconds: int = 0
) -> tuple[Record, Answer]:
    """A payment that failed so many seconds after the start, with its letter."""
    failed_at = START + seconds * SECOND
    owed = replace(sample_letter(failed_at), code=code)
    answer = sample_answer(value, letter=owed, occurred_at=failed_at)
    record = replace(decided_record(value, state=State.FAILED), version=1, code=code)
    return replace(record, lease_until=None), answer


async def fill(store: Store, *rows: tuple[Record, Answer]) -> None:
    records = tuple(record for record, _ in rows)
    await write(store, *records, answers=tuple(answer for _, answer in rows))


async def collected(rows: AsyncIterator[PlanRow]) -> list[PlanRow]:
    return [row async for row in rows]


async def a_ledger(*rows: tuple[Record, Answer]) -> Ledger:
    clock = FakeClock()
    store = MemoryStore(clock)
    await fill(store, *rows)
    return Ledger(store=store, rules=Rules(), clock=clock)


async def test_letters_that_come_later_are_not_in_the_plan() -> None:
    ledger = await a_ledger(letter(1), letter(2, seconds=5), letter(3, seconds=10))
    wanted = rows_wanted(ledger, EVERY_LETTER, until=START + 10 * SECOND)
    assert [row.operation_id for row in await collected(wanted)] == [number(1), number(2)]
    sooner = LetterFilter(until=START + 5 * SECOND)
    rows = await collected(rows_wanted(ledger, sooner, until=START + 10 * SECOND))
    assert [row.operation_id for row in rows] == [number(1)]


async def test_named_operations_are_judged_once_each_also_when_they_are_no_letters_any_more() -> (
    None
):
    done = (replace(decided_record(2), version=1), sample_answer(2))
    declined = replace(decided_record(3, state=State.FAILED), version=1, code=Code.DECLINED)
    aside = (letter(5)[0], letter(5)[1])
    ledger = await a_ledger(letter(1), done, (declined, sample_answer(3)), aside)
    await ledger.payments.reopen(
        number(5), from_sequence=1, actor="o.perator", run="R-1", reason="outage over"
    )
    named = [number(n) for n in (2, 1, 3, 5, 1)]
    rows = await collected(rows_named(ledger, named))
    assert [(row.operation_id, row.verdict) for row in rows] == [
        (number(2), Verdict.ALREADY_DONE),
        (number(1), Verdict.SAFE),
        (number(3), Verdict.HOPELESS),
        (number(5), Verdict.UNKNOWN),
    ]
    assert "open again" in rows[-1].reason


async def test_every_unknown_id_is_named() -> None:
    ledger = await a_ledger(letter(1))
    with pytest.raises(UnknownOperationsError) as error:
        await collected(rows_named(ledger, [number(8), number(1), number(9)]))
    assert error.value.operation_ids == [number(8), number(9)]


def test_a_plan_remembers_its_filter_by_the_names_of_the_options() -> None:
    wanted = LetterFilter(
        codes=frozenset({Code.PROVIDER_UNAVAILABLE, None}),
        origin=Origin("dcp"),
        target=PaymentTarget.MILLIET,
        since=START,
    )
    words = in_words(wanted)
    assert words["code"] == "provider_unavailable, unanswered"
    assert set(words) == {"code", "origin", "target", "since"}
    assert in_words(EVERY_LETTER) == {}
    assert in_words(LetterFilter(text="40017")) == {"text": "40017"}
    assert in_words(LetterFilter(text="planted.person@example.test")) == {"text": "***"}


# --- the command -------------------------------------------------------------------------------


@pytest.fixture
def sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> Iterator[list[str]]:
    """Arguments that name sound settings, with three letters in the ledger and a payment done."""
    monkeypatch.delenv("PAYMENT_WORKER_CONFIG", raising=False)
    directory = write_secrets(tmp_path / "credentials", SECRETS)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(directory))
    place = tmp_path / "ledger.sqlite3"
    monkeypatch.setenv("PAYMENT_WORKER_LEDGER__PATH", str(place))
    monkeypatch.chdir(tmp_path)
    arguments = ["--config", str(write_settings(tmp_path, SAMPLE))]
    assert program.run([*arguments, "ledger", "init"]) == 0
    asyncio.run(fill_file(place))
    capsys.readouterr()
    yield arguments
    shutil.rmtree(directory)


async def fill_file(place: Path) -> None:
    clock = SystemClock()
    vault = Vault([Secret(SECRETS["PAYMENT_WORKER_LEDGER__KEYS"])])
    store = await open_ledger(place, vault=vault, clock=clock)
    live = letter(2, code=Code.CUSTOMER_UNKNOWN)
    facts = replace(live[0].facts, payment_run_mode=RunMode.LIVE, amount=Cents(990))
    rows = [letter(1), (replace(live[0], facts=facts), live[1]), letter(3)]
    recent = [(replace(record, first_seen=clock.now()), answer) for record, answer in rows]
    await fill(store, *recent, (replace(decided_record(4), version=1), sample_answer(4)))
    await store.close()


def plan_in(path: Path) -> list[tuple[UUID, Verdict]]:
    plan = read_plan(path, now=SystemClock().now(), environment=Environment.STAGING)
    return [(row.operation_id, row.verdict) for row in plan_rows(path, sha256_wanted=plan.sha256)]


def test_a_plan_of_every_letter_is_told_in_sums_and_kept_row_by_row(
    sound: list[str], capsys: Captured, tmp_path: Path
) -> None:
    command = [*sound, "dead-letters", "plan", "--all", "--output", "plan.json"]
    assert program.run([*command, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["rows"], shown["currency"], shown["wanted"]) == (3, "EUR", {"all": "true"})
    assert (shown["counts"]["safe"], shown["counts"]["needs_edit"]) == (2, 1)
    assert {(each["mode"], each["amount_cents"]) for each in shown["totals"]} == {
        ("TEST", 2500),
        ("LIVE", 990),
    }
    assert shown["advice"]["customer_unknown"] == "needs_edit"
    assert shown["next"].startswith("payment-worker dead-letters replay plan.json")
    assert plan_in(tmp_path / "plan.json") == [
        (number(1), Verdict.SAFE),
        (number(2), Verdict.NEEDS_EDIT),
        (number(3), Verdict.SAFE),
    ]


def test_people_read_what_a_replay_would_do_and_the_next_command(
    sound: list[str], capsys: Captured
) -> None:
    words = ["-o", "human", "dead-letters", "plan", "--all", "-o", "plan.json", "--expires", "30m"]
    assert program.run([*sound, *words]) == 0
    shown = capsys.readouterr()
    for text in ("TEST 25.00 EUR", "LIVE 9.90 EUR", "wait for the provider", "2 replayable"):
        assert text in shown.out
    assert "Planned in plan.json" in shown.err
    assert "Next: payment-worker dead-letters replay plan.json --reason" in shown.err


def test_named_letters_are_planned_whatever_became_of_them(
    sound: list[str], tmp_path: Path
) -> None:
    ids = [str(number(4)), str(number(1))]
    assert program.run([*sound, "dead-letters", "plan", *ids, "-o", "plan.json"]) == 0
    assert plan_in(tmp_path / "plan.json") == [
        (number(4), Verdict.ALREADY_DONE),
        (number(1), Verdict.SAFE),
    ]


def test_an_unknown_id_is_named_and_no_plan_is_written(
    sound: list[str], capsys: Captured, tmp_path: Path
) -> None:
    ids = [str(number(1)), str(number(9))]
    assert program.run([*sound, "dead-letters", "plan", *ids, "-o", "plan.json", "--json"]) == 1
    error = json.loads(capsys.readouterr().err)["error"]
    assert (error["code"], str(number(9)) in error["message"]) == ("unknown_payment", True)
    assert not list(tmp_path.glob("*plan.json*"))


def test_a_plan_that_catches_nothing_says_so_with_its_exit_code(
    sound: list[str], tmp_path: Path
) -> None:
    words = ["dead-letters", "plan", "--code", "link_lost", "-o", "plan.json"]
    assert program.run([*sound, *words]) == 0
    assert program.run([*sound, *words, "--fail-if-empty"]) == 5
    assert plan_in(tmp_path / "plan.json") == []


@pytest.mark.parametrize(
    "words",
    [
        ("-o", "plan.json"),
        ("--all",),
        ("--all", "--code", "link_lost", "-o", "plan.json"),
        (str(number(1)), "--all", "-o", "plan.json"),
        (str(number(1)), "--origin", "dcp", "-o", "plan.json"),
        ("--all", "-o", "-"),
        ("--all", "-o", "plan.json", "--expires", "soon"),
        ("--all", "-o", "plan.json", "--expires", "0s"),
        ("--all", "-o", "plan.json", "--expires", "99999999999d"),
    ],
    ids=" ".join,
)
def test_what_makes_no_sense_is_refused_before_anything_is_read(
    sound: list[str], tmp_path: Path, words: tuple[str, ...]
) -> None:
    assert program.run([*sound, "dead-letters", "plan", *words]) == 64
    assert not (tmp_path / "plan.json").exists()


def test_a_plan_is_not_written_over_another_file(sound: list[str], capsys: Captured) -> None:
    place = sound[1]
    assert program.run([*sound, "dead-letters", "plan", "--all", "-o", place, "--json"]) == 1
    assert json.loads(capsys.readouterr().err)["error"]["code"] == "plan_place_taken"


# --- what the other views say of the same letters ----------------------------------------------


@pytest.mark.parametrize("columns", ["80", "120"])
def test_the_first_look_keeps_each_code_whole_and_names_the_next_command(
    sound: list[str], capsys: Captured, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    """A table where there is room for it, and short lines on a narrow terminal."""
    monkeypatch.setenv("COLUMNS", columns)
    assert program.run([*sound, "-o", "human", "dead-letters"]) == 0
    shown = capsys.readouterr()
    for code in ("provider_unavailable", "customer_unknown"):
        assert code in shown.out
    assert "2 replayable" in shown.out
    assert all(len(line) <= int(columns) for line in shown.out.splitlines())
    assert "Next: payment-worker dead-letters list --code CODE" in shown.err


def test_the_list_tells_test_money_from_real_money(sound: list[str], capsys: Captured) -> None:
    """In words before the verdict, and in a column of their own for programs."""
    assert program.run([*sound, "-o", "human", "dead-letters", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(", ")[2::2] for line in lines[1::3]] == [
        ["TEST 12.50 EUR", "replayable"],
        ["LIVE 9.90 EUR", "to be corrected"],
        ["TEST 12.50 EUR", "replayable"],
    ]
    assert program.run([*sound, "dead-letters", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["mode"], row["amount_cents"], row["verdict"]) for row in rows] == [
        ("TEST", 1250, "safe"),
        ("LIVE", 990, "needs_edit"),
        ("TEST", 1250, "safe"),
    ]
