"""The table of codes is complete, in both languages, and keeps the promises of each category."""

import pytest

from worker.codes import (
    MEANINGS,
    Category,
    Code,
    category_of,
    is_dead_lettered,
    is_retryable,
)
from worker.contract.faults import SENTENCES, FaultCode, fault

CATEGORIES = {
    Category.REQUEST: (
        "invalid_message invalid_amount unsupported_combination customer_unknown "
        "payment_unknown not_cancellable already_cancelled"
    ),
    Category.CONFIG: (
        "mode_not_allowed provider_credentials provider_ip_refused provider_tls "
        "provider_redirect provider_endpoint company_not_configured"
    ),
    Category.DECLINED: "declined provider_refused",
    Category.DUPLICATE: "reference_already_used idempotency_mismatch superseded",
    Category.TRANSIENT: "provider_unavailable provider_rate_limited request_expired",
    Category.IN_DOUBT: "outcome_unknown link_lost ledger_lost",
    Category.INTERNAL: "internal_error delivery_limit_reached",
}
NOT_DEAD_LETTERED = {
    *("payment_unknown", "not_cancellable", "already_cancelled"),
    *("declined", "superseded", "link_erased"),
}


def test_the_table_is_that_of_the_contract() -> None:
    expected = {code: category for category, codes in CATEGORIES.items() for code in codes.split()}
    actual = {code.value: category_of(code) for code in Code if code is not Code.LINK_ERASED}
    assert actual == expected


def test_link_erased_is_no_failure_and_has_no_category() -> None:
    with pytest.raises(ValueError, match="link_erased"):
        category_of(Code.LINK_ERASED)


@pytest.mark.parametrize("code", Code)
def test_every_code_has_a_sentence_in_both_languages(code: Code) -> None:
    meaning = MEANINGS[code]
    assert meaning.fr.strip()
    assert meaning.en.strip()
    assert meaning.fr != meaning.en
    assert code.value == code.value.lower()


@pytest.mark.parametrize("code", Code)
def test_only_what_was_certainly_not_applied_is_retryable(code: Code) -> None:
    assert is_retryable(code) == (code.value in CATEGORIES[Category.TRANSIENT].split())


@pytest.mark.parametrize("code", Code)
def test_what_needs_a_person_is_dead_lettered(code: Code) -> None:
    expected = code.value not in NOT_DEAD_LETTERED
    assert is_dead_lettered(code, provider_code_known=False) == expected
    is_business_answer = code is Code.PROVIDER_REFUSED
    assert is_dead_lettered(code, provider_code_known=True) == (expected and not is_business_answer)


def test_every_fault_has_one_whole_sentence() -> None:
    assert set(SENTENCES) == set(FaultCode)
    assert all(sentence.endswith(".") for sentence in SENTENCES.values())
    assert len(set(SENTENCES.values())) == len(SENTENCES)
    assert fault("amount", FaultCode.MISSING).message == SENTENCES[FaultCode.MISSING]
