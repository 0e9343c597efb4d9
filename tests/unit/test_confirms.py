"""Silence of the broker: noticed once, tried by one at a time, and over with the first confirm."""

import asyncio

import pytest

from tests.crash.fuse import Turn
from tests.fakes_clock import FakeClock
from tests.fakes_publisher import FakePublisher
from worker.confirms import FEWEST, PROBE, Confirms
from worker.messages import Exchange, OutgoingMessage, Publication

UNKNOWN, CONFIRMED = Publication.UNKNOWN, Publication.CONFIRMED


def message(exchange: Exchange = Exchange.RESULTS, number: int = 1) -> OutgoingMessage:
    return OutgoingMessage(
        exchange=exchange, routing_key="key", body=b"", message_id=f"{exchange}-{number}"
    )


class Line:
    """A guarded publisher on a fake one, and what it told."""

    def __init__(self, *script: Publication, seconds: float = 10.0) -> None:
        self.publisher = FakePublisher(script)
        self.clock = FakeClock()
        self.told: list[str] = []
        self.confirms = Confirms(
            self.publisher,
            clock=self.clock,
            seconds=seconds,
            on_silence=self.told.append,
            on_back=lambda: self.told.append("back"),
        )

    async def publish(self, *exchanges: Exchange) -> list[Publication]:
        return [await self.confirms.publish(message(each)) for each in exchanges]


async def silent(**limits: float) -> Line:
    """A line whose results exchange has fallen silent."""
    line = Line(*[UNKNOWN] * FEWEST, **limits)
    await line.publish(*[Exchange.RESULTS] * FEWEST)
    return line


async def test_three_silences_in_a_row_are_told_once_with_their_exchange() -> None:
    line = Line(*[UNKNOWN] * 5)
    await line.publish(Exchange.RESULTS, Exchange.RESULTS)
    assert (line.told, line.confirms.trouble) == ([], None)
    await line.publish(Exchange.RESULTS, Exchange.RESULTS, Exchange.RESULTS)
    assert line.told == ["the broker confirms nothing sent to: results"]
    assert line.confirms.trouble == line.told[0]


@pytest.mark.parametrize("word", [CONFIRMED, Publication.REFUSED, Publication.UNROUTABLE])
async def test_any_word_of_the_broker_between_them_ends_the_count(word: Publication) -> None:
    line = Line(UNKNOWN, UNKNOWN, word, UNKNOWN, UNKNOWN)
    await line.publish(*[Exchange.RESULTS] * 5)
    assert line.told == []


async def test_exchanges_are_counted_apart() -> None:
    """The ladder confirms while the results exchange is gone."""
    line = Line(UNKNOWN, CONFIRMED, UNKNOWN, CONFIRMED, UNKNOWN)
    results, ladder = Exchange.RESULTS, Exchange.RETRY
    await line.publish(results, ladder, results, ladder, results)
    assert line.told == ["the broker confirms nothing sent to: results"]
    assert await line.publish(ladder) == [CONFIRMED]


async def test_one_at_a_time_tries_a_silent_exchange() -> None:
    line = await silent()
    line.publisher.gate.clear()
    tasks = [asyncio.ensure_future(line.confirms.publish(message(number=n))) for n in range(9)]
    for _ in range(5):
        await Turn()
    assert len(line.publisher.messages) == FEWEST + 1
    line.publisher.gate.set()
    assert await asyncio.gather(*tasks) == [CONFIRMED] * 9
    assert line.told[1:] == ["back"]
    assert line.confirms.trouble is None


async def test_a_turn_that_does_not_come_in_time_is_silence_and_sends_nothing() -> None:
    line = await silent(seconds=0.001)
    line.publisher.gate.clear()
    tasks = [asyncio.ensure_future(line.confirms.publish(message(number=n))) for n in range(4)]
    assert await asyncio.gather(*tasks) == [UNKNOWN] * 4
    assert len(line.publisher.messages) == FEWEST + 1


async def test_what_nobody_tries_is_probed_under_a_key_nobody_is_bound_for() -> None:
    line = await silent()
    line.publisher.script(UNKNOWN, Publication.UNROUTABLE)
    watching = asyncio.ensure_future(line.confirms.watch())
    await line.confirms.until_usable()
    watching.cancel()
    first, second = line.publisher.messages[FEWEST:]
    assert (first.type, second.type) == (PROBE, PROBE)
    assert first.routing_key.startswith("payment.result.check-")
    assert first.message_id != second.message_id
    assert line.told[1:] == ["back"]


async def test_nothing_is_probed_while_everything_is_confirmed() -> None:
    line = Line()
    watching = asyncio.ensure_future(line.confirms.watch())
    while len(line.clock.sleeps) < 3:
        await Turn()
    watching.cancel()
    assert line.publisher.messages == []
