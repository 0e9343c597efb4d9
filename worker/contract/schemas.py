"""Everything under ``schemas/`` as exact text: what is committed is what the code says.

JSON Schemas are 2020-12 with sorted keys and carry ``$id``, ``title``, ``description`` and
``examples``; without a name of their own, generators invent one.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import core_schema
from typing_extensions import override

from worker.contract.asyncapi import asyncapi_text
from worker.contract.event_examples import (
    EVENTS,
    HEADERS_EXAMPLE,
    event_example,
)
from worker.contract.events import EVENT_VERSION
from worker.contract.identity_examples import identity_vectors
from worker.contract.request_documents import (
    CancelRequestDocument,
    PaymentRequestDocument,
    RequestHeadersDocument,
)
from worker.contract.request_examples import (
    INVALID_CANCELS,
    INVALID_REQUESTS,
    VALID_CANCELS,
    VALID_REQUESTS,
)
from worker.contract.result_documents import PaymentResultDocument, ResultPropertiesDocument

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


class _PlainSchema(GenerateJsonSchema):
    """Without what pydantic adds and no message has.

    A title for every property only repeats its name and misleads generators; an optional field
    is absent, it has no default.
    """

    @override
    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    @override
    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])


def documents() -> dict[str, str]:
    """Return every generated file below ``schemas/``: relative path to exact text."""
    result_schema = _schema(
        "payment-result",
        PaymentResultDocument,
        "serialization",
        [event_example(event) for event in EVENTS.values()],
    )
    result_schema["required"].remove("payment_status")
    headers_schema = _schema(
        "headers", ResultPropertiesDocument, "serialization", [HEADERS_EXAMPLE]
    )
    headers_schema["$defs"][RequestHeadersDocument.__name__] = _plain(
        RequestHeadersDocument, "validation"
    )
    files = {
        "asyncapi.yaml": asyncapi_text(),
        "v1/payment-request.schema.json": _sorted_text(
            _schema(
                "payment-request", PaymentRequestDocument, "validation", [*VALID_REQUESTS.values()]
            )
        ),
        "v1/cancel-request.schema.json": _sorted_text(
            _schema(
                "cancel-request", CancelRequestDocument, "validation", [*VALID_CANCELS.values()]
            )
        ),
        "v1/payment-result.schema.json": _sorted_text(result_schema),
        "v1/headers.schema.json": _sorted_text(headers_schema),
        "examples/identity.json": _text(identity_vectors()),
    }
    return files | _examples()


def _examples() -> dict[str, str]:
    groups: dict[str, Mapping[str, Mapping[str, object]]] = {
        "payment-request/valid": VALID_REQUESTS,
        "payment-request/invalid": {
            name: example.content() for name, example in INVALID_REQUESTS.items()
        },
        "cancel-request/valid": VALID_CANCELS,
        "cancel-request/invalid": {
            name: example.content() for name, example in INVALID_CANCELS.items()
        },
        "payment-result/valid": {name: event_example(event) for name, event in EVENTS.items()},
        "headers/valid": {"succeeded": HEADERS_EXAMPLE},
    }
    return {
        f"examples/v1/{group}/{name}.json": _text(content)
        for group, examples in groups.items()
        for name, content in examples.items()
    }


def _schema(
    name: str,
    model: type[BaseModel],
    mode: JsonSchemaMode,
    examples: list[Mapping[str, object]],
) -> dict[str, Any]:
    return {
        "$schema": _DIALECT,
        "$id": f"urn:payment-worker:schema:{name}:{EVENT_VERSION}",
        **_plain(model, mode),
        "examples": examples,
    }


def _plain(model: type[BaseModel], mode: JsonSchemaMode) -> dict[str, Any]:
    return model.model_json_schema(mode=mode, schema_generator=_PlainSchema)


def _sorted_text(content: object) -> str:
    return json.dumps(content, ensure_ascii=False, indent=2, sort_keys=True) + "\n"


def _text(content: object) -> str:
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"
