"""Commands that are imported when they are run, and only listed until then.

Importing all of them takes three quarters of a second of a processor (measured), and every
command is a process of its own: an operator waits for it, and a script that runs a hundred pays
for a minute. So a group knows of each command its name, one sentence and its module.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group
from typing_extensions import override


@dataclass(frozen=True, slots=True)
class Entry:
    """One command or group: what a list says of it, and the module whose ``register`` adds it.

    ``summary`` is the first paragraph of its help.
    """

    name: str
    module: str
    summary: str


class Listed(TyperCommand):
    """Stands in a group's list for a command whose module nobody needed yet."""

    def __init__(self, entry: Entry) -> None:
        super().__init__(name=entry.name, help=entry.summary)
        self.entry = entry

    def loaded(self) -> Any:  # noqa: ANN401 - the library vendors its own classes and names none
        """Import the module and return the command itself, or the group."""
        holder = typer.Typer(rich_markup_mode=self.rich_markup_mode)
        import_module(self.entry.module).register(holder)
        return get_group(holder).commands[self.entry.name]


def group_of(*entries: Entry) -> type[TyperGroup]:
    """Make the class of a Typer group that lists these commands and imports the one it runs."""

    class Group(TyperGroup):
        @override
        def __init__(self, **attributes: Any) -> None:
            super().__init__(**attributes)
            for entry in entries:
                listed = Listed(entry)
                listed.rich_markup_mode = self.rich_markup_mode
                self.add_command(listed)

        @override
        def resolve_command(self, ctx: Any, args: list[str]) -> Any:
            name, command, rest = super().resolve_command(ctx, args)
            return name, command.loaded() if isinstance(command, Listed) else command, rest

    return Group
