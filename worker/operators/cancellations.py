"""Cancelling a payment on an operator's word: the same message that its producer would send.

It goes to the workers by the exchange that operators may publish to, so it needs no right of a
producer's, and it is decided as any other cancellation is (contract section 2, Cancel). What can
be seen beforehand is told beforehand, and nothing is sent.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never
from uuid import UUID, uuid5

from worker.contract.copies import replay_copy
from worker.contract.reading import read
from worker.ledger import Ledger
from worker.messages import OutgoingMessage, Publication
from worker.model import Delivery, Source
from worker.ports import Clock, Publisher
from worker.records import Kind, Record, State

REPLAY_RUN = "cancel"
"""What such a message says where the copy of a replay names its run."""

_LOOK_AGAIN = 0.25


@dataclass(frozen=True, slots=True)
class Asked:
    """The message was confirmed; ``operation_id`` is the cancellation's own."""

    operation_id: UUID


@dataclass(frozen=True, slots=True)
class NotAsked:
    """Nothing was sent; why, in words that follow "it was not cancelled:"."""

    reason: str
    is_cancelled: bool = False


@dataclass(frozen=True, slots=True)
class NotConfirmed:
    """The broker did not confirm the message; sending it again is safe."""


class Cancellations:
    """Asks for cancellations; raises ``StoreUnavailableError``."""

    def __init__(self, *, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock

    async def bar(self, payment_id: UUID) -> NotAsked | Record:
        """Why this payment cannot be cancelled, else its row."""
        found = await self._ledger.find(payment_id)
        if found is None:
            return NotAsked("the ledger does not know it")
        before = await self._ledger.payments.cancellations(payment_id)
        return _bar(found[0], before) or found[0]

    async def ask(
        self, payment: Record, publisher: Publisher, *, actor: str, reason: str
    ) -> Asked | NotConfirmed:
        """Publish the cancellation; audited. Asking again repeats it, unless it has failed."""
        before = await self._ledger.payments.cancellations(payment.operation_id)
        operation_id, message = cancellation_message(payment, before, self._clock, actor=actor)
        await self._ledger.acts.note_act(
            payment.operation_id,
            actor=actor,
            action="cancel",
            detail=f"asked for as {operation_id}: {reason}",
        )
        if await publisher.publish(message) is not Publication.CONFIRMED:
            return NotConfirmed()
        return Asked(operation_id)

    async def outcome(self, asked: Asked, *, seconds: float) -> Record | None:
        """The cancellation once it is decided; as it stands when the time is over."""
        ends = self._clock.monotonic() + seconds
        while True:
            found = await self._ledger.find(asked.operation_id)
            is_decided = found is not None and not found[0].state.is_open
            if is_decided or self._clock.monotonic() >= ends:
                return None if found is None else found[0]
            await self._clock.sleep(_LOOK_AGAIN)


def cancellation_message(
    payment: Record, before: Sequence[Record], clock: Clock, *, actor: str
) -> tuple[UUID, OutgoingMessage]:
    """The message and the id of the operation that it asks for.

    Its key follows from the payment and how many cancellations of it have failed: typed twice, it
    is one; after a failure, another one.
    """
    failed = sum(each.state is State.FAILED for each in before)
    delivery = Delivery(
        body=json.dumps({"payment_id": str(payment.operation_id)}).encode(),
        source=Source.REQUESTS,
        routing_key=f"payment.cancel.{payment.origin}",
        received_at=clock.now(),
        exchange="",
        message_id=str(uuid5(payment.operation_id, f"cancelled by an operator, {failed}")),
    )
    envelope = read(delivery).envelope
    message = replay_copy(
        delivery,
        sequence=envelope.sequence,
        replay_count=0,
        replay_run=REPLAY_RUN,
        replayed_by=actor,
        envelope=envelope,
    )
    return envelope.operation_id, message


def _bar(payment: Record, before: Sequence[Record]) -> NotAsked | None:
    if payment.kind is not Kind.INITIATION:
        return NotAsked(f"it is a {payment.kind}, not a payment")
    for each in before:
        if each.state is State.IN_DOUBT:
            return NotAsked(f"its cancellation {each.operation_id} is in doubt: settle that first")
    match payment.state:
        case State.SUCCEEDED if payment.duplicate_of is not None:
            return NotAsked(f"it repeats payment {payment.duplicate_of}: cancel that one")
        case State.SUCCEEDED if payment.item_id is None:
            return NotAsked("a link cannot be taken back at its provider")
        case State.SUCCEEDED if payment.email is None:
            return NotAsked("its e-mail was erased, and its provider removes no item without it")
        case State.CALLING | State.RETRY_WAIT | State.SUCCEEDED:
            return None
        case State.FAILED:
            return NotAsked("it failed: there is nothing to cancel")
        case State.IN_DOUBT:
            return NotAsked("it is in doubt: settle it first")
        case State.CANCELLED:
            return NotAsked("it is cancelled already", is_cancelled=True)
        case other:
            assert_never(other)
