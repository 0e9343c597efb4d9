"""A replay run as people and scripts see it: while it goes on, and what came of it."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Self, assert_never

from worker.cli.exit_codes import ExitCode
from worker.cli.output import Advance, Format, Output
from worker.journal import ReplayResult, ReplayRun, ReplayStep, RunState, StepState
from worker.letters import code_name
from worker.operators.replays.decisions import Phase, size_of
from worker.operators.replays.walked import News, PhaseBegan

MOST_SHOWN = 20
"""Letters that a report names; `status --letters` has them all."""

_PHASES = {
    Phase.CANARY: "Canary",
    Phase.RAMP: "Ramp",
    Phase.REST: "The rest",
}
_MEANINGS = {
    ReplayResult.SETTLED: "paid, or whatever was asked for",
    ReplayResult.FAILED_SAME_CODE: "failed as before: the cause is not mended",
    ReplayResult.FAILED_NEW_CODE: "failed for another reason",
    ReplayResult.DUPLICATE_SUPPRESSED: "another payment of the same content answered it",
    ReplayResult.ALREADY_DONE: "was decided: its stored answer is sent again",
    ReplayResult.IN_DOUBT: "in doubt: a person must look at the provider",
    ReplayResult.PENDING: "back at work, and not decided yet",
    ReplayResult.SKIPPED: "not replayed; its letter is kept",
}


class RunShown:
    """Shows a run while it goes on: a bar for each part, or a line of JSON for each outcome."""

    def __init__(self, output: Output, run: ReplayRun) -> None:
        self._output = output
        self._run = run
        self._bars = ExitStack()
        self._advance: Advance | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.close()

    def tell(self, news: News) -> None:
        """Show one piece of news."""
        match news:
            case PhaseBegan(phase=phase):
                size = size_of(self._run.options, phase, self._run.wanted)
                self._bars.close()
                self._advance = self._bars.enter_context(
                    self._output.progress(f"{_PHASES[phase]}, sent", size or None)
                )
            case ReplayStep(state=StepState.SENT):
                if self._advance is not None:
                    self._advance(1)
            case ReplayStep():
                if self._output.is_json and news.result is not None:
                    self._output.record(outcome_line(self._run.run, news))
            case other:
                assert_never(other)


def outcome_line(run: str, step: ReplayStep) -> dict[str, object]:
    """One letter's outcome as a line of JSON (operations 1.7)."""
    return {
        "event": "outcome",
        "run": run,
        "payment_id": step.operation_id,
        "result": step.result or ReplayResult.PENDING,
        "sequence": step.sent_sequence,
        "was": code_name(step.code),
        "code": step.end_code,
        "detail": step.detail,
    }


def run_record(run: ReplayRun, results: Mapping[ReplayResult, int]) -> dict[str, object]:
    """A run with its results."""
    return {
        "run": run.run,
        "state": run.state,
        "why": run.stop_reason,
        "actor": run.actor,
        "reason": run.reason,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "stop_asked_by": run.stop_asked_by,
        "plan_sha256": run.plan_sha256,
        "wanted": run.wanted,
        "results": {result.value: count for result, count in results.items() if count},
        "others_kept": run.kept,
        "others_removed": run.removed,
    }


def show_results(
    output: Output,
    run: ReplayRun,
    results: Mapping[ReplayResult, int],
    not_good: Sequence[ReplayStep],
) -> None:
    """The table of results, and the letters that need somebody, at most twenty of them."""
    rows = [
        {"result": result, "count": count, "meaning": _MEANINGS[result]}
        for result, count in results.items()
        if count
    ]
    if rows:
        output.table(("result", "count", "meaning"), rows)
    if output.format is Format.HUMAN:
        for step in not_good[:MOST_SHOWN]:
            output.record({}, _line(step))
    if len(not_good) > MOST_SHOWN:
        output.say(f"There are more: payment-worker dead-letters status {run.run} --letters")


def show_letter(output: Output, run: ReplayRun, step: ReplayStep) -> None:
    """Print one letter of a run with what came of it, at once: there may be many."""
    output.record(outcome_line(run.run, step), _line(step))


def _line(step: ReplayStep) -> str:
    result = step.result or ReplayResult.PENDING
    parts = [f"{step.operation_id}  {result}"]
    if step.end_code is not None:
        parts.append(step.end_code)
    if step.detail is not None:
        parts.append(step.detail)
    return "  ".join(parts)


def tell_end(
    output: Output, run: ReplayRun, results: Mapping[ReplayResult, int], remaining: int
) -> None:
    """Say how a run ended, and what comes next."""
    if remaining:
        output.say(f"{remaining} of its {run.wanted} letters have not been tried yet.")
    good = sum(count for result, count in results.items() if result.is_good)
    total = sum(results.values())
    match run.state:
        case RunState.FINISHED if good == total:
            output.success(f"Run {run.run} has ended: {good} of {total} good.")
        case RunState.FINISHED:
            output.warn(
                f"Run {run.run} has ended: {good} of {total} good.",
                fix=_what_next(run, results),
            )
        case RunState.STOPPED:
            output.warn(
                f"Run {run.run} was stopped: {run.stop_reason}.",
                fix=_how_to_go_on(run),
            )
        case RunState.RUNNING | RunState.STOPPING:
            output.say(
                f"Run {run.run} is {run.state}. If its process has died:"
                f" payment-worker dead-letters resume {run.run}"
            )
        case other:
            assert_never(other)


def _how_to_go_on(run: ReplayRun) -> str:
    command = f"payment-worker dead-letters resume {run.run}"
    if run.stop_asked_by is not None:
        # Whoever stopped a run that nobody wanted must not be told to go on with it.
        return f"The other letters are kept. Only if they are to be replayed after all: {command}"
    return f"Mend the cause, then go on with it: {command}"


def _what_next(run: ReplayRun, results: Mapping[ReplayResult, int]) -> str:
    if results[ReplayResult.PENDING]:
        return f"Look again later: payment-worker dead-letters status {run.run}"
    if results[ReplayResult.FAILED_SAME_CODE] or results[ReplayResult.FAILED_NEW_CODE]:
        return "See why: payment-worker dead-letters; each can be planned and replayed again."
    return f"See each with its reason: payment-worker dead-letters status {run.run} --letters"


def exit_code_of(run: ReplayRun, results: Mapping[ReplayResult, int]) -> ExitCode:
    """What the shell is told: operations 1.7."""
    if run.state is RunState.STOPPED:
        return ExitCode.CANCELLED
    good = sum(count for result, count in results.items() if result.is_good)
    bad = sum(count for result, count in results.items() if not result.is_good)
    if not bad:
        return ExitCode.OK
    return ExitCode.PARTIAL if good else ExitCode.FAILED
