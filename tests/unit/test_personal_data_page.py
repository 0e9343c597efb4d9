"""The page on personal data holds what the schema holds and what the settings say."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.commands import whole_application
from tests.settings_sample import load_sample
from worker.adapters.store_sqlite import initialise
from worker.settings.loading import CATALOGUE

PAGE = Path(__file__).parents[2] / "deploy" / "personal-data.md"
TEXT = PAGE.read_text("utf-8")

IMPERSONAL = {
    "account_reports": {
        *("worker", "account", "breaker", "paused", "seen_at", "reason", "next_try", "wish"),
        "probe_result",
    },
    "account_switches": {"account", "paused_at", "wish", "wished_at"},
    "answers": {
        *("event_id", "operation_id", "sequence", "occurred_at", "letter_code", "letter_detail"),
        *("letter_failed_at", "letter_resolved", "event_confirmed", "letter_confirmed"),
        *("resends", "taken_at"),
    },
    "attempts": {
        *("entry", "position", "operation_id", "token", "number", "reference", "tries", "ended_at"),
        "note",
    },
    "audit": {"entry", "at", "action", "operation_id", "denied", "facts", "position", "hash"},
    "encryption_keys": {"key_id", "first_used_at"},
    "fingerprints": {"operation_id"},
    "look_up_plans": {
        *("operation_id", "account", "sequence", "steps", "state", "due_at", "token"),
        "lease_until",
    },
    "look_ups": {
        *("operation_id", "position", "sequence", "step", "at", "reference", "finding", "amount"),
        *("reason", "http_status", "provider_code"),
    },
    "operations": {
        *("operation_id", "kind", "payment_id", "origin", "payment_target", "payment_run_mode"),
        *("payment_type", "type_paiement", "id_origin", "id_societe", "amount", "state"),
        *("sequence", "version", "first_seen", "created_at", "updated_at", "not_after", "account"),
        *("operation", "operation_class", "live", "reference", "attempts", "peak_attempts"),
        *("unknown_attempts", "cleared_attempts", "opened_attempts", "waits", "token"),
        *("lease_until", "next_attempt_at", "decided_at", "event_id", "code", "link_published"),
        *("duplicate_of", "reopened_by", "entry"),
    },
    "plan_approvals": {"plan_sha256", "at"},
    "queue_locks": {"queue", "token", "purpose", "since", "until"},
    "replay_runs": {
        *("run", "plan_sha256", "options", "state", "stop_reason", "started_at", "ended_at"),
        *("stop_asked_at", "wanted", "kept", "removed"),
    },
    "replay_steps": {
        *("run", "operation_id", "position", "verdict", "sequence", "code", "state", "result"),
        *("sent_sequence", "end_code", "detail", "at"),
    },
    "restorations": {"entry", "known_until", "restored_at"},
    "tombstones": {"payment_id", "origin", "until"},
    "unanswered_letters": {
        *("operation_id", "kind", "payment_id", "sequence", "origin", "payment_target"),
        *("payment_run_mode", "payment_type", "type_paiement", "id_origin", "id_societe"),
        *("amount", "first_seen", "not_after", "failed_at", "cause", "found_at"),
    },
}
"""Columns that tell of no person. A new column is either one of them or stands on the page."""


@pytest.fixture(scope="module")
def columns(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Every column of a ledger, as ``table.column``."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.sqlite3"
    initialise(path)
    with closing(sqlite3.connect(path)) as connection:
        tables = connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        ).fetchall()
        return {
            f"{table}.{row[1]}"
            for (table,) in tables
            for row in connection.execute(f"PRAGMA table_info({table})")
        }


def test_every_column_is_on_the_page_or_known_to_tell_of_no_person(columns: set[str]) -> None:
    impersonal = {f"{table}.{name}" for table, names in IMPERSONAL.items() for name in names}
    named = set(re.findall(r"`([a-z_]+\.[a-z_]+)`", TEXT)) & columns
    assert not impersonal & named
    assert impersonal | named == columns


def test_every_period_on_the_page_is_the_settings_own(tmp_path: Path) -> None:
    told = dict(re.findall(r"`(retention\.[a-z]+)` = (\w+)", TEXT))
    settings = {
        ".".join(entry.path): entry.default
        for entry in CATALOGUE.entries
        if entry.path[0] == "retention"
    }
    assert told == settings | {"retention.rows": "397d"}
    periods = load_sample(tmp_path).settings.retention.periods()
    assert f"{periods.emails.days}d" == told["retention.emails"]


def test_every_command_on_the_page_exists() -> None:
    named = re.findall(r"`payment-worker ([^`]+)`", TEXT)
    assert len(named) > 4
    for words in named:
        command = whole_application()
        for word in words.split():
            if word.startswith("--"):
                assert word in {name for each in command.params for name in each.opts}, words
            elif hasattr(command, "commands"):
                command = command.commands[word]


def test_every_link_of_the_page_leads_to_a_heading_of_the_runbook() -> None:
    runbook = (PAGE.parent / "runbook.md").read_text("utf-8")
    headings = {
        line.removeprefix("## ").lower().replace(" ", "-")
        for line in runbook.splitlines()
        if line.startswith("## ")
    }
    wanted = re.findall(r"\(runbook\.md#([^)]+)\)", TEXT)
    assert wanted
    assert set(wanted) <= headings
