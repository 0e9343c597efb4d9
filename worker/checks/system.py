"""SYS: the machine under the worker."""

import os
import sys
import zoneinfo
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from worker.adapters.event_loop import event_loop
from worker.checks.check import Check
from worker.checks.configuration import SOUND_SETTINGS
from worker.checks.deployment import Deployment
from worker.checks.verdicts import Group, Remark, fail, ok, warn

_OLDEST = (3, 11)  # the oldest that aio-pika 10 runs on
_ZONE = "Europe/Paris"
_MIB = 2**20


def python_remark(version: tuple[int, int], loop: str) -> Remark:
    """Whether this Python will do, and the event loop that a worker runs on."""
    text = f"Python {version[0]}.{version[1]}"
    if version < _OLDEST:
        return fail(f"{text} is too old: {_OLDEST[0]}.{_OLDEST[1]} or later is needed")
    return ok(f"{text}, event loop {loop}")


def space_remark(directory: Path, free: int, least: int) -> Remark:
    """Whether there is room, in MiB: below the least the worker claims nothing."""
    text = f"{free} MiB free"
    if free < least:
        return fail(
            f"{text}, at least {least} MiB are needed to take payments", about=str(directory)
        )
    return ok(f"writable, {text}", about=str(directory))


async def _look_at_python(deployment: Deployment) -> Sequence[Remark]:
    choice = deployment.settings.event_loop if deployment.is_readable else "auto"
    return [python_remark(sys.version_info[:2], event_loop(choice).name)]


async def _look_at_state(deployment: Deployment) -> Sequence[Remark]:
    settings = deployment.settings
    ledger = settings.ledger_place()
    directory = ledger.parent if isinstance(ledger, Path) else None  # PostgreSQL has its own
    least = settings.ledger.minimum_free_mib
    found = []
    places = [directory, settings.heartbeat_file().parent]
    for place in dict.fromkeys(each for each in places if each is not None):
        if not place.is_dir():
            found.append(fail("there is no such directory", about=str(place)))
        elif not os.access(place, os.W_OK | os.X_OK, effective_ids=True):
            found.append(fail("this user cannot write there", about=str(place)))
        elif place == directory:
            space = os.statvfs(place)
            found.append(space_remark(place, space.f_bavail * space.f_frsize // _MIB, least))
        else:
            found.append(ok("writable", about=str(place)))
    return found


async def _look_at_time(deployment: Deployment) -> Sequence[Remark]:
    found = []
    try:
        zoneinfo.ZoneInfo(_ZONE)
    except zoneinfo.ZoneInfoNotFoundError:
        found.append(warn("there is no time zone data", fix="Install the package tzdata."))
    offset = deployment.clock.now().astimezone().utcoffset()
    if offset != timedelta():
        fix = "Set TZ=UTC for the worker: its times then compare with every other log."
        found.append(warn(f"the process runs at UTC{offset_text(offset)}", fix=fix))
    return found or [ok("time zone data is there, the process runs in UTC")]


def offset_text(offset: timedelta | None) -> str:
    """An offset as people write it: +01:00."""
    minutes = int((offset or timedelta()).total_seconds() // 60)
    hours, rest = divmod(abs(minutes), 60)
    return f"{'-' if minutes < 0 else '+'}{hours:02}:{rest:02}"


CHECKS = (
    Check(
        id="SYS001",
        group=Group.SYSTEM,
        title="Python is recent enough",
        fix="Install the worker with a later Python.",
        look=_look_at_python,
        at_start=True,
    ),
    Check(
        id="SYS003",
        group=Group.SYSTEM,
        title="The state directory can be written and has room",
        fix="Create it for the worker's user, mount its volume writable, or free some space.",
        look=_look_at_state,
        needs=SOUND_SETTINGS,
        at_start=True,
    ),
    Check(
        id="SYS004",
        group=Group.SYSTEM,
        title="Time zone data is there and the process runs in UTC",
        fix="Set TZ=UTC for the worker.",
        look=_look_at_time,
    ),
)
