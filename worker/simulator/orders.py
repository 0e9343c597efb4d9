"""What a call asks of a simulated provider, once it was read and found valid."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from worker.model import Operation
from worker.simulator.effects import Shape

Json = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Refused:
    """The provider's no to a call that is not valid: an HTTP status and a JSON body."""

    status: int
    body: Json
    headers: tuple[tuple[str, str], ...] = ()


class Order(Protocol):
    """One valid call; it knows its provider's book and words."""

    @property
    def operation(self) -> Operation: ...

    @property
    def email(self) -> str:
        """The customer's e-mail, empty when the call names the customer otherwise."""

    @property
    def intent(self) -> tuple[str, ...]:
        """What stays the same when the worker tries again."""

    def obstacle(self) -> Refused | None:
        """What the provider's own state says against it."""

    def apply(self) -> str:
        """Do it, count it, and return the link or the item's id."""

    def answer(self, applied: str, shape: Shape) -> Json:
        """The success body."""

    def rejection(self, provider_code: str) -> Json:
        """The body of a refusal, sent as HTTP 200."""
