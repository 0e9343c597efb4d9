"""The load of a soak: payments of every class, drawn from one seed.

Nothing of the product is used to make them. Ids are worked out here a second time, as contract
sections 2 and 5 define them, because the judge compares what providers and events say with them.
"""

import hashlib
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum, unique
from uuid import NAMESPACE_URL, UUID, uuid5

VERSION_NAMESPACE = uuid5(NAMESPACE_URL, "urn:payment-worker:v1")

ORIGINS = ("dcp", "web")


@unique
class Kind(StrEnum):
    """What a request asks for, and with which operation class."""

    LINK = "link"
    MAILED = "link that the provider e-mails"
    CAREFUL = "link under class E by setting"
    BASKET = "basket item"
    POISON = "unreadable request"
    CANCEL = "removal of a basket item"


_SHARES: Mapping[Kind, int] = {
    Kind.LINK: 44,
    Kind.MAILED: 10,
    Kind.CAREFUL: 10,
    Kind.BASKET: 34,
    Kind.POISON: 2,
}

_WANTED: Mapping[Kind, Mapping[str, str]] = {
    Kind.LINK: {"payment_target": "LABANQUEPOSTALE", "payment_type": "SEPA"},
    Kind.MAILED: {"payment_target": "PAYBOX", "payment_type": "CB"},
    Kind.CAREFUL: {"payment_target": "LABANQUEPOSTALE", "payment_type": "CB"},
    Kind.BASKET: {"payment_target": "MILLIET", "payment_type": "CB"},
    Kind.POISON: {"payment_target": "LABANQUEPOSTALE", "payment_type": "SEPA", "amount": "12.50"},
}

MAGIC_FAULTS = (
    *("declined", "flaky-2", "flaky-4", "http-429", "http-503", "lost-once", "slow-5s"),
    *("timeout", "timeout-before", "reset-after", "reset-before", "close-after", "truncated"),
    *("garbage", "empty", "http-500", "http-500-after", "http-502", "http-504-after", "no-id"),
)
"""What a provider does to one payment, whoever asks and however often."""

CHANCE_FAULTS = (
    *("declined", "http-429", "http-429-retry", "http-503-retry", "http-500", "http-504-after"),
    *("timeout", "reset-after", "reset-before", "close-after", "truncated-head"),
)
"""What a provider does to one call, removals included; the next call may fare better."""

REMOVAL_FAULTS = ("remove-declined", "remove-flaky-2")

_TWIN = 0.03
_REPEATED = 0.05
_CANCELLED = 0.3
_LATER = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One intent of a producer: the same ``key`` and bytes however often it is sent.

    ``content`` is the order it is about: twins share it under two keys. ``again_after`` (seconds)
    asks for a deliberate second copy, ``is_cancelled`` for a cancellation once it has succeeded.
    """

    key: str
    kind: Kind
    origin: str
    routing_key: str
    content: str
    payment_id: str
    body: Mapping[str, object] = field(repr=False)
    again_after: float | None = None
    is_cancelled: bool = False
    delay: float = 0.0

    @property
    def encoded(self) -> bytes:
        """The body as it goes over the wire."""
        return json.dumps(self.body).encode()


class Load:
    """Draws requests one after another; the same seed draws the same ones."""

    def __init__(self, seed: int, faults: float) -> None:
        self._random = random.Random(f"{seed}:load")
        self._faults = faults / 2
        self._run = f"{seed}-{self._id()[:6]}"
        self._count = 0

    def batch(self) -> Iterator[Request]:
        """The next request, and now and then its twin: the same content under another key."""
        self._count += 1
        kind = self._random.choices(tuple(_SHARES), weights=tuple(_SHARES.values()))[0]
        origin = self._random.choice(ORIGINS)
        content = f"{self._run}-{self._count}"
        is_cancelled = kind is Kind.BASKET and self._random.random() < _CANCELLED
        body = self._body(kind, origin, content, is_cancelled=is_cancelled)
        again = self._random.random() < _REPEATED
        yield self._request(
            kind,
            origin,
            content,
            body,
            is_cancelled=is_cancelled,
            again_after=self._random.uniform(0, _LATER) if again else None,
        )
        # A payment that was cancelled is not a duplicate's first any more (contract section 2).
        if not is_cancelled and kind is not Kind.POISON and self._random.random() < _TWIN:
            delay = self._random.uniform(0, _LATER)
            yield self._request(kind, origin, content, body, delay=delay)

    def cancellation(self, request: Request) -> Request:
        """The cancellation of a payment that succeeded."""
        key = str(uuid5(UUID(request.payment_id), "cancellation"))
        return Request(
            key=key,
            kind=Kind.CANCEL,
            origin=request.origin,
            routing_key=f"payment.cancel.{request.origin}",
            content=request.content,
            payment_id=request.payment_id,
            body={"payment_id": request.payment_id},
        )

    def pause(self, rate: float) -> float:
        """Seconds until the next request: producers do not wait for each other."""
        return self._random.expovariate(rate)

    def _request(
        self,
        kind: Kind,
        origin: str,
        content: str,
        body: Mapping[str, object],
        *,
        is_cancelled: bool = False,
        again_after: float | None = None,
        delay: float = 0.0,
    ) -> Request:
        key = self._id()
        return Request(
            key=key,
            kind=kind,
            origin=origin,
            routing_key=f"payment.initiate.{origin}",
            content=content,
            payment_id=str(uuid5(VERSION_NAMESPACE, f"{origin}\u001f{key}")),
            body=body,
            again_after=again_after,
            is_cancelled=is_cancelled,
            delay=delay,
        )

    def _body(
        self, kind: Kind, origin: str, content: str, *, is_cancelled: bool
    ) -> dict[str, object]:
        wanted = _WANTED[kind]
        return {
            "payment_run_mode": "TEST",
            "id_origin": origin,
            "id_societe": "1",
            "id_client": "2263",
            "id_commande": content,
            "type_paiement": wanted["payment_type"],
            "amount": str(self._random.randint(1, 999_999)),
            "email": f"{self._local_part(is_cancelled=is_cancelled)}@example.org",
            **wanted,
        }

    def _local_part(self, *, is_cancelled: bool) -> str:
        if self._random.random() >= self._faults:
            return "client"
        return f"sim+{self._random.choice(REMOVAL_FAULTS if is_cancelled else MAGIC_FAULTS)}"

    def _id(self) -> str:
        return str(UUID(int=self._random.getrandbits(128), version=4))


def references_of(payment_id: str, most: int = 8) -> tuple[str, ...]:
    """References a payment may send to its provider, one for each unknown attempt before it."""
    return tuple(
        hashlib.sha256(f"{payment_id}:{number}".encode()).hexdigest()[:32] for number in range(most)
    )
