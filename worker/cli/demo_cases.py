"""What the demonstration asks for, and what must come of it."""

from dataclasses import dataclass

from worker.model import PaymentTarget
from worker.records import Status


@dataclass(frozen=True, slots=True)
class Case:
    """One request: what it shows, whom it is for, the simulator's magic, the expected answer."""

    shows: str
    target: PaymentTarget
    magic: str
    expected: Status
    is_replayed: bool = False
    is_cancelled: bool = False
    company: str = "1"


_LINK = PaymentTarget.LABANQUEPOSTALE
_BASKET = PaymentTarget.MILLIET

CASES = (
    Case("a payment link", _LINK, "success", Status.SUCCEEDED),
    Case("a basket item", _BASKET, "success", Status.SUCCEEDED),
    Case("the provider says no", _LINK, "declined", Status.FAILED),
    Case("busy twice, tried again", _LINK, "flaky-2", Status.SUCCEEDED),
    Case("busy longer, by the ladder", _BASKET, "flaky-4", Status.SUCCEEDED),
    Case("link lost: asked once more", _LINK, "lost-once", Status.SUCCEEDED),
    Case("item lost: never asked twice", _BASKET, "reset-after", Status.IN_DOUBT),
    Case("company without settings", _LINK, "success", Status.FAILED, company="99"),
    Case("unknown refusal, a letter", _LINK, "refuse-once", Status.FAILED, is_replayed=True),
    Case("an item, cancelled later", _BASKET, "success", Status.SUCCEEDED, is_cancelled=True),
)
"""Together they take the ladder's thirty seconds and little more."""
