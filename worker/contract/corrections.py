"""Correcting the e-mail of a request that failed: the only thing an operator may change.

The e-mail alone is exchanged in the text of the body; every other byte stays as its producer wrote
it, unknown properties and spelling included. What comes out is read as a whole by the same reader
as any request. Source: contract section 2, "Replay and edit"; operations 1.6.
"""

import codecs
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import assert_never

from worker.contract.envelope import envelope_headers
from worker.contract.fields import Wrong, email_of
from worker.contract.json_text import parse_body
from worker.contract.names import fold_name
from worker.contract.reading import read
from worker.identity import identity_refused, operation_id_of
from worker.model import (
    Cancellation,
    Delivery,
    Envelope,
    Fault,
    Initiation,
    PaymentRequest,
    Source,
    Unreadable,
)

_FIELD = fold_name("email")
_WHITE = " \t\n\r"
# Only where a value ends is asked of it: what a number is worth is the reader's business, and one
# may be longer than Python reads.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)


@dataclass(frozen=True, slots=True)
class Correction:
    """A letter with another e-mail, and the request it holds before and after."""

    letter: Delivery
    before: PaymentRequest
    after: PaymentRequest

    @property
    def is_needed(self) -> bool:
        """Whether it changes anything."""
        return self.before.email != self.after.email


@dataclass(frozen=True, slots=True)
class NotCorrectable:
    """Why a letter cannot be corrected by another e-mail; the faults are those that are left."""

    reason: str
    faults: tuple[Fault, ...] = ()


def accepted_email(text: str) -> str | None:
    """An e-mail as the contract reads it; ``None`` where it refuses it."""
    email = email_of(text)
    return None if isinstance(email, Wrong) else email


def corrected(letter: Delivery, email: str) -> Correction | NotCorrectable:
    """Put another e-mail into a dead letter of ours; identity and headers stay.

    The letter's own headers say who it is, as they do on the copy that is replayed.
    """
    before = read(replace(letter, source=Source.REPLAY))
    if not isinstance(before, Initiation):
        return NotCorrectable("the letter holds no payment request that could be read")
    body = with_email(letter.body, email)
    if body is None:
        return NotCorrectable("the letter names no e-mail, or more than one")
    edited = replace(letter, body=body)
    after = read(replace(edited, source=Source.REPLAY))
    match after:
        case Initiation(request=request):
            return Correction(letter=edited, before=before.request, after=request)
        case Unreadable(faults=faults):
            return NotCorrectable("with this e-mail the request would be refused", faults)
        case Cancellation():
            return NotCorrectable("the letter holds no payment request that could be read")
        case other:
            assert_never(other)


@dataclass(frozen=True, slots=True)
class FirstRequest:
    """What a refused message asks for once its e-mail is mended, under the key it came under."""

    letter: Delivery
    envelope: Envelope
    request: PaymentRequest


def corrected_refusal(letter: Delivery, email: str) -> FirstRequest | NotCorrectable:
    """Put another e-mail into the letter of a refused message.

    The refusal never bound the key (contract section 2): under it, this is a first request.
    """
    refused = read(replace(letter, source=Source.REPLAY))
    identity = identity_refused(refused.envelope.identity)
    if not isinstance(refused, Unreadable) or refused.is_cancellation or identity is None:
        return NotCorrectable("the letter holds no payment request that came under a key")
    body = with_email(letter.body, email)
    if body is None:
        return NotCorrectable("the letter names no e-mail, or more than one")
    payment_id = operation_id_of(identity)
    envelope = replace(
        refused.envelope, operation_id=payment_id, identity=identity, sequence=1, attempts=0
    )
    own = envelope_headers(envelope, sequence=1, attempts=0, replay_count=envelope.replay_count)
    # Where the producer gave it no name, the letter was given the refusal's own id.
    is_nameless = letter.message_id == str(refused.envelope.operation_id)
    first = replace(
        letter,
        body=body,
        message_id=None if is_nameless else letter.message_id,
        headers=MappingProxyType({**letter.headers, **own}),
    )
    match read(replace(first, source=Source.REPLAY)):
        case Initiation(request=request):
            return FirstRequest(letter=first, envelope=envelope, request=request)
        case Unreadable(faults=faults):
            return NotCorrectable("with this e-mail the request would be refused", faults)
        case Cancellation():
            return NotCorrectable("the letter holds no payment request that came under a key")
        case other:
            assert_never(other)


def with_email(body: bytes, email: str) -> bytes | None:
    """The same body with another e-mail; ``None`` where there is not exactly one to exchange."""
    if parse_body(body).root is None or body.startswith(codecs.BOM_UTF8):
        return None
    text = body.decode("utf-8")
    places = [place for name, place in _properties(text) if fold_name(name) == _FIELD]
    if len(places) != 1:
        return None
    start, end = places[0]
    return (text[:start] + json.dumps(email, ensure_ascii=False) + text[end:]).encode("utf-8")


def _properties(text: str) -> Iterator[tuple[str, tuple[int, int]]]:
    """The outermost object's names, each with where its value begins and ends.

    The text is JSON and an object: it was parsed before.
    """
    place = _past_white(text, _past_white(text, 0) + 1)
    while text[place] != "}":
        name, place = _DECODER.raw_decode(text, place)
        start = _past_white(text, _past_white(text, place) + 1)  # the colon
        _, end = _DECODER.raw_decode(text, start)
        yield name, (start, end)
        place = _past_white(text, end)
        if text[place] == ",":
            place = _past_white(text, place + 1)


def _past_white(text: str, place: int) -> int:
    while text[place] in _WHITE:
        place += 1
    return place
