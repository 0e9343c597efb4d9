"""What can be wrong with a message: one stable code per kind of fault, one sentence each.

Codes are append-only, like every code of the contract. A sentence never repeats the value: it
goes into events, dead letters and logs.
"""

from enum import StrEnum, unique

from worker.model import Fault


@unique
class FaultCode(StrEnum):
    """Code of one fault, as it stands in ``error.fields[].code`` of an event."""

    BODY_TOO_LARGE = "body_too_large"
    NOT_UTF8 = "not_utf8"
    BYTE_ORDER_MARK = "byte_order_mark"
    NOT_JSON = "not_json"
    TOO_DEEP = "too_deep"
    NOT_AN_OBJECT = "not_an_object"
    NOT_FINITE = "not_finite"
    DUPLICATE_KEY = "duplicate_key"
    REPEATED = "repeated"
    MISSING = "missing"
    NOT_TEXT = "not_text"
    NOT_A_NAME = "not_a_name"
    NOT_CENTS = "not_cents"
    NOT_AN_EMAIL = "not_an_email"
    NOT_A_GUID = "not_a_guid"
    NOT_A_BOOLEAN = "not_a_boolean"
    NOT_A_TIME = "not_a_time"
    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    CONTROL_CHARACTER = "control_character"
    UNKNOWN_VALUE = "unknown_value"
    EXACTLY_ONE = "exactly_one"
    IDENTITY_MISSING = "identity_missing"
    NOT_ALLOWED = "not_allowed"
    UNKNOWN_ROUTING_KEY = "unknown_routing_key"
    HEADERS_UNREADABLE = "headers_unreadable"
    REFUSED_BEFORE = "refused_before"


SENTENCES: dict[FaultCode, str] = {
    FaultCode.BODY_TOO_LARGE: "The body is larger than 64 KiB.",
    FaultCode.NOT_UTF8: "The body is not valid UTF-8.",
    FaultCode.BYTE_ORDER_MARK: "The body begins with a byte order mark.",
    FaultCode.NOT_JSON: "The body is not valid JSON.",
    FaultCode.TOO_DEEP: "The JSON is nested deeper than 16 levels.",
    FaultCode.NOT_AN_OBJECT: "The body is not a JSON object.",
    FaultCode.NOT_FINITE: "The JSON holds NaN or Infinity.",
    FaultCode.DUPLICATE_KEY: "A property stands twice in one JSON object.",
    FaultCode.REPEATED: "The same field is given under two spellings.",
    FaultCode.MISSING: "The field is missing or null.",
    FaultCode.NOT_TEXT: "The field must be a JSON string.",
    FaultCode.NOT_A_NAME: "The field takes a name as a JSON string, never a number.",
    FaultCode.NOT_CENTS: (
        "The amount must be whole cents, 1 to 12 digits without a leading zero, as a JSON string."
    ),
    FaultCode.NOT_AN_EMAIL: (
        "An e-mail has exactly one @ with text on both sides, and no space, comma or angle bracket."
    ),
    FaultCode.NOT_A_GUID: "The field must be a GUID.",
    FaultCode.NOT_A_BOOLEAN: "The field must be true or false.",
    FaultCode.NOT_A_TIME: "The header must be a time with its zone as RFC 3339 writes it.",
    FaultCode.TOO_SHORT: "The value is shorter than the field allows.",
    FaultCode.TOO_LONG: "The value is longer than the field allows.",
    FaultCode.CONTROL_CHARACTER: "The value holds a control character.",
    FaultCode.UNKNOWN_VALUE: "The value is not one of the names this field knows.",
    FaultCode.EXACTLY_ONE: "Give either payment_id or idempotency_key, not both.",
    FaultCode.IDENTITY_MISSING: (
        "Order 0 needs a message_id or an idempotency-key, the same on every re-send."
    ),
    FaultCode.NOT_ALLOWED: "Requests may not carry this header.",
    FaultCode.UNKNOWN_ROUTING_KEY: (
        "The routing key is neither payment.initiate.<origin> nor payment.cancel.<origin>."
    ),
    FaultCode.HEADERS_UNREADABLE: "The worker's own headers on this copy cannot be read.",
    FaultCode.REFUSED_BEFORE: (
        "This message was refused when it first came; send it again as a new message."
    ),
}


def fault(field: str, code: FaultCode) -> Fault:
    """Build the fault of one field."""
    return Fault(field, code.value, SENTENCES[code])
