"""What is wrong with a ledger ends a command with the code a supervisor goes by."""

from pathlib import Path

import pytest

from worker.adapters.store_errors import (
    LedgerError,
    LedgerLockedError,
    LedgerMissingError,
    LedgerRefusedError,
    LedgerUnreachableError,
    SqliteTooOldError,
)
from worker.cli.exit_codes import ExitCode
from worker.cli.opened_ledger import ledger_error

FILE = Path("/data/ledger.sqlite3")
DATABASE = "postgresql://db.example:5432/payment_worker"


@pytest.mark.parametrize(
    ("error", "code", "field"),
    [
        (LedgerMissingError(FILE), ExitCode.CONFIGURATION, "ledger.path"),
        (LedgerMissingError(DATABASE), ExitCode.CONFIGURATION, "ledger.postgres"),
        (LedgerRefusedError(DATABASE, "x"), ExitCode.CONFIGURATION, "ledger.postgres"),
        (LedgerUnreachableError(DATABASE, "x"), ExitCode.UNREACHABLE, "ledger.postgres"),
        (LedgerLockedError(FILE), ExitCode.UNREACHABLE, "ledger.path"),
        (LedgerLockedError(DATABASE), ExitCode.UNREACHABLE, "ledger.postgres"),
        (SqliteTooOldError(found="3.7", needed="3.37"), ExitCode.CONFIGURATION, "ledger.path"),
    ],
)
def test_only_what_may_pass_by_itself_lets_a_supervisor_try_again(
    error: LedgerError, code: ExitCode, field: str
) -> None:
    told = ledger_error(error)
    assert (told.exit_code, told.field) == (code, field)
    assert told.message == str(error)
    assert told.fix == error.fix
