"""CFG and SEC: what reading the settings has found, sorted by the id of its check."""

import hashlib
from collections.abc import Sequence
from urllib.parse import urlsplit

from worker.checks.check import Check
from worker.checks.deployment import Deployment
from worker.checks.verdicts import Blame, Group, Remark, fail, ok, skip, warn
from worker.model import Endpoint

AFTER_FAULTS = "told once the other faults are mended"
"""Why a check of settings that were refused has nothing to say."""

_FORM = "CFG001"
_FINGERPRINT_LENGTH = 8


def fingerprint(endpoint: Endpoint) -> str:
    """First 8 hex digits of SHA-256 of ``login:password`` (payment rules M7).

    Two deployments that show the same one use the same credential.
    """
    pair = f"{endpoint.login}:{endpoint.password.reveal()}"
    return hashlib.sha256(pair.encode()).hexdigest()[:_FINGERPRINT_LENGTH]


def told(deployment: Deployment, check: str) -> list[Remark]:
    """Faults and warnings of one check, as the settings tell them.

    A fault under an id without a check of its own counts as one of form, so none is ever lost.
    """
    return [
        *(
            fail(f"{fault.sentence} ({fault.source})", about=fault.name, fix=fault.fix or "")
            for fault in deployment.faults
            if check == (fault.check if fault.check in SETTINGS_CHECKS else _FORM)
        ),
        *(
            warn(f"{each.sentence} ({each.source})", about=each.name, fix=each.fix or "")
            for each in deployment.warnings
            if each.check == check
        ),
    ]


def _settings_check(
    check: str, title: str, fix: str, *, group: Group = Group.SETTINGS, at_start: bool = True
) -> Check:
    async def look(deployment: Deployment) -> Sequence[Remark]:
        found = told(deployment, check)
        if found:
            return found
        if not deployment.is_readable:
            # One fault hides others: nothing is promised about settings that were refused.
            return [skip(AFTER_FAULTS, about=title)]
        return [ok(title)]

    return Check(
        id=check,
        group=group,
        title=title,
        fix=fix,
        look=look,
        blame=Blame.CONFIGURATION,
        at_start=at_start,
    )


async def _look_at_modes(deployment: Deployment) -> Sequence[Remark]:
    found = [*await _MODES.look(deployment)]
    if deployment.is_readable:
        environment = deployment.settings.environment
        for name, endpoint in deployment.endpoints():
            host = urlsplit(endpoint.base_url).netloc
            facts = f"{environment}, {host}, credential {fingerprint(endpoint)}"
            found.append(ok(facts, about=name))
    return found


_MODES = _settings_check(
    "CFG003",
    "Test and live are complete and apart",
    "Give each account the endpoints its environment needs, each with credentials of its own.",
)

CHECKS = (
    _settings_check(
        _FORM,
        "Every setting is there and can be read",
        "Correct it there; `payment-worker config reference` lists every setting.",
    ),
    _settings_check(
        "CFG002",
        "No setting has an unknown name",
        "Correct the name or take it away; `payment-worker config reference` lists them all.",
    ),
    Check(
        id=_MODES.id,
        group=_MODES.group,
        title=_MODES.title,
        fix=_MODES.fix,
        look=_look_at_modes,
        blame=_MODES.blame,
        at_start=True,
    ),
    _settings_check(
        "CFG004",
        "The time limits nest",
        "Change the smaller or the larger; `payment-worker config explain timing` shows them.",
    ),
    _settings_check(
        "CFG005",
        "The ledger remembers longer than a dead letter can be replayed",
        "Change the longer or the shorter; `payment-worker config explain retention` shows them.",
        at_start=False,
    ),
    _settings_check(
        "CFG006",
        "Every route has an account, every company what its provider needs",
        "Complete the account; until then its payments end as company_not_configured.",
    ),
    _settings_check(
        "SEC001",
        "Secret files are there, not empty, and nobody else reads them",
        "Correct the path, or the file: owned by the worker's user, mode 0400, not empty.",
        group=Group.SECRETS,
    ),
    _settings_check(
        "SEC002",
        "No secret comes from the environment or from two places",
        "Move it to a secret file and take the other away.",
        group=Group.SECRETS,
        at_start=False,
    ),
)

SETTINGS_CHECKS = frozenset(check.id for check in CHECKS)

SOUND_SETTINGS = tuple(check.id for check in CHECKS if check.id != "CFG005")
"""What a check needs that reads the settings."""
