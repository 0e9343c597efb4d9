"""What can be wrong with a ledger, as one sentence and its fix, and with those who use it."""

from pathlib import Path
from uuid import UUID

_INIT = "payment-worker ledger init"


class LedgerError(Exception):
    """The ledger cannot be opened. ``str()`` is one sentence; ``fix`` says what to do."""

    def __init__(self, sentence: str, *, fix: str) -> None:
        super().__init__(sentence)
        self.fix = fix


class LedgerMissingError(LedgerError):
    """There is no file: creating one silently could mean losing the real one."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"there is no ledger at {path}",
            fix=f"correct the path or mount its volume; create a first ledger with `{_INIT}`",
        )


class LedgerUnrecognisedError(LedgerError):
    """The file is something else, or damaged."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(
            f"{path} is not a payment-worker ledger: {what}",
            fix="correct the path, or restore the ledger from its backup",
        )


class LedgerOutdatedError(LedgerError):
    """The file's schema is older than this release."""

    def __init__(self, path: Path, *, found: int, needed: int) -> None:
        super().__init__(
            f"the ledger {path} has schema version {found}, this release needs {needed}",
            fix=f"stop the workers, back the file up, then run `{_INIT}`, which upgrades it",
        )
        self.found = found
        self.needed = needed


class LedgerTooNewError(LedgerError):
    """The file's schema is newer than this release: an older worker would misread it."""

    def __init__(self, path: Path, *, found: int, needed: int) -> None:
        super().__init__(
            f"the ledger {path} has schema version {found}, this release knows {needed}",
            fix="run the release that wrote it, or a later one",
        )
        self.found = found
        self.needed = needed


class LedgerOwnerError(LedgerError):
    """Another OS user owns the file: files we leave beside it would lock its owner out."""

    def __init__(self, path: Path, *, owner: int, user: int) -> None:
        super().__init__(
            f"the ledger {path} belongs to OS user {owner}, this process runs as {user}",
            fix="run the command as the ledger's owner",
        )
        self.owner = owner
        self.user = user


class LedgerReadOnlyError(LedgerError):
    """The file or its directory cannot be written; SQLite needs both."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} cannot be written by this process",
            fix="make it writable for the ledger's owner, or mount the volume writable",
        )


class LedgerLockedError(LedgerError):
    """Another program holds the file's lock for too long."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"the ledger {path} is locked by another program",
            fix="find what holds it open (a backup, a database browser) and end that",
        )


class LedgerUnsafeError(LedgerError):
    """The file cannot give the durability that money needs."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(
            f"the ledger {path} would not survive a power cut: {what}",
            fix="put it on a local file system that supports write-ahead logging",
        )


class LedgerKeyMissingError(LedgerError):
    """Links or e-mails in the file were sealed under keys that were not supplied."""

    def __init__(self, path: Path, key_ids: tuple[str, ...]) -> None:
        super().__init__(
            f"the ledger {path} was written with encryption keys that are not supplied: "
            f"{', '.join(key_ids)}",
            fix="add those keys after the first one in the secret file",
        )
        self.key_ids = key_ids


class LedgerUnusableError(LedgerError):
    """SQLite reports something about the file that none of the others names."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(
            f"the ledger {path} cannot be used: {what}",
            fix="check the disk and the system log; restore the ledger if it is damaged",
        )


class SqliteTooOldError(LedgerError):
    """The SQLite that this Python was built with lacks what the ledger needs."""

    def __init__(self, *, found: str, needed: str) -> None:
        super().__init__(
            f"SQLite {found} is too old for the ledger, which needs {needed}",
            fix="use a Python that was built with a later SQLite",
        )


class ConcurrentUpdateError(Exception):
    """A record's version was not the expected one: a bug, for transactions are serialised."""

    def __init__(self, operation_id: UUID, version: int) -> None:
        super().__init__(f"operation {operation_id} is not at version {version - 1}")
        self.operation_id = operation_id
        self.version = version


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
