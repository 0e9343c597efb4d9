"""What is wrong with the settings, said all at once: where, from which source, never the value."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic_core import ErrorDetails
from typing_extensions import override

from worker.settings.catalogue import Catalogue, Path


@dataclass(frozen=True, slots=True)
class SettingsFault:
    """One fault or warning: the setting, where its value came from, and a sentence.

    ``check`` is the id of the doctor's check it belongs to, ``CFG001`` and so on; ``fix`` says
    what to do where the sentence does not.
    """

    name: str
    source: str
    sentence: str
    check: str = "CFG001"
    fix: str | None = None

    @override
    def __str__(self) -> str:
        return f"{self.name} ({self.source}): {self.sentence}"


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken rule over settings that can be read.

    It is about one setting and rests on others; where one of them could not be read, it is
    dropped, because it would speak of a value that nobody gave.
    """

    about: Path
    sentence: str
    check: str
    rests_on: tuple[Path, ...] = field(default=())
    is_warning: bool = False


class SettingsError(Exception):
    """The settings cannot be used; ``faults`` holds every reason, ordered by name."""

    def __init__(self, faults: Sequence[SettingsFault]) -> None:
        super().__init__(faults)
        self.faults = tuple(faults)

    @override
    def __str__(self) -> str:
        count = len(self.faults)
        heading = "1 fault in the settings:" if count == 1 else f"{count} faults in the settings:"
        return "\n".join([heading, *(f"  {fault}" for fault in self.faults)])


def path_of(error: ErrorDetails) -> Path:
    """Where pydantic found an error, without the mark it adds for a dictionary's key."""
    return tuple(str(part) for part in error["loc"] if part != "[key]")


def sentence_of(error: ErrorDetails, catalogue: Catalogue) -> str:
    """Say what is wrong in words; an unknown name comes with the nearest known one."""
    match error["type"]:
        case "missing":
            return "It is missing and has no default."
        case "extra_forbidden":
            nearest = catalogue.nearest(path_of(error))
            hint = f" The nearest known name is {nearest}." if nearest else ""
            return f"There is no such setting.{hint}"
        case "model_type" | "dict_type":
            return "This is a table of settings, not a single value."
        case _:
            return f"{error['msg'].rstrip('.')}."
