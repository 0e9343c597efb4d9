"""From sources to settings: merge, validate, check as a whole, and report every fault at once."""

import logging
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from datetime import date
from pathlib import Path as FilePath

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from worker.model import Environment
from worker.rules import BrokerAddress
from worker.settings.catalogue import Catalogue, Path, dotted
from worker.settings.checks import findings_of
from worker.settings.faults import Finding, SettingsError, SettingsFault, path_of, sentence_of
from worker.settings.key_files import key_file_findings
from worker.settings.layers import variable_of
from worker.settings.login import FreshLogin
from worker.settings.root import Role, Settings
from worker.settings.sources import (
    CONTAINER_SECRETS,
    Sources,
    read_sources,
)

CATALOGUE = Catalogue(Settings)
"""Every setting there is."""

_STAND_IN_KEY = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
_MOST_REPAIRS = 10
_MANDATORY_TABLES = frozenset({("broker",), ("ledger",)})

# The library logs every source with its secrets when PYDANTIC_SETTINGS_DEBUG is set and this
# logger is at DEBUG (measured, 2.16.3); `config explain` says the same without them.
logging.getLogger("pydantic_settings").setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Sound settings, where each came from, and what is unwise about them."""

    settings: Settings
    sources: Sources
    warnings: tuple[SettingsFault, ...]
    read_again: Callable[[], Sources]

    def broker(self, role: Role) -> FreshLogin:
        """Where the broker is for one of our connections, with the login as it then is."""
        return FreshLogin(self.settings.broker_address(role), self.read_again)


def load(
    *,
    today: date,
    config: FilePath | None = None,
    flags: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
    container_secrets: FilePath = CONTAINER_SECRETS,
) -> Loaded:
    """Read and check the settings of this deployment.

    ``today`` decides whether ``force_live`` still holds; ``config`` is the file named on the
    command line; ``flags`` are dotted names with values, stronger than everything else;
    ``environment`` and ``container_secrets`` replace the process environment and the mount.
    Raises ``SettingsError`` with every fault found, in ``config`` or elsewhere.
    """

    def read() -> Sources:
        return read_sources(
            CATALOGUE,
            flags=flags or {},
            config=config,
            environment=environment,
            container_secrets=container_secrets,
        )

    return assess(read, today)


def load_broker(
    role: Role,
    *,
    config: FilePath | None = None,
    flags: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
    container_secrets: FilePath = CONTAINER_SECRETS,
) -> tuple[BrokerAddress, str]:
    """Read only what a publisher or a subscriber needs: the broker's address and our prefix.

    Such a machine has no provider accounts and no ledger, so the rest may be missing; what is
    there must be sound all the same. Raises ``SettingsError``.
    """
    sources = read_sources(
        CATALOGUE,
        flags=flags or {},
        config=config,
        environment=environment,
        container_secrets=container_secrets,
    )
    tree, faults = sources.merged()
    settings, errors = _validated(tree)
    faults += [
        _fault(error, sources)
        for error in _heard(errors, sources)
        if error["type"] != "missing" or _is_broker(error)
    ]
    if settings is None or faults:
        raise SettingsError(_ordered(faults))
    return settings.broker_address(role), settings.broker.prefix


def assess(read: Callable[[], Sources], today: date) -> Loaded:
    """Read and validate all sources and check them as a whole; raises ``SettingsError``."""
    sources = read()
    tree, faults = sources.merged()
    settings, errors = _validated(tree)
    named = {fault.name for fault in faults}
    faults += [
        _fault(error, sources)
        for error in _heard(errors, sources)
        # What was left out because it is empty is missing too: the first is the news.
        if error["type"] != "missing" or dotted(path_of(error)) not in named
    ]
    unsound = {path_of(error) for error in errors}
    findings = [
        finding
        for finding in (
            (*findings_of(settings, today), *key_file_findings(settings))
            if settings and not sources.is_file_lost
            else ()
        )
        if not _rests_on(finding, unsound)
    ]
    faults += [_found(each, sources) for each in findings if not each.is_warning]
    if settings is None or faults:
        raise SettingsError(_ordered(faults))
    warnings = [_found(each, sources) for each in findings if each.is_warning]
    return Loaded(
        settings=settings,
        sources=sources,
        warnings=tuple(_ordered([*sources.warnings(), *warnings])),
        read_again=read,
    )


def _validated(tree: dict[str, object]) -> tuple[Settings | None, list[ErrorDetails]]:
    """Settings and every error of form.

    After an error the faulty values are taken out, or replaced where they are a must, so that
    the rules over several settings are checked in the same run. Such settings never leave this
    module: an error is always raised with them.
    """
    errors: dict[Path, ErrorDetails] = {}
    repaired = deepcopy(tree)
    for _ in range(_MOST_REPAIRS):
        try:
            settings = Settings.model_validate(repaired)
        except ValidationError as failure:
            for error in failure.errors(include_url=False, include_input=False):
                path = path_of(error)
                if path in errors:
                    # No stand-in helped: the table around it goes.
                    _repair(repaired, path[:-1])
                else:
                    errors[path] = error
                    _repair(repaired, path)
        else:
            return settings, [error for error in errors.values() if not _is_table_missing(error)]
    return None, list(errors.values())


def _repair(tree: dict[str, object], path: Path) -> None:
    """Take the value at a path out of a tree, or put a stand-in there."""
    table = tree
    for place, part in enumerate(path[:-1]):
        below = table.get(part)
        if not isinstance(below, dict):
            # Inside a list, or inside a value that should have been a table: the whole goes.
            path = path[: place + 1]
            break
        table = below
    if path:
        table.pop(path[-1], None)
        stand_in = _stand_in(path)
        if stand_in is not None:
            table[path[-1]] = stand_in


def _stand_in(path: Path) -> object:
    """A sound value for what must be there; different in every place, so none looks doubled."""
    if path in _MANDATORY_TABLES:
        return {}
    entry = CATALOGUE.entry(path)
    if entry is None or not entry.is_required:
        return None
    unique = "-".join(path).replace("_", "-").lower()
    match entry.path[-1]:
        case "environment":
            return Environment.PRODUCTION
        case "keys":
            return [_STAND_IN_KEY]
        case "base_url":
            return f"https://{unique}.invalid"
        case "user" | "login" | "password":
            return unique
        case _:
            return None


def _is_table_missing(error: ErrorDetails) -> bool:
    """Whether a whole table is missing: what it must hold is then reported, name by name."""
    return error["type"] == "missing" and path_of(error) in _MANDATORY_TABLES


def _heard(errors: list[ErrorDetails], sources: Sources) -> list[ErrorDetails]:
    """The errors worth telling: where the file could not be read, all that it holds is missing."""
    if not sources.is_file_lost:
        return errors
    return [error for error in errors if error["type"] != "missing"]


def _fault(error: ErrorDetails, sources: Sources) -> SettingsFault:
    path = path_of(error)
    check = "CFG002" if error["type"] == "extra_forbidden" else "CFG001"
    sentence = sentence_of(error, CATALOGUE)
    if error["type"] != "missing":
        return SettingsFault(dotted(path), sources.source_of(path), sentence, check)
    entry, variable = CATALOGUE.entry(path), variable_of(path)
    if entry is not None and entry.is_secret:
        fix = f"Put it into a secret file named {variable.lower()}, or into {variable}."
    else:
        fix = f"Set {dotted(path)} in the settings file."
    return SettingsFault(dotted(path), "not set", sentence, check, fix)


def _found(finding: Finding, sources: Sources) -> SettingsFault:
    """The source of the setting itself, and of those it was compared with where they were set."""
    places = dict.fromkeys(
        [
            sources.source_of(finding.about),
            *(sources.source_of(path) for path in finding.rests_on if sources.is_given(path)),
        ]
    )
    return SettingsFault(dotted(finding.about), "; ".join(places), finding.sentence, finding.check)


def _rests_on(finding: Finding, unsound: set[Path]) -> bool:
    """Whether a finding is about something that could not be read."""
    return any(
        bad[: len(path)] == path or path[: len(bad)] == bad
        for path in (finding.about, *finding.rests_on)
        for bad in unsound
    )


def _is_broker(error: ErrorDetails) -> bool:
    return error["loc"][0] == "broker"


def _ordered(faults: list[SettingsFault]) -> list[SettingsFault]:
    return sorted(dict.fromkeys(faults), key=lambda fault: (fault.name, fault.sentence))
