"""``results resend --origin``: what one subscriber missed within a period."""

from collections.abc import Mapping

from worker.cli.actor import operating_system_account
from worker.cli.context import CommandContext
from worker.cli.exit_codes import CommandError, ExitCode
from worker.cli.letter_filter import failed_within
from worker.cli.opened_ledger import opened_ledger
from worker.contract.times import time_text
from worker.identity import normalise_origin
from worker.lifecycle.resend import Resending
from worker.operators.missed import Missed, MissedAnswers

_A_MINUTE = 1000
"""Answers that one worker sends within a minute, pauses included (measured: six times that)."""

_BEGIN_MINUTES = 3


def wanted_answers(
    context: CommandContext, origin: str, *, since: str | None, until: str | None
) -> Missed:
    """Whose answers, of which period; raises ``CommandError`` where that has no beginning."""
    now = context.clock.now()
    begin, end = failed_within(since, until, now=now)
    if begin is None:
        raise CommandError(
            "period_missing",
            "Say from when on the subscriber missed its answers.",
            exit_code=ExitCode.USAGE,
            field="--since",
            fix="Give --since as 2026-11-21T20:00:00Z, or how long ago as 2h.",
        )
    end = now if end is None else end
    if begin >= end:
        raise CommandError(
            "wrong_period",
            "The period ends before it begins.",
            exit_code=ExitCode.USAGE,
            field="--since",
        )
    return Missed(origin=normalise_origin(origin), since=begin, until=end)


async def resend_missed(
    context: CommandContext, missed: Missed, *, reason: str, is_answered: bool
) -> ExitCode:
    """Count, ask, and mark every answer; raises ``CommandError``, ``StoreUnavailableError``."""
    output = context.output
    async with opened_ledger(context) as ledger:
        answers = MissedAnswers(ledger, missed)
        count = await answers.count()
        output.say(
            f"{count} answers of {missed.origin} were decided from {time_text(missed.since)}"
            f" until before {time_text(missed.until)}."
        )
        results: Mapping[Resending, int] = {}
        if count:
            output.confirm("Send them all again?", is_answered=is_answered)
            with output.progress("marked", count) as advance:
                results = await answers.resend(
                    actor=operating_system_account(), reason=reason, on_progress=advance
                )
    return _tell(context, missed, count, results)


def _tell(
    context: CommandContext, missed: Missed, count: int, results: Mapping[Resending, int]
) -> ExitCode:
    output = context.output
    marked, unknown = results.get(Resending.MARKED, 0), results.get(Resending.UNKNOWN, 0)
    if output.is_json:
        output.record(
            {
                "origin": missed.origin,
                "since": missed.since,
                "until": missed.until,
                "found": count,
                **{each.value: results.get(each, 0) for each in Resending},
            }
        )
    if not count:
        output.say("Nothing to send again.")
        return ExitCode.OK
    if unknown:
        output.warn(f"{unknown} not sent: the ledger has no answer of theirs.")
    if reopened := results.get(Resending.OPEN, 0):
        output.say(f"{reopened} are open again: their next decision is sent by itself.")
    output.success(
        f"{marked} marked; a worker sends them within about {_minutes(marked)} minutes. A"
        " subscriber that has one already drops it by its event id."
    )
    return ExitCode.PARTIAL if unknown else ExitCode.OK


def _minutes(count: int) -> int:
    return _BEGIN_MINUTES + count // _A_MINUTE
