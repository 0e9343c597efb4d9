"""LED: the durable record of every payment can be opened and written."""

from collections.abc import Sequence
from datetime import datetime

from worker.adapters.encryption import VaultError
from worker.adapters.store_errors import LedgerError, LedgerLockedError, LedgerUnreachableError
from worker.checks.check import Check
from worker.checks.configuration import SOUND_SETTINGS
from worker.checks.deployment import Deployment
from worker.checks.verdicts import Blame, Group, Remark, fail, ok, warn
from worker.contract.times import time_text
from worker.lifecycle.lost import in_force_until
from worker.ports import StoreUnavailableError
from worker.records import Restoration


async def _look(deployment: Deployment) -> Sequence[Remark]:
    """Open it as the worker would: whose it is, schema version, durability, keys, a write."""
    ledger = deployment.ledger
    try:
        opened = await ledger.open()
    except VaultError as error:
        return [fail(f"{error}", about="ledger.keys", fix="Correct the key in its secret file.")]
    except (LedgerLockedError, LedgerUnreachableError) as error:
        return [fail(f"{error}", fix=error.fix, blame=Blame.UNREACHABLE)]
    except LedgerError as error:
        return [fail(f"{error}", fix=error.fix)]
    except StoreUnavailableError as error:
        cause = f"it cannot be written: {error}"
        return [fail(cause, about=ledger.name, blame=Blame.UNREACHABLE)]
    keys = ", ".join(opened.key_ids)
    found = [ok(f"current, durable, can be written; keys {keys}", about=ledger.name)]
    if opened.restoration is not None:
        until = in_force_until(opened.restoration, deployment.settings.rules())
        if deployment.clock.now() <= until:
            found.append(_in_force(opened.restoration, until, about=ledger.name))
    return found


def _in_force(restoration: Restoration, until: datetime, *, about: str) -> Remark:
    return warn(
        f"it came back from a backup at {time_text(restoration.restored_at)} and knows nothing of"
        f" what happened between {time_text(restoration.known_until)} and then; until"
        f" {time_text(until)} what may have been called meanwhile is in doubt",
        about=about,
        fix="Settle what `payment-worker dead-letters list` shows as ledger_lost.",
    )


CHECKS = (
    Check(
        id="LED001",
        group=Group.LEDGER,
        title="The ledger is there and can be written",
        fix="Look at the disk and who holds the file open, or at the database server.",
        look=_look,
        blame=Blame.CONFIGURATION,
        needs=SOUND_SETTINGS,
        at_start=True,
        seconds=20.0,
    ),
)
