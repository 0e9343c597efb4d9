"""Two accounts of the operating system: one plans and replays, only the other one can approve.

Both run the commands as the worker's user, as with ``sudo -u``; what tells them apart is the
account of their login session, which stays the same whoever one becomes.
"""

import asyncio
import json
import pwd
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from tests.acceptance.erp import basket_order
from tests.acceptance.installation import Finished, Installation
from tests.acceptance.provider_cases import applied_for
from tests.acceptance.shared_site import Site, site_of
from tests.broker import Broker

LETTERS = 3
PLANNER, APPROVER = "daemon", "bin"
"""Accounts that every machine has."""

_LOGGED_IN = 'echo "$0" > /proc/self/loginuid && exec "$@"'

pytestmark = [
    pytest.mark.broker,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.time_limit(120),  # a dozen commands, and every one is a process
]


@pytest_asyncio.fixture(loop_scope="module")
async def site(broker: Broker, tmp_path: Path) -> AsyncIterator[Site]:
    """A worker whose operators need an approval for more than one letter."""

    def bend(installation: Installation) -> None:
        installation.table("operators")["approval_letters"] = LETTERS - 1

    async with site_of(broker, tmp_path, bend) as site:
        yield site


async def session_of(account: str) -> Sequence[str]:
    """Words of a command that runs another one in a login session of an account.

    The kernel lets a process that nobody has logged in name its session once, and the system's
    administrator at any time. Elsewhere the account is one of a user namespace of its own.
    """
    user = str(pwd.getpwnam(account).pw_uid)
    logged_in = ("sh", "-c", _LOGGED_IN, user)
    tried = await asyncio.create_subprocess_exec(
        *logged_in, "true", stderr=asyncio.subprocess.DEVNULL
    )
    if await tried.wait() == 0:
        return logged_in
    return ("unshare", "--user", f"--map-user={user}")


async def typed(site: Site, account: str, *words: str) -> Finished:
    """A command as that account types it."""
    prelude = await session_of(account)
    return await site.installation.run("dead-letters", *words, prelude=prelude)


async def test_a_large_plan_is_replayed_once_another_account_has_approved_it(
    site: Site, tmp_path: Path
) -> None:
    events = []
    for number in range(1, LETTERS + 1):
        asked = basket_order(email="sim+refuse-once@example.org", id_commande=f"400{number}")
        sent = await site.erp.send(asked)
        events.append(await site.erp.answer(sent))
        await site.erp.letter(sent)
    await site.erp.has_depth("dlq", LETTERS)
    plan = str(tmp_path / "refused.plan")
    reason = ("--reason", "looked at it", "--yes", "--json")
    planned = await typed(site, PLANNER, "plan", "--all", "--output", plan, "--json")
    assert planned.code == 0, planned.complaint
    for account, act, fault in (
        (PLANNER, "replay", "approval_missing"),
        (PLANNER, "approve", "approval_by_planner"),
        (APPROVER, "replay", "approval_missing"),
    ):
        refused = await typed(site, account, act, plan, *reason)
        assert refused.code == 1, (account, act)
        assert fault in refused.complaint, (account, act)
    approved = await typed(site, APPROVER, "approve", plan, *reason)
    assert approved.code == 0, approved.complaint
    assert (approved.data["approved_by"], approved.data["planned_by"]) == (APPROVER, PLANNER)
    own = await typed(site, APPROVER, "replay", plan, *reason)
    assert "approval_missing" in own.complaint, "who has approved it may not run it"
    assert site.simulator.applied.total == 0
    run = await typed(site, PLANNER, "replay", plan, *reason)
    assert run.code == 0, run.output + run.complaint
    assert [applied_for(event, site.simulator.applied) for event in events] == [1] * LETTERS
    exported = await site.installation.run("audit", "export")
    acts = [json.loads(line) for line in exported.output.splitlines()]
    told = [(act["user.name"], act["event.action"], act["event.type"]) for act in acts]
    assert told[:6] == [
        (PLANNER, "replay_begin", "denied"),
        (PLANNER, "approve", "denied"),
        (APPROVER, "replay_begin", "denied"),
        (APPROVER, "approve", "allowed"),
        (APPROVER, "replay_begin", "denied"),
        (PLANNER, "replay_begin", "allowed"),
    ]
    assert {name for name, _action, _type in told[6:]} == {PLANNER}
