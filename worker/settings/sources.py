"""Where settings come from, in order: flags, environment, secret files, TOML, defaults.

The one reader of the environment. Every value keeps the place it came from, so that a fault, and
``config explain``, can name it. The sources of pydantic-settings are not used: they stop at the
first value they cannot parse, accept unknown names beside known ones, and do not say afterwards
which of them a value came from (measured, 2.16.3).
"""

import os
import stat
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath

from worker.settings.catalogue import Catalogue, Path, dotted
from worker.settings.faults import SettingsFault

PREFIX = "PAYMENT_WORKER_"
DELIMITER = "__"
CONFIG_VARIABLE = "PAYMENT_WORKER_CONFIG"
DEFAULT_CONFIG = FilePath("/etc/payment-worker/settings.toml")
CONTAINER_SECRETS = FilePath("/run/secrets")
_LARGEST_FILE = 1 << 20


@dataclass(slots=True)
class Layer:
    """The values of one source, by path, each with the place it was found."""

    values: dict[Path, object] = field(default_factory=dict)
    places: dict[Path, str] = field(default_factory=dict)
    faults: list[SettingsFault] = field(default_factory=list)
    warnings: list[SettingsFault] = field(default_factory=list)

    def add(self, path: Path, value: object, place: str) -> None:
        """Keep one value; an empty or doubled one is a fault and is left out."""
        if isinstance(value, str) and not value.strip():
            self.faults.append(SettingsFault(dotted(path), place, "It is empty.", "SEC001"))
        elif path in self.values:
            other = self.places[path]
            self.faults.append(
                SettingsFault(dotted(path), place, f"It is given a second time, after {other}.")
            )
        else:
            self.values[path] = value
            self.places[path] = place


@dataclass(frozen=True, slots=True)
class Sources:
    """All layers, the strongest first."""

    layers: tuple[Layer, ...]
    catalogue: Catalogue

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
            _from_flags(flags),
            _from_environment(variables),
            # Of several directories the last one wins, as in pydantic-settings.
            *(
                _from_directory(directory, is_mount=directory == container_secrets)
                for directory in reversed(directories)
            ),
            _from_toml(config, variables, catalogue),
        ),
        catalogue=catalogue,
    )


def variables_of(environment: Mapping[str, str] | None) -> Mapping[str, str]:
    """The given variables, else those of the process."""
    return os.environ if environment is None else environment


def _from_flags(flags: Mapping[str, object]) -> Layer:
    layer = Layer()
    for name, value in flags.items():
        if value is not None:
            layer.add(tuple(name.split(".")), value, "command line")
    return layer


def _from_environment(variables: Mapping[str, str]) -> Layer:
    layer = Layer()
    for variable in sorted(variables):
        if variable.upper().startswith(PREFIX) and variable.upper() != CONFIG_VARIABLE:
            layer.add(_path_in(variable), variables[variable], variable)
    return layer


def _from_directory(directory: FilePath, *, is_mount: bool) -> Layer:
    layer = Layer()
    try:
        names = sorted(os.listdir(directory))  # noqa: PTH208 - names are wanted, unread files are
    except FileNotFoundError:
        return layer
    except OSError as error:
        layer.faults.append(_unreadable("secrets", directory, error))
        return layer
    for name in names:
        if name.upper().startswith(PREFIX):
            _add_secret_file(layer, directory / name, _path_in(name), is_mount=is_mount)
    return layer


def _add_secret_file(layer: Layer, file: FilePath, path: Path, *, is_mount: bool) -> None:
    text = _read(layer, file, dotted(path))
    if text is None:
        return
    if file.stat().st_mode & stat.S_IROTH:
        if is_mount:
            sentence = "Everybody may read the secret file: mount it with mode 0400."
            layer.warnings.append(SettingsFault(dotted(path), str(file), sentence, "SEC001"))
        else:
            sentence = "Everybody may read the secret file: chmod 0400."
            layer.faults.append(SettingsFault(dotted(path), str(file), sentence, "SEC001"))
    layer.add(path, text.rstrip("\r\n"), str(file))


def _from_toml(
    config: FilePath | None, variables: Mapping[str, str], catalogue: Catalogue
) -> Layer:
    layer = Layer()
    named = config or FilePath(variables.get(CONFIG_VARIABLE, "").strip() or DEFAULT_CONFIG)
    if named == DEFAULT_CONFIG and config is None and not named.exists():
        return layer
    text = _read(layer, named, "config")
    if text is None:
        return layer
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        layer.faults.append(
            SettingsFault("config", str(named), f"Not valid TOML: {_where(error)}.")
        )
        return layer
    for path, value in _leaves(table, (), catalogue):
        layer.add(path, value, f"{named}, {dotted(path)}")
    holds_secret = any(
        entry.is_secret for path in layer.values if (entry := catalogue.entry(path)) is not None
    )
    if holds_secret and named.stat().st_mode & stat.S_IROTH:
        sentence = "Everybody may read this file, and it holds a secret: chmod 0640 or stricter."
        layer.faults.append(SettingsFault("config", str(named), sentence, "SEC001"))
    return layer


def _leaves(
    table: Mapping[str, object], prefix: Path, catalogue: Catalogue
) -> Iterator[tuple[Path, object]]:
    for name, value in table.items():
        path = (*prefix, name)
        if isinstance(value, dict) and (value or not catalogue.is_table(path)):
            yield from _leaves(value, path, catalogue)
        else:
            yield path, value


def _path_in(name: str) -> Path:
    return tuple(name[len(PREFIX) :].lower().split(DELIMITER))


def _read(layer: Layer, file: FilePath, name: str) -> str | None:
    try:
        if file.stat().st_size > _LARGEST_FILE:
            layer.faults.append(SettingsFault(name, str(file), "The file is larger than 1 MiB."))
            return None
        return file.read_text(encoding="utf-8")
    except OSError as error:
        layer.faults.append(_unreadable(name, file, error))
    except UnicodeDecodeError:
        layer.faults.append(SettingsFault(name, str(file), "The file is not UTF-8 text."))
    return None


def _unreadable(name: str, file: FilePath, error: OSError) -> SettingsFault:
    return SettingsFault(name, str(file), f"It cannot be read: {error.strerror}.", "SEC001")


def _where(error: tomllib.TOMLDecodeError) -> str:
    """Only the place: the message may repeat a character or a key of the file."""
    _, _, place = str(error).rpartition("(")
    return place.rstrip(")") or "unreadable"


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
