"""The ledger for the length of a command, with errors that a person understands."""

from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from worker.adapters.encryption import Vault
from worker.adapters.ledgers import SealedStore, open_ledger
from worker.adapters.store_errors import LedgerError, LedgerLockedError, LedgerUnreachableError
from worker.cli.broker import run_with_broker
from worker.cli.context import CommandContext
from worker.cli.exit_codes import CommandError, ExitCode
from worker.ledger import Ledger
from worker.operator_ports import ReplayJournal
from worker.operators.walks import QueueLockedError
from worker.ports import StoreUnavailableError

Result = TypeVar("Result")


@asynccontextmanager
async def opened_ledger(context: CommandContext) -> AsyncIterator[Ledger]:
    """The ledger that the settings name; raises ``LedgerError``."""
    async with opened_journal(context) as (ledger, _journal):
        yield ledger


@asynccontextmanager
async def opened_journal(
    context: CommandContext,
) -> AsyncIterator[tuple[Ledger, ReplayJournal]]:
    """The ledger with the journal of its replay runs; raises ``LedgerError``."""
    async with opened_store(context) as (ledger, store):
        yield ledger, store.journal


@asynccontextmanager
async def opened_store(context: CommandContext) -> AsyncIterator[tuple[Ledger, SealedStore]]:
    """The ledger with the store under it; raises ``LedgerError``."""
    settings = context.loaded().settings
    store = await open_ledger(
        settings.ledger_place(), vault=Vault(settings.ledger_keys()), clock=context.clock
    )
    try:
        ledger = Ledger(store=store, rules=settings.rules(), clock=store.clock)
        yield ledger, store
    finally:
        await store.close()


def run_with_ledger(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a command's asynchronous part; raises ``CommandError`` for ledger and broker alike."""
    try:
        return run_with_broker(work)
    except LedgerError as error:
        raise ledger_error(error) from error
    except QueueLockedError as locked:
        holder = locked.holder
        raise CommandError(
            "queue_locked",
            f"{holder.actor} is walking the {holder.queue} queue"
            f" since {holder.since:%Y-%m-%d %H:%M:%SZ} ({holder.purpose}).",
            exit_code=ExitCode.UNREACHABLE,
            field=holder.queue,
            fix="Wait for it to end; a walk that died gives the queue back within 30 seconds.",
        ) from locked
    except StoreUnavailableError as error:
        raise CommandError(
            "ledger_unavailable",
            "The ledger cannot be used now.",
            exit_code=ExitCode.UNREACHABLE,
            fix="Look at its disk and who holds it, or at its server, then try again.",
        ) from error


def ledger_error(error: LedgerError) -> CommandError:
    """Say what is wrong with the ledger and what to do, as an error of the command line."""
    passes = isinstance(error, LedgerLockedError | LedgerUnreachableError)
    return CommandError(
        "ledger",
        str(error),
        exit_code=ExitCode.UNREACHABLE if passes else ExitCode.CONFIGURATION,
        field="ledger.postgres" if isinstance(error.place, str) else "ledger.path",
        fix=error.fix,
    )
