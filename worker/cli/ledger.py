"""``payment-worker ledger``: the durable record of every payment."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from worker.adapters.encryption import generate_key
from worker.adapters.ledgers import initialise_ledger, name_of
from worker.adapters.store_errors import LedgerError
from worker.cli.context import ConfigOption, JsonOption, context_of
from worker.cli.keys_rotated import rekey, show_keys
from worker.cli.maintained import maintain
from worker.cli.opened_ledger import ledger_error
from worker.cli.restored import restored


def register(app: typer.Typer) -> None:
    """Add the ``ledger`` commands."""
    group = typer.Typer(
        help="Create, upgrade or look after the ledger.",
        epilog="Example: sudo -u payment-worker payment-worker ledger init",
        no_args_is_help=True,
    )
    group.command("init", epilog="Example: sudo -u payment-worker payment-worker ledger init")(
        _init
    )
    group.command("key", epilog="Example: payment-worker ledger key > /etc/payment-worker/key")(
        _key
    )
    group.command(
        "restored",
        epilog="Example: payment-worker ledger restored --at 2026-11-21T03:00:00Z",
    )(restored)
    group.command("maintain", epilog="Example: payment-worker ledger maintain --dry-run")(maintain)
    group.command("keys", epilog="Example: payment-worker ledger keys")(show_keys)
    group.command("rekey", epilog="Example: payment-worker ledger rekey --yes")(rekey)
    app.add_typer(group, name="ledger")


def _init(
    typer_context: typer.Context,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Create the ledger, or bring an older one up to date; only this command does either."""
    context = context_of(typer_context, config=config, json=json)
    place = context.loaded().settings.ledger_place()
    try:
        done = asyncio.run(initialise_ledger(place))
    except LedgerError as error:
        raise ledger_error(error) from error
    name = name_of(place)
    if context.output.is_json:
        kind = "path" if isinstance(place, Path) else "database"
        context.output.record({kind: name, "before": done.before, "after": done.after})
    elif done.before is None:
        context.output.success(f"Created the ledger {name} (schema version {done.after}).")
    elif done.before == done.after:
        context.output.success(f"The ledger {name} is up to date (version {done.after}).")
    else:
        context.output.success(
            f"Upgraded the ledger {name} from version {done.before} to {done.after}."
        )


def _key(
    typer_context: typer.Context,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the key only.")] = False,
) -> None:
    """Print a fresh encryption key for the ledger; store it in a secret file."""
    context = context_of(typer_context)
    context.output.text(generate_key().reveal())
    if not quiet:
        context.output.say("Keep it: links in the ledger cannot be read without it.")
