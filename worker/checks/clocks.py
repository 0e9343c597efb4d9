"""SYS002: this machine's clock against those that its requests and its ledger are judged by."""

from collections.abc import Sequence
from datetime import timedelta

from worker.adapters.remote_time import RemoteTime
from worker.checks.check import Check
from worker.checks.configuration import SOUND_SETTINGS
from worker.checks.deployment import Deployment
from worker.checks.verdicts import Group, Remark, fail, ok, skip, warn
from worker.rules import TOLERATED_SKEW

_TOO_FAR = timedelta(seconds=20)
_LEDGER = "The ledger's server"


def clock_remark(ahead: timedelta, about: str, *, margin: timedelta = timedelta()) -> Remark:
    """What the distance of another clock means, its ``margin`` of error in our favour: pure."""
    distance = max(abs(ahead) - margin, timedelta())
    if distance <= TOLERATED_SKEW:
        return ok("its clock and this machine's agree", about=about)
    way = "ahead of" if ahead > timedelta() else "behind"
    text = f"its clock is {abs(ahead).total_seconds():.0f} s {way} this machine's"
    return fail(text, about=about) if distance > _TOO_FAR else warn(text, about=about)


def provider_remark(name: str, time: RemoteTime | None) -> Remark:
    """What a provider's clock means, where it told the time: pure."""
    if time is None:
        return skip("it does not tell the time", about=name)
    return clock_remark(time.ahead, name, margin=time.margin)


async def _look(deployment: Deployment) -> Sequence[Remark]:
    found = []
    ledger = deployment.ledger
    if ledger.is_elsewhere:
        ahead = await ledger.ahead()
        found.append(
            skip("it was not reached: see LED001", about=_LEDGER)
            if ahead is None
            else clock_remark(ahead, _LEDGER)
        )
    times = await deployment.provider_times()
    return [*found, *(provider_remark(name, time) for name, time in times)]


CHECKS = (
    Check(
        id="SYS002",
        group=Group.SYSTEM,
        title="The clock agrees with the ledger's server and the providers",
        fix="Keep every machine in time (NTP): a signed request is refused at 30 s.",
        look=_look,
        needs=SOUND_SETTINGS,
        seconds=30.0,
    ),
)
