"""Where settings come from, in order: flags, environment, secret files, TOML, defaults.

The one reader of the environment. Every value keeps the place it came from, so that a fault, and
``config explain``, can name it. The sources of pydantic-settings are not used: they stop at the
first value they cannot parse, accept unknown names beside known ones, and do not say afterwards
which of them a value came from (measured, 2.16.3).
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath

from worker.settings.catalogue import Catalogue, Path, dotted
from worker.settings.faults import SettingsFault
from worker.settings.layers import (
    PREFIX,
    Layer,
    from_directory,
    from_environment,
    from_flags,
    from_toml,
)

CONTAINER_SECRETS = FilePath("/run/secrets")


@dataclass(frozen=True, slots=True)
class Sources:
    """All layers, the strongest first."""

    layers: tuple[Layer, ...]
    catalogue: Catalogue

    @property
    def is_file_lost(self) -> bool:
        """Whether there is a settings file and nothing of it could be read."""
        file = self.layers[-1]
        return bool(file.faults) and not file.values

    def merged(self) -> tuple[dict[str, object], list[SettingsFault]]:
        """One nested table of what the strongest source says, and what contradicts in form."""
        faults = [fault for layer in self.layers for fault in layer.faults]
        tree: dict[str, object] = {}
        for layer in reversed(self.layers):
            for path, value in layer.values.items():
                if not _put(tree, path, value):
                    sentence = "It is given as one value and as a table of values."
                    faults.append(SettingsFault(dotted(path), layer.places[path], sentence))
        return tree, faults

    def source_of(self, path: Path) -> str:
        """Place a value came from: the variable, file or key, or ``default``."""
        for layer in self.layers:
            for known, place in layer.places.items():
                if known == path[: len(known)]:
                    return place
        return "default" if self.catalogue.entry(path) else self._place_below(path)

    def is_given(self, path: Path) -> bool:
        """Whether any source says something about a setting or about a part of its table."""
        return any(
            known == path[: len(known)] or path == known[: len(path)]
            for layer in self.layers
            for known in layer.values
        )

    def warnings(self) -> list[SettingsFault]:
        """What is unwise about where the values stand."""
        found = [warning for layer in self.layers for warning in layer.warnings]
        secrets = {
            path
            for layer in self.layers
            for path in layer.values
            if (entry := self.catalogue.entry(path)) is not None and entry.is_secret
        }
        for path in sorted(secrets):
            places = [layer.places[path] for layer in self.layers if path in layer.values]
            if len(places) > 1:
                sentence = f"The secret is also set by {', '.join(places[1:])}, which is ignored."
                found.append(SettingsFault(dotted(path), places[0], sentence, "SEC002"))
            if places[0].startswith(PREFIX):
                sentence = "A secret in the environment shows in process lists: use a secret file."
                found.append(SettingsFault(dotted(path), places[0], sentence, "SEC002"))
        return found

    def _place_below(self, path: Path) -> str:
        for layer in self.layers:
            for known, place in layer.places.items():
                if path == known[: len(path)]:
                    return place
        return "not set"


def read_sources(
    catalogue: Catalogue,
    *,
    flags: Mapping[str, object],
    config: FilePath | None,
    environment: Mapping[str, str] | None,
    container_secrets: FilePath = CONTAINER_SECRETS,
) -> Sources:
    """Read every source; what is wrong with one is kept in its layer and raises nothing.

    ``environment`` replaces the process environment; ``config`` is the ``--config`` option;
    a container's secret mount may be readable by others, which is then only a warning.
    """
    variables = variables_of(environment)
    directories = [container_secrets]
    credentials = variables.get("CREDENTIALS_DIRECTORY", "").strip()
    if credentials:
        directories.append(FilePath(credentials))
    return Sources(
        layers=(
            from_flags(flags),
            from_environment(variables),
            # Of several directories the last one wins, as in pydantic-settings.
            *(
                from_directory(directory, is_mount=directory == container_secrets)
                for directory in reversed(directories)
            ),
            from_toml(config, variables, catalogue),
        ),
        catalogue=catalogue,
    )


def variables_of(environment: Mapping[str, str] | None) -> Mapping[str, str]:
    """The given variables, else those of the process."""
    return os.environ if environment is None else environment


def environment_without_settings() -> dict[str, str]:
    """The process's variables but ours: for a worker that has its own settings file alone."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(PREFIX) and name != "CREDENTIALS_DIRECTORY"
    }


def _put(tree: dict[str, object], path: Path, value: object) -> bool:
    *parents, last = path
    table = tree
    for part in parents:
        below = table.setdefault(part, {})
        if not isinstance(below, dict):
            return False
        table = below
    if isinstance(table.get(last), dict) and not isinstance(value, dict):
        return False
    table[last] = value
    return True
