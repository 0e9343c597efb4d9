"""What the shell completes of a command's values, beyond what its options list by themselves.

Runs while somebody types: it reads the settings at most, asks nobody over a network, and stays
silent where they cannot be read.
"""

from collections.abc import Iterable, Iterator

import typer

from worker.adapters.clock import SystemClock
from worker.model import PaymentTarget, PaymentType, RunMode
from worker.settings import Loaded, SettingsError, explain, known_names, load

Completion = tuple[str, str]
"""A value and the few words that zsh and fish show beside it."""


def setting_names(typer_context: typer.Context) -> Iterator[Completion]:
    """Every setting and table by name; with sound settings those of accounts and companies too."""
    loaded = _loaded(typer_context)
    rows = [] if loaded is None else explain(loaded)
    meanings = known_names() | {row.name: row.meaning for row in rows}
    tables = dict.fromkeys(_above(meanings), "every setting of this table")
    yield from sorted((tables | meanings).items())


def _above(names: Iterable[str]) -> Iterator[str]:
    """The tables that hold these settings, and those that hold them."""
    for name in names:
        parts = name.split(".")
        yield from (".".join(parts[:depth]) for depth in range(1, len(parts)))


def origins(typer_context: typer.Context) -> Iterator[Completion]:
    """Origins that the settings know, by the subscribers that get their answers."""
    loaded = _loaded(typer_context)
    if loaded is not None:
        for name, names in sorted(loaded.settings.results.subscribers.items()):
            yield from ((origin, f"answered to {name}") for origin in names)


def accounts(typer_context: typer.Context) -> Iterator[Completion]:
    """Accounts of the settings."""
    loaded = _loaded(typer_context)
    if loaded is not None:
        for name, account in sorted(loaded.settings.accounts.items()):
            yield name, f"{account.provider} account"


def targets() -> Iterable[str]:
    """Payment targets."""
    return list(PaymentTarget)


def payment_types() -> Iterable[str]:
    """Payment types."""
    return list(PaymentType)


def run_modes() -> Iterable[str]:
    """Run modes of a payment."""
    return list(RunMode)


def _loaded(typer_context: typer.Context) -> Loaded | None:
    named = typer_context.params.get("config")
    config = named or typer_context.find_root().params.get("config_file")
    try:
        return load(today=SystemClock().now().date(), config=config)
    except SettingsError:
        return None
