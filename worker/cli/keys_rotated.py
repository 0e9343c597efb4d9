"""``ledger keys`` and ``ledger rekey``: what each encryption key seals, and replacing one."""

from typing import Annotated

import typer

from worker.adapters.encryption import Vault
from worker.cli.actor import operating_system_account
from worker.cli.context import CommandContext, ConfigOption, FormatOption, JsonOption, context_of
from worker.cli.exit_codes import ExitCode
from worker.cli.maintained import retention_running
from worker.cli.opened_ledger import opened_store, run_with_ledger
from worker.operators.keys import KeyUse, Resealed, look_at_keys, seal_again
from worker.operators.walks import QueueLockedError

_COLUMNS = ("use", "values", "marks", "key")


def show_keys(
    typer_context: typer.Context,
    config: ConfigOption = None,
    json: JsonOption = False,
    output_format: FormatOption = None,
) -> ExitCode:
    """Count what each encryption key still seals: a key that seals no value may be taken away.

    Values are links and e-mails; marks find payments by e-mail and end with it. A key is shown by
    its id, which reveals nothing of it. Reads the whole ledger, page by page.
    """
    context = context_of(typer_context, config=config, json=json, output_format=output_format)
    uses = run_with_ledger(_looked(context))
    context.output.table(_COLUMNS, [_row(context, each) for each in uses], title="Encryption keys")
    return ExitCode.OK


def rekey(
    typer_context: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> ExitCode:
    """Seal everything under the first key of `ledger.keys`, so that older ones can go.

    Put the new key first and the old one behind it, restart every worker, say this, then take the
    old key away. It works beside the payments, and may be run again.
    """
    context = context_of(typer_context, config=config, json=json)
    question = "Has every worker been restarted with these keys?"
    context.output.confirm(question, is_answered=yes)
    done = run_with_ledger(_sealed(context))
    rows = [_row(context, each) for each in done.keys]
    if context.output.is_json:
        context.output.record({"renewed": done.renewed, "unused": done.unused, "keys": rows})
        return ExitCode.OK
    context.output.success(f"Sealed {done.renewed} rows anew under key {done.keys[0].key_id}.")
    for key_id in done.unused:
        context.output.say(f"Key {key_id} seals nothing any more: take it out of ledger.keys.")
    return ExitCode.OK


async def _looked(context: CommandContext) -> list[KeyUse]:
    async with opened_store(context) as (_ledger, store):
        return list(await look_at_keys(store.seals, _key_ids(context), clock=context.clock))


async def _sealed(context: CommandContext) -> Resealed:
    async with opened_store(context) as (ledger, store):
        try:
            return await seal_again(
                ledger, store.seals, _key_ids(context), actor=operating_system_account()
            )
        except QueueLockedError as locked:
            raise retention_running(locked) from locked


def _key_ids(context: CommandContext) -> tuple[str, ...]:
    return Vault(context.loaded().settings.ledger_keys()).key_ids


def _row(context: CommandContext, use: KeyUse) -> dict[str, object]:
    return {
        "key": use.key_id,
        "use": _word(use, is_supplied=use.key_id in _key_ids(context)),
        "values": use.values,
        "marks": use.marks,
    }


def _word(use: KeyUse, *, is_supplied: bool) -> str:
    if use.is_first:
        return "seals"
    if not is_supplied:
        return "gone"
    return "opens" if use.values else "unused"
