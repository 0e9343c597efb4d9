"""What a check may say, and what all of them together come to. Pure.

A check that cannot see something says ``SKIP``, never ``OK``: a doctor who guesses is worse than
none.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum, unique


@unique
class Verdict(StrEnum):
    """How one thing was found."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


@unique
class Blame(StrEnum):
    """What a failure calls for, the gravest first: it decides the exit code (operations 3)."""

    CONFIGURATION = "configuration"
    UNREACHABLE = "unreachable"
    DEFECT = "defect"


@unique
class Group(StrEnum):
    """Under which heading a check is shown."""

    SETTINGS = "Settings"
    SECRETS = "Secrets and certificates"
    SYSTEM = "System"
    LEDGER = "Ledger"
    BROKER = "Broker"
    PROVIDERS = "Providers"
    SCHEMAS = "Schemas"
    LETTERS = "Dead letters"
    PROBES = "Health and metrics"


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """One thing a check found: ``about`` what, ``cause`` why, ``fix`` what to do.

    Where ``fix`` or ``blame`` is left out, the check's own hold. No text may hold a secret.
    """

    verdict: Verdict
    cause: str
    about: str = ""
    fix: str = ""
    blame: Blame | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A remark under the id of its check, with everything filled in."""

    check: str
    group: Group
    verdict: Verdict
    about: str
    cause: str
    fix: str
    blame: Blame


class CannotSeeError(Exception):
    """A check cannot see what it is about: ``SKIP``, with the reason, and what would show it."""

    def __init__(self, reason: str, fix: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.fix = fix


class NotReachedError(Exception):
    """Something that had to answer did not: ``FAIL``, with the reason."""

    def __init__(self, reason: str, fix: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.fix = fix


def ok(cause: str, *, about: str = "") -> Remark:
    """Say that something is as it must be."""
    return Remark(verdict=Verdict.OK, cause=cause, about=about)


def warn(cause: str, *, about: str = "", fix: str = "") -> Remark:
    """Say that something works and should be looked at."""
    return Remark(verdict=Verdict.WARN, cause=cause, about=about, fix=fix)


def fail(cause: str, *, about: str = "", fix: str = "", blame: Blame | None = None) -> Remark:
    """Say that something must be mended."""
    return Remark(verdict=Verdict.FAIL, cause=cause, about=about, fix=fix, blame=blame)


def skip(cause: str, *, about: str = "", fix: str = "") -> Remark:
    """Say that something could not be seen; ``fix`` is what would show it, where there is such."""
    return Remark(verdict=Verdict.SKIP, cause=cause, about=about, fix=fix)


def gravest(rows: Iterable[Row]) -> Blame | None:
    """The gravest blame among the failures, ``None`` where nothing failed."""
    blames = {row.blame for row in rows if row.verdict is Verdict.FAIL}
    return next((blame for blame in Blame if blame in blames), None)
