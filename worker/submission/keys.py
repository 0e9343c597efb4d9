"""Which identity a request is sent under, so that sending it again pays nothing again.

A key of the producer's own is the best one. Without it the identity is made from the file's
content and the row's number: the same file sent twice is the same intents, an edited file is
another. A new intent for the same file is asked for explicitly and has an id of its own, under
which it can be sent again.
"""

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Self
from uuid import NAMESPACE_URL, UUID, uuid5

from worker.contract import headers
from worker.contract.fields import read_guid
from worker.identity import SEPARATOR, digest_of

_NAMESPACE = uuid5(NAMESPACE_URL, "urn:payment-worker:submission:v1")
"""Namespace of every message id made here; changing it would pay old files again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A request's ``message_id`` with the headers that go with it."""

    message_id: str
    headers: MappingProxyType[str, str | int] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def given(cls, text: str) -> Self:
        """Use a producer's key: a GUID as ``message_id``, any other text as ``idempotency-key``.

        The ``message_id`` is a GUID even then, because subscribers on ServiceStack parse the
        answer's ``correlation_id`` as one (contracts 3.3).
        """
        if read_guid(text) is not None:
            return cls(message_id=text)
        return cls(
            message_id=str(_made("key", text)),
            headers=MappingProxyType({headers.IDEMPOTENCY_KEY: text}),
        )


@dataclass(frozen=True, slots=True)
class FileKeys:
    """Keys for the rows of one file, from its content alone unless ``intent`` is given."""

    digest: str
    intent: UUID | None = None

    @classmethod
    def of(cls, data: bytes, intent: UUID | None = None) -> Self:
        """Take the file's SHA-256 as the base of its keys."""
        return cls(digest_of(data), intent)

    def row(self, number: int) -> Key:
        """Return the key of the row with this number."""
        intent = "" if self.intent is None else str(self.intent)
        return Key(message_id=str(_made("row", self.digest, intent, str(number))))


def _made(*parts: str) -> UUID:
    # Through a digest, because a key from a command line may hold what is no character.
    text = SEPARATOR.join(parts)
    return uuid5(_NAMESPACE, digest_of(text.encode("utf-8", "surrogatepass")))
