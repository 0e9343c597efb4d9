"""Encryption at rest of links and e-mails, with two keys accepted while one replaces the other.

Fernet (AES-128-CBC with HMAC-SHA-256, random IV) from the ``cryptography`` package: a token that
was altered, cut or sealed under another key is refused, never read wrongly.

An e-mail is looked up by its mark, an HMAC under a pepper that follows from the encryption key
(HKDF, RFC 5869): no second secret to keep, and who has the rows without the key cannot try
addresses. The id of the key stands before it, so marks of an older key are still found while that
key is supplied.
"""

import base64
import hashlib
import hmac
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from worker.model import EmailMark, Secret

_KEY_ID_LENGTH = 8
_PEPPER_USE = b"payment-worker: e-mail marks, version 1"
_MARK_LENGTH = 16  # half of SHA-256, the least that RFC 2104 section 5 advises
_SEPARATOR = ":"
# Stricter than the decoder, which skips foreign characters: one key must have one id.
_KEY = re.compile(r"[A-Za-z0-9_-]{43}=")


class VaultError(Exception):
    """Something about the encryption keys; never holds a key or what it protects."""


class UnusableKeyError(VaultError):
    """A key of the settings cannot be used; ``position`` counts from 1."""

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(f"encryption key {position} {reason}")
        self.position = position


class UnknownKeyError(VaultError):
    """Something was sealed under a key that was not supplied."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"encryption key {key_id} is not supplied")
        self.key_id = key_id


class BrokenSealError(VaultError):
    """A sealed text is damaged, or its key is not the one its id promises."""

    def __init__(self) -> None:
        super().__init__("a sealed text cannot be opened: it is damaged")


@dataclass(frozen=True, slots=True)
class Sealed:
    """An encrypted text with the id of its key; safe to store, useless without the key."""

    key_id: str
    token: str

    @property
    def text(self) -> str:
        """One column's worth: key id, colon, token."""
        return f"{self.key_id}{_SEPARATOR}{self.token}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``text`` back; raises ``BrokenSealError``."""
        key_id, separator, token = text.partition(_SEPARATOR)
        if not (key_id and separator and token):
            raise BrokenSealError
        return cls(key_id, token)


class Sealer(Protocol):
    """Seals a secret: a vault, or ``Seals`` on behalf of one change."""

    def seal(self, secret: Secret) -> Sealed: ...


class Vault:
    """Seals with the first key and opens with any of them."""

    def __init__(self, keys: Sequence[Secret]) -> None:
        """Take the keys, newest first; raises ``UnusableKeyError``."""
        if not keys:
            raise UnusableKeyError(1, "is missing: at least one is needed")
        self._locks: dict[str, Fernet] = {}
        self._peppers: dict[str, bytes] = {}
        for position, key in enumerate(keys, start=1):
            lock, key_id = _load(position, key)
            if key_id in self._locks:
                raise UnusableKeyError(position, "has the same id as one before it")
            self._locks[key_id] = lock
            self._peppers[key_id] = _pepper(key)
        self._first = next(iter(self._locks))

    @property
    def key_ids(self) -> tuple[str, ...]:
        """Ids of all keys, the sealing one first; an id reveals nothing of its key."""
        return tuple(self._locks)

    def seal(self, secret: Secret) -> Sealed:
        """Encrypt under the first key; the same secret gives another token each time."""
        token = self._locks[self._first].encrypt(secret.reveal().encode())
        return Sealed(self._first, token.decode("ascii"))

    def email_marks(self, email: Secret) -> tuple[EmailMark, ...]:
        """What rows about an e-mail carry to be found by, under each key, the sealing one first.

        HMAC-SHA-256 over the trimmed e-mail in small letters (payment rules section 7), in
        Unicode form C as in the fingerprint.
        """
        text = unicodedata.normalize("NFC", email.reveal().strip().lower()).encode()
        return tuple(
            EmailMark(bytes.fromhex(key_id) + hmac.digest(pepper, text, "sha256")[:_MARK_LENGTH])
            for key_id, pepper in self._peppers.items()
        )

    def open(self, sealed: Sealed) -> Secret:
        """Decrypt; raises ``UnknownKeyError`` or ``BrokenSealError``."""
        lock = self._locks.get(sealed.key_id)
        if lock is None:
            raise UnknownKeyError(sealed.key_id)
        try:
            return Secret(lock.decrypt(sealed.token.encode()).decode())
        except InvalidToken:
            raise BrokenSealError from None  # the cause could show the token


class Seals:
    """What one change seals: a secret that stands in several of its rows is sealed once.

    A paid link goes into the payment's row, its answer's and its attempt's. That these are the
    same is plain from their columns; the next change gets other tokens.
    """

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._sealed: dict[Secret, Sealed] = {}

    def __bool__(self) -> bool:
        """Whether anything was sealed."""
        return bool(self._sealed)

    def seal(self, secret: Secret) -> Sealed:
        """As the vault does, the same secret again as before."""
        sealed = self._sealed.get(secret)
        if sealed is None:
            sealed = self._sealed[secret] = self._vault.seal(secret)
        return sealed


def generate_key() -> Secret:
    """Make a new key: 32 random bytes as URL-safe base64 text."""
    return Secret(Fernet.generate_key().decode("ascii"))


def _load(position: int, key: Secret) -> tuple[Fernet, str]:
    text = key.reveal().strip()  # a secret file ends in a newline
    if not _KEY.fullmatch(text):
        raise UnusableKeyError(position, "is not 32 bytes in URL-safe base64")
    return Fernet(text), hashlib.sha256(text.encode()).hexdigest()[:_KEY_ID_LENGTH]


def _pepper(key: Secret) -> bytes:
    raw = base64.urlsafe_b64decode(key.reveal().strip())
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=_PEPPER_USE).derive(raw)
