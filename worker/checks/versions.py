"""AMQP009: the broker's version, and what is known to follow from it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from worker.checks.broker import CONNECTED
from worker.checks.check import Check
from worker.checks.deployment import NOT_VISIBLE, Deployment
from worker.checks.verdicts import Group, Remark, ok, skip, warn

Version = tuple[int, int, int]

_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")
_ABOUT = "Broker version"
_UPGRADE = "Upgrade the broker."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Consequence:
    """What follows from a version and the later ones, ``before`` one that no longer has it."""

    since: Version = (0, 0, 0)
    before: Version | None = None
    text: str
    fix: str

    def holds(self, version: Version) -> bool:
        return self.since <= version and (self.before is None or version < self.before)


_CONSEQUENCES = (
    _Consequence(
        before=(3, 10, 0),
        text="quorum queues know neither message TTL nor dead-lettering at least once: the ladder"
        " and the dead letters lose messages",
        fix="Upgrade the broker to 3.10 or later.",
    ),
    _Consequence(
        since=(4, 2, 0),
        before=(4, 2, 7),
        text="dead-lettering at least once may run on the wrong member (mended in 4.2.7)",
        fix=_UPGRADE,
    ),
    _Consequence(
        since=(4, 2, 6),
        before=(4, 2, 7),
        text="a passive declaration needs the right to configure: without it the worker does not"
        " see its mark, and does not start",
        fix=_UPGRADE,
    ),
    _Consequence(
        since=(4, 3, 0),
        before=(4, 3, 1),
        text="a passive declaration needs the right to configure, and dead-lettering at least once"
        " may run on the wrong member (both mended in 4.3.1)",
        fix=_UPGRADE,
    ),
    _Consequence(
        since=(4, 3, 1),
        before=(4, 3, 3),
        text="dead-lettering at least once may stick after a change of members (mended in 4.3.3)",
        fix=_UPGRADE,
    ),
    _Consequence(
        since=(4, 3, 0),
        text="transient queues that are not exclusive are denied to every client, a nack counts"
        " towards no delivery limit, and after its time limit only the consumer is cancelled",
        fix="Nothing has to be done; know it when the broker is looked at.",
    ),
)
"""Source: rabbitmq section 2, and the release notes of the versions named."""


def read_version(text: str) -> Version | None:
    """Read a version as the broker tells it, ``3.10.8`` say; ``None`` for anything else."""
    match = _VERSION.match(text)
    return None if match is None else (int(match[1]), int(match[2]), int(match[3]))


def version_remarks(text: str) -> list[Remark]:
    """What is known to follow from a version as the broker tells it: pure."""
    version = read_version(text)
    if version is None:
        return [skip(NOT_VISIBLE, about=_ABOUT)]
    shown = ".".join(map(str, version))
    found = [
        warn(f"{shown}: {each.text}", about=_ABOUT, fix=each.fix)
        for each in _CONSEQUENCES
        if each.holds(version)
    ]
    return found or [ok(f"{shown}, with no consequence that is known", about=_ABOUT)]


async def _look(deployment: Deployment) -> Sequence[Remark]:
    return version_remarks(await deployment.broker.version())


CHECKS = (
    Check(
        id="AMQP009",
        group=Group.BROKER,
        title="The broker's version is one that is known to serve",
        fix=_UPGRADE,
        look=_look,
        needs=CONNECTED,
    ),
)
