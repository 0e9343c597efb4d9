"""The journal of replay runs in the ledger's file: written in the writer's transactions."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from worker.adapters.store_rows.journal import (
    LAST_POSITION,
    RUN_COLUMNS,
    STEP_COLUMNS,
    WHEREABOUTS,
    read_run,
    read_step,
    read_step_tally,
    read_whereabouts,
    run_row,
    step_row,
)
from worker.adapters.store_rows.values import Row, Scalar, to_micros
from worker.adapters.store_sqlite.reading import ReadingThread
from worker.adapters.store_sqlite.writer import Writer
from worker.journal import ReplayRun, ReplayStep, RunState, StepState, StepTally, Whereabouts

# Put together from our own column names only; values are always bound.
_RUNS = f"SELECT {', '.join(RUN_COLUMNS)} FROM replay_runs"  # noqa: S608
_INSERT_RUN = (
    f"INSERT INTO replay_runs ({', '.join(RUN_COLUMNS)})"  # noqa: S608
    f" VALUES ({', '.join('?' * len(RUN_COLUMNS))}) ON CONFLICT (run) DO NOTHING"
)
_END_RUN = (
    "UPDATE replay_runs SET state = ?, stop_reason = ?, kept = ?, removed = ?, ended_at = ?"
    " WHERE run = ?"
)
_RESUME_RUN = (
    "UPDATE replay_runs SET state = 'running', stop_reason = NULL, ended_at = NULL,"
    " stop_asked_at = NULL, stop_asked_by = NULL WHERE run = ?"
)
_ASK_TO_STOP = (
    "UPDATE replay_runs SET state = 'stopping', stop_asked_at = ?, stop_asked_by = ?"
    " WHERE run = ? AND state = 'running'"
)
_INSERT_STEP = (
    f"INSERT INTO replay_steps ({', '.join(STEP_COLUMNS)})"  # noqa: S608
    f" VALUES ({', '.join('?' * len(STEP_COLUMNS))}) ON CONFLICT (run, operation_id)"
)
_ADD_STEP = f"{_INSERT_STEP} DO NOTHING"
_NOTE_STEP = f"{_INSERT_STEP} DO UPDATE SET " + ", ".join(
    f"{name} = excluded.{name}" for name in STEP_COLUMNS[2:]
)
_STEPS = (
    f"SELECT {', '.join(STEP_COLUMNS)} FROM replay_steps"  # noqa: S608
    " WHERE run = ? AND position > ? AND state IN ({states}) ORDER BY position LIMIT ?"
)
_WHEREABOUTS = (
    f"SELECT {', '.join(f'replay_steps.{name}' for name in STEP_COLUMNS)}{WHEREABOUTS}"  # noqa: S608
    " FROM replay_steps LEFT JOIN operations USING (operation_id)"
    " WHERE run = ? AND replay_steps.state = ? AND replay_steps.operation_id > ?"
    " ORDER BY replay_steps.operation_id LIMIT ?"
)
_TALLIES = "SELECT state, result, count(*) FROM replay_steps WHERE run = ? GROUP BY state, result"


class SqliteJournal:
    """Implements ``operator_ports.ReplayJournal`` on the store's own writer and reading thread."""

    def __init__(self, writer: Writer, reading: ReadingThread) -> None:
        self._writer = writer
        self._reading = reading

    async def begin_run(self, run: ReplayRun) -> None:
        await self._write(_INSERT_RUN, run_row(run))

    async def end_run(
        self,
        run: str,
        *,
        state: RunState,
        stop_reason: str | None,
        kept: int,
        removed: int,
        at: datetime,
    ) -> None:
        values = (state.value, stop_reason, kept, removed, to_micros(at), run)
        await self._write(_END_RUN, values)

    async def resume_run(self, run: str) -> None:
        await self._write(_RESUME_RUN, (run,))

    async def ask_to_stop(self, run: str, *, actor: str, at: datetime) -> None:
        await self._write(_ASK_TO_STOP, (to_micros(at), actor, run))

    async def find_run(self, run: str) -> ReplayRun | None:
        rows = await self._rows(f"{_RUNS} WHERE run = ?", run)
        return read_run(rows[0]) if rows else None

    async def runs(self, *, before: tuple[datetime, str] | None, limit: int) -> Sequence[ReplayRun]:
        started_at, name = (LAST_POSITION, "") if before is None else _place(before)
        rows = await self._rows(
            f"{_RUNS} WHERE (started_at, run) < (?, ?) ORDER BY started_at DESC, run DESC LIMIT ?",
            started_at,
            name,
            limit,
        )
        return [read_run(row) for row in rows]

    async def add_steps(self, run: str, steps: Sequence[ReplayStep]) -> None:
        await self._write(_ADD_STEP, *(step_row(run, step) for step in steps))

    async def note_steps(self, run: str, steps: Sequence[ReplayStep]) -> None:
        await self._write(_NOTE_STEP, *(step_row(run, step) for step in steps))

    async def steps(
        self, run: str, *, states: frozenset[StepState], after: int, limit: int
    ) -> Sequence[ReplayStep]:
        statement = _STEPS.format(states=", ".join("?" * len(states)))
        wanted = sorted(state.value for state in states)
        return [read_step(row) for row in await self._rows(statement, run, after, *wanted, limit)]

    async def whereabouts(
        self, run: str, *, state: StepState, after: UUID | None, limit: int
    ) -> Sequence[tuple[ReplayStep, Whereabouts | None]]:
        place = b"" if after is None else after.bytes
        rows = await self._rows(_WHEREABOUTS, run, state.value, place, limit)
        return [read_whereabouts(row) for row in rows]

    async def step_tallies(self, run: str) -> Sequence[StepTally]:
        return [read_step_tally(row) for row in await self._rows(_TALLIES, run)]

    async def _write(self, statement: str, *rows: tuple[Scalar, ...]) -> None:
        def work(connection: sqlite3.Connection) -> None:
            connection.executemany(statement, rows)

        if rows:
            await self._writer.submit(work)

    async def _rows(self, statement: str, *values: Scalar) -> list[Row]:
        def look(connection: sqlite3.Connection) -> list[Row]:
            return connection.execute(statement, values).fetchall()

        return await self._reading.read(look)


def _place(before: tuple[datetime, str]) -> tuple[int, str]:
    return to_micros(before[0]), before[1]
