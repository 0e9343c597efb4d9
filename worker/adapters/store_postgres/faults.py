"""What an error of the server or of the line means for those who wait.

Four meanings. *Again*: the transaction met another one and is run anew. *Lost*: the connection is
gone, and with it perhaps the answer of a commit; a new one says what happened. *Away*: the server
cannot serve us now. *Own*: what somebody wanted to write is at fault, and that is his affair.
"""

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto, unique

import asyncpg

from worker.adapters.store_errors import (
    LedgerError,
    LedgerLockedError,
    LedgerReadOnlyError,
    LedgerRefusedError,
    LedgerUnreachableError,
    LedgerUnrecognisedError,
    LedgerUnusableError,
)
from worker.ports import StoreUnavailableError

DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What the driver raises; a broken line may also be an ``OSError``, a late answer a time-out."""


class OutpacedError(Exception):
    """Another transaction was quicker with a row or its lock: this one must be run anew."""


@unique
class Meaning(Enum):
    """What follows from an error; see the module's text."""

    AGAIN = auto()
    LOST = auto()
    AWAY = auto()
    OWN = auto()


# By SQLSTATE, PostgreSQL manual, appendix A; five characters before two.
_MEANINGS = {
    "23505": Meaning.AGAIN,  # unique_violation: another worker inserted what we saw missing
    "40001": Meaning.AGAIN,  # serialization_failure
    "40P01": Meaning.AGAIN,  # deadlock_detected
    "0A000": Meaning.AGAIN,  # a cached statement of before a schema change; the driver forgets it
    "25P03": Meaning.LOST,  # idle_in_transaction_session_timeout: the server hung up
    "25P04": Meaning.LOST,  # transaction_timeout
    "57P01": Meaning.LOST,  # admin_shutdown, or pg_terminate_backend
    "57P02": Meaning.LOST,  # crash_shutdown
    "57P03": Meaning.LOST,  # cannot_connect_now: it starts or recovers
    "57P05": Meaning.LOST,  # idle_session_timeout
    "08": Meaning.LOST,  # connection exceptions
    "25006": Meaning.AWAY,  # read_only_sql_transaction: a standby after a failover
    "28": Meaning.AWAY,  # the role or its password is refused
    "3D": Meaning.AWAY,  # the database is gone
    "3F": Meaning.AWAY,  # the schema is gone
    "42501": Meaning.AWAY,  # insufficient_privilege
    "42P01": Meaning.AWAY,  # undefined_table
    "53": Meaning.AWAY,  # disk full, out of memory, too many connections
    "55": Meaning.AWAY,  # a lock was held for too long
    "57": Meaning.AWAY,  # cancelled by an administrator
    "58": Meaning.AWAY,  # the server's own input and output
    "XX": Meaning.AWAY,  # internal errors, damaged data
}

_REASONS = {
    "25006": "the server is a copy that cannot be written",
    "53100": "the server's disk is full",
    "53300": "the server has no free connection",
    "55P03": "it is locked by another program",
}


def meaning_of(error: Exception) -> Meaning:
    """What an error within a transaction means; anything unknown is somebody's own."""
    match error:
        case OutpacedError():
            return Meaning.AGAIN
        case asyncpg.PostgresError(sqlstate=str() as state):
            return _MEANINGS.get(state) or _MEANINGS.get(state[:2]) or Meaning.OWN
        case asyncpg.InterfaceError() if not isinstance(error, ValueError):
            return Meaning.LOST  # used after it was cut; what is also a ValueError is a bad value
        case asyncpg.InternalClientError() | OSError() | asyncio.IncompleteReadError():
            return Meaning.LOST
        case LedgerError():
            return Meaning.AWAY
        case _:
            return Meaning.OWN


def unavailable(error: Exception) -> StoreUnavailableError:
    """The port's error for one that concerns the server, its reason in words."""
    stand_in = StoreUnavailableError(f"the ledger cannot be used: {_reason(error)}")
    stand_in.__cause__ = error
    return stand_in


def _reason(error: Exception) -> str:
    match error:
        case LedgerError():
            return str(error)
        case asyncpg.PostgresError(sqlstate=str() as state):
            return _REASONS.get(state, f"the server reports {type(error).__name__} ({state})")
        case _:
            return f"its connection failed ({type(error).__name__})"


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Turn what the server says while a ledger is opened into a ``LedgerError``."""
    try:
        yield
    except LedgerError:
        raise
    except TimeoutError as error:
        raise LedgerUnreachableError(place, "it does not answer in time") from error
    except ssl.SSLError as error:
        raise LedgerUnreachableError(place, f"TLS failed: {error.reason}") from error
    except OSError as error:
        raise LedgerUnreachableError(place, f"{type(error).__name__}") from error
    except DRIVER_ERRORS as error:
        raise _translation(place, error) from error


def _translation(place: str, error: Exception) -> LedgerError:
    state = getattr(error, "sqlstate", None) or ""
    match state[:2], state:
        case ("28" | "3D", _) | (_, "42501"):
            return LedgerRefusedError(place, str(error))
        case ("08" | "53" | "57", _):
            return LedgerUnreachableError(place, str(error))
        case "42", _:
            return LedgerUnrecognisedError(place, str(error))
        case _, "55P03":
            return LedgerLockedError(place)
        case _, "25006":
            return LedgerReadOnlyError(place)
        case _ if meaning_of(error) is Meaning.LOST:
            return LedgerUnreachableError(place, f"the connection failed ({type(error).__name__})")
        case _:
            return LedgerUnusableError(place, str(error))
