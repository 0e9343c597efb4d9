"""What must hold at the end of every run, whatever was killed and when."""

from collections import defaultdict
from collections.abc import Iterator
from uuid import UUID

from tests.core import Body, email_of
from tests.crash.runs import Run
from worker.identity import payment_reference
from worker.messages import Exchange
from worker.model import Operation, OperationClass
from worker.records import Record, State

MOST_APPLIED = {
    OperationClass.NON_IDEMPOTENT: 1,
    OperationClass.KEYED: 1,
    OperationClass.ORPHAN_SAFE: 2,
}
"""Operations a provider may have applied for one intent: an orphan-safe one is re-sent once."""

_DECIDED = {State.SUCCEEDED, State.FAILED, State.IN_DOUBT, State.CANCELLED}


def breaches(run: Run) -> list[str]:
    """Every promise the run broke, in words; empty when it kept them all."""
    return [
        *_paid_twice(run),
        *_two_links(run),
        *_undecided(run),
        *_unpublished(run),
        *_two_answers(run),
        *_untrue(run),
    ]


def _paid_twice(run: Run) -> Iterator[str]:
    """Design, promise 2: on the provider's own counter, not on our states."""
    providers, email = run.world.providers, email_of("key-1")
    operation_class = (
        OperationClass.NON_IDEMPOTENT if run.intent.is_basket else run.intent.operation_class
    )
    asked = Operation.ADD_BASKET_ITEM if run.intent.is_basket else Operation.GET_LINK_PAYMENT
    applied = providers.applied[asked, email]
    if applied > MOST_APPLIED[operation_class]:
        yield f"{asked} was applied {applied} times"
    references = providers.references.get(email, [])
    if operation_class is OperationClass.ORPHAN_SAFE and len(set(references)) != len(references):
        yield "two orphan-safe links share a reference"
    if providers.applied[Operation.REMOVE_BASKET_ITEM, email] > 1:
        yield "an item was removed twice"


def _two_links(run: Run) -> Iterator[str]:
    handed_out = {event["link"] for event in run.world.broker.events} - {None}
    if len(handed_out) > 1:
        yield f"{len(handed_out)} links were handed out"
    if not handed_out <= run.world.providers.links:
        yield "a link was handed out that no provider gave"


def _undecided(run: Run) -> Iterator[str]:
    """Promise 1: nothing lost. Every operation asked for has a row, and it is decided."""
    records = run.rows.records.values()
    if len(records) != run.operations:
        yield f"{len(records)} operations instead of {run.operations}"
    for record in records:
        if record.state not in _DECIDED:
            yield f"{record.kind} ended as {record.state}"


def _unpublished(run: Run) -> Iterator[str]:
    broker = run.world.broker
    unclaimed = {message.message_id for message in broker.unclaimed}
    published = {event["event_id"] for event in broker.events} | unclaimed
    letters = {
        (str(letter.headers["payment-id"]), letter.headers["sequence"]) for letter in broker.letters
    }
    for event_id, answer in run.rows.answers.items():
        record = run.rows.records[answer.operation_id]
        if str(event_id) not in published:
            yield f"{answer.event.status} was never published"
        owed = (str(record.operation_id), record.sequence)
        if answer.letter is not None and record.event_id == event_id and owed not in letters:
            yield f"the dead letter of {answer.event.status} was never published"


def _two_answers(run: Run) -> Iterator[str]:
    """One event id per sequence, and one body per event id, byte for byte."""
    ids: dict[tuple[object, object, bool], set[object]] = defaultdict(set)
    bodies: dict[object, set[bytes]] = defaultdict(set)
    for message in run.world.broker.sent_to(Exchange.RESULTS):
        bodies[message.message_id].add(message.body)
    for event in run.world.broker.events:
        is_about_cancel = str(event["event_type"]).startswith("payment.cancellation")
        ids[event["payment_id"], event["sequence"], is_about_cancel].add(event["event_id"])
    for (_payment, sequence, _about), found in ids.items():
        if len(found) > 1:
            yield f"{len(found)} answers for sequence {sequence}"
    if any(len(found) > 1 for found in bodies.values()):
        yield "an answer was repeated with another body"


def _untrue(run: Run) -> Iterator[str]:
    """Promise 3: a success was applied, and what may be asked for again was not."""
    for event in _last_answers(run):
        applied = _applied_for(run, event)
        if event["result"] is True and applied == 0:
            yield f"{event['event_type']} of something that was never applied"
        error = event["error"]
        if isinstance(error, dict) and error["retryable"] and applied > 0:
            yield f"{event['code']} promises that nothing was applied"
        is_failure = str(event["event_type"]).endswith("failed")
        if is_failure and applied > 0 and not run.intent.may_leave_orphans:
            yield f"{event['code']} was reported as failed and is applied"


def _applied_for(run: Run, event: Body) -> int:
    """What a provider applied for the operation an event is about.

    Two payments may want the same thing: the references tell whose it was.
    """
    providers = run.world.providers
    if str(event["event_type"]).startswith("payment.cancellation"):
        return providers.applied[Operation.REMOVE_BASKET_ITEM, email_of("key-1")]
    asked_by = UUID(str(event["duplicate_of"] or event["payment_id"]))
    own = {payment_reference(asked_by, number) for number in range(8)}
    sent = [each for references in providers.references.values() for each in references]
    return sum(any(reference in each for reference in own) for each in sent)


def _last_answers(run: Run) -> Iterator[Body]:
    """The event each operation stands by at the end."""
    by_id = {event["event_id"]: event for event in run.world.broker.events}
    for record in run.rows.records.values():
        event = by_id.get(_event_id(record))
        if event is not None:
            yield event


def _event_id(record: Record) -> str:
    return str(record.event_id)
