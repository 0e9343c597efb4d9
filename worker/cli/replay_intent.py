"""Which letters a replay is asked for: by their ids, or a plan with what is named beside it."""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

from worker.cli.context import CommandContext
from worker.cli.exit_codes import CommandError, ExitCode
from worker.cli.money import counted
from worker.cli.opened_ledger import opened_ledger
from worker.cli.plan_shown import amounts
from worker.contract.fields import read_guid
from worker.journal import ReplayStep, StepState
from worker.letters import Verdict
from worker.model import RunMode
from worker.operators.plans.files import plan_rows, read_plan
from worker.operators.plans.making import UnknownOperationsError, rows_named
from worker.operators.plans.rows import Plan, PlanRow
from worker.operators.replays.intents import BY_PLAN, step_of
from worker.records import Kind

_STRANGE = "Nothing was decided about it: a worker will take it up."


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What is to be replayed: ``rows`` by name, or those of a plan with what is named beside it.

    ``count`` letters for ``cents`` by mode, ``unpriced`` of them for an amount that the ledger does
    not know; ``needs_reason`` are named against the advice, and
    ``refused`` named ones that cannot be replayed at all.
    """

    plan: Plan | None
    rows: tuple[PlanRow, ...]
    named: frozenset[UUID]
    count: int
    cents: Mapping[RunMode | None, int]
    unpriced: int
    needs_reason: tuple[UUID, ...]
    refused: int


def asked_for(what: Sequence[str]) -> list[UUID] | Path:
    """Ids, or a plan's file; raises ``CommandError``."""
    ids = [read_guid(each) for each in what]
    named = [each for each in ids if each is not None]
    if len(named) == len(what):
        return named
    if len(what) > 1 or not Path(what[0]).is_file():
        raise CommandError(
            "which_letters",
            "Give ids, or one plan's file that is there.",
            exit_code=ExitCode.USAGE,
            fix="Copy ids from the first column of `payment-worker dead-letters list`.",
        )
    return Path(what[0])


async def intended(
    context: CommandContext, asked: list[UUID] | Path, include: Sequence[UUID]
) -> Intent:
    """What is to be replayed; raises ``CommandError`` and ``PlanError``."""
    now = context.clock.now()
    if not isinstance(asked, Path):
        if include:
            raise CommandError(
                "named_twice",
                "What is given by its id is named already.",
                exit_code=ExitCode.USAGE,
                field="--include",
                fix="Leave --include out; it is for a plan.",
            )
        return _summed(None, await _rows_of(context, asked), frozenset(asked), now)
    environment = context.loaded().settings.environment
    plan = read_plan(asked, now=now, environment=environment)
    rows = plan_rows(plan.path, sha256_wanted=plan.sha256)
    return _summed(plan, rows, frozenset(include), now)


async def _rows_of(context: CommandContext, named: Sequence[UUID]) -> list[PlanRow]:
    """What the ledger says of each; one it does not know may be a letter of the broker's own."""
    rows: list[PlanRow] = []
    async with opened_ledger(context) as ledger, aclosing(rows_named(ledger, named)) as known:
        try:
            async for row in known:
                rows.append(row)  # noqa: PERF401 (what came before the error counts)
        except UnknownOperationsError as unknown:
            rows += [_strange(operation_id) for operation_id in unknown.operation_ids]
    return rows


def _strange(operation_id: UUID) -> PlanRow:
    return PlanRow(
        operation_id=operation_id,
        kind=Kind.INITIATION,
        payment_id=operation_id,
        sequence=0,
        code=None,
        verdict=Verdict.SAFE,
        reason=_STRANGE,
        amount=None,
        mode=None,
    )


def _summed(
    plan: Plan | None, rows: Iterable[PlanRow], named: frozenset[UUID], at: datetime
) -> Intent:
    kept = () if plan is not None else tuple(rows)
    count = refused = unpriced = 0
    cents: Counter[RunMode | None] = Counter()
    against: list[UUID] = []
    missing = set(named)
    for position, row in enumerate(rows if plan is not None else kept):
        missing.discard(row.operation_id)
        step = step_of(row, position=position, named=named, at=at)
        if step.state is StepState.PLANNED:
            count += 1
            cents[row.mode] += row.amount or 0
            unpriced += row.kind is Kind.INITIATION and row.amount is None
            if row.verdict not in BY_PLAN:
                against.append(row.operation_id)
        refused += step.state is StepState.ENDED
    if missing:
        raise CommandError(
            "not_in_plan",
            f"The plan does not have {', '.join(sorted(str(each) for each in missing))}.",
            exit_code=ExitCode.USAGE,
            field="--include",
            fix="Name letters of the plan, or replay others by their id.",
        )
    return Intent(
        plan=plan,
        rows=kept,
        named=named,
        count=count,
        cents=cents,
        unpriced=unpriced,
        needs_reason=tuple(against),
        refused=refused,
    )


def check_reason(intent: Intent, reason: str | None) -> None:
    if reason or (intent.plan is None and not intent.needs_reason):
        return
    if intent.plan is not None and not intent.named:
        return
    named = intent.needs_reason or tuple(intent.named)
    raise CommandError(
        "reason_needed",
        f"{named[0]} is no letter that a plan calls safe: say why it is to be replayed.",
        exit_code=ExitCode.USAGE,
        field="--reason",
        fix="Look at it with `payment-worker dead-letters show`, then give --reason TEXT.",
    )


def in_words(intent: Intent) -> str:
    """How many letters, and for how much by mode."""
    sums = [amounts(intent.cents)] if any(intent.cents.values()) else []
    if intent.unpriced:
        sums.append(f"{intent.unpriced} of an amount that the ledger does not know")
    letters = counted(intent.count, "letter")
    return f"{letters} ({', '.join(sums)})" if sums else letters


async def steps_of(context: CommandContext, intent: Intent) -> AsyncIterator[ReplayStep]:
    plan = intent.plan
    rows = intent.rows if plan is None else plan_rows(plan.path, sha256_wanted=plan.sha256)
    for position, row in enumerate(rows, 1):
        yield step_of(row, position=position, named=intent.named, at=context.clock.now())
