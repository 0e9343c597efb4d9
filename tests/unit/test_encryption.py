"""What is sealed stays sealed, whatever happens to keys and texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.adapters.encryption import (
    BrokenSealError,
    Sealed,
    Seals,
    UnknownKeyError,
    UnusableKeyError,
    Vault,
    VaultError,
    generate_key,
)
from worker.model import Secret

OLD, NEW = generate_key(), generate_key()
LINK = Secret("https://pay.example.test/p/0123")
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(text=texts)
def test_what_was_sealed_can_be_opened(text: str) -> None:
    vault = Vault([NEW])
    sealed = vault.seal(Secret(text))
    assert vault.open(Sealed.parse(sealed.text)) == Secret(text)


def test_a_sealed_text_shows_neither_secret_nor_key() -> None:
    sealed = Vault([NEW]).seal(LINK)
    assert "pay.example" not in repr(sealed)
    assert NEW.reveal() not in repr(sealed)
    assert Vault([NEW]).seal(LINK) != sealed, "a second sealing must not be recognisable"


def test_a_change_seals_a_secret_once_and_another_change_seals_it_anew() -> None:
    vault = Vault([NEW])
    seals, later = Seals(vault), Seals(vault)
    assert not seals, "nothing is sealed yet, so no key needs to be noted"
    first = seals.seal(LINK)
    assert seals.seal(Secret(LINK.reveal())) == first
    assert seals
    assert vault.open(first) == LINK
    other = seals.seal(Secret("https://pay.example.test/p/0124"))
    assert vault.open(other) != LINK
    assert later.seal(LINK) != first


def test_the_first_key_seals_and_all_of_them_open() -> None:
    before = Vault([OLD]).seal(LINK)
    rotated = Vault([NEW, OLD])
    after = rotated.seal(LINK)
    assert rotated.open(before) == rotated.open(after) == LINK
    assert after.key_id == rotated.key_ids[0] == Vault([NEW]).key_ids[0]
    assert Vault([NEW]).open(after) == LINK


def test_key_ids_are_eight_hex_digits_in_the_order_given() -> None:
    assert Vault([NEW, OLD]).key_ids == Vault([NEW]).key_ids + Vault([OLD]).key_ids
    (key_id,) = Vault([Secret("A" * 43 + "=")]).key_ids
    assert key_id == "51643eac", "first 8 hex digits of the SHA-256 of the key's text"


def test_a_key_from_a_file_may_end_in_a_newline() -> None:
    sealed = Vault([NEW]).seal(LINK)
    assert Vault([Secret(f"{NEW.reveal()}\n")]).open(sealed) == LINK


def test_a_missing_key_is_named_by_its_id_only() -> None:
    sealed = Vault([OLD]).seal(LINK)
    with pytest.raises(UnknownKeyError, match=sealed.key_id) as caught:
        Vault([NEW]).open(sealed)
    assert caught.value.key_id == sealed.key_id


@pytest.mark.parametrize(
    "damage",
    [
        lambda token: token[:-4],
        lambda token: token[:30] + ("A" if token[30] != "A" else "B") + token[31:],
        lambda _token: "x",
        lambda _token: "é",
    ],
    ids=["cut", "altered", "too short", "not ASCII"],
)
def test_a_damaged_text_is_refused_and_not_shown(damage: object) -> None:
    vault = Vault([NEW])
    sealed = vault.seal(LINK)
    assert callable(damage)
    broken = Sealed(sealed.key_id, damage(sealed.token))
    with pytest.raises(BrokenSealError) as caught:
        vault.open(broken)
    assert str(caught.value) == "a sealed text cannot be opened: it is damaged"


@pytest.mark.parametrize("text", ["", "abc", ":", "abc:", ":abc"])
def test_a_column_that_holds_no_sealed_text_is_refused(text: str) -> None:
    with pytest.raises(BrokenSealError):
        Sealed.parse(text)


@pytest.mark.parametrize(
    "key",
    ["hunter2-hunter2", "A" * 44, "A" * 42 + "==", "é" * 44, "A" * 20 + "\n" + "A" * 23 + "="],
)
def test_a_bad_key_is_refused_by_position_and_never_shown(key: str) -> None:
    with pytest.raises(UnusableKeyError) as caught:
        Vault([NEW, Secret(key)])
    assert caught.value.position == 2
    assert "encryption key 2" in str(caught.value)
    assert key not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None, "a cause could show it"


def test_no_key_and_the_same_key_twice_are_refused() -> None:
    for keys in ([], [NEW, OLD, NEW]):
        with pytest.raises(VaultError):
            Vault(keys)


def test_generated_keys_are_usable_and_differ() -> None:
    assert generate_key() != generate_key()
    assert Vault([generate_key()]).key_ids


def test_an_email_has_one_mark_however_it_is_written_and_another_under_each_key() -> None:
    first, second = generate_key(), generate_key()
    vault = Vault([first, second])
    spellings = ("Zoë@Example.org", " zoë@example.ORG ", "zoe\u0308@example.org")
    marks = {vault.email_marks(Secret(each)) for each in spellings}
    assert len(marks) == 1
    (both,) = marks
    assert [mark[:4].hex() for mark in both] == list(vault.key_ids)
    assert {len(mark) for mark in both} == {20}
    assert both == (
        *Vault([first]).email_marks(Secret(spellings[0])),
        *Vault([second]).email_marks(Secret(spellings[0])),
    )
    assert both[0][4:] != both[1][4:]
    assert vault.email_marks(Secret("zoe@example.org")) != both
