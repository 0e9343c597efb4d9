"""Group commit: one task, one connection, everything that waits in one transaction.

While a commit is under way the next batch gathers; that alone makes N concurrent payments share a
few round trips and syncs of the disk (measured: 30 times the rate of a commit per row).

Whatever happens to the connection, a batch is run again under the same number until it is known to
be committed, or until its time is up; then all who wait are told that the ledger is unavailable,
which leaves open whether their changes happened. A batch whose own values the server refuses is
taken apart, so that the fault reaches its own caller alone.
"""

import asyncio
from collections.abc import Sequence
from uuid import UUID

from worker.adapters.store_postgres.batch import Mark
from worker.adapters.store_postgres.committer import Committer
from worker.adapters.store_postgres.jobs import Job, Settle, TakeJob
from worker.ports import StoreUnavailableError

LARGEST_BATCH = 200  # bounds how long the first of a batch waits for the last
GATHERING_TURNS = 32
"""Turns of the event loop between two batches: at once where it is idle, longer the busier it is.

Measured: one worker gains little, two on one server spend up to a sixth less processor time.
"""
MOST_LOCKS = 256  # of one batch: all workers share the server's table, 6400 places by default
_CLOSED = "the ledger is closed"


class Writer:
    """The only one who writes.

    ``flush_seconds`` is how long a mark may wait for company. ``failed`` is set only by a defect
    of the writer itself, for a server's fault passes.
    """

    def __init__(self, committer: Committer, *, flush_seconds: float) -> None:
        """Take a registered committer, and close it in the end."""
        self.failed = asyncio.Event()
        self._committer = committer
        self._flush_seconds = flush_seconds
        self._loop = asyncio.get_running_loop()
        self._queue: list[Job] = []
        self._marks: dict[tuple[bytes, int], tuple[bool, bool]] = {}
        self._flush: asyncio.TimerHandle | None = None
        self._is_flush_due = False
        self._wake = asyncio.Event()
        self._refusing = False
        self._task = self._loop.create_task(self._run())
        self._task.add_done_callback(self._ended)

    @property
    def commits(self) -> int:
        """How many batches were committed so far."""
        return self._committer.commits

    def submit(self, job: Job) -> None:
        """Queue a work for the next batch; its future is done once its commit is durable.

        Cancelling the future takes the work back while its batch still waits, also for a lock or
        for the server; once it was heard nobody can.
        """
        self.check()
        self._queue.append(job)
        self._wake.set()

    def mark(self, event_id: UUID, *, event: bool, letter: bool, resends: int) -> None:
        """Queue a mark for the next batch, or for one of its own."""
        self.check()
        key = (event_id.bytes, resends)
        before = self._marks.get(key, (False, False))
        self._marks[key] = (before[0] or event, before[1] or letter)
        self._schedule_flush()

    def check(self) -> None:
        """Raise ``StoreUnavailableError`` once the writer is closed or has failed."""
        if self._refusing or self.failed.is_set():
            raise StoreUnavailableError(_CLOSED)

    def refuse(self) -> None:
        """Take nothing more; what is queued is still written."""
        self._refusing = True
        self._wake.set()

    async def close(self) -> None:
        """Commit what is queued, marks included, and part from the server."""
        self.refuse()
        await asyncio.wait([self._task])

    # --- the task ------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while True:
                if not self._queue and not self._refusing:
                    await self._wake.wait()
                self._wake.clear()
                jobs = self._next_jobs()
                if jobs or (self._marks and (self._is_flush_due or self._refusing)):
                    await self._write(jobs)
                    await self._gather()
                elif self._refusing:
                    return
        finally:
            if self._flush is not None:
                self._flush.cancel()
            await self._committer.close()

    async def _gather(self) -> None:
        """Let the loop come round, that whoever is about to write joins the next batch."""
        for _ in range(GATHERING_TURNS):
            if self._refusing:
                return
            await asyncio.sleep(0)  # noqa: TID251 - a turn of the loop, no time

    def _next_jobs(self) -> list[Job]:
        """The longest beginning of the queue that one batch may hold."""
        count = locks = 0
        for job in self._queue[:LARGEST_BATCH]:
            if not isinstance(job, TakeJob):
                locks += len(job.needs.operations) + 1
            if count and locks > MOST_LOCKS:
                break
            count += 1
        jobs, self._queue = self._queue[:count], self._queue[count:]
        return jobs

    def _schedule_flush(self) -> None:
        if self._flush is None and self._marks:
            self._flush = self._loop.call_later(self._flush_seconds, self._flush_now)

    def _flush_now(self) -> None:
        self._flush = None
        self._is_flush_due = True
        self._wake.set()

    async def _write(self, jobs: Sequence[Job]) -> None:
        marks, self._marks, self._is_flush_due = self._marks, {}, False
        rows = [
            (event_id, int(event), int(letter), sending)
            for (event_id, sending), (event, letter) in marks.items()
        ]
        settled: Sequence[Settle]
        try:
            settled = await self._committer.commit(jobs, rows)
        except Exception as error:  # noqa: BLE001 (it reaches those whom it concerns)
            if isinstance(error, StoreUnavailableError):
                self._keep(marks)
                jobs = [*jobs, *self._queue]  # those would only wait for the same refusal
                self._queue = []
            elif len(jobs) + len(rows) > 1:
                await self._write_apart(jobs, rows)
                return
            settled = [job.reject(error) for job in jobs]
        for settle in settled:
            settle()

    async def _write_apart(self, jobs: Sequence[Job], marks: Sequence[Mark]) -> None:
        """One of them is at fault, and which one is found by trying each by itself."""
        for some_jobs, some_marks in (([], marks), *(([job], []) for job in jobs)):
            if not (some_jobs or some_marks):
                continue
            settled: Sequence[Settle]
            try:
                settled = await self._committer.commit(some_jobs, some_marks)
            except Exception as error:  # noqa: BLE001 (it reaches the one who caused it)
                settled = [job.reject(error) for job in some_jobs]
            for settle in settled:
                settle()

    def _keep(self, marks: dict[tuple[bytes, int], tuple[bool, bool]]) -> None:
        """Marks wait for the next chance; lost, each would cost one duplicate event."""
        for key, (event, letter) in marks.items():
            now = self._marks.get(key, (False, False))
            self._marks[key] = (now[0] or event, now[1] or letter)
        if self._refusing:
            self._marks = {}
        self._schedule_flush()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Nobody may wait for a writer that has ended before it was told to."""
        defect = None if task.cancelled() else task.exception()
        if defect is not None:
            self.failed.set()
        for job in self._queue:
            job.reject(StoreUnavailableError(_CLOSED))()
        self._queue = []
