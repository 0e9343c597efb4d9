"""Judging the letters that are meant, one by one: from the ledger alone, nothing is changed."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from worker.contract.times import time_text
from worker.ledger import Ledger
from worker.letters import LetterEntry, LetterFilter, Verdict, code_name
from worker.lifecycle.prospects import prospect_of
from worker.operators.plans.rows import PlanRow
from worker.records import Answer, Record, State


class UnknownOperationsError(LookupError):
    """Ids that the ledger does not know: a plan without them would not be what was asked for."""

    def __init__(self, operation_ids: Sequence[UUID]) -> None:
        super().__init__(operation_ids)
        self.operation_ids = operation_ids


async def rows_wanted(
    ledger: Ledger, wanted: LetterFilter, *, until: datetime
) -> AsyncGenerator[PlanRow, None]:
    """A row for each letter that failed before ``until``, oldest first.

    Later ones are not in the plan, however long it takes to make. An operation that is a decided
    letter has no row for what the broker gave up of it besides: a run has one step for each, and
    that one would only repeat the answer. Raises ``StoreUnavailableError``.
    """
    ends = until if wanted.until is None else min(until, wanted.until)
    meant = replace(wanted, until=ends)
    async for entry in ledger.letters.listed(meant):
        if not (entry.code is None and await _is_decided_too(ledger, entry, meant)):
            yield planned(entry)


async def rows_named(
    ledger: Ledger, operation_ids: Sequence[UUID]
) -> AsyncGenerator[PlanRow, None]:
    """A row for each operation named, once, whether or not it is a dead letter any more.

    Raises ``UnknownOperationsError`` after the last, ``StoreUnavailableError``.
    """
    unknown: list[UUID] = []
    for operation_id in dict.fromkeys(operation_ids):
        row = await _named(ledger, operation_id)
        if row is None:
            unknown.append(operation_id)
        else:
            yield row
    if unknown:
        raise UnknownOperationsError(unknown)


def planned(entry: LetterEntry) -> PlanRow:
    """The row of one letter, judged as the groups and the list judge it."""
    prospect = prospect_of(entry.case)
    return PlanRow(
        operation_id=entry.operation_id,
        kind=entry.kind,
        payment_id=entry.payment_id,
        sequence=entry.sequence,
        code=entry.code,
        verdict=prospect.verdict,
        reason=prospect.reason,
        amount=entry.facts.amount,
        mode=entry.facts.payment_run_mode,
    )


def in_words(wanted: LetterFilter) -> Mapping[str, str]:
    """A filter as a plan remembers it: by the names of the options, without what is not given."""
    names: dict[str, str | None] = {
        "code": None if wanted.codes is None else ", ".join(sorted(map(code_name, wanted.codes))),
        "origin": wanted.origin,
        "company": wanted.company,
        "target": wanted.target,
        "payment": None if wanted.payment_id is None else str(wanted.payment_id),
        "since": None if wanted.since is None else time_text(wanted.since),
        "until": None if wanted.until is None else time_text(wanted.until),
        "text": None if wanted.text is None else _shown(wanted.text),
    }
    return {name: text for name, text in names.items() if text is not None}


def _shown(text: str) -> str:
    """What was looked for, unless it may be a person's address: a plan is kept and passed on."""
    return "***" if "@" in text else text


async def _is_decided_too(ledger: Ledger, entry: LetterEntry, wanted: LetterFilter) -> bool:
    if entry.state not in {State.FAILED, State.IN_DOUBT}:
        return False
    own = replace(wanted, operation_id=entry.operation_id)
    return any(each.code is not None for each in await ledger.letters.page(limit=2, wanted=own))


async def _named(ledger: Ledger, operation_id: UUID) -> PlanRow | None:
    entry = await ledger.letters.of(operation_id)
    if entry is not None:
        return planned(entry)
    found = await ledger.find(operation_id)
    return None if found is None else _no_letter(*found)


def _no_letter(record: Record, answer: Answer | None) -> PlanRow:
    """The row of an operation that is no dead letter: decided well, open again, or left none."""
    if record.state.is_open:
        verdict, reason = Verdict.UNKNOWN, "It is open again: a worker will decide it."
    elif record.state in {State.SUCCEEDED, State.CANCELLED}:
        verdict = Verdict.ALREADY_DONE
        reason = "It is decided: a replay only sends the stored answer again."
    elif answer is not None and answer.letter is not None:
        verdict, reason = Verdict.HOPELESS, "Its letter was set aside: restore it first."
    else:
        verdict, reason = Verdict.HOPELESS, "It left no letter: ask again under a new key."
    return PlanRow(
        operation_id=record.operation_id,
        kind=record.kind,
        payment_id=record.payment_id,
        sequence=record.sequence,
        code=record.code,
        verdict=verdict,
        reason=reason,
        amount=record.facts.amount,
        mode=record.facts.payment_run_mode,
    )
