"""What must go on for as long as the worker lives: a part that ends takes the worker with it.

A worker that lives on without one of them would be worse than none: its probes answer, and it
takes no message, or sweeps nothing, until somebody wonders. Ended, it is started again.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

from worker.telemetry import Telemetry


class PartEndedError(Exception):
    """A part of the worker ended that never should; ``part`` is its name."""

    def __init__(self, part: str) -> None:
        super().__init__(part)
        self.part = part


class EndlessParts:
    """Notices the first part that ends by itself; ``ended`` is set then, ``part`` names it."""

    def __init__(self, telemetry: Telemetry) -> None:
        self.ended = asyncio.Event()
        self.part: str | None = None
        self._telemetry = telemetry
        self._is_stopping = False

    def begin(self, part: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Let a part begin, and look after it."""
        task = asyncio.create_task(work, name=part)
        self.look_after(part, task)
        return task

    def look_after(self, part: str, task: asyncio.Task[None]) -> None:
        """Notice the end of a part that somebody else began."""
        task.add_done_callback(lambda ended: self._note_end(part, ended))

    def stop(self) -> None:
        """From now on they may end."""
        self._is_stopping = True

    def _note_end(self, part: str, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if self._is_stopping or self.part is not None:
            return
        self.part = part
        self.ended.set()
        known = error if isinstance(error, Exception) else None
        self._telemetry.warned("A part of the worker ended", "part.ended", known, role=part)
