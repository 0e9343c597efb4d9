"""One batch until it is known to be committed, whatever happens to the connection meanwhile."""

import asyncio
from collections.abc import Sequence

from worker.adapters.encryption import Vault
from worker.adapters.store_errors import LedgerError
from worker.adapters.store_postgres import statements as sql
from worker.adapters.store_postgres.batch import Batch, Mark, Transaction, WriterForgottenError
from worker.adapters.store_postgres.faults import DRIVER_ERRORS, Meaning, meaning_of, unavailable
from worker.adapters.store_postgres.jobs import Job, Settle
from worker.adapters.store_postgres.sessions import Connection, Session, cut_after
from worker.adapters.store_rows.known import KnownRecords
from worker.adapters.store_rows.values import to_micros
from worker.ports import Clock

TRY_SECONDS = 10.0  # one run of a batch, after which its connection is cut
BATCH_SECONDS = 15.0  # after which no further run begins
PATIENCE_SECONDS = 5.0  # for a server that was there a moment ago, as while it is restarted
_MOST_MEETINGS = 20  # with other transactions, before a batch is given up
_AGAIN_SECONDS = 0.25  # between two attempts to connect
_PARTING_SECONDS = 2.0


class Committer:
    """Runs batches, one at a time, on a session of its own.

    ``commits`` counts them. A batch keeps its number over all of its runs, and the store's own row
    holds the number of the last one that was committed.
    """

    def __init__(self, session: Session, vault: Vault, clock: Clock) -> None:
        self.commits = 0
        self._session = session
        self._vault = vault
        self._known = KnownRecords(vault)
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._is_away = False
        self._writer: int | None = None
        self._noted_by: Connection | None = None
        self._number = 0

    async def register(self) -> None:
        """Take a row in the ledger, which proves that it can be written; raises ``LedgerError``."""
        connection = await self._session.connection()
        with cut_after(connection, TRY_SECONDS):
            await self._register(connection)

    async def close(self) -> None:
        """Give the row back and part from the server."""
        try:
            connection = await self._session.connection()
            with cut_after(connection, _PARTING_SECONDS):
                await connection.execute(sql.DEREGISTER, self._writer)
        except (*DRIVER_ERRORS, OSError, LedgerError):
            self._session.drop()  # the row is forgotten in time
        finally:
            await self._session.close()

    async def commit(self, jobs: Sequence[Job], marks: Sequence[Mark]) -> Sequence[Settle]:
        """Run one batch until it is committed.

        Raises ``StoreUnavailableError``, or the error of a value that cannot be stored.
        """
        self._number += 1
        now = to_micros(self._clock.now())
        batch = Batch(number=self._number, jobs=jobs, marks=marks, now=now)
        last_start = self._loop.time() + BATCH_SECONDS
        meetings = losses = 0
        while True:
            connection = await self._connection()
            try:
                with cut_after(connection, TRY_SECONDS):
                    await self._run_once(connection, batch)
            except WriterForgottenError:
                await self._undo(connection)
                self._writer = None
            except Exception as error:
                await self._undo(connection)
                match meaning_of(error):
                    case Meaning.OWN:
                        raise
                    case Meaning.AGAIN if meetings < _MOST_MEETINGS:
                        meetings += 1  # let the other one go first
                        await self._clock.sleep(self._clock.fraction() * 0.01 * meetings)
                    case Meaning.LOST if self._loop.time() < last_start:
                        if losses:  # a server that hangs up at once is not to be stormed
                            await self._clock.sleep(_AGAIN_SECONDS)
                        losses += 1  # run again, whether or not it was committed
                    case Meaning.AGAIN | Meaning.LOST | Meaning.AWAY:
                        self._session.drop()
                        self._is_away = True
                        raise unavailable(error) from error
            except BaseException:  # the task is cancelled: the loop is ending
                self._session.drop()
                raise
            else:
                self.commits += 1
                return batch.settled or ()

    async def _run_once(self, connection: Connection, batch: Batch) -> None:
        writer = await self._register(connection) if self._writer is None else self._writer
        # By this connection and not once for all: behind another one may stand a server that was
        # put back from a backup and knows nothing of our key.
        noted = self._noted_by is connection
        transaction = Transaction(
            connection, batch, self._vault, self._known, writer=writer, noted=noted
        )
        if await transaction.run():
            self._noted_by = connection

    async def _undo(self, connection: Connection) -> None:
        """Leave no transaction open: take it back, or where that is not possible, hang up."""
        try:
            if not connection.is_closed():
                with cut_after(connection, TRY_SECONDS):
                    await connection.execute("ROLLBACK")
        except (*DRIVER_ERRORS, OSError):
            self._session.drop()

    async def _connection(self) -> Connection:
        """The connection, or a new one.

        A server that has just gone is waited for, as it may only be restarted; one that stays away
        is asked once per batch. Raises ``StoreUnavailableError``.
        """
        patient_until = self._loop.time() + (0.0 if self._is_away else PATIENCE_SECONDS)
        while True:
            try:
                connection = await self._session.connection()
            except LedgerError as error:
                if self._loop.time() > patient_until:
                    self._is_away = True
                    raise unavailable(error) from error
                await self._clock.sleep(_AGAIN_SECONDS)
            else:
                self._is_away = False
                return connection

    async def _register(self, connection: Connection) -> int:
        """Take a row; the numbers of the batches go on counting, whatever the row."""
        await connection.execute(sql.FORGET_WRITERS)
        writer: int = await connection.fetchval(sql.REGISTER)
        self._writer = writer
        return writer
