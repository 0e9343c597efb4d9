"""The journal of replay runs in memory; it passes ``contract/test_replay_journal.py``."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol
from uuid import UUID

from worker.journal import ReplayRun, ReplayStep, RunState, StepState, StepTally, Whereabouts
from worker.records import Record


@dataclass
class MemoryRuns:
    """The rows: runs by name, and the steps of each by operation."""

    runs: dict[str, ReplayRun] = field(default_factory=dict)
    steps: dict[str, dict[UUID, ReplayStep]] = field(default_factory=dict)


class Write(Protocol):
    """How the store makes a write durable."""

    def __call__(self, work: Callable[[], None]) -> Awaitable[None]: ...


class MemoryJournal:
    """Implements ``operator_ports.ReplayJournal`` through a store's own batches and reads."""

    def __init__(
        self,
        rows: Callable[[], MemoryRuns],
        records: Callable[[], dict[UUID, Record]],
        *,
        write: Write,
        read: Callable[[], Awaitable[None]],
    ) -> None:
        self._rows = rows
        self._records = records
        self._write = write
        self._read = read

    async def begin_run(self, run: ReplayRun) -> None:
        await self._write(lambda: self._put(self._rows().runs.get(run.run, run)))

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
        def end() -> None:
            if run in self._rows().runs:
                self._put(
                    replace(
                        self._rows().runs[run],
                        state=state,
                        stop_reason=stop_reason,
                        kept=kept,
                        removed=removed,
                        ended_at=at,
                    )
                )

        await self._write(end)

    async def resume_run(self, run: str) -> None:
        def resume() -> None:
            if run in self._rows().runs:
                self._put(
                    replace(
                        self._rows().runs[run],
                        state=RunState.RUNNING,
                        stop_reason=None,
                        ended_at=None,
                        stop_asked_at=None,
                        stop_asked_by=None,
                    )
                )

        await self._write(resume)

    async def ask_to_stop(self, run: str, *, actor: str, at: datetime) -> None:
        def ask() -> None:
            found = self._rows().runs.get(run)
            if found is not None and found.state is RunState.RUNNING:
                self._put(
                    replace(found, state=RunState.STOPPING, stop_asked_at=at, stop_asked_by=actor)
                )

        await self._write(ask)

    async def find_run(self, run: str) -> ReplayRun | None:
        await self._read()
        return self._rows().runs.get(run)

    async def runs(self, *, before: tuple[datetime, str] | None, limit: int) -> Sequence[ReplayRun]:
        await self._read()
        newest = sorted(self._rows().runs.values(), key=_start, reverse=True)
        return [run for run in newest if before is None or _start(run) < before][:limit]

    async def add_steps(self, run: str, steps: Sequence[ReplayStep]) -> None:
        def add() -> None:
            kept = self._rows().steps.setdefault(run, {})
            for step in steps:
                kept.setdefault(step.operation_id, step)

        await self._write(add)

    async def note_steps(self, run: str, steps: Sequence[ReplayStep]) -> None:
        def note() -> None:
            self._rows().steps.setdefault(run, {}).update(
                {step.operation_id: step for step in steps}
            )

        await self._write(note)

    async def steps(
        self, run: str, *, states: frozenset[StepState], after: int, limit: int
    ) -> Sequence[ReplayStep]:
        await self._read()
        found = sorted(self._rows().steps.get(run, {}).values(), key=lambda step: step.position)
        return [step for step in found if step.state in states and step.position > after][:limit]

    async def whereabouts(
        self, run: str, *, state: StepState, after: UUID | None, limit: int
    ) -> Sequence[tuple[ReplayStep, Whereabouts | None]]:
        await self._read()
        found = sorted(self._rows().steps.get(run, {}).items())
        page = [
            step
            for operation_id, step in found
            if step.state is state and (after is None or operation_id > after)
        ]
        records = self._records()
        return [(step, _whereabouts(records.get(step.operation_id))) for step in page[:limit]]

    async def step_tallies(self, run: str) -> Sequence[StepTally]:
        await self._read()
        counts = Counter((s.state, s.result) for s in self._rows().steps.get(run, {}).values())
        return [
            StepTally(state=state, result=result, count=count)
            for (state, result), count in counts.items()
        ]

    def _put(self, run: ReplayRun) -> None:
        self._rows().runs[run.run] = run


def _start(run: ReplayRun) -> tuple[datetime, str]:
    return run.started_at, run.run


def _whereabouts(record: Record | None) -> Whereabouts | None:
    if record is None:
        return None
    return Whereabouts(
        kind=record.kind,
        state=record.state,
        sequence=record.sequence,
        code=record.code,
        attempts=record.attempts - record.opened_attempts,
        is_duplicate=record.duplicate_of is not None,
        reopened_by=record.reopened_by,
    )
