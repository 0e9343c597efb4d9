"""A desk without a broker: settings, a ledger with what a test puts there, and its commands."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.rows import closed
from tests.settings_sample import KEY, SAMPLE, SECRETS, write_secrets, write_settings
from tests.store_samples import number, sample_record, write
from worker import __main__ as program
from worker.adapters.clock import SystemClock
from worker.adapters.encryption import Vault
from worker.adapters.store_sqlite import SqliteStore
from worker.calls import Try, Unknown
from worker.codes import Code
from worker.lifecycle.decide import Reason
from worker.model import Operation, PaymentTarget, Secret
from worker.records import Answer, AttemptEntry, Record, State

Captured = pytest.CaptureFixture[str]
DOUBT = Reason(code=Code.OUTCOME_UNKNOWN)


def now() -> datetime:
    """The time by which the commands go; a long run of tests may have begun an hour ago."""
    return SystemClock().now()


class Desk:
    """Settings with a ledger that holds what a test puts there, and the commands on it."""

    def __init__(self, folder: Path, arguments: list[str], capsys: Captured) -> None:
        self._path = folder / "ledger.sqlite3"
        self._arguments = arguments
        self._capsys = capsys

    def put(
        self,
        *records: Record,
        answers: Sequence[Answer] = (),
        attempts: Sequence[AttemptEntry] = (),
    ) -> None:
        async def put() -> None:
            store = await self._open()
            for record in records:
                await write(store, record)
            await write(store, answers=tuple(answers), attempts=tuple(attempts))
            await store.close()

        asyncio.run(put())

    def read(self, operation_id: UUID) -> tuple[Record, Answer | None]:
        async def read() -> tuple[Record, Answer | None] | None:
            store = await self._open()
            found = await store.find(operation_id)
            await store.close()
            return found

        found = asyncio.run(read())
        assert found is not None
        return found

    def run(self, *words: str) -> tuple[int, str, str]:
        """Exit code, data, messages."""
        code = program.run([*self._arguments, "payments", *words])
        shown = self._capsys.readouterr()
        assert "planted" not in shown.out + shown.err
        return code, shown.out, shown.err

    def objects(self, *words: str) -> list[dict[str, Any]]:
        _code, out, _err = self.run(*words, "--json")
        return [json.loads(line) for line in out.splitlines()]

    async def _open(self) -> SqliteStore:
        vault = Vault([Secret(KEY)])
        return await SqliteStore.open(self._path, vault=vault, clock=SystemClock(), least_free=0)


def ledger_desk(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> Desk:
    """A desk in that folder, with an empty ledger, under the sample's settings."""
    monkeypatch.delenv("PAYMENT_WORKER_CONFIG", raising=False)
    directory = write_secrets(folder / "credentials", SECRETS)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(directory))
    monkeypatch.setenv("PAYMENT_WORKER_LEDGER__PATH", str(folder / "ledger.sqlite3"))
    arguments = ["--config", str(write_settings(folder, SAMPLE))]
    assert program.run([*arguments, "ledger", "init"]) == 0
    capsys.readouterr()
    return Desk(folder, arguments, capsys)


def seen(value: int, *, ago: timedelta = timedelta(hours=1), **changes: object) -> Record:
    """A payment first seen that long ago."""
    at = now() - ago
    record = sample_record(value)
    return replace(record, first_seen=at, created_at=at, updated_at=at, **changes)  # type: ignore[arg-type] # fields by name


def doubt(value: int = 1, *, ago: timedelta = timedelta(hours=1), **changes: object) -> Any:  # noqa: ANN401 - as put() takes it
    """What ``put`` needs for a payment in doubt, its one attempt without an answer."""
    record = seen(value, ago=ago, **{"attempts": 1, "unknown_attempts": 1} | changes)
    at = now() - ago + timedelta(seconds=31)
    record, answer = closed(replace(record, version=2), State.IN_DOUBT, reason=DOUBT, at=at)
    attempt = AttemptEntry(
        operation_id=number(value),
        token=number(99),
        number=1,
        reference=record.reference,
        tries=(Try(started_at=now() - ago, ended_at=at, outcome=Unknown()),),
        ended_at=at,
    )
    return {"records": replace(record, version=1), "answer": answer, "attempt": attempt}


def put_doubt(desk: Desk, value: int = 1, **changes: Any) -> UUID:  # noqa: ANN401 - fields by name
    made = doubt(value, **changes)
    desk.put(made["records"], answers=[made["answer"]], attempts=[made["attempt"]])
    return number(value)


def basket_doubt(desk: Desk, value: int = 1) -> UUID:
    sample = sample_record(value)
    return put_doubt(
        desk,
        value,
        account="combo",
        operation=Operation.ADD_BASKET_ITEM,
        facts=replace(sample.facts, payment_target=PaymentTarget.MILLIET),
    )
