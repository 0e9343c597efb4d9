"""The journal of replay runs in the ledger's database: single statements, harmless to repeat."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from worker.adapters.store_postgres import statements as sql
from worker.adapters.store_postgres.reader import Reader
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
from worker.adapters.store_rows.values import to_micros
from worker.journal import ReplayRun, ReplayStep, RunState, StepState, StepTally, Whereabouts

# Put together from our own column names only; values are always bound.
_RUNS = f"SELECT {sql.columns(RUN_COLUMNS)} FROM replay_runs"  # noqa: S608
_INSERT_RUN = f"{sql.insertion('replay_runs', RUN_COLUMNS)} ON CONFLICT (run) DO NOTHING"
_END_RUN = (
    "UPDATE replay_runs SET state = $1, stop_reason = $2, kept = $3, removed = $4, ended_at = $5"
    " WHERE run = $6"
)
_RESUME_RUN = (
    "UPDATE replay_runs SET state = 'running', stop_reason = NULL, ended_at = NULL,"
    " stop_asked_at = NULL, stop_asked_by = NULL WHERE run = $1"
)
_ASK_TO_STOP = (
    "UPDATE replay_runs SET state = 'stopping', stop_asked_at = $1, stop_asked_by = $2"
    " WHERE run = $3 AND state = 'running'"
)
_INSERT_STEP = f"{sql.insertion('replay_steps', STEP_COLUMNS)} ON CONFLICT (run, operation_id)"
_ADD_STEP = f"{_INSERT_STEP} DO NOTHING"
_NOTE_STEP = f"{_INSERT_STEP} DO UPDATE SET " + ", ".join(
    f"{name} = excluded.{name}" for name in STEP_COLUMNS[2:]
)
_STEPS = (
    f"SELECT {sql.columns(STEP_COLUMNS)} FROM replay_steps"  # noqa: S608
    " WHERE run = $1 AND position > $2 AND state = ANY($3::text[]) ORDER BY position LIMIT $4"
)
_WHEREABOUTS = (
    f"SELECT {sql.columns(STEP_COLUMNS, 'replay_steps')}{WHEREABOUTS}"  # noqa: S608
    " FROM replay_steps LEFT JOIN operations USING (operation_id)"
    " WHERE run = $1 AND replay_steps.state = $2 AND replay_steps.operation_id > $3"
    " ORDER BY replay_steps.operation_id LIMIT $4"
)
_TALLIES = "SELECT state, result, count(*) FROM replay_steps WHERE run = $1 GROUP BY state, result"


class PostgresJournal:
    """Implements ``operator_ports.ReplayJournal`` on the store's reading session."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def begin_run(self, run: ReplayRun) -> None:
        await self._reader.rows(_INSERT_RUN, *([value] for value in run_row(run)))

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
        await self._reader.rows(_END_RUN, *values)

    async def resume_run(self, run: str) -> None:
        await self._reader.rows(_RESUME_RUN, run)

    async def ask_to_stop(self, run: str, *, actor: str, at: datetime) -> None:
        await self._reader.rows(_ASK_TO_STOP, to_micros(at), actor, run)

    async def find_run(self, run: str) -> ReplayRun | None:
        rows = await self._reader.rows(f"{_RUNS} WHERE run = $1", run)
        return read_run(rows[0]) if rows else None

    async def runs(self, *, before: tuple[datetime, str] | None, limit: int) -> Sequence[ReplayRun]:
        started_at, name = (LAST_POSITION, "")
        if before is not None:
            started_at, name = to_micros(before[0]), before[1]
        rows = await self._reader.rows(
            f"{_RUNS} WHERE (started_at, run) < ($1, $2)"
            " ORDER BY started_at DESC, run DESC LIMIT $3",
            started_at,
            name,
            limit,
        )
        return [read_run(row) for row in rows]

    async def add_steps(self, run: str, steps: Sequence[ReplayStep]) -> None:
        await self._reader.put(_ADD_STEP, [step_row(run, step) for step in steps])

    async def note_steps(self, run: str, steps: Sequence[ReplayStep]) -> None:
        await self._reader.put(_NOTE_STEP, [step_row(run, step) for step in steps])

    async def steps(
        self, run: str, *, states: frozenset[StepState], after: int, limit: int
    ) -> Sequence[ReplayStep]:
        wanted = sorted(state.value for state in states)
        rows = await self._reader.rows(_STEPS, run, after, wanted, limit)
        return [read_step(row) for row in rows]

    async def whereabouts(
        self, run: str, *, state: StepState, after: UUID | None, limit: int
    ) -> Sequence[tuple[ReplayStep, Whereabouts | None]]:
        place = b"" if after is None else after.bytes
        rows = await self._reader.rows(_WHEREABOUTS, run, state.value, place, limit)
        return [read_whereabouts(row) for row in rows]

    async def step_tallies(self, run: str) -> Sequence[StepTally]:
        return [read_step_tally(row) for row in await self._reader.rows(_TALLIES, run)]
