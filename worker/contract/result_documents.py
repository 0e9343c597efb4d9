"""The published shapes of what a subscriber gets, as pydantic models for the JSON Schemas.

They are open: a subscriber must ignore what it does not know. Names that may grow
(``event_type``, ``provider``, ``category``, ``code``, ...) are open strings with their known
values as examples, because a new enum value would break a subscriber.
"""

from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.json_schema import SkipJsonSchema

from worker.codes import Category, Code
from worker.contract.faults import SENTENCES, FaultCode
from worker.contract.fields import AMOUNT_PATTERN
from worker.contract.request_documents import GuidText
from worker.model import PaymentTarget, PaymentType, RunMode
from worker.records import State, Status


def _known(values: list[str]) -> dict[str, Any]:
    """Name the known values of a string that stays open."""
    return {"examples": values}


_FAULT_CODES: Final = " ".join(f"{code.value}: {SENTENCES[code]}" for code in FaultCode)


class MessageDocument(BaseModel):
    """One sentence for people, per language."""

    model_config = ConfigDict(title="Message")

    fr: str
    en: str


class FieldFaultDocument(BaseModel):
    """One thing wrong with the request; never the value itself."""

    model_config = ConfigDict(title="Field fault")

    field: str = Field(description="Field, header or property the fault is about.")
    code: str = Field(
        description="Stable code of the fault. Open. " + _FAULT_CODES,
        json_schema_extra=_known([code.value for code in FaultCode]),
    )
    message: str = Field(description="What is wrong, in English.")


class ErrorDocument(BaseModel):
    """Why a payment failed or is in doubt."""

    model_config = ConfigDict(title="Error")

    category: str = Field(
        description="What to do about it; decide by category, then by code. Open.",
        json_schema_extra=_known([category.value for category in Category]),
    )
    code: str = Field(
        description="Our stable code; treat an unknown one by its category.",
        json_schema_extra=_known([code.value for code in Code if code is not Code.LINK_ERASED]),
    )
    retryable: bool = Field(
        description="Nothing was applied: the payment may be asked for again under a new key."
    )
    provider_code: str | None = Field(
        max_length=64, description="The provider's own code, if it gave one."
    )
    http_status: int | None = Field(description="HTTP status of the provider's answer.")
    message: MessageDocument
    fields: list[FieldFaultDocument]


class PaymentResultDocument(BaseModel):
    """A decided answer: one flat shape for every status, open to new fields."""

    model_config = ConfigDict(
        title="Payment result", json_schema_serialization_defaults_required=True
    )

    event_id: GuidText = Field(
        description="Id of the answer, the same on every repeat: drop duplicates by it."
    )
    event_type: str = Field(
        description="Type of the event. Open.",
        json_schema_extra=_known([status.event_type for status in Status]),
    )
    event_version: str = Field(pattern=r"^1\.[0-9]+$", description="Version of this shape.")
    occurred_at: str = Field(
        description="When it was decided, RFC 3339 in UTC.",
        json_schema_extra={"format": "date-time"},
    )
    payment_id: GuidText = Field(description="Id of the payment the event is about.")
    request_id: str | None = Field(description="The request's message_id.")
    sequence: int = Field(
        ge=0, description="Counts the decisions of a payment: keep the highest; 0 when unknown."
    )
    result: bool = Field(description="Whether what was asked for happened.")
    link: str | None = Field(
        description="The payment link. Whoever has it can pay with it: keep it out of logs."
    )
    code: str | None = Field(
        description="Our stable code on failure or doubt, link_erased once the link is gone. Open.",
        json_schema_extra=_known([code.value for code in Code]),
    )
    error: ErrorDocument | None
    provider: str | None = Field(description="Name of the provider account. Open.")
    provider_reference: str | None = Field(description="Reference sent to the provider.")
    basket_item_id: str | None = Field(description="Id of the basket item, where there is one.")
    payment_target: str | None = Field(
        json_schema_extra=_known([target.value for target in PaymentTarget])
    )
    payment_run_mode: str | None = Field(json_schema_extra=_known([mode.value for mode in RunMode]))
    livemode: bool | None = Field(
        description="Whether money can move; null when the request could not be routed."
    )
    payment_type: str | None = Field(json_schema_extra=_known([kind.value for kind in PaymentType]))
    type_paiement: str | None = Field(
        json_schema_extra=_known([kind.value for kind in PaymentType])
    )
    id_origin: str | None
    id_societe: str | None
    id_client: str | None
    id_commande: str | None
    amount: Annotated[str, StringConstraints(pattern=f"^{AMOUNT_PATTERN}$")] | None = Field(
        description="Whole cents, as text."
    )
    currency: str = Field(pattern="^[A-Z]{3}$", description="ISO 4217.", examples=["EUR"])
    attempts: int = Field(ge=0, description="Attempts that called the provider or may have.")
    duplicate_of: GuidText | None = Field(
        description="Payment whose answer this is, when the same was asked for twice."
    )
    conflicts_with: GuidText | None = Field(
        description="Payment that holds the key this request came under with other content."
    )
    payment_status: str | None = Field(
        default=None,
        description="State of the payment; in events about a cancellation only. Open.",
        json_schema_extra=_known([state.value for state in State]),
    )


class ResultHeadersDocument(BaseModel):
    """Headers of a result event: CloudEvents 1.0 in binary mode, all values text."""

    model_config = ConfigDict(title="Result headers")

    cloudevents_specversion: str = Field(
        alias="cloudEvents_specversion", pattern=r"^1\.[0-9]+$", examples=["1.0"]
    )
    cloudevents_id: GuidText = Field(alias="cloudEvents_id", description="The event_id.")
    cloudevents_source: str = Field(
        alias="cloudEvents_source", min_length=1, examples=["/payment-worker/production"]
    )
    cloudevents_type: str = Field(
        alias="cloudEvents_type",
        description="The event_type. Open.",
        json_schema_extra=_known([status.event_type for status in Status]),
    )
    cloudevents_time: str = Field(
        alias="cloudEvents_time",
        description="The occurred_at.",
        json_schema_extra={"format": "date-time"},
    )
    cloudevents_subject: GuidText = Field(
        alias="cloudEvents_subject", description="The payment_id."
    )
    cloudevents_dataschema: str = Field(
        alias="cloudEvents_dataschema", description="Schema of the body at its exact release."
    )
    traceparent: str | SkipJsonSchema[None] = Field(
        default=None, description="W3C trace context of the request."
    )
    resend: int | SkipJsonSchema[None] = Field(
        default=None,
        ge=1,
        description="On an event that an operator sent again: the same event, with the same id.",
    )


class ResultPropertiesDocument(BaseModel):
    """AMQP properties of a result event, with its headers."""

    model_config = ConfigDict(title="Result properties and headers")

    message_id: GuidText = Field(description="The event_id.")
    correlation_id: str | None = Field(
        default=None,
        description="correlation_id of the message being answered, else its message_id.",
    )
    content_type: str = Field(pattern="^application/json$")
    delivery_mode: int = Field(ge=2, le=2, description="Persistent.")
    type: str = Field(description="The event_type.")
    timestamp: int = Field(description="When it was decided, in seconds since 1970.")
    headers: ResultHeadersDocument
