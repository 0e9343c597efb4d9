"""The watch over the ledger tells of each absence once, and goes on looking."""

import asyncio
from collections.abc import Sequence

import pytest

from tests.fakes_clock import FakeClock
from worker.ledger_watch import LOOK_AGAIN_SECONDS, LOOK_SECONDS, LedgerWatch
from worker.ports import StoreUnavailableError

AWAY = StoreUnavailableError("the server does not answer")
STARTING = StoreUnavailableError("the server is starting")


class Told:
    """A ledger that answers from a script, and what the watch told of it."""

    def __init__(self, script: Sequence[Exception | None]) -> None:
        self.script = list(script)
        self.told: list[str] = []
        self.clock = FakeClock()
        self.is_over = asyncio.Event()
        self.watch = LedgerWatch(
            self.ping,
            clock=self.clock,
            on_away=lambda reason: self.told.append(f"away: {reason}"),
            on_back=lambda: self.told.append("back"),
        )

    async def ping(self) -> None:
        if not self.script:
            self.is_over.set()
            return
        answer = self.script.pop(0)
        if answer is not None:
            raise answer


async def test_an_absence_is_told_once_and_so_is_its_end() -> None:
    told = Told([AWAY, STARTING, AWAY, None])
    await told.watch.until_usable()
    assert told.told == ["away: the server does not answer", "back"]
    assert told.clock.sleeps == [LOOK_AGAIN_SECONDS] * 3
    assert told.watch.trouble is None


async def test_a_ledger_that_never_was_away_is_not_spoken_of() -> None:
    told = Told([None, None])
    await told.watch.until_usable()
    assert (told.told, told.clock.sleeps) == ([], [])


async def test_what_is_wrong_is_known_until_it_is_over() -> None:
    told = Told([AWAY, None])
    assert not await told.watch.look()
    assert told.watch.trouble == "the server does not answer"
    assert await told.watch.look()
    assert told.watch.trouble is None


async def test_what_others_meet_counts_until_the_next_look() -> None:
    """The sweeper may meet an absence that is over before the watch has looked."""
    told = Told([None])
    told.watch.missed(AWAY)
    told.watch.missed(STARTING)
    assert told.told == ["away: the server does not answer"]
    assert await told.watch.look()
    assert told.told[1:] == ["back"]


async def test_the_watch_looks_more_often_while_the_ledger_is_away() -> None:
    told = Told([None, AWAY, AWAY, None])
    watching = asyncio.create_task(told.watch.watch())
    await told.is_over.wait()
    watching.cancel()
    assert told.told == ["away: the server does not answer", "back"]
    assert told.clock.sleeps[:4] == [
        LOOK_SECONDS,
        LOOK_AGAIN_SECONDS,
        LOOK_AGAIN_SECONDS,
        LOOK_SECONDS,
    ]


async def test_a_fault_nobody_foresaw_does_not_end_the_watch() -> None:
    """Its text may quote anything, so only its type is told."""
    told = Told([ValueError("secret"), None])
    await told.watch.until_usable()
    assert told.told == ["away: asking it failed: ValueError", "back"]


@pytest.mark.parametrize("reason", ["", "the ledger's disk cannot be seen"])
async def test_an_absence_without_a_text_is_told_all_the_same(reason: str) -> None:
    told = Told([StoreUnavailableError(reason) if reason else StoreUnavailableError()])
    await told.watch.until_usable()
    assert told.told[0] == f"away: {reason or 'it cannot be used'}"
