"""Rows hold every field, exactly, and no secret in clear."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given

from tests import store_samples as some
from tests.fakes_clock import START
from tests.store_samples import EMAIL, LINK, sample_answer, sample_letter, sample_record
from worker.adapters.encryption import Vault, generate_key
from worker.adapters.store_rows.answers import ANSWER_COLUMNS, answer_row, read_answer
from worker.adapters.store_rows.history import (
    ATTEMPT_COLUMNS,
    attempt_row,
    audit_row,
    read_attempt,
    read_audit,
)
from worker.adapters.store_rows.look_ups import (
    LOOK_UP_COLUMNS,
    PLAN_COLUMNS,
    look_up_row,
    plan_row,
    read_look_up,
    read_plan,
)
from worker.adapters.store_rows.records import (
    RECORD_COLUMNS,
    read_record,
    read_tombstone,
    record_row,
    tombstone_row,
)
from worker.adapters.store_rows.values import FACT_COLUMNS, Scalar, from_micros, to_micros
from worker.calls import Succeeded, Try
from worker.look_ups import LookUp, LookUpPlan
from worker.model import Facts, Secret
from worker.records import Answer, AttemptEntry, AuditEntry, Record, Tombstone

VAULT = Vault([generate_key()])


def through_sqlite(row: Sequence[Scalar]) -> tuple[Scalar, ...]:
    """A row as the database gives it back."""
    connection = sqlite3.connect(":memory:")
    try:
        places = ", ".join("?" * len(row))
        found: tuple[Scalar, ...] = connection.execute(f"SELECT {places}", row).fetchone()
    finally:
        connection.close()
    return found


@given(record=some.records)
def test_a_record_comes_back_with_every_field(record: Record) -> None:
    row = record_row(record, VAULT)
    assert len(row) == len(RECORD_COLUMNS)
    assert read_record(through_sqlite(row), VAULT) == record


def test_every_field_of_a_record_has_its_column() -> None:
    """A field added later must not be forgotten by the ledger."""
    flat = [
        column
        for field in fields(Record)
        for column in (FACT_COLUMNS if field.name == "facts" else (field.name,))
    ]
    assert list(RECORD_COLUMNS) == flat
    assert list(FACT_COLUMNS) == [field.name for field in fields(Facts)]


@given(answer=some.answers)
def test_an_answer_comes_back_with_every_field(answer: Answer) -> None:
    row = answer_row(answer, VAULT)
    assert len(row) == len(ANSWER_COLUMNS)
    assert read_answer(through_sqlite(row), VAULT) == answer


@given(attempt=some.attempts)
def test_an_attempt_comes_back_with_every_try(attempt: AttemptEntry) -> None:
    assert read_attempt(through_sqlite(attempt_row(attempt, VAULT)), VAULT) == attempt


@given(tombstone=some.tombstones, entry=some.audit_entries)
def test_tombstones_and_audit_come_back(tombstone: Tombstone, entry: AuditEntry) -> None:
    assert read_tombstone(through_sqlite(tombstone_row(tombstone))) == tombstone
    assert read_audit(through_sqlite(audit_row(entry))) == entry


@given(plan=some.look_up_plans, look_up=some.look_ups)
def test_plans_of_look_ups_and_what_was_read_come_back(plan: LookUpPlan, look_up: LookUp) -> None:
    assert read_plan(through_sqlite(plan_row(plan))) == plan
    assert read_look_up(through_sqlite(look_up_row(look_up))) == look_up
    assert list(PLAN_COLUMNS) == [field.name for field in fields(LookUpPlan)]
    assert list(LOOK_UP_COLUMNS) == [field.name for field in fields(LookUp)]


def attempt_with(link: Secret) -> AttemptEntry:
    call = Try(started_at=START, ended_at=START, outcome=Succeeded(link=link, http_status=200))
    return AttemptEntry(
        operation_id=some.number(1),
        token=some.number(2),
        number=1,
        reference=None,
        tries=(call,),
        ended_at=START,
    )


def test_no_secret_stands_in_any_row() -> None:
    record = replace(sample_record(), link=LINK, email=EMAIL)
    rows = (
        record_row(record, VAULT),
        answer_row(sample_answer(link=LINK, letter=sample_letter()), VAULT),
        attempt_row(attempt_with(LINK), VAULT),
    )
    for row in rows:
        assert "planted" not in repr(row)


def test_an_erased_link_leaves_its_attempt_readable() -> None:
    row = dict(zip(ATTEMPT_COLUMNS, attempt_row(attempt_with(LINK), VAULT), strict=True))
    row["links"] = None
    (call,) = read_attempt(tuple(row.values()), VAULT).tries
    assert call.outcome == Succeeded(link=None, http_status=200)


def test_an_unknown_outcome_is_not_guessed() -> None:
    row = dict(zip(ATTEMPT_COLUMNS, attempt_row(attempt_with(LINK), VAULT), strict=True))
    tries = json.loads(str(row["tries"]))
    row["tries"] = json.dumps([{**tries[0], "outcome": "teleported"}])
    with pytest.raises(ValueError, match="teleported"):
        read_attempt(tuple(row.values()), VAULT)


@given(moment=some.times)
def test_times_are_exact_to_the_microsecond(moment: datetime) -> None:
    assert from_micros(to_micros(moment)) == moment


def test_another_time_zone_is_the_same_moment_and_none_is_refused() -> None:
    paris = timezone(timedelta(hours=1))
    assert from_micros(to_micros(START.astimezone(paris))) == START
    assert from_micros(to_micros(START.astimezone(paris))).tzinfo is UTC
    with pytest.raises(TypeError):
        to_micros(START.replace(tzinfo=None))
