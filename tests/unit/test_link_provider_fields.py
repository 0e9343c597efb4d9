"""The table of documented fields, and what may be configured with it."""

from dataclasses import replace

import pytest

from tests.provider_examples import LINK_COMPANY
from worker.model import Company, ProviderKind
from worker.providers import check_company
from worker.providers.link_fields import LINK_FIELDS, REQUIRED_FIELDS, FieldType, check_fields
from worker.routing import LONGEST_DERIVED

OUR_NAMES = {"amount": "amount", "id_client": "consumer_reference", "email": "consumer_email"}


def test_the_page_documents_37_fields_of_which_7_are_required() -> None:
    assert len(LINK_FIELDS) == 37
    assert {
        "beneficiary_reference",
        "amount",
        "payment_reference",
        "consumer_reference",
        "url_callback",
        "consumer_email",
        "consumer_phone_number",
    } == REQUIRED_FIELDS


def test_routing_refuses_by_the_lengths_of_this_table() -> None:
    lengths = {ours: LINK_FIELDS[theirs].length for ours, theirs in OUR_NAMES.items()}
    assert LONGEST_DERIVED[ProviderKind.LINK] == lengths


@pytest.mark.parametrize("name", REQUIRED_FIELDS)
def test_none_of_the_required_seven_can_be_overridden(name: str) -> None:
    (complaint,) = check_fields({name: "1"})
    assert complaint.startswith(f"{name}: ")


@pytest.mark.parametrize("name", sorted(LINK_FIELDS.keys() - REQUIRED_FIELDS))
def test_every_other_field_takes_its_length_and_no_more(name: str) -> None:
    field = LINK_FIELDS[name]
    longest = "1" * (field.length or 1)
    assert check_fields({name: longest}) == []
    if field.length is not None:
        (complaint,) = check_fields({name: longest + "1"})
        assert complaint.startswith(f"{name}: ")


@pytest.mark.parametrize("value", ["", " ", "a\nb", "a\x00", "\ud800"])
def test_an_empty_or_unprintable_value_is_refused(value: str) -> None:
    assert check_fields({"reference_label": value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("consumer_zip_code", "75OO2"),
        ("link_duration", "-1"),
        ("link_duration", "1.5"),
        ("link_duration", "٣"),
        ("sms_option", "2"),
        ("sms_option", "true"),
        ("email_option", "9"),
        ("consumer_type", "2"),
        ("pay_now", "yes"),
        ("from_bo", "True"),
        ("Sms_option", "1"),
        ("currency", "EUR"),
    ],
)
def test_a_value_of_another_type_or_an_undocumented_name_is_refused(name: str, value: str) -> None:
    (complaint,) = check_fields({name: value})
    assert complaint.startswith(f"{name}: ")
    assert value not in complaint.removeprefix(f"{name}: ").split()


def test_lengths_count_characters_and_not_bytes() -> None:
    assert check_fields({"consumer_city": "é" * 35}) == []


def test_all_faults_of_a_table_are_told_together() -> None:
    complaints = check_fields({"amount": "1", "sms_option": "x", "siren": "1" * 10, "pay_now": "1"})
    assert [complaint.split(":")[0] for complaint in complaints] == [
        "amount",
        "sms_option",
        "siren",
    ]


def test_the_types_are_the_documented_ones() -> None:
    by_type = {
        kind: {field.name for field in LINK_FIELDS.values() if field.type is kind}
        for kind in FieldType
    }
    assert by_type[FieldType.INTEGER] == {
        "consumer_type",
        "consumer_zip_code",
        "sms_option",
        "email_option",
        "link_duration",
    }
    assert by_type[FieldType.BOOLEAN] == {
        "from_bo",
        "get_pay_id",
        "pay_now",
        "multi_pay",
        "pay_later",
    }


def test_a_sound_company_has_no_faults_and_a_bare_one_neither() -> None:
    assert check_company(ProviderKind.LINK, LINK_COMPANY) == []
    assert check_company(ProviderKind.LINK, Company(id_societe="1")) == []


CALLBACK = "https://pay.example.org/cb/"


@pytest.mark.parametrize(
    ("company", "setting"),
    [
        (replace(LINK_COMPANY, beneficiary_reference="9" * 33), "beneficiary_reference"),
        (replace(LINK_COMPANY, beneficiary_reference=" "), "beneficiary_reference"),
        (replace(LINK_COMPANY, phone_number="0" * 33), "phone_number"),
        (replace(LINK_COMPANY, phone_number="06\n"), "phone_number"),
        (replace(LINK_COMPANY, url_callback=CALLBACK + "{order}"), "url_callback"),
        (replace(LINK_COMPANY, url_callback=CALLBACK + "{reference"), "url_callback"),
        (replace(LINK_COMPANY, url_callback="http://pay.example.org/"), "url_callback"),
        (replace(LINK_COMPANY, url_callback=CALLBACK + "x" * 102), "url_callback"),
        (
            replace(LINK_COMPANY, url_callback=CALLBACK + "x" * 70 + "{reference}"),
            "url_callback",
        ),
    ],
)
def test_a_company_value_the_provider_would_not_take_is_named(
    company: Company, setting: str
) -> None:
    (complaint,) = check_company(ProviderKind.LINK, company)
    assert complaint.startswith(f"{setting}: ")


def test_a_callback_may_be_exactly_as_long_as_documented_once_filled() -> None:
    filler = "x" * (128 - len(CALLBACK) - 32)
    company = replace(LINK_COMPANY, url_callback=CALLBACK + filler + "{reference}")
    assert check_company(ProviderKind.LINK, company) == []
