"""How a command ends: the numbers a script may rely on, and the error that carries one."""

from collections.abc import Sequence
from enum import IntEnum, unique


@unique
class ExitCode(IntEnum):
    """Exit codes, in part from BSD's sysexits: operations 1.7."""

    OK = 0
    FAILED = 1
    CANCELLED = 2
    PARTIAL = 3
    NOTHING_MATCHED = 5
    USAGE = 64
    UNREACHABLE = 69
    CONFIGURATION = 78
    INTERRUPTED = 130

    @property
    def meaning(self) -> str:
        """A few words for people."""
        return _MEANINGS[self]


_MEANINGS = {
    ExitCode.OK: "every outcome good",
    ExitCode.FAILED: "failed",
    ExitCode.CANCELLED: "cancelled at a prompt, or stopped",
    ExitCode.PARTIAL: "some good and some not, or warnings with --strict",
    ExitCode.NOTHING_MATCHED: "nothing matched, with --fail-if-empty",
    ExitCode.USAGE: "wrong use of the command line",
    ExitCode.UNREACHABLE: "broker or ledger unreachable",
    ExitCode.CONFIGURATION: "wrong or missing settings",
    ExitCode.INTERRUPTED: "interrupted with Ctrl-C",
}


class CommandError(Exception):
    """A command cannot go on, for a reason its user can understand.

    ``code`` is a stable word for scripts, ``message`` a sentence, ``field`` what it is about,
    ``fix`` what to do. No text may hold a secret, a link or a person.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        exit_code: ExitCode,
        field: str | None = None,
        fix: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.exit_code = exit_code
        self.field = field
        self.fix = fix


class SeveralFaultsError(Exception):
    """A command cannot go on for several reasons, all told; the first one's exit code counts."""

    def __init__(self, errors: Sequence[CommandError]) -> None:
        super().__init__(*(error.message for error in errors))
        self.errors = tuple(errors)


def exit_code_table() -> str:
    """One line for ``--help``: every code with its meaning."""
    return "Exit codes: " + "; ".join(f"{code.value} {code.meaning}" for code in ExitCode) + "."
