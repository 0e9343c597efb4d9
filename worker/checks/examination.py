"""Running checks: which, in what order, each within its limit, none stopping the others."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from worker.adapters.connection import is_own_cancellation
from worker.checks.check import Check
from worker.checks.deployment import Deployment
from worker.checks.verdicts import (
    Blame,
    CannotSeeError,
    NotReachedError,
    Remark,
    Row,
    Verdict,
    fail,
    skip,
)

NEEDS = "needs"
"""How the cause of a row begins that is skipped because of a failure before it."""

_NEEDS_FIX = {Verdict.WARN, Verdict.FAIL}


class UnknownCheckError(Exception):
    """No check has this id or begins with it."""

    def __init__(self, wanted: str) -> None:
        super().__init__(wanted)
        self.wanted = wanted


def choose(checks: Sequence[Check], *, only: Sequence[str], at_start: bool) -> list[Check]:
    """The checks asked for by id or by its beginning (``CFG``), in any case; none named: all.

    Raises ``UnknownCheckError``.
    """
    wanted = [word.upper() for word in only]
    for word in wanted:
        if not any(check.id.startswith(word) for check in checks):
            raise UnknownCheckError(word)
    return [
        check
        for check in checks
        if (check.at_start or not at_start)
        and (not wanted or any(check.id.startswith(word) for word in wanted))
    ]


async def examine(
    deployment: Deployment, checks: Sequence[Check], chosen: Sequence[Check]
) -> AsyncIterator[Row]:
    """Run the chosen checks in order and yield what they found, row by row.

    What a chosen check needs is looked at first. It is shown only where it failed: its
    dependents are then skipped, and a skip alone would look like success.
    """
    shown = {check.id for check in chosen}
    needed = shown.union(*(check.needs for check in chosen))
    failed: set[str] = set()
    for check in checks:
        if check.id not in needed:
            continue
        missing = [each for each in check.needs if each in failed]
        if missing:
            remarks: Sequence[Remark] = [skip(f"{NEEDS} {missing[0]}", about=check.title)]
        else:
            remarks = await _remarks_of(check, deployment)
        if any(remark.verdict is Verdict.FAIL for remark in remarks):
            failed.add(check.id)
        for remark in remarks:
            if check.id in shown or remark.verdict is Verdict.FAIL:
                yield _row(check, remark)


async def _remarks_of(check: Check, deployment: Deployment) -> Sequence[Remark]:
    try:
        async with asyncio.timeout(check.seconds):
            return await check.look(deployment)
    except CannotSeeError as error:
        return [skip(error.reason, about=check.title, fix=error.fix)]
    except NotReachedError as error:
        return [fail(error.reason, fix=error.fix, blame=Blame.UNREACHABLE)]
    except TimeoutError:
        cause = f"no answer within {check.seconds:.0f} s"
        return [fail(cause, blame=Blame.UNREACHABLE)]
    except asyncio.CancelledError:
        if is_own_cancellation():
            raise
        return [fail("the connection ended under a question", blame=Blame.UNREACHABLE)]
    except Exception as error:  # noqa: BLE001 - one broken check must not hide the others
        # Its text stays out: nobody knows what it quotes.
        return [fail(f"the check itself broke off: {type(error).__name__}", blame=Blame.DEFECT)]


def _row(check: Check, remark: Remark) -> Row:
    return Row(
        check=check.id,
        group=check.group,
        verdict=remark.verdict,
        about=remark.about,
        cause=remark.cause,
        fix=remark.fix or (check.fix if remark.verdict in _NEEDS_FIX else ""),
        blame=remark.blame or check.blame,
    )
