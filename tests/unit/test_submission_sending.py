"""Publishing a batch: bounded, confirmed, and never given up without saying so."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from uuid import UUID

import pytest

from tests.fakes_clock import FakeClock
from tests.fakes_publisher import FakePublisher
from tests.waiting import until
from worker.messages import Exchange, OutgoingMessage, Publication
from worker.model import Fault
from worker.submission.checking import Ready
from worker.submission.sending import QUEUE_FULL, Fate, Limits, Sender, Sent

FORBIDDEN = Fault("routing_key", "not_permitted", "ACCESS_REFUSED")


def requests(count: int, origin: str = "dcp") -> list[Ready]:
    return [
        Ready(
            number=number,
            line=number,
            payment_id=UUID(int=number),
            message=OutgoingMessage(
                exchange=Exchange.REQUESTS,
                routing_key=f"payment.initiate.{origin}",
                body=b"{}",
                message_id=f"{origin}-{number}",
            ),
        )
        for number in range(1, count + 1)
    ]


class Alone:
    """Publishes single messages as told; ``CONFIRMED`` when nothing was told."""

    def __init__(self, *answers: Publication | Fault) -> None:
        self.messages: list[str] = []
        self.forbidden: set[str] = set()
        self._answers = list(answers)

    async def __call__(self, message: OutgoingMessage) -> Publication | Fault:
        self.messages.append(message.message_id)
        if message.routing_key in self.forbidden:
            return FORBIDDEN
        if len(self._answers) > 1:
            return self._answers.pop(0)
        return self._answers[0] if self._answers else Publication.CONFIRMED


class Run:
    """One batch on fakes, with everything that was reported."""

    def __init__(
        self, *script: Publication, alone: Alone | None = None, limits: Limits | None = None
    ) -> None:
        self.publisher = FakePublisher(script)
        self.alone = alone or Alone()
        self.clock = FakeClock()
        self.reported: list[Sent] = []
        self.sender = Sender(
            self.publisher,
            self.alone,
            clock=self.clock,
            report=self.reported.append,
            limits=limits,
        )

    async def send(self, batch: Sequence[Ready]) -> Counter[Fate]:
        await self.sender.send(batch)
        numbers = sorted(sent.request.number for sent in self.reported)
        assert numbers == sorted(each.number for each in batch), "each is reported exactly once"
        return Counter(sent.fate for sent in self.reported)

    def fate(self, number: int) -> tuple[Fate, Fault | None]:
        (sent,) = [each for each in self.reported if each.request.number == number]
        return sent.fate, sent.fault


async def welcome(limits: Limits, alone: Alone | None = None) -> Run:
    """A run whose broker has just taken a first message, so that the next go together."""
    run = Run(alone=alone, limits=limits)
    await run.sender.send(requests(1))
    run.reported.clear()
    return run


async def test_all_are_confirmed_each_published_once() -> None:
    run = Run()
    assert await run.send(requests(200)) == {Fate.ACCEPTED: 200}
    assert len(run.publisher.messages) == 200
    assert run.alone.messages == []
    assert run.clock.sleeps == []


async def test_an_empty_batch_reports_nothing() -> None:
    assert await Run().send([]) == {}


async def test_the_first_goes_alone() -> None:
    run = Run()
    run.publisher.gate.clear()
    sending = asyncio.create_task(run.send(requests(30)))
    await until(lambda: run.publisher.messages)
    assert len(run.publisher.messages) == 1
    run.publisher.gate.set()
    assert await sending == {Fate.ACCEPTED: 30}


async def test_no_more_than_allowed_are_under_way() -> None:
    run = await welcome(Limits(in_flight=7))
    run.publisher.gate.clear()
    sending = asyncio.create_task(run.send(requests(30)))
    await until(lambda: len(run.publisher.messages) == 1 + 7)
    await FakeClock().sleep(0)
    assert len(run.publisher.messages) == 1 + 7
    run.publisher.gate.set()
    assert await sending == {Fate.ACCEPTED: 30}


async def test_an_unknown_publication_is_repeated_under_its_id_alone() -> None:
    run = Run(
        Publication.CONFIRMED,
        Publication.UNKNOWN,
        alone=Alone(Publication.UNKNOWN, Publication.UNKNOWN, Publication.CONFIRMED),
        limits=Limits(in_flight=1),
    )
    assert await run.send(requests(4)) == {Fate.ACCEPTED: 4}
    assert run.alone.messages == ["dcp-2"] * 3
    assert run.clock.sleeps == [0.5, 1.0]


async def test_nothing_else_is_under_way_while_one_is_repeated() -> None:
    """A refusal closes the channel: the others in flight are undecided too, and come in turn."""
    run = await welcome(Limits(in_flight=5))
    run.publisher.script(*[Publication.UNKNOWN] * 5)
    run.publisher.gate.clear()
    sending = asyncio.create_task(run.send(requests(20)))
    await until(lambda: len(run.publisher.messages) == 1 + 5)
    run.publisher.gate.set()
    assert await sending == {Fate.ACCEPTED: 20}
    assert run.alone.messages == [f"dcp-{number}" for number in range(1, 6)]


async def test_one_forbidden_request_is_refused_in_the_brokers_words_and_the_others_go_on() -> None:
    forbidden = requests(3, origin="web")[2]
    batch = [each for each in requests(12) if each.number != 3]
    batch.insert(2, forbidden)
    run = Run(limits=Limits(in_flight=4))
    run.publisher.answer(Publication.UNKNOWN, routing_key="payment.initiate.web")
    run.alone.forbidden = {"payment.initiate.web"}
    assert await run.send(batch) == {Fate.ACCEPTED: 11, Fate.REFUSED: 1}
    assert run.fate(3) == (Fate.REFUSED, FORBIDDEN)


async def test_where_everything_is_forbidden_few_are_tried() -> None:
    run = Run(alone=Alone(FORBIDDEN), limits=Limits(refusals=4))
    run.publisher.answer(Publication.UNKNOWN)
    assert await run.send(requests(100)) == {Fate.REFUSED: 4, Fate.NOT_SENT: 96}
    assert len(run.publisher.messages) == 4


async def test_returned_messages_are_not_repeated_and_many_in_a_row_end_the_run() -> None:
    run = Run(limits=Limits(in_flight=1, refusals=3))
    run.publisher.answer(Publication.UNROUTABLE)
    assert await run.send(requests(10)) == {Fate.RETURNED: 3, Fate.NOT_SENT: 7}
    assert run.alone.messages == []


async def test_a_single_returned_message_does_not_stop_the_others() -> None:
    run = Run(Publication.UNROUTABLE, limits=Limits(refusals=2))
    assert await run.send(requests(5)) == {Fate.RETURNED: 1, Fate.ACCEPTED: 4}


@pytest.mark.parametrize(
    ("publication", "fate", "fault"),
    [
        (Publication.UNKNOWN, Fate.UNKNOWN, None),
        (Publication.REFUSED, Fate.REFUSED, QUEUE_FULL),
    ],
)
async def test_patience_ends_and_the_rest_is_not_sent(
    publication: Publication, fate: Fate, fault: Fault | None
) -> None:
    run = await welcome(Limits(in_flight=3, patience=20.0), Alone(publication))
    run.publisher.answer(publication)
    run.publisher.gate.clear()
    sending = asyncio.create_task(run.send(requests(10)))
    await until(lambda: len(run.publisher.messages) == 1 + 3)
    run.publisher.gate.set()
    assert await sending == {fate: 3, Fate.NOT_SENT: 7}
    assert run.fate(2) == (fate, fault)
    assert run.clock.monotonic() >= 20.0
    assert max(run.clock.sleeps) == 5.0


async def test_patience_counts_from_the_last_decision_of_the_broker() -> None:
    """A long file is not given up because it is long."""
    slow = [Publication.UNKNOWN, Publication.UNKNOWN, Publication.CONFIRMED] * 20
    run = Run(alone=Alone(*slow), limits=Limits(in_flight=1, patience=5.0))
    run.publisher.answer(Publication.UNKNOWN)
    assert await run.send(requests(20)) == {Fate.ACCEPTED: 20}
    assert run.clock.monotonic() > 5.0


async def test_stopping_waits_for_what_is_under_way_and_sends_nothing_more() -> None:
    run = await welcome(Limits(in_flight=3))
    run.publisher.gate.clear()
    sending = asyncio.create_task(run.send(requests(9)))
    await until(lambda: len(run.publisher.messages) == 4)
    run.sender.stop()
    run.publisher.gate.set()
    assert await sending == {Fate.ACCEPTED: 3, Fate.NOT_SENT: 6}


async def test_stopping_leaves_an_undecided_one_unknown() -> None:
    run = Run()
    run.publisher.answer(Publication.UNKNOWN)
    run.publisher.gate.clear()
    sending = asyncio.create_task(run.send(requests(3)))
    await until(lambda: run.publisher.messages)
    run.sender.stop()
    run.publisher.gate.set()
    assert await sending == {Fate.UNKNOWN: 1, Fate.NOT_SENT: 2}
    assert run.alone.messages == []


async def test_stopped_before_it_began_nothing_is_sent() -> None:
    run = Run()
    run.sender.stop()
    assert await run.send(requests(3)) == {Fate.NOT_SENT: 3}
    assert run.publisher.messages == []
