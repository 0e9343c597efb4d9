"""Where a replay run works: the ledger with its journal, the broker, and a way to be stopped."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import assert_never

from worker.cli.context import CommandContext
from worker.cli.opened_desk import opened_desk
from worker.cli.opened_ledger import opened_journal
from worker.cli.output import Output
from worker.cli.replay_shown import RunShown
from worker.inventory import PAGE
from worker.journal import ReplayResult, ReplayRun, ReplayStep, StepState
from worker.ledger import Ledger
from worker.operator_ports import LetterQueue, ReplayJournal
from worker.operators.replays.outcomes import Outcome, Undecided, outcome_of
from worker.operators.replays.runner import Runner
from worker.ports import Publisher

_RETRYING = "an attempt has failed, another one follows"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayPlace:
    """All that a run needs."""

    ledger: Ledger
    journal: ReplayJournal
    queue: LetterQueue
    publisher: Publisher
    stop: asyncio.Event

    def runner(self, shown: RunShown) -> Runner:
        """The engine, which tells ``shown`` what happens."""
        return Runner(
            ledger=self.ledger,
            journal=self.journal,
            queue=self.queue,
            publisher=self.publisher,
            stop=self.stop,
            tell=shown.tell,
        )


@asynccontextmanager
async def opened_place(context: CommandContext) -> AsyncIterator[ReplayPlace]:
    """Open ledger and broker; Ctrl-C or SIGTERM ends the run after the letter in hand.

    So does a terminal that is closed: the run is then known as stopped, not as one that goes on.
    """
    async with opened_journal(context) as (ledger, journal), opened_desk(context) as desk:
        yield ReplayPlace(
            ledger=ledger,
            journal=journal,
            queue=desk.dead_letters,
            publisher=desk.publisher,
            stop=_stopped_by_signals(context.output),
        )


def _stopped_by_signals(output: Output) -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def told() -> None:
        stop.set()
        output.say("Stopping after the letter in hand; once more to stop at once.")
        for number in numbers:
            loop.remove_signal_handler(number)

    for number in numbers:
        loop.add_signal_handler(number, told)
    return stop


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """How a run stands now: counts by result, and the steps that are not good.

    ``left_out`` are those that the plan itself left out, ``remaining`` counts those that the run
    has not come to yet.
    """

    run: ReplayRun
    results: dict[ReplayResult, int]
    not_good: tuple[ReplayStep, ...]
    left_out: tuple[ReplayStep, ...]
    remaining: int


async def account_of(journal: ReplayJournal, run: ReplayRun) -> Account:
    """Draw up a run's account from its journal and from where its sent letters stand.

    Nothing is written: the run itself notes outcomes, and counts them.
    """
    results = dict.fromkeys(ReplayResult, 0)
    not_good: list[ReplayStep] = []
    left_out: list[ReplayStep] = []
    async for step in steps_now(journal, run.run):
        if step.state is StepState.LEFT_OUT:
            left_out.append(step)
            continue
        result = step.result or ReplayResult.PENDING
        results[result] += 1
        if not result.is_good:
            not_good.append(step)
    tallies = await journal.step_tallies(run.run)
    return Account(
        run=run,
        results=results,
        not_good=tuple(not_good),
        left_out=tuple(left_out),
        remaining=sum(each.count for each in tallies if each.state is StepState.PLANNED),
    )


async def steps_now(journal: ReplayJournal, run: str) -> AsyncIterator[ReplayStep]:
    """Every letter that a run has come to or left out, in the plan's order, as it stands now."""
    sent = {step.operation_id: step async for step in _sent_now(journal, run)}
    after = -1
    states = frozenset({StepState.SENT, StepState.ENDED, StepState.LEFT_OUT})
    while page := await journal.steps(run, states=states, after=after, limit=PAGE):
        for step in page:
            yield sent.get(step.operation_id, step)
        after = page[-1].position


async def _sent_now(journal: ReplayJournal, run: str) -> AsyncIterator[ReplayStep]:
    after = None
    while page := await journal.whereabouts(run, state=StepState.SENT, after=after, limit=PAGE):
        for step, now in page:
            match outcome_of(step, now):
                case Outcome() as known:
                    yield replace(
                        step, result=known.result, end_code=known.code, detail=known.detail
                    )
                case Undecided(is_retrying=is_retrying):
                    yield replace(step, detail=_RETRYING if is_retrying else None)
                case other:
                    assert_never(other)
        after = page[-1][0].operation_id
