"""The published shapes of what a producer sends, as pydantic models for the JSON Schemas.

They are closed and strict, so that validating against them is worth it, while the reader is
open; everything valid under the published schema is accepted by the reader, not the reverse.
"""

from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.json_schema import SkipJsonSchema

from worker.contract import headers
from worker.contract.fields import (
    AMOUNT_PATTERN,
    COMMENT_LENGTH,
    EMAIL_LENGTHS,
    ID_LENGTH,
    KEY_LENGTH,
    NO_GUID_PATTERN,
)
from worker.model import PaymentTarget, PaymentType, RunMode

_CONTROLS: Final = r"\u0000-\u001f\u007f-\u009f"
_EDGE: Final = rf"[^\s{_CONTROLS}]"

TEXT_PATTERN: Final = rf"^{_EDGE}([^{_CONTROLS}]*{_EDGE})?$"
"""No control characters, no white space around."""

COMMENT_PATTERN: Final = r"^[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]*$"
"""No control characters but tab, line feed and carriage return."""

EMAIL_PATTERN: Final = rf"^[^\s@,<>{_CONTROLS}]+@[^\s@,<>{_CONTROLS}]+$"

GUID_PATTERN: Final = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"

_NOT_ZERO: Final[dict[str, Any]] = {"not": {"pattern": f"^{NO_GUID_PATTERN}$"}}

IdText = Annotated[str, StringConstraints(min_length=1, max_length=ID_LENGTH, pattern=TEXT_PATTERN)]
GuidText = Annotated[str, StringConstraints(pattern=GUID_PATTERN)]
KeyText = Annotated[
    str, StringConstraints(min_length=1, max_length=KEY_LENGTH, pattern=TEXT_PATTERN)
]


class PaymentRequestDocument(BaseModel):
    """A payment to initiate: body of a message to routing key payment.initiate.<origin>."""

    model_config = ConfigDict(
        title="Payment request",
        strict=True,
        extra="ignore",
        hide_input_in_errors=True,
        json_schema_extra={"additionalProperties": False},
    )

    payment_target: PaymentTarget = Field(description="Where the payment goes.")
    payment_run_mode: RunMode = Field(description="Test or live; FORCE_LIVE is for staging.")
    payment_type: PaymentType = Field(description="How is paid; decides the route.")
    id_origin: IdText = Field(
        description="Who asks: results are published to its name.", examples=["dcp", "web"]
    )
    id_societe: IdText = Field(description="Company number.", examples=["1"])
    id_client: IdText = Field(description="Customer number.", examples=["2263"])
    id_commande: IdText = Field(
        description=(
            "Order number; 0 means none, and then the message needs a message_id or an "
            "idempotency-key."
        ),
        examples=["40017"],
    )
    type_paiement: PaymentType = Field(description="May differ from payment_type.")
    amount: str = Field(
        pattern=f"^{AMOUNT_PATTERN}$", description="Whole euro cents.", examples=["1250"]
    )
    email: str = Field(
        min_length=EMAIL_LENGTHS[0],
        max_length=EMAIL_LENGTHS[1],
        pattern=EMAIL_PATTERN,
        description="The customer's e-mail.",
        examples=["client@example.org"],
    )
    commentaire: (
        Annotated[str, StringConstraints(max_length=COMMENT_LENGTH, pattern=COMMENT_PATTERN)] | None
    ) = Field(default=None, description="A comment; sent nowhere in version 1.")


class CancelRequestDocument(BaseModel):
    """A cancellation: body of a message to routing key payment.cancel.<origin>."""

    model_config = ConfigDict(
        title="Cancel request",
        strict=True,
        extra="ignore",
        hide_input_in_errors=True,
        json_schema_extra={
            "additionalProperties": False,
            "oneOf": [{"required": ["payment_id"]}, {"required": ["idempotency_key"]}],
        },
    )

    payment_id: GuidText | SkipJsonSchema[None] = Field(
        default=None,
        description="Id of the payment, from its result event.",
        json_schema_extra=_NOT_ZERO,
    )
    idempotency_key: KeyText | SkipJsonSchema[None] = Field(
        default=None,
        description="Key the payment was asked for under: idempotency-key or message_id.",
        json_schema_extra=_NOT_ZERO,
    )
    notify: bool | SkipJsonSchema[None] = Field(
        default=None, description="Whether the provider tells the form the item came from."
    )


class RequestHeadersDocument(BaseModel):
    """Headers a request may carry; any other is ignored, CC and BCC are refused."""

    model_config = ConfigDict(title="Request headers")

    idempotency_key: KeyText | SkipJsonSchema[None] = Field(
        default=None,
        alias=headers.IDEMPOTENCY_KEY,
        description="Key of the intent, the same on every re-send; else the message_id is.",
    )
    not_after: str | SkipJsonSchema[None] = Field(
        default=None,
        alias=headers.NOT_AFTER,
        description="Past this time no new attempt starts; RFC 3339 with a zone.",
        json_schema_extra={"format": "date-time"},
    )
    traceparent: str | SkipJsonSchema[None] = Field(default=None, description="W3C trace context.")
    tracestate: str | SkipJsonSchema[None] = Field(default=None, description="W3C trace context.")
