"""What can be wrong with a ledger, as one sentence and its fix, and with those who use it."""

from pathlib import Path
from uuid import UUID

Place = Path | str
"""Where a ledger is: the path of a file, or the address of a database without its secrets."""

_INIT = "payment-worker ledger init"


def _fix(place: Place, *, file: str, database: str) -> str:
    return file if isinstance(place, Path) else database


class LedgerError(Exception):
    """The ledger cannot be opened. ``str()`` is one sentence; ``fix`` says what to do.

    ``place`` is ``None`` where no ledger was looked at yet.
    """

    def __init__(self, sentence: str, *, place: Place | None, fix: str) -> None:
        super().__init__(sentence)
        self.place = place
        self.fix = fix


class LedgerMissingError(LedgerError):
    """There is none: creating one silently could mean losing the real one."""

    def __init__(self, place: Place) -> None:
        what = _fix(place, file="path or mount its volume", database="address")
        super().__init__(
            f"there is no ledger at {place}",
            place=place,
            fix=f"correct the {what}; put a lost one back from its backup;"
            f" create a first ledger with `{_INIT}`",
        )


class LedgerUnrecognisedError(LedgerError):
    """It is something else, or damaged."""

    def __init__(self, place: Place, what: str) -> None:
        wrong = _fix(place, file="path", database="address")
        super().__init__(
            f"{place} is not a payment-worker ledger: {what}",
            place=place,
            fix=f"correct the {wrong}, or restore the ledger from its backup",
        )


class LedgerOutdatedError(LedgerError):
    """Its schema is older than this release."""

    def __init__(self, place: Place, *, found: int, needed: int) -> None:
        what = _fix(place, file="the file", database="the database")
        super().__init__(
            f"the ledger {place} has schema version {found}, this release needs {needed}",
            place=place,
            fix=f"stop the workers, back {what} up, then run `{_INIT}`, which upgrades it",
        )
        self.found = found
        self.needed = needed


class LedgerTooNewError(LedgerError):
    """Its schema is newer than this release: an older worker would misread it."""

    def __init__(self, place: Place, *, found: int, needed: int) -> None:
        super().__init__(
            f"the ledger {place} has schema version {found}, this release knows {needed}",
            place=place,
            fix="run the release that wrote it, or a later one",
        )
        self.found = found
        self.needed = needed


class LedgerOwnerError(LedgerError):
    """Another OS user owns the file: files we leave beside it would lock its owner out."""

    def __init__(self, path: Path, *, owner: int, user: int) -> None:
        super().__init__(
            f"the ledger {path} belongs to OS user {owner}, this process runs as {user}",
            place=path,
            fix="run the command as the ledger's owner",
        )
        self.owner = owner
        self.user = user


class LedgerReadOnlyError(LedgerError):
    """The file or its directory cannot be written (SQLite needs both), or the server is a copy."""

    def __init__(self, place: Place) -> None:
        super().__init__(
            f"{place} cannot be written by this process",
            place=place,
            fix=_fix(
                place,
                file="make it writable for the ledger's owner, or mount the volume writable",
                database="name the primary server, not a standby, and let the role write",
            ),
        )


class LedgerLockedError(LedgerError):
    """Another program holds its lock for too long."""

    def __init__(self, place: Place) -> None:
        super().__init__(
            f"the ledger {place} is locked by another program",
            place=place,
            fix="find what holds it open (a backup, a database browser) and end that",
        )


class LedgerUnsafeError(LedgerError):
    """It cannot give the durability that money needs."""

    def __init__(self, place: Place, what: str) -> None:
        super().__init__(
            f"the ledger {place} would not keep what is written to it: {what}",
            place=place,
            fix=_fix(
                place,
                file="put it on a local file system that supports write-ahead logging",
                database="switch that on in the server's configuration",
            ),
        )


class LedgerKeyMissingError(LedgerError):
    """Links or e-mails in it were sealed under keys that were not supplied."""

    def __init__(self, place: Place, key_ids: tuple[str, ...]) -> None:
        super().__init__(
            f"the ledger {place} was written with encryption keys that are not supplied: "
            f"{', '.join(key_ids)}",
            place=place,
            fix="add those keys after the first one in the secret file",
        )
        self.key_ids = key_ids


class LedgerUnusableError(LedgerError):
    """The database reports something that none of the others names."""

    def __init__(self, place: Place, what: str) -> None:
        super().__init__(
            f"the ledger {place} cannot be used: {what}",
            place=place,
            fix=_fix(
                place,
                file="check the disk and the system log; restore the ledger if it is damaged",
                database="check the server and its log; restore the ledger if it is damaged",
            ),
        )


class LedgerUnreachableError(LedgerError):
    """The server of the ledger does not answer, or takes nobody now: it may pass by itself."""

    def __init__(self, place: Place, what: str) -> None:
        super().__init__(
            f"the ledger {place} cannot be reached: {what}",
            place=place,
            fix="check that the server runs and that this host can reach it",
        )


class LedgerRefusedError(LedgerError):
    """The server of the ledger does not let us in."""

    def __init__(self, place: Place, what: str) -> None:
        super().__init__(
            f"the ledger {place} refuses this worker: {what}",
            place=place,
            fix="correct the role, its password, its rights or the name of the database",
        )


class SqliteTooOldError(LedgerError):
    """The SQLite that this Python was built with lacks what the ledger needs."""

    def __init__(self, *, found: str, needed: str) -> None:
        super().__init__(
            f"SQLite {found} is too old for the ledger, which needs {needed}",
            place=None,
            fix="use a Python that was built with a later SQLite",
        )


class ConcurrentUpdateError(Exception):
    """A record's version was not the expected one: a bug, for transactions are serialised."""

    def __init__(self, operation_id: UUID, version: int) -> None:
        super().__init__(f"operation {operation_id} is not at version {version - 1}")
        self.operation_id = operation_id
        self.version = version


class MissingOperationError(LookupError):
    """An attempt of an operation that has no row: a bug, for settling reads the row first."""

    def __init__(self, operation_id: UUID) -> None:
        super().__init__(f"operation {operation_id} has no row that an attempt could belong to")
        self.operation_id = operation_id


class UndeclaredReadError(LookupError):
    """A transaction looked at a row it had not declared: a bug of the caller.

    A store that loads a batch at once would have answered "no such row", and a payment without
    a row may be sent.
    """

    def __init__(self, operation_id: UUID | None) -> None:
        """``None`` stands for a fingerprint."""
        what = "a fingerprint" if operation_id is None else f"operation {operation_id}"
        super().__init__(f"{what} was read without being declared in Needs")
        self.operation_id = operation_id
