"""The books as people, spreadsheets and programs read them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum, unique

from worker.cli.money import counted, euros
from worker.cli.output import Format, Output
from worker.contract.times import time_text
from worker.inventory import BookLine
from worker.operators.books import Report
from worker.operators.findings import Finding
from worker.records import Kind, State

_SUMS = ("count", "amount_cents")
_FINDINGS = ("flaw", "id", "since", "detail")
_BROKER = "the broker: letters missing from the dead-letter queue, letters nobody answered"
_LETTERS = "each letter: the dead-letter queue holds as many as the ledger says"


@unique
class Division(StrEnum):
    """By what the figures may be told apart."""

    KIND = "kind"
    STATE = "state"
    ACCOUNT = "account"
    MODE = "mode"
    ORIGIN = "origin"
    DAY = "day"


USUAL = (Division.KIND, Division.STATE, Division.ACCOUNT, Division.MODE)


def show(
    output: Output,
    report: Report,
    *,
    unclaimed: int | None,
    divisions: Sequence[Division] = USUAL,
) -> None:
    """Print a report: one JSON object, tab-separated lines, or two tables with their sums.

    Programs get every figure told apart by everything; people by the ``divisions``.
    """
    if output.is_json:
        output.record(_document(report, unclaimed))
    elif output.format is Format.PLAIN:
        output.table((*divisions, *_SUMS), _added_up(report, divisions))
        output.table(_FINDINGS, [_finding(finding) for finding in report.findings])
    else:
        _show_to_people(output, report, unclaimed, divisions)
    for each in _not_looked_at(report):
        output.say(f"Not looked at: {each}.")


def _show_to_people(
    output: Output, report: Report, unclaimed: int | None, divisions: Sequence[Division]
) -> None:
    title = f"First seen {time_text(report.since)} to {time_text(report.until)}"
    rows = [
        row | {"amount": euros(cents)}
        for row in _added_up(report, divisions)
        if isinstance(cents := row["amount_cents"], int)
    ]
    output.table((*divisions, "count", "amount"), rows, title=title)
    for mode, sums in _sums(report).items():
        parts = ", ".join(
            f"{euros(cents)} {state.replace('_', ' ')}" for state, cents in sums.items()
        )
        output.text(f"{mode}: {euros(sum(sums.values()))} asked for: {parts}")
    for kind, counts in _balance(report).items():
        stands = ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in counts.items())
        output.text(f"{counted(sum(counts.values()), kind)}: {stands}")
    for code, count in report.books.letters.items():
        output.text(f"{counted(count, 'dead letter')}: {code}")
    if unclaimed:
        resend = "payment-worker results resend --unclaimed"
        output.text(f"{counted(unclaimed, 'unclaimed event')}: {resend}")
    if report.findings:
        output.text(f"{counted(len(report.findings), 'exception')} in the whole ledger:")
        for finding in report.findings:
            output.record(_finding(finding), _sentence(finding), colour="red")
    else:
        output.success("No exceptions in the whole ledger.")


def _document(report: Report, unclaimed: int | None) -> dict[str, object]:
    queue = report.queue
    return {
        "since": report.since,
        "until": report.until,
        "received": report.books.received,
        "balance": _balance(report),
        "sums": {"EUR": _sums(report)},
        "lines": [_figures(line) for line in report.books.lines],
        "dead_letters": dict(report.books.letters),
        "queue": None
        if queue is None
        else {
            "in_queue": queue.in_queue,
            "in_ledger": queue.in_index,
            "walked": queue.leftover is not None,
            "leftover": queue.leftover,
        },
        "unclaimed": unclaimed,
        "exceptions": [_finding(finding) for finding in report.findings],
        "not_looked_at": _not_looked_at(report),
    }


def _balance(report: Report) -> Mapping[str, Mapping[str, int]]:
    """What each kind of operation comes to, states in the order of their life."""
    counts: dict[Kind, Counter[str]] = {}
    for line in report.books.lines:
        word = "open" if line.state.is_open else line.state.value
        counts.setdefault(line.kind, Counter())[word] += line.count
    order = ["open", *(state.value for state in State if not state.is_open)]
    return {
        kind.value: {word: counts[kind][word] for word in order if word in counts[kind]}
        for kind in Kind
        if kind in counts
    }


def _sums(report: Report) -> Mapping[str, Mapping[str, int]]:
    """Cents of the payments by run mode, and how they stand, in the order of their life.

    A cancellation asks for no money, and test money is never added to real money.
    """
    cents: dict[str, Counter[str]] = {}
    for line in report.books.lines:
        if line.kind is Kind.INITIATION:
            word = "open" if line.state.is_open else line.state.value
            cents.setdefault(line.mode or "mode unknown", Counter())[word] += line.cents
    order = ["open", *(state.value for state in State if not state.is_open)]
    return {
        mode: {word: cents[mode][word] for word in order if word in cents[mode]}
        for mode in sorted(cents)
    }


def _added_up(report: Report, divisions: Sequence[Division]) -> list[dict[str, object]]:
    """The figures told apart by these alone, in the order of the first of each."""
    rows: dict[tuple[object, ...], dict[str, object]] = {}
    counts: Counter[tuple[object, ...]] = Counter()
    cents: Counter[tuple[object, ...]] = Counter()
    for line in report.books.lines:
        figures = _figures(line)
        key = tuple(figures[each] for each in divisions)
        rows.setdefault(key, {each.value: figures[each] for each in divisions})
        counts[key] += line.count
        cents[key] += line.cents
    return [row | {"count": counts[key], "amount_cents": cents[key]} for key, row in rows.items()]


def _figures(line: BookLine) -> dict[str, object]:
    return {
        "kind": line.kind,
        "state": line.state,
        "account": line.account,
        "mode": line.mode,
        "origin": line.origin,
        "day": line.day,
        "count": line.count,
        "amount_cents": line.cents,
    }


def _finding(finding: Finding) -> dict[str, object]:
    return {
        "flaw": finding.flaw,
        "id": finding.operation_id or finding.message_id,
        "since": finding.since,
        "detail": finding.detail,
    }


def _sentence(finding: Finding) -> str:
    """Two lines, the id whole, so that it can be copied."""
    name = finding.operation_id or finding.message_id or "(no id)"
    since = "" if finding.since is None else f"since {finding.since:%Y-%m-%d %H:%MZ}, "
    return f"{name}  {finding.flaw.replace('_', ' ')}\n    {since}{finding.detail}"


def _not_looked_at(report: Report) -> list[str]:
    if report.queue is None:
        return [_BROKER]
    return [] if report.queue.leftover is not None else [_LETTERS]
