"""A plan as people and scripts see it: what a replay would do, to how many and for how much."""

import shlex
from collections import Counter
from collections.abc import Mapping

from worker.cli.letter_groups import CAN_HELP, WHAT_FIRST
from worker.cli.money import counted, euros
from worker.cli.output import Format, Output
from worker.letters import Verdict, code_name
from worker.lifecycle.prospects import advice_on
from worker.model import RunMode
from worker.operators.plans.rows import Plan, PlanTotal

_TOTALS = ("verdict", "code", "mode", "count", "amount_cents", "reason")
_VERDICTS = ("verdict", "count", "amounts", "why")
_CODES = ("code", "count", "can_a_replay_help", "what_first")


def show_plan(output: Output, plan: Plan) -> None:
    """Print a plan's sums; its rows are in its file."""
    if output.is_json:
        output.record(_record(plan))
    show_sums(output, plan)
    output.success(
        f"Planned in {plan.path}, which holds until {plan.expires_at:%Y-%m-%d %H:%MZ}:"
        f" {counted(plan.size, 'dead letter')}."
    )
    if plan.counts[Verdict.SAFE]:
        output.say(f"Next: {next_command(plan)}")


def show_sums(output: Output, plan: Plan) -> None:
    """Print what a plan adds up to, to people and pipes; JSON has a record of its own."""
    match output.format:
        case Format.HUMAN:
            _show_to_people(output, plan)
        case Format.PLAIN:
            output.table(_TOTALS, [_total(total) for total in plan.totals])
        case _:
            return


def next_command(plan: Plan) -> str:
    """What puts the safe letters of a plan back to work."""
    return f"payment-worker dead-letters replay {shlex.quote(str(plan.path))} --reason ..."


def amounts(cents: Mapping[RunMode | None, int]) -> str:
    """Sums by mode as people read them; test money is never added to real money."""
    return ", ".join(
        f"{'?' if mode is None else mode} {euros(sum_)}" for mode, sum_ in cents.items() if sum_
    )


def _show_to_people(output: Output, plan: Plan) -> None:
    if not plan.totals:
        return
    output.table(_VERDICTS, [_verdict(*each) for each in _by_verdict(plan).items()])
    output.table(_CODES, [_code(plan, code) for code in _codes(plan)], whole=("code",))


def _by_verdict(plan: Plan) -> dict[tuple[Verdict, str], list[PlanTotal]]:
    """The totals by verdict and reason, in the order of the verdicts."""
    groups: dict[tuple[Verdict, str], list[PlanTotal]] = {}
    for verdict in Verdict:
        for total in plan.totals:
            if total.verdict is verdict:
                groups.setdefault((verdict, total.reason), []).append(total)
    return groups


def _verdict(group: tuple[Verdict, str], totals: list[PlanTotal]) -> dict[str, object]:
    cents: Counter[RunMode | None] = Counter()
    for total in totals:
        cents[total.mode] += total.cents
    return {
        "verdict": group[0],
        "count": sum(total.count for total in totals),
        "amounts": amounts(cents),
        "why": group[1],
    }


def _codes(plan: Plan) -> list[str]:
    sizes: Counter[str] = Counter()
    for total in plan.totals:
        sizes[code_name(total.code)] += total.count
    return [code for code, _ in sizes.most_common()]


def _code(plan: Plan, code: str) -> dict[str, object]:
    totals = [total for total in plan.totals if code_name(total.code) == code]
    counts = {
        verdict: sum(total.count for total in totals if total.verdict is verdict)
        for verdict in Verdict
    }
    return {
        "code": code,
        "count": sum(counts.values()),
        "can_a_replay_help": ", ".join(
            f"{count} {CAN_HELP[verdict]}" for verdict, count in counts.items() if count
        ),
        "what_first": WHAT_FIRST[advice_on(totals[0].code)],
    }


def _record(plan: Plan) -> dict[str, object]:
    return {
        "path": plan.path,
        "sha256": plan.sha256,
        "environment": plan.environment,
        "created_at": plan.created_at,
        "expires_at": plan.expires_at,
        "actor": plan.actor,
        "wanted": plan.wanted,
        "rows": plan.size,
        "currency": "EUR",
        "counts": plan.counts,
        "totals": [_total(total) for total in plan.totals],
        "advice": {code_name(total.code): advice_on(total.code).value for total in plan.totals},
        "next": next_command(plan) if plan.counts[Verdict.SAFE] else None,
    }


def _total(total: PlanTotal) -> dict[str, object]:
    return {
        "verdict": total.verdict,
        "code": code_name(total.code),
        "mode": total.mode,
        "count": total.count,
        "amount_cents": total.cents,
        "reason": total.reason,
    }
