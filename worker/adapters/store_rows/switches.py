"""What operators switch, and what workers report of it, as rows."""

from uuid import UUID

from worker.adapters.store_rows.values import (
    Row,
    Scalar,
    bytes_or_none,
    from_micros,
    id_or_none,
    micros_or_none,
    time_or_none,
    to_micros,
)
from worker.switches import AccountReport, Approval, Pause, ProbeWish, Switch

SWITCH_COLUMNS = (
    "account",
    "paused_by",
    "pause_reason",
    "paused_at",
    "wish",
    "wished_by",
    "wished_at",
)
REPORT_COLUMNS = (
    "worker",
    "account",
    "breaker",
    "paused",
    "seen_at",
    "reason",
    "next_try",
    "wish",
    "probe_result",
)
APPROVAL_COLUMNS = ("plan_sha256", "actor", "reason", "at")


def switch_row(switch: Switch) -> tuple[Scalar, ...]:
    """Values in the order of ``SWITCH_COLUMNS``."""
    pause, probe = switch.pause, switch.probe
    return (
        switch.account,
        *((None,) * 3 if pause is None else (pause.actor, pause.reason, to_micros(pause.since))),
        *((None,) * 3 if probe is None else (probe.wish.bytes, probe.actor, to_micros(probe.at))),
    )


def read_switch(row: Row) -> Switch:
    """The switch of a row in the order of ``SWITCH_COLUMNS``."""
    account, paused_by, pause_reason, paused_at, wish, wished_by, wished_at = row
    pause = probe = None
    if paused_at is not None:
        pause = Pause(actor=paused_by, reason=pause_reason, since=from_micros(paused_at))
    if wish is not None:
        probe = ProbeWish(wish=UUID(bytes=wish), actor=wished_by, at=from_micros(wished_at))
    return Switch(account=account, pause=pause, probe=probe)


def report_row(report: AccountReport) -> tuple[Scalar, ...]:
    """Values in the order of ``REPORT_COLUMNS``."""
    return (
        report.worker.bytes,
        report.account,
        report.breaker,
        int(report.is_paused),
        to_micros(report.seen_at),
        report.reason,
        micros_or_none(report.next_try),
        bytes_or_none(report.probe),
        report.probe_result,
    )


def read_report(row: Row) -> AccountReport:
    """The report of a row in the order of ``REPORT_COLUMNS``."""
    worker, account, breaker, paused, seen_at, reason, next_try, wish, probe_result = row
    return AccountReport(
        worker=UUID(bytes=worker),
        account=account,
        breaker=breaker,
        is_paused=bool(paused),
        seen_at=from_micros(seen_at),
        reason=reason,
        next_try=time_or_none(next_try),
        probe=id_or_none(wish),
        probe_result=probe_result,
    )


def approval_row(approval: Approval) -> tuple[Scalar, ...]:
    """Values in the order of ``APPROVAL_COLUMNS``."""
    return approval.plan_sha256, approval.actor, approval.reason, to_micros(approval.at)


def read_approval(row: Row) -> Approval:
    """The approval of a row in the order of ``APPROVAL_COLUMNS``."""
    plan_sha256, actor, reason, at = row
    return Approval(plan_sha256=plan_sha256, actor=actor, reason=reason, at=from_micros(at))
