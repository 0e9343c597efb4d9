"""One source of settings at a time: flags, environment, a directory of secret files, TOML.

What is wrong with a source is kept beside its values and raises nothing, so that all of it can be
reported at once.
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


def variable_of(path: Path) -> str:
    """Environment variable of a setting; a secret file has the same name in lower case."""
    return f"{PREFIX}{DELIMITER.join(path).upper()}"


def from_flags(flags: Mapping[str, object]) -> Layer:
    """Values named on the command line, by dotted name; ``None`` is not given."""
    layer = Layer()
    for name, value in flags.items():
        if value is not None:
            layer.add(tuple(name.split(".")), value, "command line")
    return layer


def from_environment(variables: Mapping[str, str]) -> Layer:
    """Every variable with our prefix, in any case, known or not."""
    layer = Layer()
    for variable in sorted(variables):
        if variable.upper().startswith(PREFIX) and variable.upper() != CONFIG_VARIABLE:
            layer.add(_path_in(variable), variables[variable], variable)
    return layer


def from_directory(directory: FilePath, *, is_mount: bool) -> Layer:
    """Every file with our prefix; ``is_mount`` forgives one that everybody may read."""
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
    if may_everybody_read(file):
        if is_mount:
            sentence = "Everybody may read the secret file: mount it with mode 0400."
            layer.warnings.append(SettingsFault(dotted(path), str(file), sentence, "SEC001"))
        else:
            sentence = "Everybody may read the secret file: chmod 0400."
            layer.faults.append(SettingsFault(dotted(path), str(file), sentence, "SEC001"))
    layer.add(path, text.rstrip("\r\n"), str(file))


def from_toml(config: FilePath | None, variables: Mapping[str, str], catalogue: Catalogue) -> Layer:
    """The settings file: the one named, else the default one if it is there."""
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
    if _has_mode(named, stat.S_IWOTH):
        # Refused, it would keep a container from starting whose host shows every file as 0777.
        sentence = "Everybody may write this file, and send payments elsewhere: chmod o-w."
        layer.warnings.append(SettingsFault("config", str(named), sentence, "SEC001"))
    if holds_secret and may_everybody_read(named):
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


def may_everybody_read(file: FilePath) -> bool:
    """Whether its permissions are open to every user; not where it cannot be looked at."""
    return _has_mode(file, stat.S_IROTH)


def _has_mode(file: FilePath, bit: int) -> bool:
    try:
        return bool(file.stat().st_mode & bit)
    except OSError:
        return False  # it was replaced since it was read: it is looked at again with the next one


def _unreadable(name: str, file: FilePath, error: OSError) -> SettingsFault:
    return SettingsFault(name, str(file), f"It cannot be read: {error.strerror}.", "SEC001")


def _where(error: tomllib.TOMLDecodeError) -> str:
    """Only the place: the message may repeat a character or a key of the file."""
    _, _, place = str(error).rpartition("(")
    return place.rstrip(")") or "unreadable"
