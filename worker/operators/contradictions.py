"""Acknowledging what a provider applied after it was told otherwise: the books can then be closed.

It changes nothing but the audit. What is to be done before, telling the producer's people and
seeing whether it was paid twice, nothing here can do.
"""

from dataclasses import dataclass
from uuid import UUID

from worker.ledger import Ledger
from worker.lifecycle.contradiction import ACKNOWLEDGED, contradiction_of
from worker.records import ActFacts, Record


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """It is no exception any more; ``is_new`` unless it was acknowledged before.

    ``evidence`` is what was acknowledged: more than the report told, where more has come since.
    """

    record: Record
    evidence: str
    is_new: bool


@dataclass(frozen=True, slots=True)
class NotAcknowledged:
    """Nothing was written; why, in words that follow "there is nothing to acknowledge:"."""

    reason: str


async def acknowledge(
    ledger: Ledger, operation_id: UUID, *, actor: str, reason: str
) -> Acknowledged | NotAcknowledged:
    """Note that a person has seen to it; audited once. Raises ``StoreUnavailableError``."""
    history = await ledger.history(operation_id)
    if history is None:
        return NotAcknowledged("the ledger does not know it")
    record = history.record
    found = contradiction_of(history)
    if found is None:
        code = "" if record.code is None else f" {record.code}"
        return NotAcknowledged(
            f"it was told as {record.state}{code}, and its provider has said nothing else since"
            if not record.state.is_open
            else "it is open: a worker decides it"
        )
    if found.is_acknowledged:
        return Acknowledged(record, found.evidence, is_new=False)
    await ledger.acts.note_act(
        operation_id,
        actor=actor,
        action=ACKNOWLEDGED,
        detail=f"was told {record.state}, {found.evidence}: {reason}",
        facts=ActFacts(
            account=record.account, result=record.state.value, cents=record.facts.amount
        ),
    )
    return Acknowledged(record, found.evidence, is_new=True)
