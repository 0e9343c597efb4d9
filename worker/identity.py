"""Who a message is: pure derivations from text to the ids that everything else is kept under.

One chain, the same in every process and for every redelivery, so that no step needs memory:
origin and key make an identity, the identity makes the operation's id, the id makes references
and event ids. Source: contract sections 2, 3 and 5; worked example in
``schemas/examples/identity.json``.
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from uuid import NAMESPACE_URL, UUID, uuid5

from worker.model import (
    Cents,
    Delivery,
    Fingerprint,
    Identity,
    Origin,
    PaymentTarget,
    PaymentType,
    RunMode,
)
from worker.records import Status

SEPARATOR = "\u001f"
"""Stands between the parts of an identity. No origin and no accepted key can contain it, so
identities of different namespaces cannot meet."""

VERSION_NAMESPACE = uuid5(NAMESPACE_URL, "urn:payment-worker:v1")
"""Namespace of every operation id under version 1 of the contract."""

UNKNOWN_ORIGIN = Origin("unknown")
"""Origin of what could not be read."""

PAYMENT_ID_HEADER = "payment-id"
"""Header in which a copy of ours carries the operation's id."""

_CANONICAL = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))
_CANCELLATION = "cancel"
_REFUSAL = "refusal"
_ORIGIN_LENGTH = 32
_ORIGINS_KEPT = 256  # there are a handful; anybody may make up more
_NOT_IN_ORIGIN = re.compile(r"[^a-z0-9-]")


@lru_cache(maxsize=_ORIGINS_KEPT)
def normalise_origin(text: str) -> Origin:
    """Turn an ``id_origin`` or a routing key's word into the origin results are routed by.

    Lower case, accents removed, everything but ``[a-z0-9-]`` turned into ``-``, at most 32
    characters, ``unknown`` when nothing is left (contract section 3: Télévente, televente).
    """
    bare = text.strip().lower()
    if not bare.isascii():
        decomposed = unicodedata.normalize("NFD", bare)
        bare = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return Origin(_NOT_IN_ORIGIN.sub("-", bare)[:_ORIGIN_LENGTH] or UNKNOWN_ORIGIN)


def origin_of_routing_key(routing_key: str) -> Origin:
    """Normalise the last word of a request's routing key, which broker permissions bind."""
    return normalise_origin(routing_key.rpartition(".")[2])


def identity_of(namespace_or_origin: str, key: str) -> Identity:
    """Join a normalised origin (or a namespace) and a key: contract section 2."""
    return Identity(f"{namespace_or_origin}{SEPARATOR}{key}")


def cancellation_identity(origin: Origin, key: str) -> Identity:
    """Identity of a cancellation; ``origin`` is the normalised last word of its routing key."""
    return identity_of(f"{_CANCELLATION}{SEPARATOR}{origin}", key)


def refusal_identity(identity: Identity, distinguishing: str) -> Identity:
    """Identity of a refusal, which never binds the key it was refused under.

    ``distinguishing`` is the fingerprint of the refused content where there is one
    (``idempotency_mismatch``), else the SHA-256 of the raw body, as hex digits.
    """
    return identity_of(f"{_REFUSAL}{SEPARATOR}{identity}", distinguishing)


def identity_refused(refusal: Identity) -> Identity | None:
    """The identity under which a refused message came; ``None`` where it brought no key."""
    if not is_refusal(refusal):
        return None
    came_under = refusal.removeprefix(f"{_REFUSAL}{SEPARATOR}").rpartition(SEPARATOR)[0]
    return Identity(came_under) if came_under.rpartition(SEPARATOR)[2] else None


def is_refusal(identity: Identity) -> bool:
    """Whether an identity is a refusal's; origins cannot hold the separator that follows."""
    return identity.startswith(f"{_REFUSAL}{SEPARATOR}") and identity.count(SEPARATOR) > 1


def operation_id_of(identity: Identity) -> UUID:
    """Id of a payment, a cancellation or a refusal: uuid5 under the version's namespace."""
    return uuid5(VERSION_NAMESPACE, identity)


def request_id_of(delivery: Delivery) -> str | None:
    """Return the producer's ``message_id``: an event's ``request_id``, never an id of ours.

    A copy of a message that came without one carries the operation's id in its place, and the
    same in the header ``payment-id`` (contract section 2).
    """
    if not delivery.message_id:
        return None
    own_id = delivery.header(PAYMENT_ID_HEADER) if delivery.source.is_believed else None
    return None if delivery.message_id == own_id else delivery.message_id


def digest_of(content: bytes) -> str:
    """SHA-256 as 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def canonical_digest(content: Mapping[str, str | bool | None]) -> str:
    """SHA-256 of content as JSON: sorted keys, no spaces, UTF-8, nothing escaped needlessly."""
    return digest_of(_CANONICAL.encode(content).encode())


def fingerprint_of(
    *,
    payment_target: PaymentTarget,
    payment_run_mode: RunMode,
    payment_type: PaymentType,
    type_paiement: PaymentType,
    origin: Origin,
    id_societe: str,
    id_client: str,
    id_commande: str,
    amount: Cents,
    email: str,
) -> Fingerprint:
    """SHA-256 over what a payment asks for, and the key of a request that brought none.

    Values are normalised: canonical enum names, the normalised origin, the amount as text, the
    e-mail in lower case, all text in Unicode form C. The comment is not part of it, because it
    changes nothing about the payment (contract section 2).
    """
    content = {
        "payment_target": payment_target.value,
        "payment_run_mode": payment_run_mode.value,
        "payment_type": payment_type.value,
        "type_paiement": type_paiement.value,
        "id_origin": origin,
        "id_societe": id_societe,
        "id_client": id_client,
        "id_commande": id_commande,
        "amount": str(amount),
        "email": email.lower(),
    }
    composed = {name: unicodedata.normalize("NFC", value) for name, value in content.items()}
    return Fingerprint(canonical_digest(composed))


def payment_reference(payment_id: UUID, unknown_attempts: int) -> str:
    """Reference sent to a provider: 32 hex digits, another one after each unknown attempt.

    First half of the SHA-256 of ``<payment_id>:<n>``; ``n`` stays 0 for an operation whose
    provider refuses a reference it has seen (class C): contract section 5.
    """
    return digest_of(f"{payment_id}:{unknown_attempts}".encode())[:32]


def event_id_of(operation_id: UUID, status: Status, sequence: int) -> UUID:
    """Id of one decided answer: the same however often it is published (contract section 3)."""
    return uuid5(operation_id, f"{status.value}:{sequence}")
