"""LED: the durable record of every payment can be opened and written."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from worker.adapters.encryption import Vault, VaultError
from worker.adapters.ledgers import name_of, open_ledger
from worker.adapters.store_errors import LedgerError, LedgerLockedError, LedgerUnreachableError
from worker.checks.check import Check
from worker.checks.configuration import SOUND_SETTINGS
from worker.checks.deployment import Deployment
from worker.checks.verdicts import Blame, Group, Remark, fail, ok, warn
from worker.contract.times import time_text
from worker.lifecycle.lost import in_force_until
from worker.ports import StoreUnavailableError
from worker.records import Restoration
from worker.rules import TOLERATED_SKEW

_BUSY_SECONDS = 2.0  # a running worker holds the lock for milliseconds


async def _look(deployment: Deployment) -> Sequence[Remark]:
    """Open it as the worker would: whose it is, schema version, durability, keys, a write."""
    settings = deployment.settings
    place = settings.ledger_place()
    name = name_of(place)
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
    except (LedgerLockedError, LedgerUnreachableError) as error:
        return [fail(f"{error}", fix=error.fix, blame=Blame.UNREACHABLE)]
    except LedgerError as error:
        return [fail(f"{error}", fix=error.fix)]
    try:
        await store.ping()
        restoration = await store.restoration()
    except StoreUnavailableError as error:
        return [fail(f"it cannot be written: {error}", about=name, blame=Blame.UNREACHABLE)]
    finally:
        await store.close()
    keys = ", ".join(vault.key_ids)
    found = [ok(f"current, durable, can be written; keys {keys}", about=name)]
    ahead = store.clock.now() - deployment.clock.now()
    if abs(ahead) > TOLERATED_SKEW:
        found.append(_differs(ahead, about=name))
    if restoration is not None:
        until = in_force_until(restoration, settings.rules())
        if deployment.clock.now() <= until:
            found.append(_in_force(restoration, until, about=name))
    return found


def _differs(ahead: timedelta, *, about: str) -> Remark:
    way = "ahead of" if ahead > timedelta() else "behind"
    return warn(
        f"its clock is {abs(ahead).total_seconds():.0f} s {way} this machine's",
        about=about,
        fix="Keep both machines in time (NTP): signed requests are refused at 30 s.",
    )


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
