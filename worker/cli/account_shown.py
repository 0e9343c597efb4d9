"""Accounts as people and scripts see them, and what came of pausing, resuming and probing."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from worker.cli.exit_codes import ExitCode
from worker.cli.money import counted
from worker.cli.output import Format, Output
from worker.contract.times import time_text
from worker.lifecycle.switches import Switched
from worker.model import Account
from worker.operators.accounts import AccountStanding, Obeyed
from worker.switchboard import ANSWERED, NOT_OPEN, WAITING
from worker.switches import EVERY_ACCOUNT, AccountReport

_COLUMNS = ("account", "provider", "endpoints", "state", "since", "by", "why", "workers")
_SEEN = ("account", "provider", "endpoints", "state", "workers")
"""What people see in the table: a reason has a line of its own, or it would be cut to pieces."""


def show_accounts(
    output: Output, found: Sequence[AccountStanding], accounts: Mapping[str, Account]
) -> None:
    """Print every account on a line, and for people why one is not called below the table."""
    rows = [_row(each, accounts.get(each.account)) for each in found]
    is_for_people = output.format is Format.HUMAN
    output.table(_SEEN if is_for_people else _COLUMNS, rows, whole=("account",))
    for row in rows:
        if is_for_people and row["why"] is not None:
            output.record(row, f"  {_why(row)}")
    every = next((each.every for each in found if each.every is not None), None)
    if every is not None:
        output.warn(
            f"Everything is paused by {every.actor} since {time_text(every.since)}: {every.reason}",
            fix="Go on with: payment-worker accounts resume --all --reason TEXT",
        )


def _row(standing: AccountStanding, account: Account | None) -> dict[str, object]:
    state, since, actor, why = _state(standing)
    return {
        "account": standing.account,
        "provider": None if account is None else account.provider,
        "endpoints": _endpoints(account),
        "state": state,
        "since": None if since is None else since,
        "by": actor,
        "why": why,
        "workers": len({each.worker for each in standing.reports}),
    }


def hindrance_of(standing: AccountStanding) -> str | None:
    """Why an account is not called now, for people; ``None`` where nothing is known against it."""
    row = _row(standing, None)
    return None if row["why"] is None else _why(row)


def _why(row: Mapping[str, object]) -> str:
    since = "" if row["since"] is None else f" since {row['since']} by {row['by']}"
    return f"{row['account']}: {row['state']}{since}: {row['why']}"


def _endpoints(account: Account | None) -> str:
    if account is None:
        return "not in the settings"
    ends = (("test", account.test), ("live", account.live))
    return ", ".join(name for name, endpoint in ends if endpoint is not None)


def _state(standing: AccountStanding) -> tuple[str, str | None, str | None, str | None]:
    """State, since when, by whom, and why; a breaker names no time but that of its next try."""
    pause = standing.in_force
    if pause is not None:
        state = "paused" if standing.pause is not None else "paused with all"
        return state, time_text(pause.since), pause.actor, pause.reason
    if not standing.reports:
        return "no worker reports", None, None, None
    if not standing.open:
        return "called", None, None, None
    worst = max(standing.open, key=lambda report: report.breaker == "open")
    of_all = f"{len(standing.open)} of {counted(len(standing.reports), 'worker')}"
    why = f"{worst.reason or 'unknown'}, at {of_all}"
    if worst.next_try is not None:
        why += f"; next try {time_text(worst.next_try)}"
    return f"breaker {worst.breaker.replace('_', ' ')}", None, None, why


def tell_obeyed(
    output: Output,
    act: str,
    account: str,
    done: Switched,
    workers: Obeyed,
    *,
    still: Sequence[str] = (),
) -> ExitCode:
    """Say what was switched and how many workers obey."""
    if output.is_json:
        pause = done.pause
        output.record(
            {
                "account": None if account == EVERY_ACCOUNT else account,
                "all": account == EVERY_ACCOUNT,
                "act": act,
                "changed": done.is_new,
                "paused_by": None if pause is None else pause.actor,
                "paused_since": None if pause is None else pause.since,
                "pause_reason": None if pause is None else pause.reason,
                "workers": workers.workers,
                "obeying": workers.obeying,
                "still_paused": list(still),
            }
        )
    name = "everything" if account == EVERY_ACCOUNT else account
    if act == "pause":
        _tell_paused(output, name, account, done, workers)
    else:
        _tell_resumed(output, name, done, workers, still)
    if workers.is_whole:
        return ExitCode.OK
    output.warn(
        f"{workers.workers - workers.obeying} of {counted(workers.workers, 'worker')}"
        " did not say yet that it obeys.",
        fix="Look again with `payment-worker accounts`; a worker that was killed is forgotten"
        " within a minute.",
    )
    return ExitCode.PARTIAL


def _tell_paused(output: Output, name: str, account: str, done: Switched, workers: Obeyed) -> None:
    pause = done.pause
    if not done.is_new and pause is not None:
        output.say(
            f"{name.capitalize() if name == 'everything' else name} was paused already, by"
            f" {pause.actor} since {time_text(pause.since)}: {pause.reason}"
        )
    elif name == "everything":
        output.success("Paused everything: messages stay in the work queue, nothing fails.")
    else:
        output.success(f"Paused {name}: its messages wait, nothing fails, the others go on.")
    if not workers.workers:
        output.say("No worker reports now; whoever starts obeys.")
    elif workers.is_whole:
        output.say(
            f"{counted(workers.workers, 'worker')}: no new call begins; what is under way ends"
            " within two minutes."
        )
    wanted = "--all" if account == EVERY_ACCOUNT else account
    output.say(f"Go on with: payment-worker accounts resume {wanted} --reason TEXT")


def _tell_resumed(
    output: Output, name: str, done: Switched, workers: Obeyed, still: Sequence[str]
) -> None:
    if not done.is_new:
        output.say(f"There was no pause of {name}: nothing was changed.")
    else:
        output.success(f"Resumed {name}: what waited comes back within two minutes.")
    if done.other is not None:
        output.warn(
            f"Everything is paused still, by {done.other.actor}: {done.other.reason}",
            fix="End that with: payment-worker accounts resume --all --reason TEXT",
        )
    elif name == "everything" and still:
        output.warn(
            f"Paused still, each by itself: {', '.join(still)}.",
            fix="End one with: payment-worker accounts resume ACCOUNT --reason TEXT",
        )
    elif done.is_new and not workers.workers:
        output.say("No worker reports now; whoever starts takes up the work.")


def tell_probed(
    output: Output, account: str, wish: UUID, reports: Sequence[AccountReport]
) -> ExitCode:
    """Say what came of a probe at each worker."""
    results = [
        (each.probe_result or "not read yet") if each.probe == wish else "not read yet"
        for each in reports
    ]
    if output.is_json:
        rows = [
            {"worker": each.worker, "result": result}
            for each, result in zip(reports, results, strict=True)
        ]
        output.record({"account": account, "workers": rows})
    else:
        for each, result in zip(reports, results, strict=True):
            output.record({"worker": each.worker, "result": result}, f"{each.worker}  {result}")
    if not reports:
        output.warn(
            "No worker reports now: nobody has tried.",
            fix="Start one; see `payment-worker accounts`.",
        )
        return ExitCode.PARTIAL
    if all(result == NOT_OPEN for result in results):
        output.say(f"No breaker of {account} is open: payments are tried as they come.")
        return ExitCode.OK
    if ANSWERED in results:
        output.success(f"{account} answered.")
        return ExitCode.OK
    if any(result.startswith("failed") for result in results):
        output.warn(f"{account} was tried and failed again; its breaker waits longer now.")
        return ExitCode.FAILED
    state = "No payment has come by yet" if WAITING in results else "No worker has read it yet"
    output.warn(
        f"{state}: the next one is the probe.", fix="Look again with `payment-worker accounts`."
    )
    return ExitCode.PARTIAL
