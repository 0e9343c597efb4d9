"""The AsyncAPI 3.1 document: both directions of the contract, from the worker's side.

It receives requests and cancellations and sends results. AMQP properties are outside the
specification's model, so the correlation id is located at the body's ``request_id``, and what
has no place in the AMQP binding stands under ``x-rabbitmq``.
"""

from collections.abc import Mapping
from typing import Final

from worker.contract.yaml_text import YamlValue, write_yaml
from worker.records import Status

ASYNCAPI_VERSION: Final = "3.1.0"
CONTRACT_VERSION: Final = "1.0.0"
_BINDING_VERSION: Final = "0.3.0"
_SCHEMA_FORMAT: Final = "application/schema+json;version=draft-2020-12"


def asyncapi_text() -> str:
    """Write the document as YAML."""
    return write_yaml(
        {
            "asyncapi": ASYNCAPI_VERSION,
            "info": {
                "title": "Payment worker",
                "version": CONTRACT_VERSION,
                "description": (
                    "A payment request goes in, exactly one decided answer comes out. "
                    "Exchange names carry the default prefix."
                ),
            },
            "defaultContentType": "application/json",
            "channels": {
                "requests": _channel(
                    "payment.initiate.{origin}", "requests", "paymentRequest", _ORIGIN
                ),
                "cancellations": _channel(
                    "payment.cancel.{origin}", "requests", "cancelRequest", _ORIGIN
                ),
                "results": {
                    **_channel(
                        "payment.result.{origin}.{status}",
                        "results",
                        "paymentResult",
                        {**_ORIGIN, "status": _STATUS},
                    ),
                    "x-rabbitmq": {"mandatory": True, "alternateExchange": None},
                },
            },
            "operations": {
                "initiate": _operation("receive", "requests", "paymentRequest"),
                "cancel": _operation("receive", "cancellations", "cancelRequest"),
                "announce": {
                    **_operation("send", "results", "paymentResult"),
                    "bindings": {
                        "amqp": {
                            "deliveryMode": 2,
                            "mandatory": True,
                            "timestamp": True,
                            "bindingVersion": _BINDING_VERSION,
                        }
                    },
                },
            },
            "components": {
                "messages": {
                    "paymentRequest": _message(
                        "A payment to initiate", "payment-request", "RequestHeadersDocument"
                    ),
                    "cancelRequest": _message(
                        "A payment to cancel", "cancel-request", "RequestHeadersDocument"
                    ),
                    "paymentResult": {
                        **_message("A decided answer", "payment-result", "ResultHeadersDocument"),
                        "correlationId": {"location": "$message.payload#/request_id"},
                    },
                }
            },
        }
    )


_ORIGIN: Mapping[str, YamlValue] = {
    "origin": {
        "description": (
            "Who asks: id_origin in lower case without accents, anything but a-z, 0-9 and - "
            "turned into -, at most 32 characters; unknown when it could not be read."
        )
    }
}
_STATUS: Mapping[str, YamlValue] = {
    "description": "What became of the request.",
    "enum": [status.value for status in Status],
}


def _channel(
    address: str, exchange: str, message: str, parameters: Mapping[str, YamlValue]
) -> dict[str, YamlValue]:
    return {
        "address": address,
        "parameters": parameters,
        "messages": {message: {"$ref": f"#/components/messages/{message}"}},
        "bindings": {
            "amqp": {
                "is": "routingKey",
                "exchange": {"name": f"payments.{exchange}", "type": "topic", "durable": True},
                "bindingVersion": _BINDING_VERSION,
            }
        },
    }


def _operation(action: str, channel: str, message: str) -> dict[str, YamlValue]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{message}"}],
    }


def _message(title: str, schema: str, headers: str) -> dict[str, YamlValue]:
    return {
        "title": title,
        "contentType": "application/json",
        "headers": _schema("headers", f"#/$defs/{headers}"),
        "payload": _schema(schema, ""),
    }


def _schema(name: str, pointer: str) -> dict[str, YamlValue]:
    return {
        "schemaFormat": _SCHEMA_FORMAT,
        "schema": {"$ref": f"./v1/{name}.schema.json{pointer}"},
    }
