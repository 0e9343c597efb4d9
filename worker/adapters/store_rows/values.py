"""Single values as a database stores them, and back."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from worker.adapters.encryption import Sealed, Sealer, Vault
from worker.model import Cents, Facts, PaymentTarget, PaymentType, RunMode, Secret

Scalar = str | int | bytes | None
Row = tuple[Any, ...]  # Any: a driver's row; strict tables guarantee the type of each column

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = 86_400_000_000
_SECOND = 1_000_000

FACT_COLUMNS = (
    "payment_target",
    "payment_run_mode",
    "payment_type",
    "type_paiement",
    "id_origin",
    "id_societe",
    "id_client",
    "id_commande",
    "amount",
)


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970 UTC, exactly; raises ``TypeError`` for a naive time."""
    since = moment - _EPOCH
    return since.days * _DAY + since.seconds * _SECOND + since.microseconds


def from_micros(micros: int) -> datetime:
    """The aware UTC time of ``to_micros``."""
    return _EPOCH + timedelta(microseconds=micros)


def micros_or_none(moment: datetime | None) -> int | None:
    """``to_micros`` of a time that may be absent."""
    return None if moment is None else to_micros(moment)


def time_or_none(micros: int | None) -> datetime | None:
    """``from_micros`` of a time that may be absent."""
    return None if micros is None else from_micros(micros)


def bytes_or_none(identifier: UUID | None) -> bytes | None:
    """The 16 bytes of an id that may be absent."""
    return None if identifier is None else identifier.bytes


def id_or_none(raw: bytes | None) -> UUID | None:
    """The id of 16 bytes that may be absent."""
    return None if raw is None else UUID(bytes=raw)


def word_or_none(word: StrEnum | None) -> str | None:
    """Plain text of an enum: a driver adapts a subclass of ``str`` slowly or not at all."""
    return None if word is None else word.value


def flag_or_none(truth: bool | None) -> int | None:  # noqa: FBT001 (a value, not an option)
    """0 or 1 of a truth that may be absent."""
    return None if truth is None else int(truth)


def truth_or_none(flag: int | None) -> bool | None:
    """The truth of 0 or 1 that may be absent."""
    return None if flag is None else bool(flag)


def seal_or_none(secret: Secret | None, sealer: Sealer) -> str | None:
    """One column's worth of a secret that may be absent."""
    return None if secret is None else sealer.seal(secret).text


def open_or_none(text: str | None, vault: Vault) -> Secret | None:
    """The secret of a column that may be absent; raises ``VaultError``."""
    return None if text is None else vault.open(Sealed.parse(text))


def facts_row(facts: Facts) -> tuple[Scalar, ...]:
    """Values in the order of ``FACT_COLUMNS``."""
    return (
        word_or_none(facts.payment_target),
        word_or_none(facts.payment_run_mode),
        word_or_none(facts.payment_type),
        word_or_none(facts.type_paiement),
        facts.id_origin,
        facts.id_societe,
        facts.id_client,
        facts.id_commande,
        facts.amount,
    )


def read_facts(row: Row) -> Facts:
    """The facts of a row in the order of ``FACT_COLUMNS``."""
    target, mode, kind, type_paiement, origin, company, client, order, amount = row
    return Facts(
        payment_target=None if target is None else PaymentTarget(target),
        payment_run_mode=None if mode is None else RunMode(mode),
        payment_type=None if kind is None else PaymentType(kind),
        type_paiement=None if type_paiement is None else PaymentType(type_paiement),
        id_origin=origin,
        id_societe=company,
        id_client=client,
        id_commande=order,
        amount=None if amount is None else Cents(amount),
    )
