"""What is measured: the subjects, under which conditions, how often."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum, unique

MOST_LEFT_ALONE = 0.25
"""Processors that may be busy with something else before a measurement counts as disturbed."""


@unique
class Subject(StrEnum):
    """Who does the work; README.md says what each one is and is not."""

    SQLITE = "worker-sqlite"
    POSTGRES = "worker-postgres"
    TWO_ON_POSTGRES = "two-workers-postgres"
    BARE = "bare"
    BARE_UVLOOP = "bare-uvloop"
    FASTSTREAM = "faststream"
    TASKIQ = "taskiq"
    FORWARDER = "forwarder"

    @property
    def letter(self) -> str:
        """How the list of subjects in README.md names it."""
        return _LETTERS[self]

    @property
    def is_worker(self) -> bool:
        """Whether it is the product."""
        return self in _PROCESSES

    @property
    def processes(self) -> int:
        """Of the product, how many run side by side."""
        return _PROCESSES.get(self, 1)

    @property
    def calls_provider(self) -> bool:
        """The broker's limit is measured without."""
        return self is not Subject.FORWARDER


_LETTERS = {
    Subject.SQLITE: "a",
    Subject.POSTGRES: "b",
    Subject.TWO_ON_POSTGRES: "b2",
    Subject.BARE: "c",
    Subject.BARE_UVLOOP: "c2",
    Subject.FASTSTREAM: "d",
    Subject.TASKIQ: "d",
    Subject.FORWARDER: "e",
}
_PROCESSES = {Subject.SQLITE: 1, Subject.POSTGRES: 1, Subject.TWO_ON_POSTGRES: 2}

PEERS = (Subject.FASTSTREAM, Subject.TASKIQ)


@dataclass(frozen=True, slots=True, order=True)
class Case:
    """One subject under one condition; ``prefetch`` is that of each process."""

    subject: Subject
    prefetch: int
    delay_ms: int

    @property
    def name(self) -> str:
        """As tables and ``--only`` say it."""
        return f"{self.subject}/{self.prefetch}/{self.delay_ms}ms"


@dataclass(frozen=True, slots=True)
class PacedCase:
    """Latency of one subject; ``load`` is a part of the worker's own rate."""

    subject: Subject
    prefetch: int
    load: float

    @property
    def name(self) -> str:
        """As tables and ``--only`` say it."""
        return f"{self.subject}/{self.prefetch}/latency-{self.load:.0%}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured; ``patience`` in seconds of waiting for a quiet machine."""

    messages: int
    rounds: int
    patience: float
    repeats: int
    paced_seconds: float
    loads: tuple[float, ...]
    cases: tuple[Case, ...]
    paced: tuple[PacedCase, ...] = ()

    @property
    def names(self) -> list[str]:
        """Of all cases."""
        return [each.name for each in self.cases] + [each.name for each in self.paced]

    def only(self, names: Sequence[str]) -> "Plan":
        """The cases whose name begins with one of these; all where none is given."""
        if not names:
            return self
        wanted = tuple(names)
        return replace(
            self,
            cases=tuple(each for each in self.cases if each.name.startswith(wanted)),
            paced=tuple(each for each in self.paced if each.name.startswith(wanted)),
        )


WIDE = 200
"""Prefetch of the comparison: every subject has it, and none is slower with it than with fewer."""

ORDINARY = 50
"""The product's default."""

AT_ONCE = (
    Case(Subject.SQLITE, ORDINARY, 0),
    Case(Subject.SQLITE, WIDE, 0),
    Case(Subject.POSTGRES, ORDINARY, 0),
    Case(Subject.POSTGRES, WIDE, 0),
    Case(Subject.TWO_ON_POSTGRES, WIDE, 0),
    Case(Subject.BARE, WIDE, 0),
    Case(Subject.BARE_UVLOOP, WIDE, 0),
    Case(Subject.FASTSTREAM, WIDE, 0),
    Case(Subject.TASKIQ, WIDE, 0),
    Case(Subject.FORWARDER, WIDE, 0),
)
DELAYED = (
    Case(Subject.SQLITE, ORDINARY, 50),
    Case(Subject.SQLITE, WIDE, 50),
    Case(Subject.POSTGRES, ORDINARY, 50),
    Case(Subject.TWO_ON_POSTGRES, ORDINARY, 50),
    Case(Subject.BARE, WIDE, 50),
)
DELAYED_PEERS = (Case(Subject.FASTSTREAM, WIDE, 50), Case(Subject.TASKIQ, WIDE, 50))

_COMPARED_WITH_NOTHING = Case(Subject.POSTGRES, ORDINARY, 0)

WHOLE = Plan(
    messages=20_000,
    rounds=3,
    patience=25.0,
    repeats=2,
    paced_seconds=10.0,
    loads=(0.25, 0.5, 0.75),
    cases=(*AT_ONCE, *DELAYED, *DELAYED_PEERS),
    paced=tuple(
        PacedCase(subject, WIDE, load)
        for load in (0.25, 0.5, 0.75)
        for subject in (Subject.SQLITE, Subject.BARE)
    ),
)
QUICK = Plan(
    messages=2_000,
    rounds=3,
    patience=3.0,
    repeats=0,
    paced_seconds=3.0,
    loads=(0.5,),
    cases=(*(case for case in AT_ONCE if case != _COMPARED_WITH_NOTHING), *DELAYED),
    paced=(PacedCase(Subject.SQLITE, WIDE, 0.5), PacedCase(Subject.BARE, WIDE, 0.5)),
)
