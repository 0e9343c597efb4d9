"""The 37 documented fields of ``get_link_payment``: name, type, length, required.

Source: the provider's get_link_payment page. Whether a length counts characters or bytes is not
documented; characters are counted. Every value is sent as a JSON string, as in the samples.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, unique

from worker.model import Company
from worker.providers.templates import check_template, fill_template

REFERENCE_LENGTH = 32
"""Characters of our ``payment_reference``; the provider's look-up takes 35 at most."""


@unique
class FieldType(StrEnum):
    STRING = "String"
    INTEGER = "Integer"
    BOOLEAN = "Boolean"


@dataclass(frozen=True, slots=True)
class LinkField:
    """One documented field; ``length`` in characters, ``None`` where the page gives none."""

    name: str
    type: FieldType
    length: int | None
    required: bool = False


LINK_FIELDS: Mapping[str, LinkField] = {
    field.name: field
    for field in (
        LinkField("beneficiary_reference", FieldType.STRING, 32, required=True),
        LinkField("amount", FieldType.STRING, 18, required=True),
        LinkField("payment_reference", FieldType.STRING, 64, required=True),
        LinkField("consumer_type", FieldType.INTEGER, 1),
        LinkField("consumer_reference", FieldType.STRING, 32, required=True),
        LinkField("consumer_id", FieldType.STRING, 32),
        LinkField("url_callback", FieldType.STRING, 128, required=True),
        LinkField("consumer_first_name", FieldType.STRING, 16),
        LinkField("consumer_last_name", FieldType.STRING, 16),
        LinkField("consumer_address_street_number", FieldType.STRING, 16),
        LinkField("consumer_address_street_name", FieldType.STRING, 70),
        LinkField("consumer_zip_code", FieldType.INTEGER, 16),
        LinkField("consumer_city", FieldType.STRING, 35),
        LinkField("consumer_email", FieldType.STRING, 70, required=True),
        LinkField("consumer_phone_number", FieldType.STRING, 32, required=True),
        LinkField("social_reference", FieldType.STRING, 32),
        LinkField("siren", FieldType.STRING, 9),
        LinkField("sms_option", FieldType.INTEGER, 1),
        LinkField("email_option", FieldType.INTEGER, 1),
        LinkField("payment_scenario", FieldType.STRING, 64),
        LinkField("bic_bank", FieldType.STRING, 16),
        LinkField("merchant_id", FieldType.STRING, None),
        LinkField("from_bo", FieldType.BOOLEAN, None),
        LinkField("get_pay_id", FieldType.BOOLEAN, None),
        LinkField("shop_id", FieldType.STRING, None),
        LinkField("shop_reference", FieldType.STRING, None),
        LinkField("payment_lang", FieldType.STRING, None),
        LinkField("list_beneficiary_reference", FieldType.STRING, None),
        LinkField("pay_now", FieldType.BOOLEAN, None),
        LinkField("multi_pay", FieldType.BOOLEAN, None),
        LinkField("pay_later", FieldType.BOOLEAN, None),
        LinkField("transaction_id", FieldType.STRING, 64),
        LinkField("basket_id", FieldType.STRING, 64),
        LinkField("manual_redirect_url", FieldType.STRING, 256),
        LinkField("reference_label", FieldType.STRING, 256),
        LinkField("tva_interco", FieldType.STRING, 16),
        LinkField("link_duration", FieldType.INTEGER, 16),
    )
}

REQUIRED_FIELDS = frozenset(field.name for field in LINK_FIELDS.values() if field.required)

# The page documents two values for each of these, and two of them decide the operation class.
_FLAGS = frozenset({"consumer_type", "sms_option", "email_option"})
_DIGITS = re.compile(r"[0-9]+", re.ASCII)
_BOOLEANS = frozenset({"0", "1", "true", "false"})


def check_fields(fields: Mapping[str, str]) -> list[str]:
    """Return what is wrong with an account's ``fields`` table: sentences that name no value."""
    return [
        f"{name}: {complaint}"
        for name, value in fields.items()
        if (complaint := _complaint(name, value)) is not None
    ]


def check_link_company(company: Company) -> list[str]:
    """Return what is wrong with the set values of a company; a missing one is routing's business.

    ``url_callback`` counts its length with ``{reference}`` filled in.
    """
    complaints = []
    for setting, name, value in (
        ("beneficiary_reference", "beneficiary_reference", company.beneficiary_reference),
        ("phone_number", "consumer_phone_number", company.phone_number),
    ):
        if value is not None and (complaint := _text_complaint(LINK_FIELDS[name], value)):
            complaints.append(f"{setting}: {complaint}")
    if company.url_callback is not None:
        template = company.url_callback
        faults = check_template(template, allowed=("reference",))
        if not template.startswith("https://"):
            faults.append("it does not start with https://")
        filled = fill_template(template, {"reference": "0" * REFERENCE_LENGTH})
        if complaint := _text_complaint(LINK_FIELDS["url_callback"], filled):
            faults.append(complaint)
        complaints += [f"url_callback: {fault}" for fault in dict.fromkeys(faults)]
    return complaints


def _complaint(name: str, value: str) -> str | None:
    field = LINK_FIELDS.get(name)
    if field is None:
        return "the provider documents no such field"
    if field.required:
        return "a required field is set by the worker and cannot be set here"
    if name in _FLAGS and value not in {"0", "1"}:
        return "it must be 0 or 1"
    if field.type is FieldType.INTEGER and not _DIGITS.fullmatch(value):
        return "it must be an integer"
    if field.type is FieldType.BOOLEAN and value not in _BOOLEANS:
        return "it must be true, false, 1 or 0"
    return _text_complaint(field, value)


def _text_complaint(field: LinkField, value: str) -> str | None:
    if not value.strip() or not value.isprintable():
        return "it is empty or holds control characters"
    if field.length is not None and len(value) > field.length:
        return f"it is longer than {field.length} characters"
    return None
