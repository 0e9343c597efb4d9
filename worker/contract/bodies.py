"""What the two kinds of body hold: the whole request, or as much of it as could be read."""

from dataclasses import dataclass
from functools import partial

from worker.contract.faults import FaultCode, fault
from worker.contract.fields import (
    KEY_LENGTH,
    NO_GUID,
    FieldReader,
    amount_of,
    comment_of,
    email_of,
    flag_of,
    guid_of,
    payment_type_of,
    present_key,
    run_mode_of,
    target_of,
    text_of,
)
from worker.contract.json_text import JsonObject
from worker.contract.names import name_values
from worker.identity import (
    UNKNOWN_ORIGIN,
    canonical_digest,
    fingerprint_of,
    identity_of,
    normalise_origin,
    operation_id_of,
)
from worker.model import CancelRequest, Facts, Fault, Origin, PaymentRequest, Secret

REQUEST_FIELDS = (
    "payment_target",
    "payment_run_mode",
    "payment_type",
    "id_origin",
    "id_societe",
    "id_client",
    "id_commande",
    "type_paiement",
    "amount",
    "email",
    "commentaire",
)
CANCEL_FIELDS = ("payment_id", "idempotency_key", "notify")

NO_ORDER = "0"
"""The order number that means none, so that it cannot tell two payments apart."""

_key_text_of = partial(text_of, shortest=0, longest=KEY_LENGTH)


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyReading:
    """A request if the body is whole; origin, facts and faults in any case.

    ``content_key`` identifies the content of a message that brought no key of its own.
    ``repeats_unknown`` tells of a property nobody knows that stands twice.
    """

    request: PaymentRequest | CancelRequest | None
    content_key: str
    origin: Origin
    facts: Facts
    faults: tuple[Fault, ...]
    unknown_properties: tuple[str, ...]
    repeats_unknown: bool


def read_payment_body(body: JsonObject, *, has_key: bool) -> BodyReading:
    """Read a ``payment_initiate`` body; without a key, order 0 is refused (contract 2)."""
    named = name_values(body, REQUEST_FIELDS)
    reader = FieldReader(named)
    facts = Facts(
        payment_target=reader.required("payment_target", target_of),
        payment_run_mode=reader.required("payment_run_mode", run_mode_of),
        payment_type=reader.required("payment_type", payment_type_of),
        id_origin=reader.required("id_origin", text_of),
        id_societe=reader.required("id_societe", text_of),
        id_client=reader.required("id_client", text_of),
        id_commande=reader.required("id_commande", text_of),
        type_paiement=reader.required("type_paiement", payment_type_of),
        amount=reader.required("amount", amount_of),
    )
    email = reader.required("email", email_of)
    reader.optional("commentaire", comment_of)
    if facts.id_commande == NO_ORDER and not has_key:
        reader.faults.append(fault("message_id", FaultCode.IDENTITY_MISSING))
    origin = UNKNOWN_ORIGIN if facts.id_origin is None else normalise_origin(facts.id_origin)
    request = _whole_request(facts, email, origin)
    return BodyReading(
        request=request,
        content_key=request.fingerprint if request is not None else "",
        origin=origin,
        facts=facts,
        faults=tuple(reader.faults),
        unknown_properties=named.unknown,
        repeats_unknown=named.repeats_unknown,
    )


def read_cancel_body(body: JsonObject, origin: Origin) -> BodyReading:
    """Read a cancellation body; ``origin`` is the normalised last word of its routing key."""
    named = name_values(body, CANCEL_FIELDS)
    reader = FieldReader(named)
    payment_id = reader.optional("payment_id", guid_of)
    key = present_key(reader.optional("idempotency_key", _key_text_of))
    if not reader.faults and (payment_id in {None, NO_GUID}) == (key is None):
        reader.faults.append(fault("payment_id", FaultCode.EXACTLY_ONE))
    notify = reader.optional("notify", flag_of)
    if key is not None:
        payment_id = operation_id_of(identity_of(origin, key))
    request: CancelRequest | None = None
    content_key = ""
    if payment_id is not None and not reader.faults:
        request = CancelRequest(payment_id=payment_id, notify=notify, origin=origin)
        content_key = canonical_digest({"payment_id": str(payment_id), "notify": notify})
    return BodyReading(
        request=request,
        content_key=content_key,
        origin=origin,
        facts=Facts(),
        faults=tuple(reader.faults),
        unknown_properties=named.unknown,
        repeats_unknown=named.repeats_unknown,
    )


def _whole_request(facts: Facts, email: str | None, origin: Origin) -> PaymentRequest | None:
    if (
        facts.payment_target is None
        or facts.payment_run_mode is None
        or facts.payment_type is None
        or facts.type_paiement is None
        or facts.id_origin is None
        or facts.id_societe is None
        or facts.id_client is None
        or facts.id_commande is None
        or facts.amount is None
        or email is None
    ):
        return None
    return PaymentRequest(
        payment_target=facts.payment_target,
        payment_run_mode=facts.payment_run_mode,
        payment_type=facts.payment_type,
        type_paiement=facts.type_paiement,
        id_origin=facts.id_origin,
        id_societe=facts.id_societe,
        id_client=facts.id_client,
        id_commande=facts.id_commande,
        amount=facts.amount,
        email=Secret(email),
        origin=origin,
        fingerprint=fingerprint_of(
            payment_target=facts.payment_target,
            payment_run_mode=facts.payment_run_mode,
            payment_type=facts.payment_type,
            type_paiement=facts.type_paiement,
            origin=origin,
            id_societe=facts.id_societe,
            id_client=facts.id_client,
            id_commande=facts.id_commande,
            amount=facts.amount,
            email=email,
        ),
    )
