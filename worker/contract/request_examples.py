"""Requests as producers send them, good and bad: documentation, tests and tools share them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from worker.codes import Code
from worker.contract.faults import FaultCode

MESSAGE_ID: Final = "0b9bd9d7-2f3c-4f0e-9a39-3f6f3ac53cf5"

_ORDER: Final[Mapping[str, object]] = {
    "payment_target": "LABANQUEPOSTALE",
    "payment_run_mode": "TEST",
    "payment_type": "SEPA",
    "id_origin": "dcp",
    "id_societe": "1",
    "id_client": "2263",
    "id_commande": "40017",
    "type_paiement": "SEPA",
    "amount": "1250",
    "email": "client@example.org",
}

VALID_REQUESTS: Final[Mapping[str, Mapping[str, object]]] = {
    "order": _ORDER,
    "no_order": {**_ORDER, "id_origin": "Télévente", "id_commande": "0"},
    "basket_with_comment": {
        **_ORDER,
        "payment_target": "MILLIET",
        "payment_type": "CB",
        "type_paiement": "AMEX",
        "commentaire": "Livraison le matin\nSonner deux fois",
    },
    "comment_is_null": {**_ORDER, "commentaire": None},
    "smallest_and_longest": {
        **_ORDER,
        "payment_target": "PAYBOX",
        "payment_type": "DIRECT_SEPA",
        "type_paiement": "COMPTABILITE",
        "id_origin": "x" * 32,
        "id_societe": "6",
        "id_client": "2" * 32,
        "amount": "1",
        "email": "a@b",
    },
    "largest_amount": {**_ORDER, "amount": "999999999999"},
}

VALID_CANCELS: Final[Mapping[str, Mapping[str, object]]] = {
    "by_payment_id": {"payment_id": "5b1f0b3c-6a52-5d0f-8c11-0e2f6a7f9c10"},
    "by_key_with_notice": {"idempotency_key": MESSAGE_ID, "notify": True},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class InvalidExample:
    """A message that is refused, and what exactly the answer says about it.

    ``body`` is JSON, or text where the point is that it is not. ``schema_accepts`` marks what a
    schema cannot see.
    """

    description: str
    code: Code
    faults: tuple[tuple[str, FaultCode], ...]
    body: Mapping[str, object] | str
    routing_key: str = "payment.initiate.dcp"
    message_id: str | None = MESSAGE_ID
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    schema_accepts: bool = False

    def content(self) -> dict[str, object]:
        """Return the example as its file says it."""
        return {
            "description": self.description,
            "code": self.code.value,
            "fields": [{"field": name, "code": code.value} for name, code in self.faults],
            "schema_accepts": self.schema_accepts,
            "message": {
                "routing_key": self.routing_key,
                "message_id": self.message_id,
                "headers": dict(self.headers),
                ("body_text" if isinstance(self.body, str) else "body"): self.body,
            },
        }


def _invalid(
    description: str,
    *faults: tuple[str, FaultCode],
    code: Code = Code.INVALID_MESSAGE,
    **changes: object,
) -> InvalidExample:
    return InvalidExample(
        description=description, code=code, faults=faults, body={**_ORDER, **changes}
    )


def _amount(description: str, amount: object) -> InvalidExample:
    fault = ("amount", FaultCode.NOT_CENTS)
    return _invalid(description, fault, code=Code.INVALID_AMOUNT, amount=amount)


INVALID_REQUESTS: Final[Mapping[str, InvalidExample]] = {
    "amount_zero": _amount("Nothing to pay.", "0"),
    "amount_with_decimals": _amount("Euros instead of cents.", "12.50"),
    "amount_with_comma": _amount("Euros as French writes them.", "12,50"),
    "amount_with_leading_zeros": _amount("Padded.", "0012"),
    "amount_with_space": _amount("An amount is not trimmed.", " 1250"),
    "amount_negative": _amount("A refund is no payment.", "-1250"),
    "amount_float": _amount("A number with a fraction has no exact cents.", 12.5),
    "amount_too_large": _amount("Thirteen digits.", "1000000000000"),
    "amount_missing": _invalid(
        "Null is missing.",
        ("amount", FaultCode.MISSING),
        code=Code.INVALID_AMOUNT,
        amount=None,
    ),
    "enum_as_number": _invalid(
        "An enum is never read by number.",
        ("payment_run_mode", FaultCode.NOT_A_NAME),
        payment_run_mode=1,
    ),
    "unknown_target": _invalid(
        "A target nobody knows.",
        ("payment_target", FaultCode.UNKNOWN_VALUE),
        payment_target="PAYPAL",
    ),
    "several_faults": _invalid(
        "All faults come together, in the order of the fields.",
        ("payment_type", FaultCode.MISSING),
        ("id_client", FaultCode.TOO_SHORT),
        ("amount", FaultCode.NOT_CENTS),
        ("email", FaultCode.NOT_AN_EMAIL),
        payment_type=None,
        id_client="  ",
        amount="12.50",
        email="client.example.org",
    ),
    "id_too_long": _invalid(
        "33 characters.", ("id_commande", FaultCode.TOO_LONG), id_commande="4" * 33
    ),
    "line_break_in_id": _invalid(
        "A line break inside.",
        ("id_client", FaultCode.CONTROL_CHARACTER),
        id_client="22\n63",
    ),
    "two_emails": _invalid(
        "A list of addresses.",
        ("email", FaultCode.NOT_AN_EMAIL),
        email="a@example.org,b@example.org",
    ),
    "comment_too_long": _invalid(
        "501 characters.", ("commentaire", FaultCode.TOO_LONG), commentaire="x" * 501
    ),
    "field_under_two_spellings": _invalid(
        "One field under two names, even with equal values.",
        ("id_client", FaultCode.REPEATED),
        idClient="2263",
    ),
    "no_identity": InvalidExample(
        description="Order 0 and no key: a re-send could not be told from a new payment.",
        code=Code.INVALID_MESSAGE,
        faults=(("message_id", FaultCode.IDENTITY_MISSING),),
        body={**_ORDER, "id_commande": "0"},
        message_id=None,
        schema_accepts=True,
    ),
    "carbon_copy": InvalidExample(
        description="A CC header would route the message past the broker's permissions.",
        code=Code.INVALID_MESSAGE,
        faults=(("CC", FaultCode.NOT_ALLOWED),),
        body=_ORDER,
        headers={"CC": "payment.initiate.web"},
        schema_accepts=True,
    ),
    "time_without_zone": InvalidExample(
        description="A time that nobody can compare.",
        code=Code.INVALID_MESSAGE,
        faults=(("not-after", FaultCode.NOT_A_TIME),),
        body=_ORDER,
        headers={"not-after": "2026-11-21T20:14:03"},
        schema_accepts=True,
    ),
    "duplicate_key": InvalidExample(
        description="Which of the two amounts is meant?",
        code=Code.INVALID_AMOUNT,
        faults=(("amount", FaultCode.DUPLICATE_KEY),),
        body=(
            '{"payment_target":"PAYBOX","payment_run_mode":"TEST","payment_type":"CB",'
            '"id_origin":"dcp","id_societe":"1","id_client":"2263","id_commande":"40017",'
            '"type_paiement":"CB","amount":"1250","amount":"125000","email":"a@example.org"}'
        ),
    ),
    "not_json": InvalidExample(
        description="A form instead of JSON.",
        code=Code.INVALID_MESSAGE,
        faults=(("body", FaultCode.NOT_JSON),),
        body="payment_target=PAYBOX&amount=1250",
    ),
    "not_an_object": InvalidExample(
        description="A list of requests: one message is one payment.",
        code=Code.INVALID_MESSAGE,
        faults=(("body", FaultCode.NOT_AN_OBJECT),),
        body="[]",
    ),
    "not_a_number": InvalidExample(
        description="NaN is no JSON, wherever it stands.",
        code=Code.INVALID_MESSAGE,
        faults=(
            ("body", FaultCode.NOT_FINITE),
            ("payment_target", FaultCode.MISSING),
            ("payment_run_mode", FaultCode.MISSING),
            ("payment_type", FaultCode.MISSING),
            ("id_origin", FaultCode.MISSING),
            ("id_societe", FaultCode.MISSING),
            ("id_client", FaultCode.MISSING),
            ("id_commande", FaultCode.MISSING),
            ("type_paiement", FaultCode.MISSING),
            ("amount", FaultCode.MISSING),
            ("email", FaultCode.MISSING),
        ),
        body='{"rate":NaN}',
    ),
}


def _invalid_cancel(
    description: str, fault: tuple[str, FaultCode], body: Mapping[str, object]
) -> InvalidExample:
    return InvalidExample(
        description=description,
        code=Code.INVALID_MESSAGE,
        faults=(fault,),
        body=body,
        routing_key="payment.cancel.dcp",
    )


INVALID_CANCELS: Final[Mapping[str, InvalidExample]] = {
    "neither": _invalid_cancel(
        "Nothing says which payment.", ("payment_id", FaultCode.EXACTLY_ONE), {"notify": True}
    ),
    "both": _invalid_cancel(
        "Two answers to one question.",
        ("payment_id", FaultCode.EXACTLY_ONE),
        {**VALID_CANCELS["by_payment_id"], "idempotency_key": MESSAGE_ID},
    ),
    "not_a_guid": _invalid_cancel(
        "A payment_id is a GUID.", ("payment_id", FaultCode.NOT_A_GUID), {"payment_id": "40017"}
    ),
    "notify_as_text": _invalid_cancel(
        "true and false have no quotes.",
        ("notify", FaultCode.NOT_A_BOOLEAN),
        {**VALID_CANCELS["by_payment_id"], "notify": "true"},
    ),
}
