"""PRV: each provider endpoint answers, up to TLS. Never a business call."""

from collections.abc import Sequence

from worker.checks.check import Check
from worker.checks.configuration import SOUND_SETTINGS
from worker.checks.deployment import Deployment
from worker.checks.reach import Reached
from worker.checks.verdicts import Group, Remark, ok, warn


def endpoint_remark(name: str, reached: Reached) -> Remark:
    """What a connection to one endpoint says: pure."""
    if reached.trouble is not None:
        return warn(f"{reached.place}: {reached.trouble}", about=name)
    how = "TLS verified" if reached.is_secured else "without TLS, on this machine"
    return ok(f"{reached.place} answers, {how}", about=name)


async def _look(deployment: Deployment) -> Sequence[Remark]:
    return [endpoint_remark(name, reached) for name, reached in await deployment.reached()]


CHECKS = (
    Check(
        id="PRV001",
        group=Group.PROVIDERS,
        title="Every provider endpoint answers",
        fix="Check base_url, DNS and the firewall; payments wait on the ladder meanwhile.",
        look=_look,
        needs=SOUND_SETTINGS,
    ),
)
