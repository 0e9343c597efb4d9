"""LED: the durable record of every payment can be opened and written."""

from collections.abc import Sequence

from worker.adapters.encryption import Vault, VaultError
from worker.adapters.ledgers import open_ledger
from worker.adapters.store_errors import LedgerError, LedgerLockedError
from worker.checks.check import Check
from worker.checks.configuration import SOUND_SETTINGS
from worker.checks.deployment import Deployment
from worker.checks.verdicts import Blame, Group, Remark, fail, ok
from worker.ports import StoreUnavailableError

_BUSY_SECONDS = 2.0  # a running worker holds the lock for milliseconds


async def _look(deployment: Deployment) -> Sequence[Remark]:
    """Open it as the worker would: owner, schema version, journal, keys, a write lock."""
    settings = deployment.settings
    place = settings.ledger_place()
    path = str(place)
    try:
        vault = Vault(settings.ledger_keys())
        store = await open_ledger(
            place,
            vault=vault,
            clock=deployment.clock,
            busy_seconds=_BUSY_SECONDS,
            busy_tries=1,
        )
    except VaultError as error:
        return [fail(f"{error}", about="ledger.keys", fix="Correct the key in its secret file.")]
    except LedgerLockedError as error:
        return [fail(f"{error}", fix=error.fix, blame=Blame.UNREACHABLE)]
    except LedgerError as error:
        return [fail(f"{error}", fix=error.fix)]
    try:
        await store.ping()
    except StoreUnavailableError as error:
        return [fail(f"it cannot be written: {error}", about=path, blame=Blame.UNREACHABLE)]
    finally:
        await store.close()
    keys = ", ".join(vault.key_ids)
    return [ok(f"current, durable, can be written; keys {keys}", about=path)]


CHECKS = (
    Check(
        id="LED001",
        group=Group.LEDGER,
        title="The ledger is there and can be written",
        fix="Look at the disk and at who holds the file open.",
        look=_look,
        blame=Blame.CONFIGURATION,
        needs=SOUND_SETTINGS,
        at_start=True,
        seconds=20.0,
    ),
)
