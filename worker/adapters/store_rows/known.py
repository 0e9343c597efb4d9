"""The records whose rows this process wrote last, so that an unchanged row is not read again.

A payment's row is written by its claim and read by its settlement a moment later, usually
unchanged. Reading it costs more than comparing it: two dozen conversions, and a decryption where
there is an e-mail. The row is still fetched and compared value by value, so whatever another
process, a rollback or a restored backup made of it counts.
"""

from worker.adapters.encryption import Vault
from worker.adapters.store_rows.records import read_record
from worker.adapters.store_rows.values import Row, Scalar
from worker.records import Record, State

MOST_KNOWN = 500
"""More than one worker calls providers for at the same time; about 3 KB each."""


class KnownRecords:
    """Reads rows in the order of ``RECORD_COLUMNS``; remembers those that are being called."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._known: dict[bytes, tuple[Row, Record]] = {}

    def read(self, row: Row) -> Record:
        """The record of a row, remembered or not; raises ``VaultError``."""
        known = self._known.get(row[0])
        return known[1] if known is not None and known[0] == row else read_record(row, self._vault)

    def wrote(self, row: tuple[Scalar, ...], record: Record) -> None:
        """Take note of a row on its way into the ledger, and of the record it was made of."""
        key = record.operation_id.bytes
        self._known.pop(key, None)
        if record.state is State.CALLING:
            if len(self._known) >= MOST_KNOWN:
                del self._known[next(iter(self._known))]  # the oldest
            self._known[key] = row, record
