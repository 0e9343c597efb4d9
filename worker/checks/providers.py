"""PRV: each provider endpoint answers, up to TLS. Never a business call, never a credential."""

from collections.abc import Sequence
from typing import assert_never

from worker.checks.check import Check
from worker.checks.configuration import SOUND_SETTINGS
from worker.checks.deployment import Deployment
from worker.checks.reach import Reached
from worker.checks.verdicts import Group, Remark, ok, skip, warn
from worker.contract.times import time_text
from worker.model import ProviderKind
from worker.settings.accounts import AccountSettings
from worker.switches import EVERY_ACCOUNT, Switch


def endpoint_remark(name: str, reached: Reached) -> Remark:
    """What a connection to one endpoint says: pure."""
    if reached.trouble is not None:
        return warn(f"{reached.place}: {reached.trouble}", about=name)
    how = "TLS verified" if reached.is_secured else "without TLS, on this machine"
    return ok(f"{reached.place} answers, {how}", about=name)


async def _look(deployment: Deployment) -> Sequence[Remark]:
    return [endpoint_remark(name, reached) for name, reached in await deployment.reached()]


def credentials_remark(name: str, kind: ProviderKind) -> Remark:
    """What can be told of the credentials of one account without a payment: pure."""
    match kind:
        case ProviderKind.LINK:
            # It documents a search for payments, and neither what a search that finds nothing
            # answers nor that a failed one leaves no trace (link provider, section 4).
            return skip("its search for payments is not proven to be harmless", about=name)
        case ProviderKind.BASKET:
            return skip("it has no call that changes nothing", about=name)
        case other:
            assert_never(other)


async def _look_at_credentials(deployment: Deployment) -> Sequence[Remark]:
    accounts = sorted(deployment.settings.accounts.items())
    return [credentials_remark(f"accounts.{name}", each.provider) for name, each in accounts]


def look_up_remark(name: str, account: AccountSettings) -> Remark:
    """What becomes of the account's payments in doubt: pure."""
    if account.look_up:
        return ok("payments in doubt are looked up by search_payment, by reads only", about=name)
    match account.provider:
        case ProviderKind.LINK:
            return ok("payments in doubt wait for a person: look_up is off", about=name)
        case ProviderKind.BASKET:
            return ok("payments in doubt wait for a person: it has no read", about=name)
        case other:
            assert_never(other)


async def _look_at_look_ups(deployment: Deployment) -> Sequence[Remark]:
    accounts = sorted(deployment.settings.accounts.items())
    return [look_up_remark(f"accounts.{name}", each) for name, each in accounts]


def pause_remark(switch: Switch) -> Remark | None:
    """What it means that operators have switched an account: pure; ``None`` where it is called."""
    pause = switch.pause
    if pause is None:
        return None
    name = "everything" if switch.account == EVERY_ACCOUNT else f"accounts.{switch.account}"
    return warn(f"paused by {pause.actor} since {time_text(pause.since)}", about=name)


async def _look_at_switches(deployment: Deployment) -> Sequence[Remark]:
    switches = await deployment.ledger.switches()
    if switches is None:
        return [skip("the ledger does not tell", about="accounts")]
    remarks = [pause_remark(switch) for switch in switches]
    paused = [remark for remark in remarks if remark is not None]
    return paused or [ok("none is paused", about="accounts")]


CHECKS = (
    Check(
        id="PRV001",
        group=Group.PROVIDERS,
        title="Every provider endpoint answers",
        fix="Check base_url, DNS and the firewall; payments wait on the ladder meanwhile.",
        look=_look,
        needs=SOUND_SETTINGS,
    ),
    Check(
        id="PRV002",
        group=Group.PROVIDERS,
        title="Each provider accepts our credentials",
        fix="Correct login and password of the account.",
        look=_look_at_credentials,
        needs=SOUND_SETTINGS,
    ),
    Check(
        id="PRV003",
        group=Group.PROVIDERS,
        title="It is known what becomes of payments in doubt",
        fix="Set look_up of the account, or see to its doubts by hand.",
        look=_look_at_look_ups,
        needs=SOUND_SETTINGS,
    ),
    Check(
        id="PRV004",
        group=Group.PROVIDERS,
        title="No account is paused",
        fix="Whoever paused it knows why; payments wait until `payment-worker accounts resume`.",
        look=_look_at_switches,
        needs=(*SOUND_SETTINGS, "LED001"),
    ),
)
