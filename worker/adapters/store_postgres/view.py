"""What one work of a batch sees: the rows that it declared."""

from datetime import datetime
from uuid import UUID

from worker.adapters.store_errors import UndeclaredReadError
from worker.adapters.store_postgres.overlay import Overlay
from worker.model import Fingerprint
from worker.records import Answer, Needs, Record, Tombstone
from worker.switches import Switch


class PostgresView:
    """Implements ``ports.View`` for one work of the batch."""

    def __init__(self, overlay: Overlay, *, needs: Needs, now: datetime) -> None:
        self._overlay = overlay
        self._needs = needs
        self._now = now
        self._owner_id: UUID | None = None

    def record(self, operation_id: UUID) -> Record | None:
        self._check(operation_id)
        return self._overlay.record(operation_id)

    def answer(self, operation_id: UUID) -> Answer | None:
        self._check(operation_id)
        return self._overlay.answer(operation_id)

    def owner(self, fingerprint: Fingerprint) -> Record | None:
        if fingerprint != self._needs.fingerprint:
            raise UndeclaredReadError(None)
        record = self._overlay.owner(fingerprint)
        self._owner_id = None if record is None else record.operation_id
        return record

    def tombstone(self, payment_id: UUID) -> Tombstone | None:
        self._check(payment_id)
        return self._overlay.tombstone(payment_id, self._now)

    def switch(self, account: str) -> Switch | None:
        if account not in self._needs.accounts:
            raise UndeclaredReadError(None)
        return self._overlay.switch(account)

    def _check(self, operation_id: UUID) -> None:
        """The owner of a declared fingerprint counts as declared: nobody knows its id before."""
        if operation_id not in self._needs.operations and operation_id != self._owner_id:
            raise UndeclaredReadError(operation_id)
