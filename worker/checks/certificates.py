"""SEC003: certificates are verified and last."""

import asyncio
import ssl
from collections.abc import Sequence
from datetime import datetime, timedelta

from worker.checks.check import Check
from worker.checks.configuration import SOUND_SETTINGS, told
from worker.checks.deployment import Deployment
from worker.checks.reach import Reached, reach
from worker.checks.verdicts import Blame, Group, Remark, fail, ok, skip, warn
from worker.settings import Settings

_ID = "SEC003"
_SOON = timedelta(days=30)
_AT_ONCE = timedelta(days=7)


def expiry(about: str, reached: Reached, now: datetime) -> Remark:
    """What the end of a certificate means: pure."""
    if reached.trouble is not None:
        return skip("no certificate was seen: it was not reached", about=about)
    if reached.expires is None:
        return skip("a loopback address without TLS", about=about)
    left = reached.expires - now
    text = f"its certificate ends on {reached.expires:%Y-%m-%d}, in {left.days} days"
    if left < _AT_ONCE:
        return fail(text, about=about)
    return warn(text, about=about) if left < _SOON else ok(text, about=about)


async def _look(deployment: Deployment) -> Sequence[Remark]:
    settings, now = deployment.settings, deployment.clock.now()
    found = told(deployment, _ID)
    if settings.broker.tls:
        found.extend(
            expiry(f"broker {reached.place}", reached, now)
            for reached in await _reach_broker(settings)
        )
    found.extend(expiry(name, reached, now) for name, reached in await deployment.reached())
    return found


async def _reach_broker(settings: Settings) -> list[Reached]:
    broker = settings.broker
    try:
        context = ssl.create_default_context(cafile=broker.ca_file)
        if broker.certificate_file is not None:
            context.load_cert_chain(broker.certificate_file, broker.key_file)
    except OSError as error:  # AMQP001 says which file it is
        return [Reached(place=host, trouble=str(error.strerror)) for host, _ in broker.places()]
    return list(
        await asyncio.gather(*(reach(host, port, context) for host, port in broker.places()))
    )


CHECKS = (
    Check(
        id=_ID,
        group=Group.SECRETS,
        title="Certificates are verified and do not end soon",
        fix="Renew the certificate, or ask its owner to.",
        look=_look,
        blame=Blame.CONFIGURATION,
        needs=SOUND_SETTINGS,
    ),
)
