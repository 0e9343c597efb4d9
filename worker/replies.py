"""What a delivery is answered with: the event it is owed, or a copy for later."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

from worker.announcer import Announcement, Announcer
from worker.contract.copies import dead_letter, ladder_copy
from worker.contract.events import correlation_of
from worker.ledger import Ledger
from worker.lifecycle.wishes import Decided, Held, Waiting
from worker.messages import Action, Disposition, Handled, OutgoingMessage, Publication, Story
from worker.model import Delivery, Envelope, Step
from worker.ports import Clock, Publisher
from worker.records import Letter
from worker.retry import backoff, waiting_step
from worker.rules import Rules

Said = TypeVar("Said")

_REFUSED_AGE = {timedelta(minutes=2): Step.SECONDS_30, timedelta(minutes=10): Step.MINUTES_2}


class Replies:
    """Publishes what follows from a decision, and only then lets the delivery be acknowledged."""

    def __init__(
        self,
        *,
        announcer: Announcer,
        publisher: Publisher,
        ledger: Ledger,
        clock: Clock,
        rules: Rules,
        worker_version: str,
    ) -> None:
        self._announcer = announcer
        self._publisher = publisher
        self._ledger = ledger
        self._clock = clock
        self._rules = rules
        self._worker_version = worker_version

    async def answer(
        self, decided: Decided, delivery: Delivery, envelope: Envelope, story: Story
    ) -> Handled:
        """Send the dead letter if one is owed, then the stored event (I5).

        A queue that is full holds back only its own requests: they wait on the ladder,
        uncounted, and the same event is sent when they return (publisher rule P7).
        """
        answer = decided.answer
        story = self._told(story, decided, envelope)
        if answer.letter is not None and not answer.letter_confirmed:
            sent = await self._letter(decided, answer.letter, delivery, envelope)
            if sent is Publication.REFUSED:
                return await self._held_back(
                    story, decided, delivery, envelope, "dead letters full"
                )
            if sent is not Publication.CONFIRMED:
                return returned(story, f"dead letter {sent}")
            self._ledger.confirmed(answer, letter=True)
        announced = await self._patiently(
            lambda: self._announcer.announce(
                answer,
                correlation_id=correlation_of(delivery),
                traceparent=delivery.header("traceparent"),
            ),
            Announcement.UNKNOWN,
            delivery,
        )
        if announced is Announcement.REFUSED:
            return await self._held_back(story, decided, delivery, envelope, "result queue full")
        if not announced.is_safe:
            return returned(story, f"event {announced}")
        self._ledger.confirmed(answer, event=True)
        if announced is Announcement.UNCLAIMED:
            story = replace(story, unclaimed=True)
        return Handled(Disposition.ACKNOWLEDGE, story)

    async def wait(
        self, waiting: Waiting | Held, delivery: Delivery, envelope: Envelope, story: Story
    ) -> Handled:
        """Send the request up the ladder, counted or not, and acknowledge the copy in hand (I6)."""
        if isinstance(waiting, Waiting):
            step, attempts, sequence = (
                waiting.step,
                waiting.record.attempts,
                waiting.record.sequence,
            )
        else:
            seconds = (waiting.until - self._clock.now()).total_seconds()
            step, attempts, sequence = waiting_step(seconds), waiting.attempts, waiting.sequence
        return await self._climb(
            replace(envelope, sequence=max(sequence, envelope.sequence)),
            delivery,
            step,
            max(attempts, envelope.attempts if isinstance(waiting, Held) else 0),
            waiting.reason,
            story,
        )

    async def _letter(
        self, decided: Decided, letter: Letter, delivery: Delivery, envelope: Envelope
    ) -> Publication:
        answered = replace(
            envelope,
            operation_id=decided.record.operation_id,
            identity=decided.record.identity,
            sequence=decided.record.sequence,
            attempts=decided.record.attempts,
        )
        message = dead_letter(
            delivery,
            answered,
            letter,
            worker_version=self._worker_version,
            attempts=answered.attempts,
            sequence=answered.sequence,
        )
        return await self._publish(message, delivery)

    async def _held_back(
        self, story: Story, decided: Decided, delivery: Delivery, envelope: Envelope, reason: str
    ) -> Handled:
        age = self._clock.now() - decided.answer.event.occurred_at
        step = next((step for limit, step in _REFUSED_AGE.items() if age < limit), Step.MINUTES_10)
        # The row's own number: an answer may tell another's, as a cancelled payment's does, and a
        # copy that names more attempts than its row would prove an older ledger.
        attempts = decided.record.attempts
        return await self._climb(envelope, delivery, step, attempts, reason, story)

    async def _climb(
        self,
        envelope: Envelope,
        delivery: Delivery,
        step: Step,
        attempts: int,
        reason: str,
        story: Story,
    ) -> Handled:
        copy = ladder_copy(delivery, envelope, step=step, attempts=attempts, reason=reason)
        published = await self._publish(copy, delivery)
        if published is not Publication.CONFIRMED:
            return returned(story, f"ladder copy {published}")
        waiting = replace(story, action=Action.WAITING, step=step, reason=reason, attempts=attempts)
        return Handled(Disposition.ACKNOWLEDGE, waiting)

    async def _publish(self, message: OutgoingMessage, delivery: Delivery) -> Publication:
        return await self._patiently(
            lambda: self._publisher.publish(message), Publication.UNKNOWN, delivery
        )

    async def _patiently(
        self, send: Callable[[], Awaitable[Said]], unknown: Said, delivery: Delivery
    ) -> Said:
        """Repeat a publish whose end is not known, while the delivery's time lasts.

        Its id is stable, so a duplicate is dropped by whoever receives it (publisher rule P4).
        """
        ends = delivery.received_at + timedelta(seconds=self._rules.delivery_seconds)
        tries = 1
        while True:
            said = await send()
            if said is not unknown:
                return said
            pause = backoff(tries, self._clock.fraction())
            if self._clock.now() + timedelta(seconds=pause) > ends:
                return said
            await self._clock.sleep(pause)
            tries += 1

    def _told(self, story: Story, decided: Decided, envelope: Envelope) -> Story:
        event, record = decided.answer.event, decided.record
        return replace(
            story,
            action=Action.REPEATED if decided.repeated else Action.ANSWERED,
            operation_id=record.operation_id,
            kind=record.kind,
            payment_id=event.payment_id,
            origin=event.origin,
            status=event.status,
            code=event.code,
            account=event.provider or story.account,
            live=story.live if event.livemode is None else event.livemode,
            attempts=event.attempts,
            sequence=event.sequence,
            age=(self._clock.now() - envelope.first_seen).total_seconds(),
            dead_lettered=decided.answer.letter is not None,
        )


def returned(story: Story, reason: str) -> Handled:
    """Hand the delivery back: what it is owed could not be made safe."""
    return Handled(Disposition.RETURN, replace(story, action=Action.RETURNED, reason=reason))
