"""``payment-worker dead-letters`` by itself: the whole index at one look."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from worker.cli.context import CommandContext
from worker.cli.money import counted
from worker.cli.opened_ledger import opened_ledger, run_with_ledger
from worker.cli.output import Format, Output
from worker.letters import Advice, LetterFilter, LetterGroup, Verdict, code_name

_COLUMNS = (
    "code",
    "category",
    "count",
    "in_queue",
    "first",
    "last",
    "advice",
    *(verdict.value for verdict in Verdict),
)
_HUMAN = ("code", "count", "first", "last", "can_a_replay_help", "what_first")
_WIDE = 112
"""Columns that the table needs, one line for each code."""

CAN_HELP = MappingProxyType(
    {
        Verdict.SAFE: "replayable",
        Verdict.ALREADY_DONE: "already done",
        Verdict.NEEDS_EDIT: "to be corrected",
        Verdict.HOPELESS: "hopeless",
        Verdict.UNKNOWN: "to be looked up",
    }
)
WHAT_FIRST = MappingProxyType(
    {
        Advice.AFTER_OUTAGE: "wait for the provider",
        Advice.AFTER_FIX: "mend the cause",
        Advice.NEEDS_EDIT: "correct the request",
        Advice.LOOK_UP: "ask the provider what it has",
        Advice.NEVER: "ask again under a new key",
    }
)


def show_groups(context: CommandContext, wanted: LetterFilter) -> None:
    """Print what is wanted by code: how many, since when, and whether a replay can help."""
    groups = run_with_ledger(_grouped(context, wanted))
    output = context.output
    if output.format is Format.HUMAN:
        _show_to_people(output, groups)
    else:
        output.table(_COLUMNS, [_row(group) for group in groups])
    if not groups:
        output.say("No dead letters.")
    elif output.format is Format.HUMAN:
        output.say("Next: payment-worker dead-letters list --code CODE")


async def _grouped(context: CommandContext, wanted: LetterFilter) -> Sequence[LetterGroup]:
    async with opened_ledger(context) as ledger:
        return await ledger.letters.groups(wanted)


def _row(group: LetterGroup) -> dict[str, object]:
    row: dict[str, object] = {
        "code": code_name(group.code),
        "category": group.category,
        "count": group.count,
        "in_queue": group.confirmed,
        "first": group.first,
        "last": group.last,
        "advice": group.advice,
    }
    return row | {verdict.value: group.verdicts[verdict] for verdict in Verdict}


def _show_to_people(output: Output, groups: Sequence[LetterGroup]) -> None:
    if not groups:
        return
    rows = [
        {
            "code": code_name(group.code),
            "count": group.count,
            "first": f"{group.first:%Y-%m-%d %H:%MZ}",
            "last": f"{group.last:%Y-%m-%d %H:%MZ}",
            "can_a_replay_help": _sums([group]),
            "what_first": WHAT_FIRST[group.advice],
        }
        for group in groups
    ]
    if output.width >= _WIDE:
        output.table(_HUMAN, rows, whole=("code",))
    else:
        for row in rows:
            output.record(row, _lines(row))
    count, in_queue = (
        sum(group.count for group in groups),
        sum(group.confirmed for group in groups),
    )
    output.text(f"{counted(count, 'dead letter')}: {_sums(groups)}")
    if in_queue < count:
        output.text(f"{count - in_queue} of them not in the queue (yet)")


def _lines(row: Mapping[str, object]) -> str:
    """One group where a table of all columns would break every cell of it."""
    head = f"{row['code']}  {row['count']}"
    helps = f"{row['can_a_replay_help']}; first: {row['what_first']}"
    return f"{head}\n    {helps}\n    {row['first']} to {row['last']}"


def _sums(groups: Sequence[LetterGroup]) -> str:
    sums = {verdict: sum(each.verdicts[verdict] for each in groups) for verdict in Verdict}
    return ", ".join(f"{count} {CAN_HELP[verdict]}" for verdict, count in sums.items() if count)
