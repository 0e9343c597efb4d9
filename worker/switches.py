"""What operators switch, for every worker of a ledger: pauses of accounts, and wishes for a probe.

A switch is a row of the ledger and no message: it works while the broker is down, it outlives every
restart, and each worker reads it every few seconds. What a worker makes of it, it reports beside
it, so that whoever pauses an account sees that nobody calls it any more.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

EVERY_ACCOUNT: Final = "*"
"""The name of the switch that stops all consumption; the settings allow no account that name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Who stopped calls, why, and since when."""

    actor: str
    reason: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeWish:
    """Somebody asks an open breaker for one try now."""

    wish: UUID
    actor: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """How operators have switched one account, or every one."""

    account: str
    pause: Pause | None = None
    probe: ProbeWish | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountReport:
    """How one worker stands to one account: its breaker, and what it has read of the switches.

    ``breaker`` is a state's name, ``reason`` why it changed last, ``next_try`` when an open one
    lets somebody through; ``probe`` is the wish it has read, ``probe_result`` what came of it.
    """

    worker: UUID
    account: str
    breaker: str
    is_paused: bool
    seen_at: datetime
    reason: str | None = None
    next_try: datetime | None = None
    probe: UUID | None = None
    probe_result: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """An account that has looked at a plan and lets another one replay it."""

    plan_sha256: str
    actor: str
    reason: str
    at: datetime
