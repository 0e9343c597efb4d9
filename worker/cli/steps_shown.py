"""What a person does next about one operation: what to look at first, then which command."""

from collections.abc import Iterator

from worker.cli.doubts_listed import commands_for, what_to_look_up
from worker.lifecycle.contradiction import contradiction_of
from worker.operators.doubts import Doubt
from worker.records import State


def steps_for(doubt: Doubt) -> Iterator[str]:
    """For people: none where nothing waits for anybody."""
    record = doubt.record
    if record.state is State.IN_DOUBT:
        yield f"look up: {what_to_look_up(doubt)}"
        yield from (f"then: {command}" for command in commands_for(doubt))
    found = contradiction_of(doubt.history)
    if found is not None and not found.is_acknowledged:
        yield f"told as {record.state}, and its provider applied it after all: {found.evidence}"
        yield "first: tell its producer, and see whether it was asked for again under another key"
        yield f"then: payment-worker payments acknowledge {record.operation_id} --reason ..."


def step_facts(doubt: Doubt | None) -> dict[str, object]:
    """For programs: what to look up and may be said of a doubt, and a late success unseen to."""
    if doubt is None:
        return {"look_up": None, "settle": [], "applied_but_told_otherwise": False}
    found = contradiction_of(doubt.history)
    return {
        "look_up": what_to_look_up(doubt) if doubt.record.state is State.IN_DOUBT else None,
        "settle": [word.value for word in doubt.words],
        "applied_but_told_otherwise": found is not None and not found.is_acknowledged,
    }
