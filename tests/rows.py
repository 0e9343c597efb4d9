"""A ledger's rows as a transaction sees them, held in dictionaries, and rows to put there."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from tests.core import initiation
from tests.fakes_clock import START
from worker.contract.reading import read
from worker.lifecycle.decide import Reason, answered
from worker.lifecycle.wishes import Claim
from worker.model import (
    Delivery,
    Fingerprint,
    Identity,
    Initiation,
    Operation,
    OperationClass,
    Refusal,
    Route,
    Secret,
)
from worker.records import Answer, Change, Kind, Record, State, Tombstone
from worker.switches import Switch

NOW: Final = START
TOKEN: Final = UUID(int=7, version=4)
OTHER_TOKEN: Final = UUID(int=8, version=4)
LINK: Final = Secret("https://pay.example.org/paypage?n=1")
EMAIL: Final = Secret("key-1@example.org")
DECIDED_STATES: Final = (State.SUCCEEDED, State.FAILED, State.IN_DOUBT, State.CANCELLED)


class Rows:
    """Implements ``ports.View``; ``write`` applies a change as a store would, all or nothing."""

    def __init__(
        self,
        records: Iterable[Record] = (),
        *,
        answers: Iterable[Answer] = (),
        owner: UUID | None = None,
        tombstones: Iterable[Tombstone] = (),
    ) -> None:
        self.records = {record.operation_id: record for record in records}
        self.answers = {answer.event.event_id: answer for answer in answers}
        self.tombstones = {tombstone.payment_id: tombstone for tombstone in tombstones}
        self.owner_id = owner
        self.switches: dict[str, Switch] = {}

    def record(self, operation_id: UUID) -> Record | None:
        return self.records.get(operation_id)

    def answer(self, operation_id: UUID) -> Answer | None:
        record = self.records.get(operation_id)
        if record is None or record.event_id is None:
            return None
        return self.answers.get(record.event_id)

    def owner(self, _fingerprint: Fingerprint) -> Record | None:
        return None if self.owner_id is None else self.records.get(self.owner_id)

    def tombstone(self, payment_id: UUID) -> Tombstone | None:
        return self.tombstones.get(payment_id)

    def switch(self, account: str) -> Switch | None:
        return self.switches.get(account)

    def write(self, change: Change[object]) -> None:
        """Apply a change; a row that is not one version further is a fault of the rule."""
        for record in change.records:
            known = self.records.get(record.operation_id)
            assert record.version == (known.version if known else 0) + 1
            self.records[record.operation_id] = record
        for answer in change.answers:
            assert answer.event.event_id not in self.answers, "an event id was used twice"
            self.answers[answer.event.event_id] = answer
        for tombstone in change.tombstones:
            self.tombstones[tombstone.payment_id] = tombstone
        self.switches |= {switch.account: switch for switch in change.switches}
        if change.owner is not None:
            self.owner_id = change.owner[1]


def reading(delivery: Delivery) -> Initiation:
    """What a delivery asks for, which must be readable."""
    found = read(delivery)
    assert isinstance(found, Initiation)
    return found


ASKED: Final = reading(initiation())


def claim_wish(
    plan: Route | Refusal,
    *,
    delivery: Delivery | None = None,
    token: UUID = TOKEN,
    may_call: bool = True,
) -> Claim:
    """A claim for what a delivery asks."""
    delivery = delivery or initiation()
    asked = reading(delivery)
    return Claim(
        envelope=asked.envelope,
        request=asked.request,
        plan=plan,
        token=token,
        may_call=may_call,
        delivery=delivery,
    )


def payment(
    state: State = State.CALLING,
    *,
    asked: Initiation = ASKED,
    operation_class: OperationClass | None = OperationClass.ORPHAN_SAFE,
    attempts: int = 1,
    sequence: int = 1,
    version: int = 3,
    first_seen: datetime = NOW,
) -> Record:
    """A payment's row before it owes an answer: called, or waiting and due."""
    is_calling = state is State.CALLING
    operation = (
        Operation.ADD_BASKET_ITEM
        if operation_class is OperationClass.NON_IDEMPOTENT
        else Operation.GET_LINK_PAYMENT
    )
    return Record(
        operation_id=asked.envelope.operation_id,
        kind=Kind.INITIATION,
        payment_id=asked.envelope.operation_id,
        identity=asked.envelope.identity,
        fingerprint=asked.request.fingerprint,
        origin=asked.request.origin,
        facts=asked.request.facts,
        state=state,
        sequence=sequence,
        version=version,
        first_seen=first_seen,
        created_at=first_seen,
        updated_at=first_seen,
        message_id="key-1",
        correlation_id="correlation-1",
        account="safedebit",
        operation=operation,
        operation_class=operation_class,
        live=False,
        reference="e762ce2829fe26a3d5308ff9de99677a",
        attempts=attempts,
        token=TOKEN if is_calling else None,
        lease_until=NOW + timedelta(seconds=60) if is_calling else None,
        next_attempt_at=NOW if state is State.RETRY_WAIT else None,
    )


def closed(
    record: Record,
    state: State,
    *,
    reason: Reason | None = None,
    link: Secret | None = None,
    item_id: str | None = None,
    at: datetime = NOW,
) -> tuple[Record, Answer]:
    """The row decided in that state, with the answer it owes."""
    before = replace(record, version=record.version - 1)
    return answered(before, state, at, reason=reason, link=link, item_id=item_id)


def identity(text: str) -> Identity:
    """An identity under the origin of the samples."""
    return Identity(f"dcp\x1f{text}")
