"""What an exception that ended a command says to its user."""

import errno
from collections.abc import Sequence

from worker.adapters.clock import SystemClock
from worker.cli.exit_codes import CommandError, ExitCode
from worker.settings import SettingsError
from worker.telemetry.redaction import facts_of


def failures_of(error: Exception, *, is_verbose: bool) -> Sequence[CommandError]:
    """Say what went wrong, in one error at least; the first one's exit code counts.

    ``is_verbose`` adds where something unexpected happened.
    """
    if isinstance(error, SettingsError):
        return _of_settings(error)
    unwritten = _unwritten(error) if isinstance(error, OSError) else None
    return [unwritten or _unexpected(error, is_verbose=is_verbose)]


def _unwritten(error: OSError) -> CommandError | None:
    """The data could not be printed: the disk behind the output is full."""
    if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
        return None
    return CommandError(
        "no_room",
        f"What was to be printed could not be written: {error.strerror}.",
        exit_code=ExitCode.FAILED,
        fix="Make room where the output goes, or send it elsewhere; then look what was done.",
    )


def _of_settings(error: SettingsError) -> Sequence[CommandError]:
    return [
        CommandError(
            "configuration",
            f"{fault.sentence} ({fault.source}, {fault.check})",
            field=fault.name,
            fix=fault.fix,
            exit_code=ExitCode.CONFIGURATION,
        )
        for fault in error.faults
    ]


def _unexpected(error: Exception, *, is_verbose: bool) -> CommandError:
    """One line with an id; where it happened only on request, what it was given never."""
    facts = facts_of(error)
    places = f" {' < '.join(reversed(facts['error.stack']))}" if is_verbose else ""
    return CommandError(
        "unexpected",
        f"Unexpected {facts['error.type']}, id {SystemClock().nonce()[:8]}.{places}",
        exit_code=ExitCode.FAILED,
        fix=None if is_verbose else "Run it again with --verbose before the command's name.",
    )
