"""Reads beside the writer: a thread and a read-only connection of their own.

In WAL mode neither waits for the other. Every read looks at one page and ends its transaction,
because a long one keeps the log from being folded back into the file.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from worker.ports import StoreUnavailableError

Result = TypeVar("Result")

_UNREADABLE = "the ledger cannot be read"


class ReadingThread:
    """Raises ``StoreUnavailableError`` when the file cannot be read.

    ``check`` raises it too, once the store refuses everything.
    """

    def __init__(self, connection: sqlite3.Connection, *, check: Callable[[], None]) -> None:
        self._connection = connection
        self._check = check
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger-reader")

    async def read(self, look: Callable[[sqlite3.Connection], Result]) -> Result:
        """Look at the file in one read transaction."""

        def in_one_transaction() -> Result:
            self._connection.execute("BEGIN")  # several statements see one moment
            try:
                return look(self._connection)
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

        self._check()
        try:
            return await self.run(in_one_transaction)
        except sqlite3.Error as error:
            raise StoreUnavailableError(_UNREADABLE) from error

    async def run(self, work: Callable[[], Result]) -> Result:
        """Run something else that waits for the disk in the same thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def close(self) -> None:
        """Finish what is being read and release the file."""
        await self.run(self._connection.close)
        self._thread.shutdown(wait=False)
