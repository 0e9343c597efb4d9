"""Sending a stored answer: the one way an event leaves, with or without a delivery in hand."""

from enum import StrEnum, unique
from typing import assert_never

from worker.contract.copies import unclaimed_copy
from worker.contract.events import result_message
from worker.messages import OutgoingMessage, Publication
from worker.ports import Publisher
from worker.records import Answer


@unique
class Announcement(StrEnum):
    """What became of an event: it is safe with the broker, or it is not."""

    CONFIRMED = "confirmed"
    UNCLAIMED = "unclaimed"
    REFUSED = "refused"
    UNKNOWN = "unknown"

    @property
    def is_safe(self) -> bool:
        """Whether the broker keeps the event, for its subscriber or as unclaimed."""
        return self in {Announcement.CONFIRMED, Announcement.UNCLAIMED}


class Announcer:
    """Publishes result events; one that no queue is bound for goes to the unclaimed ones."""

    def __init__(self, *, publisher: Publisher, source: str) -> None:
        self._publisher = publisher
        self._source = source

    async def announce(
        self, answer: Answer, *, correlation_id: str | None, traceparent: str | None
    ) -> Announcement:
        """Publish an answer's event once, mandatory and confirmed (publisher rule P3).

        ``correlation_id`` and ``traceparent`` are those of the message being answered.
        """
        message = result_message(
            answer, correlation_id=correlation_id, traceparent=traceparent, source=self._source
        )
        published = await self._publisher.publish(message)
        match published:
            case Publication.CONFIRMED:
                return Announcement.CONFIRMED
            case Publication.REFUSED:
                return Announcement.REFUSED
            case Publication.UNKNOWN:
                return Announcement.UNKNOWN
            case Publication.UNROUTABLE:
                return await self._set_aside(message)
            case other:
                assert_never(other)

    async def _set_aside(self, message: OutgoingMessage) -> Announcement:
        """Keep an event without a subscriber where `results resend` finds it."""
        kept = await self._publisher.publish(unclaimed_copy(message))
        match kept:
            case Publication.CONFIRMED:
                return Announcement.UNCLAIMED
            case Publication.REFUSED:
                # A full queue holds back its own requests only: they wait on the ladder (P7).
                return Announcement.REFUSED
            case Publication.UNROUTABLE | Publication.UNKNOWN:
                return Announcement.UNKNOWN
            case other:
                assert_never(other)
