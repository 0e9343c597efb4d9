"""A delivery's story as one line of the log: its sentence, its fields, and who should see it."""

from collections.abc import Mapping
from typing import assert_never

from worker.calls import Declined, Misconfigured, NotApplied, NotSent, Succeeded, Try, Unknown
from worker.codes import MEANINGS, Category
from worker.messages import Action, Story
from worker.records import Status

NONE = "none"
"""A label that nothing is known for."""

_OUTCOMES: Mapping[Status, str] = {
    Status.SUCCEEDED: "success",
    Status.CANCELLED: "success",
    Status.FAILED: "failure",
    Status.CANCEL_FAILED: "failure",
    Status.IN_DOUBT: "unknown",
    Status.CANCEL_IN_DOUBT: "unknown",
}
_QUIET = frozenset({Category.REQUEST, Category.DECLINED, Category.DUPLICATE})


def is_alarming(story: Story) -> bool:
    """What a person should look at: doubts, lost subscribers, faults of ours or the provider."""
    if story.unclaimed or story.livemode_forced:
        return True
    if story.action is not Action.ANSWERED or story.code is None:
        return False
    return MEANINGS[story.code].category not in _QUIET


def sentence_of(story: Story) -> str:
    """A few words for people."""
    match story.action:
        case Action.ANSWERED | Action.REPEATED:
            parts = [story.action.capitalize(), story.status or "", story.code or ""]
        case Action.WAITING | Action.RETURNED:
            parts = [story.action.capitalize(), story.step or "", story.reason or ""]
        case other:
            assert_never(other)
    return " ".join(part for part in parts if part)


def fields_of(story: Story, seconds: float) -> dict[str, object]:
    """The fields of the line, in the Elastic Common Schema; ``seconds`` is what handling took."""
    fields: dict[str, object] = {
        "event.action": f"delivery.{story.action}",
        "event.outcome": _OUTCOMES.get(story.status) if story.status else None,
        "event.duration": nanoseconds(seconds),
        "error.code": story.code,
        "labels.operation": operation_of(story),
        "labels.operation_id": story.operation_id,
        "labels.payment_id": story.payment_id,
        "labels.message_id": story.message_id,
        "labels.origin": story.origin,
        "labels.provider": story.account,
        "labels.livemode": story.live,
        "labels.livemode_forced": story.livemode_forced or None,
        "labels.status": story.status,
        "labels.attempt": story.attempts,
        "labels.sequence": story.sequence,
        "labels.step": story.step,
        "labels.reason": story.reason,
        "labels.age": round(story.age, 3) if story.age is not None else None,
        "labels.tries": [code_class(each) for each in story.tries] or None,
        "labels.dead_lettered": story.dead_lettered or None,
        "labels.unclaimed": story.unclaimed or None,
        "labels.reply_to_ignored": story.reply_to_ignored or None,
        "labels.unknown_properties": story.unknown_properties or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def operation_of(story: Story) -> str:
    """The label of the operation."""
    return story.kind.value if story.kind else NONE


def mode_of(live: bool | None) -> str:  # noqa: FBT001 - the story's own three-valued field
    """The label of live and test; nothing may be known of it."""
    return NONE if live is None else str(live).lower()


def code_class(each: Try) -> str:
    """What came back: a class of HTTP status, or why there is none."""
    match each.outcome:
        case NotSent():
            return "not_sent"
        case Succeeded(http_status=status) | Declined(http_status=status):
            return f"{status // 100}xx"
        case NotApplied(http_status=status):
            return f"{status // 100}xx"
        case Misconfigured(http_status=status) | Unknown(http_status=status):
            return "no_answer" if status is None else f"{status // 100}xx"
        case other:
            assert_never(other)


def nanoseconds(seconds: float) -> int:
    """Unit of ``event.duration`` in the Elastic Common Schema."""
    return round(seconds * 1_000_000_000)
