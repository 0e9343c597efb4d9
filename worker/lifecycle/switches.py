"""Pausing accounts and asking for a probe: acts of operators that touch no payment.

A pause decides nothing: what waits, waits uncounted, and what is under way ends. Doing it twice
does it once, and the first reason stays: it is the one that people were told.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from worker.ports import View
from worker.records import ActFacts, AuditEntry, Change, Needs
from worker.switches import EVERY_ACCOUNT, Pause, ProbeWish, Switch


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchWish:
    """Who wants to switch which account (or ``EVERY_ACCOUNT``), and why."""

    account: str
    actor: str
    reason: str

    @property
    def needs(self) -> Needs:
        return Needs((), accounts=(self.account, EVERY_ACCOUNT))


@dataclass(frozen=True, slots=True)
class Switched:
    """What was switched: ``is_new`` tells whether it stood otherwise before.

    ``pause`` is the one in force now, or the one that ended. ``other`` still stops the account: the
    pause of every one.
    """

    pause: Pause | None
    is_new: bool
    other: Pause | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """Every worker has been asked for one try; ``wish`` is what its reports name."""

    wish: UUID


@dataclass(frozen=True, slots=True)
class StillPaused:
    """A paused account is not probed: whoever paused it wants no call."""

    pause: Pause


def pause(view: View, wish: SwitchWish, now: datetime) -> Change[Switched]:
    """Stop an account's calls; audited."""
    switch = view.switch(wish.account) or Switch(account=wish.account)
    if switch.pause is not None:
        return Change(result=Switched(switch.pause, is_new=False))
    paused = Pause(actor=wish.actor, reason=wish.reason, since=now)
    return Change(
        result=Switched(paused, is_new=True),
        switches=(replace(switch, pause=paused),),
        audit=(_act(wish, "pause", wish.reason, now),),
    )


def resume(view: View, wish: SwitchWish, now: datetime) -> Change[Switched]:
    """Let an account be called again; audited."""
    switch = view.switch(wish.account) or Switch(account=wish.account)
    every = view.switch(EVERY_ACCOUNT) if wish.account != EVERY_ACCOUNT else None
    other = None if every is None else every.pause
    if switch.pause is None:
        return Change(result=Switched(None, is_new=False, other=other))
    seconds = int((now - switch.pause.since).total_seconds())
    return Change(
        result=Switched(switch.pause, is_new=True, other=other),
        switches=(replace(switch, pause=None),),
        audit=(_act(wish, "resume", f"after {seconds} s: {wish.reason}", now),),
    )


def ask_probe(
    view: View, wish: SwitchWish, identifier: UUID, now: datetime
) -> Change[Asked | StillPaused]:
    """Ask every worker to let one call through an open breaker; audited, also where it may not."""
    switch = view.switch(wish.account) or Switch(account=wish.account)
    every = view.switch(EVERY_ACCOUNT)
    paused = switch.pause or (None if every is None else every.pause)
    if paused is not None:
        denied = _act(wish, "probe", "the account is paused", now, is_denied=True)
        return Change(result=StillPaused(paused), audit=(denied,))
    probe = ProbeWish(wish=identifier, actor=wish.actor, at=now)
    return Change(
        result=Asked(identifier),
        switches=(replace(switch, probe=probe),),
        audit=(_act(wish, "probe", wish.reason, now),),
    )


def _act(
    wish: SwitchWish, action: str, detail: str, now: datetime, *, is_denied: bool = False
) -> AuditEntry:
    return AuditEntry(
        at=now,
        actor=wish.actor,
        action=f"account_{action}",
        operation_id=None,
        detail=detail,
        is_denied=is_denied,
        facts=ActFacts(account=wish.account),
    )
